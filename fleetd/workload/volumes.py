"""Volumes: what they need on the host, and where they appear in a container.

An emptyDir lives as long as a pod would: through restarts, until the revision changes; so does what
a volume of files is told by the host. A path of the host is root's: it is never relabelled, owned
or removed. A path below a volume stays in it, wherever symbolic links lead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fleetd.core import names as legal, quantity
from fleetd.core.bundle import Check, CheckKind
from fleetd.core.expansion import variables
from fleetd.core.pod import Container, EmptyDirVolume, HostPathVolume, PodSpec, Volume, VolumeMount
from fleetd.workload import prepare
from fleetd.workload.environment import Environment, container_env
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy, Parts
from fleetd.workload.resources import limit_of_memory
from fleetd.workload.text import Text
from fleetd.workload.volume_files import files_of

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
_MADE = {CheckKind.MAKE_PATH, CheckKind.MAKE_DIRECTORY, CheckKind.MAKE_FILE}
_PROPAGATION = {"None": "", "HostToContainer": "rslave", "Bidirectional": "rshared"}
_EMPTY_DIR_MODE = 0o777


@dataclass(frozen=True, slots=True)
class Below:
    """A path below a volume: `text` inside of `volume`, which is a directory of the host.

    Where only the host can put it together, it stands in `variable`. `field` is its field path.
    """

    volume: str
    text: Text
    field: str
    variable: str = ""
    guarded: bool = True
    """Whether somebody could have made a symbolic link there."""
    absent: bool = False
    """Whether the volume has no such file: there is a directory then, as in Kubernetes."""


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
    below: Below | None = None


def volume_parts(copy: Copy, spec: PodSpec) -> Parts:
    """What all volumes of the pod need on the host.

    Raises:
        RenderError: a ConfigMap, Secret or key is not there.
    """
    parts = Parts()
    for at, volume in enumerate(spec.volumes):
        parts += _volume(copy, spec, volume, f"{_PATH}.volumes[{at}]")
    for container in (*spec.init_containers, *spec.containers):
        for mount in container.volume_mounts:
            parts += _sub_path_parts(copy, spec, mount)
    return parts


def mounts(copy: Copy, spec: PodSpec, container: Container, path: str) -> tuple[Mount, ...]:
    """The bind mounts of a container of the pod, in the order of the document.

    Raises:
        RenderError: a path that an engine would read as something else, or that is not inside its
        volume.
    """
    volumes = {volume.name: volume for volume in spec.volumes}
    env: Environment | None = None
    found: list[Mount] = []
    for at, mount in enumerate(container.volume_mounts):
        here = f"{path}.volumeMounts[{at}]"
        if mount.name not in volumes:
            raise RenderError(f"{here}.name", f"there is no volume {mount.name!r}")
        volume = volumes[mount.name]
        below = None
        if mount.sub_path_expr:
            env = env or container_env(copy, spec, container, path)
            below = _expanded(mount, env, at, f"{here}.subPathExpr")
        elif mount.sub_path:
            below = Text(mount.sub_path.rstrip("/")), "", f"{here}.subPath"
        found.append(_mount(copy, spec, volume, mount, below, here))
    return tuple(found)


def prepare_lines(
    copy: Copy, spec: PodSpec, container: Container, mounts: Iterable[Mount], env: Environment
) -> tuple[str, ...]:
    """Lines of a shell that make the mounts' sources before a container starts.

    They may be cut anywhere, run again, and run in two launchers of a pod at once.
    """
    del env  # its variables are there already
    used = {mount.name for mount in container.volume_mounts}
    volumes = [volume for volume in spec.volumes if volume.name in used]
    lines = [line for volume in volumes for line in _prepared(copy, spec, volume)]
    return (
        *prepare.cleared(of_revision(copy)),
        *prepare.locked(copy.dir, lines),
        *(line for mount in mounts for line in _made(mount)),
    )


def of_revision(copy: Copy) -> str:
    """Where this revision's emptyDirs are, and what the host tells; beside it is only older."""
    return f"{copy.dir}/empty/{copy.revision}"


