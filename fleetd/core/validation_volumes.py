"""The rules for volumes and for where containers mount them (K 150, 167)."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.core import names, quantity
from fleetd.core.fieldrefs import FILE_FIELDS
from fleetd.core.findings import Findings
from fleetd.core.pod import (
    Container,
    DownwardFile,
    EmptyDirVolume,
    KeyToPath,
    PodSpec,
    ProjectedVolume,
    Projection,
    Volume,
)
from fleetd.core.validation_env import check_container_name, check_field_ref, check_resource_ref


def check_volumes(found: Findings, path: str, spec: PodSpec) -> None:
    """All volumes of a pod."""
    containers = {container.name for container in (*spec.containers, *spec.init_containers)}
    seen: set[object] = set()
    for i, volume in enumerate(spec.volumes):
        here = f"{path}.volumes[{i}]"
        found.check(f"{here}.name", names.dns_label, volume.name)
        found.unique(f"{here}.name", volume.name, seen, "the volume")
        _volume(found, here, volume, containers)


def _volume(found: Findings, path: str, volume: Volume, containers: set[str]) -> None:
    _one_source(
        found,
        path,
        {
            "hostPath": volume.host_path,
            "emptyDir": volume.empty_dir,
            "configMap": volume.config_map,
            "secret": volume.secret,
            "downwardAPI": volume.downward_api,
            "projected": volume.projected,
        },
    )
    if volume.host_path is not None:
        found.check(f"{path}.hostPath.path", names.host_path, volume.host_path.path)
    if volume.empty_dir is not None:
        _empty_dir(found, f"{path}.emptyDir", volume.empty_dir)
    if volume.config_map is not None:
        config_map = volume.config_map
        found.check(f"{path}.configMap.name", names.dns_subdomain, config_map.name)
        _default_mode(found, f"{path}.configMap", config_map.default_mode)
        _items(found, f"{path}.configMap", config_map.items, set())
    if volume.secret is not None:
        secret = volume.secret
        found.check(f"{path}.secret.secretName", names.dns_subdomain, secret.secret_name)
        _default_mode(found, f"{path}.secret", secret.default_mode)
        _items(found, f"{path}.secret", secret.items, set())
    if volume.downward_api is not None:
        downward = volume.downward_api
        _default_mode(found, f"{path}.downwardAPI", downward.default_mode)
        _downward(found, f"{path}.downwardAPI", downward.items, containers, set())
    if volume.projected is not None:
        _projected(found, f"{path}.projected", volume.projected, containers)


def _one_source(found: Findings, path: str, sources: dict[str, object]) -> None:
    """A volume without any is an emptyDir, a projection without any is one that is ignored."""
    there = [name for name, source in sources.items() if source is not None]
    for name in there[1:]:
        message = f"{there[0]} is there as well, and there must be no more than one"
        found.error(f"{path}.{name}", message, "keep one of them")


def _empty_dir(found: Findings, path: str, volume: EmptyDirVolume) -> None:
    if volume.size_limit is None:
        return
    path = f"{path}.sizeLimit"
    try:
        if quantity.parse(volume.size_limit) < 0:
            found.error(path, f"{volume.size_limit} must not be negative")
    except ValueError as error:
        found.error(path, f"{volume.size_limit!r} {error}")
    if volume.medium != "Memory":
        found.note(path, "is not enforced: only a volume in memory has a size")


def _projected(found: Findings, path: str, volume: ProjectedVolume, containers: set[str]) -> None:
    _default_mode(found, path, volume.default_mode)
    seen: set[object] = set()
    for i, source in enumerate(volume.sources):
        _projection(found, f"{path}.sources[{i}]", source, containers, seen)


def _projection(
    found: Findings, path: str, source: Projection, containers: set[str], seen: set[object]
) -> None:
    _one_source(
        found,
        path,
        {
            "configMap": source.config_map,
            "secret": source.secret,
            "downwardAPI": source.downward_api,
        },
    )
    for kind, item in (("configMap", source.config_map), ("secret", source.secret)):
        if item is not None:
            found.check(f"{path}.{kind}.name", names.dns_subdomain, item.name)
            _items(found, f"{path}.{kind}", item.items, seen)
    if source.downward_api is not None:
        _downward(found, f"{path}.downwardAPI", source.downward_api.items, containers, seen)


def _items(found: Findings, path: str, items: Sequence[KeyToPath], seen: set[object]) -> None:
    for i, item in enumerate(items):
        here = f"{path}.items[{i}]"
        found.check(f"{here}.key", names.config_key, item.key)
        _file(found, here, item.path, item.mode, seen)


def _downward(
    found: Findings,
    path: str,
    items: Sequence[DownwardFile],
    containers: set[str],
    seen: set[object],
) -> None:
    for i, item in enumerate(items):
        here = f"{path}.items[{i}]"
        _file(found, here, item.path, item.mode, seen)
        if (item.field_ref is None) == (item.resource_field_ref is None):
            found.error(here, "must have exactly one of fieldRef and resourceFieldRef")
        if item.field_ref is not None:
            check_field_ref(found, f"{here}.fieldRef", item.field_ref, FILE_FIELDS)
        if item.resource_field_ref is not None:
            check_resource_ref(found, f"{here}.resourceFieldRef", item.resource_field_ref)
            check_container_name(
                found, f"{here}.resourceFieldRef", item.resource_field_ref, containers
            )


def _file(found: Findings, path: str, where: str, mode: int | None, seen: set[object]) -> None:
    found.check(f"{path}.path", _file_in_volume, where)
    found.unique(f"{path}.path", where, seen, "the path")
    if mode is not None:
        check_mode(found, f"{path}.mode", mode, most=0o777)


def _file_in_volume(text: str) -> str:
    if wrong := names.relative_path(text):
        return wrong
    if any(part in {"", "."} for part in text.split("/")):
        return "must be a plain relative path"
    if text.startswith(".."):
        return "must not begin with '..'"
    return "must not contain white space" if any(c.isspace() for c in text) else ""


def check_mounts(found: Findings, path: str, container: Container, volumes: set[object]) -> None:
    """Where a container wants its volumes."""
    context = container.security_context
    seen: set[object] = set()
    for i, mount in enumerate(container.volume_mounts):
        here = f"{path}.volumeMounts[{i}]"
        if mount.name not in volumes:
            known = ", ".join(sorted(map(str, volumes))) or "none"
            message = f"there is no volume {mount.name!r}"
            found.error(f"{here}.name", message, f"spec.template.spec.volumes has: {known}")
        if ":" in mount.mount_path:
            found.error(f"{here}.mountPath", "must not contain ':'")
        found.check(f"{here}.mountPath", _mount_path, mount.mount_path)
        found.unique(f"{here}.mountPath", mount.mount_path, seen, "the mount path")
        if mount.sub_path:
            found.check(f"{here}.subPath", names.relative_path, mount.sub_path)
        if mount.sub_path_expr:
            found.check(f"{here}.subPathExpr", names.relative_path, mount.sub_path_expr)
            if mount.sub_path:
                found.error(f"{here}.subPathExpr", "subPath is there as well", "keep one of them")
        if mount.mount_propagation == "Bidirectional" and not (context and context.privileged):
            message = "Bidirectional is for privileged containers alone"
            found.error(f"{here}.mountPropagation", message, "HostToContainer needs no privilege")


def _mount_path(text: str) -> str:
    """A path in the container; one that is not absolute is taken as if it were."""
    return names.host_path(f"/{text.lstrip('/')}") if text else "must not be empty"


def _default_mode(found: Findings, path: str, mode: int) -> None:
    check_mode(found, f"{path}.defaultMode", mode, most=0o777)


def check_mode(found: Findings, path: str, mode: int, *, most: int) -> None:
    """File permissions, as a number; a decimal that was meant to be octal is told."""
    if not 0 <= mode <= most:
        found.error(path, f"must be from 0 to 0{most:o}, not 0{mode:o}", "write it as 0644")
    elif str(mode) in {"400", "440", "444", "500", "550", "555"}:
        found.note(path, f"decimal {mode} is mode 0{mode:o}; write 0{mode} if that is meant")
