"""What a DaemonSet refers to: ConfigMaps and Secrets of its namespace, by key if one is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fleetd.core.daemonset import DaemonSet, Systemd
from fleetd.core.paths import child
from fleetd.core.pod import KeyRef, PodSpec, Volume

RefKind = Literal["ConfigMap", "Secret"]
_SPEC = "spec.template.spec"


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference. `key` is None for a whole object; `path` is the field that holds it."""

    kind: RefKind
    name: str
    key: str | None
    path: str
    optional: bool = False


def references(daemonset: DaemonSet) -> tuple[Reference, ...]:
    """All references, in the order of the document."""
    spec = daemonset.spec.template.spec
    found = _of_pod(spec) if isinstance(spec, PodSpec) else _of_systemd(spec.systemd)
    return tuple(found)


def _of_pod(spec: PodSpec) -> Iterator[Reference]:
    for i, container in enumerate(spec.containers):
        for j, variable in enumerate(container.env):
            if variable.value_from is not None:
                path = f"{_SPEC}.containers[{i}].env[{j}].valueFrom"
                source = variable.value_from
                yield from _keys(source.config_map_key_ref, source.secret_key_ref, path)
    for i, volume in enumerate(spec.volumes):
        yield from _of_volume(volume, f"{_SPEC}.volumes[{i}]")


def _of_volume(volume: Volume, path: str) -> Iterator[Reference]:
    if volume.config_map is not None:
        name, optional = volume.config_map.name, volume.config_map.optional
        yield Reference("ConfigMap", name, None, f"{path}.configMap.name", optional)
        for i, item in enumerate(volume.config_map.items):
            at = f"{path}.configMap.items[{i}].key"
            yield Reference("ConfigMap", name, item.key, at, optional)
    if volume.secret is not None:
        name, optional = volume.secret.secret_name, volume.secret.optional
        yield Reference("Secret", name, None, f"{path}.secret.secretName", optional)
        for i, item in enumerate(volume.secret.items):
            at = f"{path}.secret.items[{i}].key"
            yield Reference("Secret", name, item.key, at, optional)


def _of_systemd(systemd: Systemd) -> Iterator[Reference]:
    path = f"{_SPEC}.systemd"
    for i, file in enumerate(systemd.files):
        yield from _keys(file.config_map_key_ref, file.secret_key_ref, f"{path}.files[{i}]")
    for i, credential in enumerate(systemd.credentials):
        at = f"{path}.credentials[{i}]"
        yield from _keys(credential.config_map_key_ref, credential.secret_key_ref, at)
    for i, variable in enumerate(systemd.env):
        yield from _keys(variable.config_map_key_ref, variable.secret_key_ref, f"{path}.env[{i}]")


def _keys(config_map: KeyRef | None, secret: KeyRef | None, path: str) -> Iterator[Reference]:
    if config_map is not None:
        at = child(path, "configMapKeyRef")
        yield Reference("ConfigMap", config_map.name, config_map.key, at, config_map.optional)
    if secret is not None:
        at = child(path, "secretKeyRef")
        yield Reference("Secret", secret.name, secret.key, at, secret.optional)
