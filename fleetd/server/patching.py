"""Patches as pure functions over plain data: a document and a patch in, a document out."""

from __future__ import annotations

from typing import Any

from fleetd.api.merge import merge
from fleetd.server.status import Failure

Plain = dict[str, Any]


def merged(document: Plain, patch: Plain) -> Plain:
    """A JSON merge patch (RFC 7386): maps merge, a null takes away, all else replaces."""
    done = dict(document)
    for name, value in patch.items():
        if value is None:
            done.pop(name, None)
        elif isinstance(value, dict):
            before = done.get(name)
            done[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            done[name] = value
    return done


def strategic(document: Plain, patch: Plain) -> Plain:
    """A strategic merge patch without directives: lists merge by the keys that apply knows.

    The order of items (`$setElementOrder`) is not kept; another directive raises Failure (415).
    """
    done = merge(None, document, _plain(patch))
    assert isinstance(done, dict)
    return done


def _plain(patch: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(patch, list):
        return [_plain(item) for item in patch]
    if not isinstance(patch, dict):
        return patch
    kept = {}
    for name, value in patch.items():
        if name.startswith("$setElementOrder/"):
            continue
        if name.startswith("$"):
            raise Failure(
                415,
                f"the directive {name} of strategic merge patches is not supported; send "
                "application/merge-patch+json or application/apply-patch+yaml",
            )
        kept[name] = _plain(value)
    return kept
