"""Field paths as Kubernetes writes them: `spec.template.spec.containers[0].image`.

One spelling everywhere, so that a path found by a pure check can be looked up among the lines of a
file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LAST = re.compile(r"(\.?[^.\[\]]+|\[[^\[\]]*\])\Z")


def child(path: str, key: str | int) -> str:
    """The path of a field, an item (`[3]`) or a map's key (`[app.kubernetes.io/name]`)."""
    if isinstance(key, int) or not _PLAIN.match(key):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def join(path: str, keys: Iterable[str | int]) -> str:
    """The path below `path` that goes through all `keys`."""
    for key in keys:
        path = child(path, key)
    return path


def parent(path: str) -> str:
    """The path one step up; the empty path has itself as parent."""
    return _LAST.sub("", path) if _LAST.search(path) else ""
