"""`$(VAR)` as Kubernetes expands it in command, args and env values.

`$$` is one dollar; `$(NAME)` is the value of a known variable; anything else, also `$(UNKNOWN)`,
stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SIGN = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))?")


def expand(text: str, value_of: Callable[[str], str | None]) -> str:
    """`text` with each `$(NAME)` replaced by `value_of(NAME)`; None leaves it as it is."""

    def replace(sign: re.Match[str]) -> str:
        if sign[0] == "$$":
            return "$"
        value = value_of(sign["name"]) if sign["name"] is not None else None
        return sign[0] if value is None else value

    return _SIGN.sub(replace, text)


def variables(text: str) -> tuple[str, ...]:
    """The names that `text` asks for, in order."""
    return tuple(sign["name"] for sign in _SIGN.finditer(text) if sign["name"] is not None)