def _mount(
    copy: Copy,
    spec: PodSpec,
    volume: Volume,
    mount: VolumeMount,
    sub_path: tuple[Text, str, str] | None,
    path: str,
) -> Mount:
    files = files_of(copy, spec, volume, path)
    root = _source(copy, spec, volume)
    source, below = Text(root), None
    if sub_path is not None and sub_path[0].marked:
        text, variable, field = sub_path
        if text.literal is not None and (message := legal.relative_path(text.literal)):
            raise RenderError(field, message)
        absent = bool(files and text.literal and not files.has(text.literal))
        if absent:  # not beside the files: a key that comes later must find its place free
            root = f"{of_revision(copy)}/{volume.name}"
        below = Below(root, text, field, variable, guarded=files is None, absent=absent)
        end = Text.variable(variable) if variable else text
        source = Text(f"{root.rstrip('/')}/{end.marked}")
    target = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
    for field, written in (("mountPath", target), ("subPath", source.marked)):
        # Engines read a mount as fields between commas, and docker reads them as CSV.
        if bad := set(written) & set(",\"'\n\r"):
            raise RenderError(f"{path}.{field}", f"{written!r} must not contain {min(bad)!r}")
    make, mode = _missing(volume, below)
    return Mount(
        source,
        target,
        mount.read_only or files is not None,
        make,
        mode,
        _PROPAGATION[mount.mount_propagation],
        below,
    )


def _missing(volume: Volume, below: Below | None) -> tuple[CheckKind | None, int]:
    """What to make of a source that is not there, and with which mode."""
    if volume.config_map or volume.secret or volume.downward_api or volume.projected:
        return (CheckKind.MAKE_DIRECTORY if below and below.absent else None), 0o755
    if volume.host_path is None:
        return CheckKind.MAKE_DIRECTORY, _EMPTY_DIR_MODE
    if below is not None:
        return CheckKind.MAKE_PATH, 0o755
    make = _KINDS[volume.host_path.type]
    return (make if make in _MADE else None), 0o755


def _expanded(mount: VolumeMount, env: Environment, at: int, path: str) -> tuple[Text, str, str]:
    """The path, the variable that it stands in unless it is the same everywhere, and its field."""
    for name in variables(mount.sub_path_expr):
        if name not in env.variables:
            raise RenderError(path, f"the container has no variable {name}")
    text = env.expand(mount.sub_path_expr, path)
    if text.secret:
        raise RenderError(path, "would show a secret in the list of mounts")
    if text.literal is not None:
        return Text(text.literal.rstrip("/")), "", path
    return text, f"fleetd_below_{at}", path


def _source(copy: Copy, spec: PodSpec, volume: Volume) -> str:
    if volume.host_path is not None:
        return volume.host_path.path
    files = files_of(copy, spec, volume, volume.name)
    if files is not None and not files.written:
        return f"{copy.dir}/vol/{volume.name}"
    return f"{of_revision(copy)}/{volume.name}"


def _volume(copy: Copy, spec: PodSpec, volume: Volume, path: str) -> Parts:
    if volume.host_path is not None:
        return _host_path(volume.host_path, f"{path}.hostPath")
    directory = _source(copy, spec, volume)
    parents: tuple[tuple[str, int], ...] = (
        (f"{copy.dir}/empty", 0o755),
        (of_revision(copy), 0o755),
    )
    nested = tuple((f"{directory}/{below}", 0o755) for below in _nested(spec, volume.name))
    files = files_of(copy, spec, volume, path)
    if files is None:
        held = () if _in_memory(volume) else nested  # what is made here lies below its mount
        return Parts(directories=(*parents, (directory, _EMPTY_DIR_MODE), *held))
    if not files.written:
        parents = ((f"{copy.dir}/vol", 0o755),)
    own = ((each, 0o755) for each in files.directories(directory))
    taken = {f"{directory}/{each}" for each in files.contents}
    places = (each for each in nested if each[0] not in taken)
    return Parts(
        files.bundled(directory, _fs_group(spec)),
        directories=(*parents, *dict.fromkeys((*own, *places))),
    )


def _nested(spec: PodSpec, volume: str) -> Iterator[str]:
    """Where other mounts lie inside this volume, by their path in it, each after what is around it.

    A kubelet makes these directories too: an engine cannot in what is mounted read-only.
    """
    found: set[str] = set()
    for container in (*spec.init_containers, *spec.containers):
        targets = {mount.mount_path.rstrip("/"): mount for mount in container.volume_mounts}
        for target, inner in targets.items():
            around = [other for other in targets if target.startswith(f"{other}/")]
            outer = max(around, key=len, default="")
            holder = targets.get(outer)
            if holder is None or holder.sub_path or holder.sub_path_expr:
                continue
            if holder.name == volume and _is_directory(spec, inner):
                steps = target.removeprefix(f"{outer}/").split("/")
                found |= {"/".join(steps[:n]) for n in range(1, len(steps) + 1)}
    yield from sorted(found)


