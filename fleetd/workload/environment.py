"""The environment of a workload: values, references and `$(VAR)`, as Kubernetes puts them together.

A value may hold what only the host knows (a per-host value) or what only the host may know (a
secret). Such places are kept apart from literal text as `Text`, which becomes a word of a shell
script; so nothing that a document says is ever read as shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetd.core import names
from fleetd.core.bundle import SecretBytes
from fleetd.core.daemonset import SystemdEnvVar
from fleetd.core.expansion import expand
from fleetd.core.fieldrefs import HOST_FIELDS
from fleetd.core.pod import Container, EnvFromSource, KeyRef, PodSpec
from fleetd.workload.content import Content
from fleetd.workload.downward import field_text
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy
from fleetd.workload.quoting import sh_word
from fleetd.workload.resources import resource_text
from fleetd.workload.text import Text
from fleetd.workload.values import FIELDS, HOST_ADDRESS

__all__ = ["Environment", "Text", "container_env", "resolve", "secret_files"]

_LONGEST = 131_000
"""The kernel takes no longer argument or variable (P 84)."""


@dataclass(frozen=True, slots=True)
class Environment:
    """All variables by name, and the secrets that shell variables in them stand for.

    `lines` of a shell compute further variables that stand in them; they run once the values of the
    host are there.
    """

    variables: Mapping[str, Text] = field(default_factory=dict)
    secrets: Mapping[str, SecretBytes] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def expand(self, text: str, path: str) -> Text:
        """`text` with `$(VAR)` replaced; a variable that is not there stays as it is written.

        Raises:
            RenderError: a NUL in the text.
        """
        return _expand(text, self.variables, path)


def container_env(copy: Copy, spec: PodSpec, container: Container, path: str) -> Environment:
    """The environment of a container of the pod; `path` is the container's field path.

    What `envFrom` brings comes first, in order; then `env`, each value of which sees the variables
    before it. A later variable wins over an earlier one of the same name.

    Raises:
        RenderError: a reference that nothing answers, or a value that no process can be given.
    """
    made = _Made(copy.ds.namespace, copy.content)
    for at, source in enumerate(container.env_from):
        made.all_of(source, f"{at}", f"{path}.envFrom[{at}]")
    for at, var in enumerate(container.env):
        where = f"{path}.env[{at}]"
        made.set(var.name, _value(made, copy, spec, container, at, where))
    asks = any(FIELDS["status.hostIP"] in text.marked for text in made.variables.values())
    lines = [*(HOST_ADDRESS if asks else ()), *made.lines]
    return Environment(made.variables, made.secrets, tuple(lines))


def resolve(
    env: Sequence[SystemdEnvVar], namespace: str, content: Content, path: str
) -> Environment:
    """The environment of a systemd workload; a value sees the variables before it only.

    Raises:
        RenderError: a reference that nothing answers, or a value that no process can be given.
    """
    made = _Made(namespace, content)
    for at, var in enumerate(env):
        where = f"{path}[{at}]"
        if var.secret_key_ref is not None or var.config_map_key_ref is not None:
            text = made.key(var.config_map_key_ref, var.secret_key_ref, f"{at}", where)
        elif var.field_path:
            if var.field_path not in HOST_FIELDS:
                known = ", ".join(sorted(HOST_FIELDS))
                raise RenderError(where, f"no value for {var.field_path!r}; known: {known}")
            text = Text.variable(FIELDS[var.field_path])
        else:
            text = _expand(var.value, made.variables, f"{where}.value")
        made.set(var.name, text)
    return Environment(made.variables, made.secrets)


@dataclass(slots=True)
class _Made:
    """An environment in the making."""

    namespace: str
    content: Content
    variables: dict[str, Text] = field(default_factory=dict)
    secrets: dict[str, SecretBytes] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def set(self, name: str, text: Text | None) -> None:
        """Give a variable its value, in the place of an earlier one."""
        if text is not None:
            self.variables.pop(name, None)
            self.variables[name] = text

    def key(
        self, config_map: KeyRef | None, secret: KeyRef | None, place: str, path: str
    ) -> Text | None:
        """The value of one key; `place` tells its shell variable from all others."""
        if secret is not None:
            found = self.content.secret_key(self.namespace, secret, f"{path}.secretKeyRef")
            return None if found is None else self._secret(found, place)
        if config_map is None:
            return None
        path = f"{path}.configMapKeyRef"
        data = self.content.config_map_key(config_map, path)
        if data is None:
            return None
        try:
            return _checked(Text(data.decode()), data.decode(), path)
        except UnicodeDecodeError:
            raise RenderError(
                path,
                f"key {config_map.key} of ConfigMap {config_map.name} is not text; "
                "mount it as a file",
            ) from None

    def all_of(self, source: EnvFromSource, place: str, path: str) -> None:
        """Every key of an object as a variable; binary data of a ConfigMap is left out."""
        skipped: list[str] = []
        unseen: list[str] = []
        for key, found in self.content.whole(self.namespace, source, path).items():
            name = f"{source.prefix}{key}"
            if names.env_name(name):
                skipped.append(key)
            elif isinstance(found, SecretBytes):
                if names.unit_env_name(name):  # no shell has such a variable
                    unseen.append(key)
                else:
                    self.set(name, self._secret(found, f"from_{place}_{len(self.secrets)}"))
            elif (text := _text(found.data())) is not None:
                self.set(name, _checked(Text(text), text, f"{path}: {key}"))
        self._left_out(source, "being no names of variables", skipped)
        self._left_out(source, "being secrets that only a file can bring (mount them)", unseen)

    def _left_out(self, source: EnvFromSource, why: str, keys: Sequence[str]) -> None:
        ref = source.config_map_ref or source.secret_ref
        if keys and ref:
            message = f"envFrom: skipped, {why}: {', '.join(keys)} (of {ref.name})"
            self.lines.append(f"printf '%s\\n' {sh_word(message)} >&2")

    def _secret(self, found: SecretBytes, place: str) -> Text:
        holder = f"fleetd_secret_{place}"
        self.secrets[holder] = found
        return Text.variable(holder, secret=True)


def _value(
    made: _Made, copy: Copy, spec: PodSpec, container: Container, at: int, path: str
) -> Text | None:
    """The value of variable number `at`; None where it comes from nothing and may."""
    var = container.env[at]
    source = var.value_from
    if source is None:
        return _expand(var.value, made.variables, f"{path}.value")
    path = f"{path}.valueFrom"
    if source.field_ref is not None:
        text = field_text(copy, spec, source.field_ref.field_path, f"{path}.fieldRef.fieldPath")
    elif source.resource_field_ref is not None:
        ref, holder = source.resource_field_ref, f"fleetd_resource_{at}"
        text, lines = resource_text(spec, container, ref, holder, f"{path}.resourceFieldRef")
        made.lines += lines
    else:
        return made.key(source.config_map_key_ref, source.secret_key_ref, f"{at}", path)
    return text


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _expand(text: str, variables: Mapping[str, Text], path: str) -> Text:
    used: list[Text] = []

    def value_of(name: str) -> str | None:
        if name not in variables:
            return None
        used.append(variables[name])
        return variables[name].marked

    expanded = Text(expand(text, value_of), any(value.secret for value in used))
    return _checked(expanded, text, path)


def _checked(result: Text, written: str, path: str) -> Text:
    if "\0" in written:
        raise RenderError(path, "must not contain a NUL character")
    if len(result.marked.encode()) > _LONGEST:
        raise RenderError(path, f"is longer than {_LONGEST} bytes; mount it as a file")
    return result


def secret_files(directory: str, secrets: Iterable[SecretBytes]) -> Mapping[SecretBytes, str]:
    """Where the secrets of an environment are delivered, one path for each."""
    return {found: f"{directory}/secrets/{found.name}/{found.key}" for found in secrets}
