"""kubectl's three-way merge over plain JSON data.

What the document says is set, what the document said last time and says no more is deleted, and
what others have set stays. A null deletes. Maps merge key by key; lists merge item by item where
Kubernetes gives them a merge key (`MERGE_KEYS`), and are replaced whole where it does not.

Apart from admission because it is a pure function with a table of its own: it knows no objects,
no store and no defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
Path = tuple[str, ...]
"""Field names from the top of the document; the levels of lists do not show."""

ItemKey = tuple[Json, ...]
Items = Mapping[ItemKey, Mapping[str, Json]]

_POD: Path = ("spec", "template", "spec")
_SYSTEMD: Path = (*_POD, "systemd")
_LISTS_OF_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_IN_CONTAINERS: Mapping[str, Mapping[str, Json]] = {
    "env": {"name": None},
    "ports": {"containerPort": None, "protocol": "TCP"},
    "volumeMounts": {"mountPath": None},
    "volumeDevices": {"devicePath": None},
}

MERGE_KEYS: Mapping[Path, Mapping[str, Json]] = {
    **{(*_POD, containers): {"name": None} for containers in _LISTS_OF_CONTAINERS},
    **{
        (*_POD, containers, field): keys
        for containers in _LISTS_OF_CONTAINERS
        for field, keys in _IN_CONTAINERS.items()
    },
    (*_POD, "volumes"): {"name": None},
    (*_POD, "imagePullSecrets"): {"name": None},
    (*_POD, "hostAliases"): {"ip": None},
    (*_SYSTEMD, "files"): {"path": None},
    (*_SYSTEMD, "users"): {"name": None},
    (*_SYSTEMD, "env"): {"name": None},
}
"""The fields that tell the items of a list apart, each with the value it has when not written.

Kubernetes merges ports by `containerPort` alone, and so mixes up a UDP and a TCP port of one
number; here the protocol tells them apart, as in server-side apply.
"""

RETAIN_KEYS: frozenset[Path] = frozenset({(*_POD, "volumes")})
"""Lists whose items keep only what the document says: a volume has exactly one source."""


def merge(last: Json, live: Json, new: Json, path: Path = ()) -> Json:
    """`live` with what `new` says, without what only `last` said; nothing is changed in place.

    `last` and `live` may be None where there is none. Merging the same `new` again changes nothing.
    """
    if isinstance(new, dict):
        return _merge_maps(_map(last), _map(live), new, path)
    if isinstance(new, list) and path in MERGE_KEYS:
        before, now, after = (_keyed(items, MERGE_KEYS[path]) for items in (last, live, new))
        if before is not None and now is not None and after is not None:
            return _merge_lists(before, now, after, path)
    return _without_nulls(new)


def _merge_maps(
    last: Mapping[str, Json], live: Mapping[str, Json], new: Mapping[str, Json], path: Path
) -> dict[str, Json]:
    kept = {key: value for key, value in live.items() if key in new or key not in last}
    return {
        key: merge(last.get(key), live.get(key), new[key], (*path, key)) if key in new else value
        for key, value in {**kept, **new}.items()
        if key not in new or new[key] is not None
    }


def _merge_lists(last: Items, live: Items, new: Items, path: Path) -> list[Json]:
    merged: dict[ItemKey, Json] = {}
    for key, item in new.items():
        present = live.get(key, {})
        if path in RETAIN_KEYS:
            present = {name: value for name, value in present.items() if name in item}
        merged[key] = merge(last.get(key), present, item, path)
    # What others have added stays behind the item that it stood behind.
    order = list(merged)
    place = 0
    for key, item in live.items():
        if key not in new and key not in last:
            merged[key] = item
            order.insert(place, key)
        if key in merged:
            place = order.index(key) + 1
    return [merged[key] for key in order]


def _keyed(value: Json, keys: Mapping[str, Json]) -> Items | None:
    """The items by their merge key; None for a list that cannot be merged item by item."""
    items = value if isinstance(value, list) else []
    found: dict[ItemKey, dict[str, Json]] = {}
    for item in items:
        if not isinstance(item, dict):
            return None
        key = tuple(item.get(name, default) for name, default in keys.items())
        if key in found or not all(isinstance(part, str | int) for part in key):
            return None
        found[key] = item
    return found


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
