"""Patches as pure functions over plain data: a document and a patch in, a document out.

Nothing is changed in place. What a patch leaves is held to the rules of documents afterwards.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fleetd.api.merge import MERGE_KEYS, Path
from fleetd.server.bodies import MERGE, Plain
from fleetd.server.status import Failure

Patch = Plain | list[Any]

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def patched(document: Plain, patch: Patch, kind: str) -> Plain:
    """A document changed by a patch: a list is one of JSON_PATCH, a map of MERGE or STRATEGIC.

    Raises Failure: 400 for what is no such patch, 422 for one that does not fit the document.
    """
    if isinstance(patch, list):
        return _amended(document, patch)
    return merged(document, patch) if kind == MERGE else strategic(document, patch)


def merged(document: Plain, patch: Plain) -> Plain:
    """A JSON merge patch (RFC 7386): maps merge, a null takes away, all else replaces."""
    done = dict(document)
    for name, value in patch.items():
        if value is None:
            done.pop(name, None)
        elif isinstance(value, dict):
            done[name] = merged(_map(done.get(name)), value)
        else:
            done[name] = value
    return done


def strategic(document: Plain, patch: Plain) -> Plain:
    """A strategic merge patch: lists merge by the keys that apply knows, or are replaced.

    With its directives, as kubectl sends them: `$patch` (replace, delete, merge), `$retainKeys`,
    `$setElementOrder/FIELD`, `$deleteFromPrimitiveList/FIELD`. Another one raises Failure (400).
    """
    return _merged_map(document, patch, ())


def _merged_map(live: Plain, patch: Plain, path: Path) -> Plain:
    how = patch.get(_DIRECTIVE, "merge")
    if how not in {"merge", "replace", "delete"}:
        raise Failure(400, f"{_DIRECTIVE}: {how} is none of merge, replace and delete")
    if how == "delete":
        return {}
    kept = patch.get(_RETAIN, live)
    done = {} if how == "replace" else {name: live[name] for name in live if name in kept}
    for name, value in patch.items():
        if name.startswith(_DELETE):
            field = name.removeprefix(_DELETE)
            done[field] = [item for item in _list(done.get(field)) if item not in _list(value)]
        elif name.startswith("$"):
            if name not in {_DIRECTIVE, _RETAIN} and not name.startswith(_ORDER):
                raise Failure(400, f"{name} is no directive of strategic merge patches")
        elif value is None:
            done.pop(name, None)
        elif isinstance(value, dict):
            done[name] = _merged_map(_map(done.get(name)), value, (*path, name))
        elif isinstance(value, list):
            done[name] = _merged_list(_list(done.get(name)), value, (*path, name))
        else:
            done[name] = value
    for name, order in patch.items():
        field = name.removeprefix(_ORDER)
        if field != name and field in done:
            done[field] = _ordered(_list(done[field]), _list(order), (*path, field))
    return done


def _merged_list(live: list[Any], patch: list[Any], path: Path) -> list[Any]:
    directives = [_map(item).get(_DIRECTIVE) for item in patch]
    items = [item for item in patch if item != {_DIRECTIVE: "replace"}]
    keys = MERGE_KEYS.get(path)
    if len(items) < len(patch) or keys is None:
        return [_plain(item, path) for item in items]
    done = [
        item
        for item in live
        if not any(
            how == "delete" and _same(item, gone, [name for name in keys if name in gone])
            for how, gone in zip(directives, patch, strict=True)
        )
    ]
    for item in (item for item, how in zip(patch, directives, strict=True) if how != "delete"):
        wanted = {name: _map(item).get(name, usual) for name, usual in keys.items()}
        found = [i for i, old in enumerate(done) if _same({**keys, **_map(old)}, wanted, keys)]
        if found:
            done[found[0]] = _merged_map(_map(done[found[0]]), _map(item), path)
        else:
            done.append(_plain(item, path))
    return done


def _ordered(items: list[Any], order: list[Any], path: Path) -> list[Any]:
    """The items that `order` names in its order, in the places that they have among the others."""
    keys = list(MERGE_KEYS.get(path, ()))
    if not keys:
        return items
    ranks = [
        next((i for i, each in enumerate(order) if _same(item, each, keys[:1])), None)
        for item in items
    ]
    named = [(rank, item) for rank, item in zip(ranks, items, strict=True) if rank is not None]
    sorted_ = iter(sorted(named, key=lambda pair: pair[0]))
    return [
        item if rank is None else next(sorted_)[1] for rank, item in zip(ranks, items, strict=True)
    ]


def _same(one: object, other: object, names: Collection[str]) -> bool:
    return bool(names) and all(_map(one).get(name) == _map(other).get(name) for name in names)


def _plain(value: Any, path: Path) -> Any:  # noqa: ANN401 - any JSON
    """What is new, without its directives."""
    return _merged_map({}, value, path) if isinstance(value, dict) else value


def _amended(document: Plain, patch: list[Any]) -> Plain:
    """A JSON patch (RFC 6902)."""
    import jsonpatch  # noqa: PLC0415 - hardly anybody sends one
    import jsonpointer  # noqa: PLC0415

    try:
        done = jsonpatch.apply_patch(document, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise Failure(422, f"the patch does not fit: {str(error)[:200]}") from error
    if not isinstance(done, dict):
        raise Failure(422, "the patch leaves no object")
    return done


def _map(value: object) -> Plain:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
