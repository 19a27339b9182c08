"""The rules for volumes and for where containers mount them (K 150, 167)."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.core import names
from fleetd.core.findings import Findings
from fleetd.core.pod import KeyToPath, Volume, VolumeMount


def check_volume(found: Findings, path: str, volume: Volume) -> None:
    sources = [volume.host_path, volume.config_map, volume.secret, volume.empty_dir]
    if sum(source is not None for source in sources) > 1:
        found.error(path, "has more than one source", "keep one of them")
    if volume.host_path is not None:
        found.check(f"{path}.hostPath.path", names.host_path, volume.host_path.path)
    if volume.config_map is not None:
        config_map = volume.config_map
        found.check(f"{path}.configMap.name", names.dns_subdomain, config_map.name)
        _items(found, f"{path}.configMap", config_map.items, config_map.default_mode)
    if volume.secret is not None:
        secret = volume.secret
        found.check(f"{path}.secret.secretName", names.dns_subdomain, secret.secret_name)
        _items(found, f"{path}.secret", secret.items, secret.default_mode)


def _items(found: Findings, path: str, items: Sequence[KeyToPath], default_mode: int) -> None:
    check_mode(found, f"{path}.defaultMode", default_mode, most=0o777)
    seen: set[object] = set()
    for i, item in enumerate(items):
        here = f"{path}.items[{i}]"
        found.check(f"{here}.key", names.config_key, item.key)
        found.check(f"{here}.path", _file_in_volume, item.path)
        found.unique(f"{here}.path", item.path, seen, "the path")
        if item.mode is not None:
            check_mode(found, f"{here}.mode", item.mode, most=0o777)


def _file_in_volume(text: str) -> str:
    if wrong := names.relative_path(text):
        return wrong
    if any(part in {"", "."} for part in text.split("/")):
        return "must be a plain relative path"
    return "must not contain white space" if any(c.isspace() for c in text) else ""


def check_mounts(
    found: Findings, path: str, mounts: Sequence[VolumeMount], volumes: set[object]
) -> None:
    seen: set[object] = set()
    for i, mount in enumerate(mounts):
        here = f"{path}.volumeMounts[{i}]"
        if mount.name not in volumes:
            known = ", ".join(sorted(map(str, volumes))) or "none"
            message = f"there is no volume {mount.name!r}"
            found.error(f"{here}.name", message, f"spec.template.spec.volumes has: {known}")
        if ":" in mount.mount_path:
            found.error(f"{here}.mountPath", "must not contain ':'")
        found.check(f"{here}.mountPath", names.host_path, mount.mount_path)
        found.unique(f"{here}.mountPath", mount.mount_path, seen, "the mount path")
        if mount.sub_path:
            found.check(f"{here}.subPath", names.relative_path, mount.sub_path)


def check_mode(found: Findings, path: str, mode: int, *, most: int) -> None:
    """File permissions, as a number; a decimal that was meant to be octal is told."""
    if not 0 <= mode <= most:
        found.error(path, f"must be from 0 to 0{most:o}, not 0{mode:o}", "write it as 0644")
    elif str(mode) in {"400", "440", "444", "500", "550", "555"}:
        found.note(path, f"decimal {mode} is mode 0{mode:o}; write 0{mode} if that is meant")
