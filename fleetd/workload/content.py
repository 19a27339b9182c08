"""The ConfigMaps and Secrets that a revision was made with, as a renderer sees them.

Secrets come as digests (HMACs under the fleet's key): their bytes never enter a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetd.core.bundle import Inline, SecretBytes
from fleetd.core.pod import EnvFromSource, KeyRef
from fleetd.workload.errors import RenderError


@dataclass(frozen=True, slots=True)
class Content:
    """By name and key: the bytes of ConfigMaps, the digests of Secrets."""

    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def config_map_key(self, ref: KeyRef, path: str) -> bytes | None:
        """The bytes of a key; None where it may be absent and is.

        Raises:
            RenderError: it is absent and must not be.
        """
        found = self.config_maps.get(ref.name, {}).get(ref.key)
        if found is None and not ref.optional:
            raise RenderError(path, f"ConfigMap {ref.name} has no key {ref.key}")
        return found

    def secret_key(self, namespace: str, ref: KeyRef, path: str) -> SecretBytes | None:
        """As `config_map_key`: what stands for the bytes of a key until the last moment."""
        digest = self.secrets.get(ref.name, {}).get(ref.key)
        if digest is None and not ref.optional:
            raise RenderError(path, f"Secret {ref.name} has no key {ref.key}")
        return None if digest is None else SecretBytes(namespace, ref.name, ref.key, digest)

    def key(
        self, namespace: str, config_map: KeyRef | None, secret: KeyRef | None, path: str
    ) -> Inline | SecretBytes | None:
        """The content of a file that comes from one of the two."""
        if secret is not None:
            return self.secret_key(namespace, secret, f"{path}.secretKeyRef")
        if config_map is None:
            return None
        data = self.config_map_key(config_map, f"{path}.configMapKeyRef")
        return None if data is None else Inline.of(data)

    def config_map(self, name: str, path: str, *, optional: bool) -> Mapping[str, Inline]:
        """All of a ConfigMap, by key and in order; nothing where it may be absent and is.

        Raises:
            RenderError: it is absent and must not be.
        """
        found = self.config_maps.get(name)
        if found is None and not optional:
            raise RenderError(path, f"there is no ConfigMap {name}")
        return {key: Inline.of(data) for key, data in sorted((found or {}).items())}

    def secret(
        self, namespace: str, name: str, path: str, *, optional: bool
    ) -> Mapping[str, SecretBytes]:
        """As `config_map`: what stands for a Secret."""
        found = self.secrets.get(name)
        if found is None and not optional:
            raise RenderError(path, f"there is no Secret {name}")
        return {
            key: SecretBytes(namespace, name, key, digest)
            for key, digest in sorted((found or {}).items())
        }

    def whole(
        self, namespace: str, source: EnvFromSource, path: str
    ) -> Mapping[str, Inline | SecretBytes]:
        """The object that all variables come from."""
        if (ref := source.config_map_ref) is not None:
            path = f"{path}.configMapRef.name"
            return dict(self.config_map(ref.name, path, optional=ref.optional))
        if (ref := source.secret_ref) is not None:
            path = f"{path}.secretRef.name"
            return dict(self.secret(namespace, ref.name, path, optional=ref.optional))
        return {}
