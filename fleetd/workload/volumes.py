"""Volumes: what they need on the host, and where they appear in a container.

ConfigMaps and Secrets become directories of the copy, which only root can enter on the host; in the
container they are read-only, with the modes of the document. A Secret's file is 0600 where the
document says nothing else. An emptyDir lives as long as a pod would: through restarts, until the
revision changes. A path of the host is root's: it is never relabelled, owned or removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetd.core import names as legal
from fleetd.core.bundle import BundleFile, Check, CheckKind, Inline, SecretBytes
from fleetd.core.pod import Container, HostPathVolume, KeyToPath, PodSpec, Volume, VolumeMount
from fleetd.workload.environment import Environment
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy, Parts
from fleetd.workload.text import Text

_PATH = "spec.template.spec"
_KINDS = {
    "": CheckKind.MAKE_PATH,
    "DirectoryOrCreate": CheckKind.MAKE_DIRECTORY,
    "Directory": CheckKind.DIRECTORY,
    "FileOrCreate": CheckKind.MAKE_FILE,
    "File": CheckKind.FILE,
    "Socket": CheckKind.SOCKET,
    "CharDevice": CheckKind.CHAR_DEVICE,
    "BlockDevice": CheckKind.BLOCK_DEVICE,
}
_DEFAULT_MODE = 0o644
_EMPTY_DIR_MODE = 0o777


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount; `source` may hold variables of the launcher.

    `make` is what to make of `source` at a start that finds nothing there. `propagation` is a word
    of mount(8): rslave or rshared, or empty for the engine's own, which is rprivate.
    """

    source: Text
    target: str
    read_only: bool
    make: CheckKind | None = None
    mode: int = 0o755
    propagation: str = ""


def volume_parts(copy: Copy, spec: PodSpec) -> Parts:
    """What all volumes of the pod need on the host.

    Raises:
        RenderError: a ConfigMap, Secret or key is not there.
    """
    parts = Parts()
    for at, volume in enumerate(spec.volumes):
        parts += _volume(copy, volume, f"{_PATH}.volumes[{at}]")
    for container in spec.containers:
        for mount in container.volume_mounts:
            parts += _sub_path_parts(copy, spec, mount)
    return parts


def mounts(copy: Copy, spec: PodSpec, container: Container, path: str) -> tuple[Mount, ...]:
    """The bind mounts of a container of the pod, in the order of the document.

    Raises:
        RenderError: a path that an engine would read as something else.
    """
    volumes = {volume.name: volume for volume in spec.volumes}
    found: list[Mount] = []
    for i, mount in enumerate(container.volume_mounts):
        here = f"{path}.volumeMounts[{i}]"
        if mount.name not in volumes:
            raise RenderError(f"{here}.name", f"there is no volume {mount.name!r}")
        found.append(_mount(copy, volumes[mount.name], mount, here))
    return tuple(found)


def prepare_lines(
    copy: Copy, spec: PodSpec, container: Container, mounts: Iterable[Mount], env: Environment
) -> tuple[str, ...]:
    """Lines of a shell that make the mounts' sources before a container starts.

    They may be cut anywhere, run again, and run in two launchers of a pod at once.
    """
    del spec, container, env
    return (*_cleared(empty_dirs(copy)), *_made(mounts))


def empty_dirs(copy: Copy) -> str:
    """The parent of the emptyDirs of this revision; what lies beside it is of an earlier one."""
    return f"{copy.dir}/empty/{copy.revision}"


def _mount(copy: Copy, volume: Volume, mount: VolumeMount, path: str) -> Mount:
    if message := mount.sub_path and legal.relative_path(mount.sub_path):
        raise RenderError(f"{path}.subPath", message)
    source = _source(copy, volume)
    if mount.sub_path:
        source = f"{source.rstrip('/')}/{mount.sub_path.rstrip('/')}"
    for field, text in (("mountPath", mount.mount_path), ("subPath", source)):
        # Engines read a mount as fields between commas, and docker reads them as CSV.
        if bad := set(text) & set(",\"'\n\r\0"):
            raise RenderError(f"{path}.{field}", f"{text!r} must not contain {min(bad)!r}")
    files = volume.config_map or volume.secret
    if files and mount.sub_path:
        inside = {file.path for file in _volume(copy, volume, path).files}
        if source not in inside and not any(file.startswith(f"{source}/") for file in inside):
            raise RenderError(f"{path}.subPath", f"volume {volume.name} has no {mount.sub_path}")
    if not (volume.host_path or files):
        return Mount(
            Text(source),
            mount.mount_path,
            mount.read_only,
            CheckKind.MAKE_DIRECTORY,
            _EMPTY_DIR_MODE,
        )
    make = _KINDS[volume.host_path.type] if volume.host_path else None
    if make not in {CheckKind.MAKE_PATH, CheckKind.MAKE_DIRECTORY, CheckKind.MAKE_FILE}:
        make = None
    if mount.sub_path and make:
        make = CheckKind.MAKE_PATH
    return Mount(Text(source), mount.mount_path, mount.read_only or files is not None, make)