def _is_directory(spec: PodSpec, mount: VolumeMount) -> bool:
    """Whether what is mounted is known to be a directory: a file has no place in one."""
    volume = next((each for each in spec.volumes if each.name == mount.name), None)
    if volume is None or mount.sub_path or mount.sub_path_expr:
        return False
    return volume.host_path is None or volume.host_path.type.startswith("Directory")


def _host_path(volume: HostPathVolume, path: str) -> Parts:
    if message := legal.host_path(volume.path):
        raise RenderError(f"{path}.path", message)
    return Parts(checks=(Check(_KINDS[volume.type], volume.path),))


def _sub_path_parts(copy: Copy, spec: PodSpec, mount: VolumeMount) -> Parts:
    """A subPath of a path of the host or of an emptyDir on disk is made when it is missing."""
    volume = next((v for v in spec.volumes if v.name == mount.name), None)
    if not mount.sub_path or volume is None or files_of(copy, spec, volume, mount.name):
        return Parts()
    base = _source(copy, spec, volume)
    if volume.host_path is not None:
        path = f"{base.rstrip('/')}/{mount.sub_path.rstrip('/')}"
        return Parts(checks=(Check(CheckKind.MAKE_PATH, path),))
    if _in_memory(volume) or _fs_group(spec) is not None:
        return Parts()  # it would lie below the mount, or be of another group
    steps = mount.sub_path.rstrip("/").split("/")
    return Parts(
        directories=tuple(
            (f"{base}/{'/'.join(steps[:n])}", _EMPTY_DIR_MODE) for n in range(1, len(steps) + 1)
        )
    )


def _prepared(copy: Copy, spec: PodSpec, volume: Volume) -> Iterator[str]:
    """What is made of a volume under the copy's lock."""
    group, directory = _fs_group(spec), _source(copy, spec, volume)
    files = files_of(copy, spec, volume, volume.name)
    if files is not None:
        yield from files.lines
        for path, (content, mode) in files.written.items():
            yield from prepare.written(f"{directory}/{path}", content, mode, group)
        if group is not None:
            yield from prepare.shared(files.directories(directory), group)
    elif _in_memory(volume):
        size = _size(volume.empty_dir, limit_of_memory(spec))
        yield from prepare.in_memory(directory, size, group)
    elif volume.host_path is None and group is not None:
        yield from prepare.empty(directory, group)


def _size(volume: EmptyDirVolume | None, limit: int | None) -> int | None:
    """The smaller of what the volume and what the pod may use; None: half of the host's memory."""
    given = volume.size_limit if volume else None
    sizes = [size for size in (quantity.whole(given) if given else 0, limit) if size]
    return min(sizes, default=None)


def _in_memory(volume: Volume) -> bool:
    return volume.empty_dir is not None and volume.empty_dir.medium == "Memory"


def _fs_group(spec: PodSpec) -> int | None:
    return spec.security_context.fs_group if spec.security_context else None


def _made(mount: Mount) -> Iterator[str]:
    """What is missing where it may be made; a reboot takes paths under /run."""
    if (below := mount.below) is not None:
        if below.variable:
            yield from prepare.expanded(below.variable, below.text, below.field)
        if below.absent:
            message = f"{below.field}: the volume has no such file: a directory is there"
            yield prepare.told(message)
        if below.guarded:
            if mount.make:
                yield from _make(Text(below.volume), mount.make, mount.mode)
            yield from prepare.inside(below.volume, mount.source, below.field)
    if mount.make:
        yield from _make(mount.source, mount.make, mount.mode)


def _make(path: Text, kind: CheckKind, mode: int) -> Iterator[str]:
    place = path.sh()
    if kind is CheckKind.MAKE_FILE:
        yield f"[ -e {place} ] || : >{place}"
    else:
        yield f"[ -e {place} ] || mkdir -p -m {mode:04o} {place}"
