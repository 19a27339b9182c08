"""The name of a namespaced object. Apart from `meta`, so that who only reads loads no models."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """The name of a namespaced object: `namespace/name` in text."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read `namespace/name`; a bare name means the namespace `default`."""
        namespace, slash, name = text.partition("/")
        return cls(namespace, name) if slash else cls("default", namespace)