def _source(copy: Copy, volume: Volume) -> str:
    if volume.host_path is not None:
        return volume.host_path.path
    if volume.config_map or volume.secret:
        return f"{copy.dir}/vol/{volume.name}"
    return f"{empty_dirs(copy)}/{volume.name}"


def _volume(copy: Copy, volume: Volume, path: str) -> Parts:
    if volume.host_path is not None:
        return _host_path(volume.host_path, f"{path}.hostPath")
    directory = _source(copy, volume)
    if volume.config_map is not None:
        config_map = volume.config_map
        found = copy.content.config_maps.get(config_map.name)
        if found is None and not config_map.optional:
            raise RenderError(f"{path}.configMap", f"there is no ConfigMap {config_map.name}")
        contents: Mapping[str, Inline | SecretBytes] = {
            key: Inline.of(data) for key, data in (found or {}).items()
        }
        return _files(directory, contents, config_map.items, config_map.default_mode, path)
    if volume.secret is not None:
        secret = volume.secret
        digests = copy.content.secrets.get(secret.secret_name)
        if digests is None and not secret.optional:
            raise RenderError(f"{path}.secret", f"there is no Secret {secret.secret_name}")
        contents = {
            key: SecretBytes(copy.ds.namespace, secret.secret_name, key, digest)
            for key, digest in (digests or {}).items()
        }
        mode = 0o600 if secret.default_mode == _DEFAULT_MODE else secret.default_mode
        return _files(directory, contents, secret.items, mode, path, optional=secret.optional)
    return Parts(
        directories=(
            (f"{copy.dir}/empty", 0o755),
            (empty_dirs(copy), 0o755),
            (directory, _EMPTY_DIR_MODE),
        )
    )


def _host_path(volume: HostPathVolume, path: str) -> Parts:
    if message := legal.host_path(volume.path):
        raise RenderError(f"{path}.path", message)
    return Parts(checks=(Check(_KINDS[volume.type], volume.path),))


def _files(
    directory: str,
    contents: Mapping[str, Inline | SecretBytes],
    items: Sequence[KeyToPath],
    default_mode: int,
    path: str,
    *,
    optional: bool = False,
) -> Parts:
    """A volume's keys as files; with `items` only those, under their own paths and modes."""
    wanted = items or [KeyToPath(key=key, path=key) for key in sorted(contents)]
    files: list[BundleFile] = []
    directories = {directory.rpartition("/")[0], directory}
    for item in wanted:
        if message := legal.relative_path(item.path):
            raise RenderError(path, f"{item.path!r} {message}")
        if item.key not in contents:
            if optional:
                continue
            raise RenderError(path, f"there is no key {item.key}")
        mode = default_mode if item.mode is None else item.mode
        files.append(BundleFile(f"{directory}/{item.path}", mode, contents[item.key]))
        steps = item.path.split("/")[:-1]
        directories |= {f"{directory}/{'/'.join(steps[:n])}" for n in range(1, len(steps) + 1)}
    return Parts(tuple(files), directories=tuple((d, 0o755) for d in sorted(directories)))


def _sub_path_parts(copy: Copy, spec: PodSpec, mount: VolumeMount) -> Parts:
    """A subPath of a path of the host or of an emptyDir is made when it is missing."""
    volume = next((v for v in spec.volumes if v.name == mount.name), None)
    if not mount.sub_path or volume is None or volume.config_map or volume.secret:
        return Parts()
    path = f"{_source(copy, volume).rstrip('/')}/{mount.sub_path.rstrip('/')}"
    if volume.host_path is not None:
        return Parts(checks=(Check(CheckKind.MAKE_PATH, path),))
    steps = mount.sub_path.rstrip("/").split("/")
    base = _source(copy, volume)
    return Parts(
        directories=tuple(
            (f"{base}/{'/'.join(steps[:n])}", _EMPTY_DIR_MODE) for n in range(1, len(steps) + 1)
        )
    )


def _cleared(kept: str) -> Iterable[str]:
    """Takes away the emptyDirs of earlier revisions, as they would have gone with their pods."""
    parent, _, revision = kept.rpartition("/")
    yield f"for left in {parent}/*; do"
    yield f'  case $left in */{revision}) ;; *) rm -rf -- "$left" ;; esac'
    yield "done"


def _made(mounts: Iterable[Mount]) -> Iterable[str]:
    """What a reboot may have taken: paths under /run that the document lets be made."""
    for mount in mounts:
        source = mount.source.sh()
        if mount.make is CheckKind.MAKE_FILE:
            yield f"[ -e {source} ] || : >{source}"
        elif mount.make:
            yield f"[ -e {source} ] || mkdir -p -m {mount.mode:04o} {source}"
