"""Volumes of files: what a ConfigMap, a Secret, the pod itself, or all of them together put there.

They become directories of the copy, which only root can enter on the host; in the container they
are read-only, with the modes of the document, and whoever runs there reaches them through the mount
alone. What is the same on every host is delivered with the bundle; what only the host can tell is
written at each start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import normpath

from fleetd.core import names as legal
from fleetd.core.bundle import BundleFile, Inline, SecretBytes
from fleetd.core.pod import DownwardFile, KeyToPath, PodSpec, Projection, Volume
from fleetd.workload.downward import field_text
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy
from fleetd.workload.resources import resource_text
from fleetd.workload.text import Text

Content = Inline | SecretBytes | Text
GROUP_READS = 0o440
"""What fsGroup adds to the mode of a file that nobody may write."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a volume, by path within it, each with its mode; a Text is a host's to write.

    `lines` of a shell compute the variables in such texts.
    """

    contents: Mapping[str, tuple[Content, int]]
    lines: tuple[str, ...] = ()

    @property
    def written(self) -> Mapping[str, tuple[Text, int]]:
        """Those that only the host can write."""
        return {
            path: (content, mode)
            for path, (content, mode) in self.contents.items()
            if isinstance(content, Text)
        }

    def has(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        plain = normpath(path)
        return plain == "." or any(f"{known}/".startswith(f"{plain}/") for known in self.contents)

    def bundled(self, directory: str, group: int | None) -> tuple[BundleFile, ...]:
        """Those that a bundle delivers into `directory`; `group` is the pod's fsGroup."""
        # By number: the host may have no such group, and tells what it has by name or by number.
        owner, group_name = ("root", "root") if group is None else ("0", f"{group}")
        return tuple(
            BundleFile(f"{directory}/{path}", mode, content, owner, group_name)
            for path, (content, mode) in self.contents.items()
            if not isinstance(content, Text)
        )

    def directories(self, directory: str) -> tuple[str, ...]:
        """`directory` and what is below it, each before what is in it."""
        found = {directory}
        for path in self.contents:
            steps = path.split("/")[:-1]
            found |= {f"{directory}/{'/'.join(steps[:n])}" for n in range(1, len(steps) + 1)}
        return tuple(sorted(found))


def files_of(copy: Copy, spec: PodSpec, volume: Volume, path: str) -> Files | None:
    """What is in a volume of files; None where it is of another kind.

    Raises:
        RenderError: a ConfigMap, Secret or key is not there, or a path leads out of the volume.
    """
    put = _Put(copy, spec)
    if (config_map := volume.config_map) is not None:
        at, optional = f"{path}.configMap", config_map.optional
        found = copy.content.config_map(config_map.name, at, optional=optional)
        put.keys(found, config_map.items, config_map.default_mode, at, optional=optional)
    elif (secret := volume.secret) is not None:
        at, optional = f"{path}.secret", secret.optional
        name = secret.secret_name
        digests = copy.content.secret(copy.ds.namespace, name, at, optional=optional)
        put.keys(digests, secret.items, secret.default_mode, at, optional=optional)
    elif (told := volume.downward_api) is not None:
        put.told(told.items, told.default_mode, f"{path}.downwardAPI")
    elif (projected := volume.projected) is not None:
        for at_, source in enumerate(projected.sources):
            put.projection(source, projected.default_mode, f"{path}.projected.sources[{at_}]")
    else:
        return None
    group = spec.security_context.fs_group if spec.security_context else None
    added = 0 if group is None else GROUP_READS
    return Files(
        {path: (content, mode | added) for path, (content, mode) in put.contents.items()},
        tuple(put.lines),
    )


@dataclass(slots=True)
class _Put:
    """Files in the making; a later one takes the place of an earlier one."""

    copy: Copy
    spec: PodSpec
    contents: dict[str, tuple[Content, int]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def keys(
        self,
        contents: Mapping[str, Inline | SecretBytes],
        items: Sequence[KeyToPath],
        default_mode: int,
        path: str,
        *,
        optional: bool,
    ) -> None:
        """The keys of an object; with `items` only those, under their own paths and modes."""
        for item in items or [KeyToPath(key=key, path=key) for key in contents]:
            _check_path(item.path, path)
            if item.key in contents:
                mode = default_mode if item.mode is None else item.mode
                self.contents[item.path] = (contents[item.key], mode)
            elif not optional:
                raise RenderError(path, f"there is no key {item.key}")

    def told(self, items: Sequence[DownwardFile], default_mode: int, path: str) -> None:
        """What the pod is told of itself."""
        for at, item in enumerate(items):
            here = f"{path}.items[{at}]"
            _check_path(item.path, here)
            text = self._text(item, here)
            mode = default_mode if item.mode is None else item.mode
            plain = text.literal
            content = text if plain is None else Inline.of(plain.encode())
            self.contents[item.path] = (content, mode)

    def _text(self, item: DownwardFile, path: str) -> Text:
        if item.field_ref is not None:
            where = f"{path}.fieldRef.fieldPath"
            return field_text(self.copy, self.spec, item.field_ref.field_path, where)
        if item.resource_field_ref is None:
            raise RenderError(path, "has neither fieldRef nor resourceFieldRef")
        variable = f"fleetd_told_{len(self.contents)}_{len(self.lines)}"
        where = f"{path}.resourceFieldRef"
        text, lines = resource_text(self.spec, None, item.resource_field_ref, variable, where)
        self.lines += lines
        return text

    def projection(self, source: Projection, default_mode: int, path: str) -> None:
        """One source of several."""
        copy = self.copy
        if (config_map := source.config_map) is not None:
            at, optional = f"{path}.configMap", config_map.optional
            found = copy.content.config_map(config_map.name, at, optional=optional)
            self.keys(found, config_map.items, default_mode, at, optional=optional)
        if (secret := source.secret) is not None:
            at, optional = f"{path}.secret", secret.optional
            digests = copy.content.secret(copy.ds.namespace, secret.name, at, optional=optional)
            self.keys(digests, secret.items, default_mode, at, optional=optional)
        if source.downward_api is not None:
            self.told(source.downward_api.items, default_mode, f"{path}.downwardAPI")


def _check_path(path: str, where: str) -> None:
    if message := legal.relative_path(path):
        raise RenderError(where, f"{path!r} {message}")
