"""The name of a namespaced object. Apart from `meta`, so that who only reads loads no models."""

from __future__ import annotations

import uuid
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


def pod_uid(fleet: str, ds: Key, node: str) -> str:
    """The uid of a copy, the same again when the copy is made anew."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{fleet}/{ds}/{node}"))
