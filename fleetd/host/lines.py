"""Tab-separated lines: the only text form between coordinator and host, in both directions.

An empty field is written `-`, since the shell's `read` joins neighbouring tabs. A field holds no
tab, no newline and no control character: what we send is checked, what a host sends is stripped.
"""

from __future__ import annotations

from fleetd.core.meta import Key

EMPTY = "-"
LONGEST = 4096
"""No field of a reply is longer, in characters; the rest is cut away."""


def join(*fields: object) -> str:
    """One line without its newline. Raises ValueError for a field that cannot be written."""
    texts = [_text(value) for value in fields]
    for text in texts:
        if not text.isprintable():
            raise ValueError(f"{text!r} cannot be sent: it holds a control character")
        if text == EMPTY:
            raise ValueError(f"{text!r} cannot be sent: it stands for an empty field")
    return "\t".join(text or EMPTY for text in texts)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def split(line: str) -> list[str]:
    """The fields of a line, `-` read as empty."""
    return ["" if text == EMPTY else text for text in line.split("\t")]


def clean(text: str) -> str:
    """Text from a host without anything that a terminal would obey, not endless (P 98)."""
    if not text.isprintable():
        text = "".join(char for char in text if char.isprintable())
    return text[:LONGEST]


def flag(text: str) -> bool:
    """Read `0` or `1`; anything else is a ValueError."""
    if text not in {"0", "1"}:
        raise ValueError(f"{text!r} is neither 0 nor 1")
    return text == "1"


def key(text: str) -> Key:
    """Read `namespace/name`; anything else is a ValueError."""
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise ValueError(f"{text!r} is not namespace/name")
    return Key(namespace, name)
