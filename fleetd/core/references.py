"""What a DaemonSet refers to: ConfigMaps and Secrets of its namespace, by key if one is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fleetd.core.daemonset import DaemonSet, Systemd
from fleetd.core.paths import child
from fleetd.core.pod import Container, KeyRef, KeyToPath, PodSpec, ProjectedObject, Volume

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
    for i, container in enumerate(spec.init_containers):
        yield from _of_container(container, f"{_SPEC}.initContainers[{i}]")
    for i, container in enumerate(spec.containers):
        yield from _of_container(container, f"{_SPEC}.containers[{i}]")
    for i, volume in enumerate(spec.volumes):
        yield from _of_volume(volume, f"{_SPEC}.volumes[{i}]")


def _of_container(container: Container, path: str) -> Iterator[Reference]:
    for i, origin in enumerate(container.env_from):
        at = f"{path}.envFrom[{i}]"
        if (ref := origin.config_map_ref) is not None:
            yield Reference("ConfigMap", ref.name, None, f"{at}.configMapRef.name", ref.optional)
        if (ref := origin.secret_ref) is not None:
            yield Reference("Secret", ref.name, None, f"{at}.secretRef.name", ref.optional)
    for i, variable in enumerate(container.env):
        if (source := variable.value_from) is not None:
            at = f"{path}.env[{i}].valueFrom"
            yield from _keys(source.config_map_key_ref, source.secret_key_ref, at)


def _of_volume(volume: Volume, path: str) -> Iterator[Reference]:
    if (config_map := volume.config_map) is not None:
        at = f"{path}.configMap"
        name, optional = config_map.name, config_map.optional
        yield Reference("ConfigMap", name, None, f"{at}.name", optional)
        yield from _of_items("ConfigMap", name, config_map.items, at, optional=optional)
    if (secret := volume.secret) is not None:
        at = f"{path}.secret"
        name, optional = secret.secret_name, secret.optional
        yield Reference("Secret", name, None, f"{at}.secretName", optional)
        yield from _of_items("Secret", name, secret.items, at, optional=optional)
    for i, source in enumerate(volume.projected.sources if volume.projected else ()):
        at = f"{path}.projected.sources[{i}]"
        if source.config_map is not None:
            yield from _of_object("ConfigMap", source.config_map, f"{at}.configMap")
        if source.secret is not None:
            yield from _of_object("Secret", source.secret, f"{at}.secret")


def _of_object(kind: RefKind, of: ProjectedObject, path: str) -> Iterator[Reference]:
    yield Reference(kind, of.name, None, f"{path}.name", of.optional)
    yield from _of_items(kind, of.name, of.items, path, optional=of.optional)


def _of_items(
    kind: RefKind, name: str, items: Sequence[KeyToPath], path: str, *, optional: bool
) -> Iterator[Reference]:
    for i, item in enumerate(items):
        yield Reference(kind, name, item.key, f"{path}.items[{i}].key", optional)


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
