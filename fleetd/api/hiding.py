"""Secrets for eyes that are not meant to see their values.

Apart from the views, since it is done wherever a Secret leaves for such eyes: by the command line
unless it is asked, and by the service for whoever may only look.
"""

from __future__ import annotations

import re

from fleetd.api.reports import Shape

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HIDDEN = re.compile(r"<\d+ bytes, hidden>")


def hide_values(shape: Shape) -> Shape:
    """A Secret with sizes in place of values, anything else as it is.

    What it prints as cannot be applied by mistake; what is hidden already stays as it is.
    """
    if shape.get("kind") != "Secret":
        return shape
    hidden = dict(shape)
    for field in ("data", "stringData"):
        if isinstance(hidden.get(field), dict):
            hidden[field] = {key: _size(value, field) for key, value in hidden[field].items()}
    annotations = dict((hidden.get("metadata") or {}).get("annotations") or {})
    if annotations.pop(_LAST_APPLIED, None) is not None:
        hidden["metadata"] = hidden["metadata"] | {"annotations": annotations}
    return hidden


def _size(value: object, field: str) -> str:
    text = str(value)
    if _HIDDEN.fullmatch(text):
        return text
    size = len(text) * 3 // 4 - text.count("=") if field == "data" else len(text.encode())
    return f"<{size} bytes, hidden>"
