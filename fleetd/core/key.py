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


def pod_name(ds: Key, node: str, slot: str = "a") -> str:
    """What a copy is called as a pod: while two stand side by side, each has its own name."""
    return f"{ds.name}-{node}" if slot == "a" else f"{ds.name}-{node}-{slot}"


def pod_uid(fleet: str, ds: Key, node: str, slot: str = "a") -> str:
    """The uid of a copy, the same again when the copy is made anew in its slot."""
    place = node if slot == "a" else f"{node}/{slot}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{fleet}/{ds}/{place}"))
