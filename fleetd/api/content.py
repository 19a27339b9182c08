"""The content that a DaemonSet references: what its copies use of ConfigMaps and Secrets.

Only the keys that are referenced count, so that another key of the same ConfigMap may change
without a new revision. Bytes of Secrets are told by digest alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleetd.api.draft import Draft, config_map_of, secret_of
from fleetd.core.daemonset import DaemonSet
from fleetd.core.meta import Key
from fleetd.core.records import SecretValue
from fleetd.core.references import Reference, references
from fleetd.core.revision import secret_digest


@dataclass(frozen=True, slots=True)
class Used:
    """What a DaemonSet uses: `parts` as in a revision's content, and the secret values in it."""

    parts: Mapping[str, Mapping[str, str]]
    values: tuple[SecretValue, ...] = field(repr=False)


def content_of(draft: Draft, daemonset: DaemonSet, fleet_key: str) -> Used:
    """What the DaemonSet uses of the draft's objects; what is missing is left out."""
    parts: dict[str, dict[str, str]] = {}
    values: dict[str, SecretValue] = {}
    for ref in references(daemonset):
        data = data_of(draft, ref.kind, Key(daemonset.key.namespace, ref.name))
        if data is None:
            continue
        part = parts.setdefault(f"{ref.kind}/{ref.name}", {})
        for name in _keys(daemonset, ref, data):
            text = base64.b64encode(data[name]).decode()
            if ref.kind == "Secret":
                digest = secret_digest(fleet_key.encode(), {name: data[name]})
                values[digest] = SecretValue(digest, text)
                part[name] = digest
            else:
                part[name] = text
    return Used(parts, tuple(values.values()))


def data_of(draft: Draft, kind: str, key: Key) -> dict[str, bytes] | None:
    """The bytes of a ConfigMap or Secret by key; None where there is no such object."""
    record = draft.find(kind, key)
    if record is None:
        return None
    if kind == "Secret":
        return {name: _bytes(text) for name, text in secret_of(record).data.items()}
    config_map = config_map_of(record)
    return {name: text.encode() for name, text in config_map.data.items()} | {
        name: _bytes(text) for name, text in config_map.binary_data.items()
    }


def missing(draft: Draft, daemonset: DaemonSet) -> Iterator[tuple[Reference, str]]:
    """What the DaemonSet cannot do without and does not find, each in words."""
    for ref in references(daemonset):
        if ref.optional:
            continue
        key = Key(daemonset.key.namespace, ref.name)
        data = data_of(draft, ref.kind, key)
        if data is None:
            yield ref, f"there is no {ref.kind} {key}"
        elif ref.key is not None and ref.key not in data:
            known = ", ".join(sorted(data)) or "none"
            yield ref, f"{ref.kind} {key} has no key {ref.key} (its keys: {known})"


def whole(daemonset: DaemonSet, ref: Reference) -> bool:
    """Whether a reference takes all the keys of an object: a volume that names no items."""
    if ref.key is not None:
        return False
    items = f"{ref.path.rpartition('.')[0]}.items["
    return not any(other.path.startswith(items) for other in references(daemonset))


def _keys(daemonset: DaemonSet, ref: Reference, data: Mapping[str, bytes]) -> tuple[str, ...]:
    if ref.key is not None:
        return (ref.key,) if ref.key in data else ()
    return tuple(sorted(data)) if whole(daemonset, ref) else ()


def _bytes(text: str) -> bytes:
    return base64.b64decode("".join(text.split()))
