"""Text, quoted for the languages that it passes through: systemd's units, and sh.

In a unit `%` starts a specifier and, on Exec lines only, `$` a variable; quotes and C escapes mean
the same in both (P 67). A NUL ends a string in all of them, so that no quoting can carry one.
"""

from __future__ import annotations

import re
import shlex

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def exec_word(text: str) -> str:
    """One word of an Exec line that arrives as `text`.

    Raises:
        ValueError: for a NUL.
    """
    return _unit_word(text, dollar="$$")


def environment(name: str, value: str) -> str:
    """An `Environment=` line that sets `name` to `value`.

    Raises:
        ValueError: for a control character that systemd refuses: all but tab and newline.
    """
    if found := _CONTROL.search(value.replace("\n", "").replace("\t", "")):
        raise ValueError(f"systemd takes no control character {found[0]!r} in a variable")
    return f"Environment={_unit_word(f'{name}={value}', dollar='$')}"


def text(value: str) -> str:
    """A value for a setting that expands specifiers and has no quotes, such as Description=."""
    return value.replace("%", "%%")


def sh_word(value: str) -> str:
    """One word of a POSIX shell that arrives as `value`.

    Raises:
        ValueError: for a NUL.
    """
    return shlex.quote(_no_nul(value))


def _unit_word(value: str, dollar: str) -> str:
    if _PLAIN.match(_no_nul(value)):
        return value
    inside = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", dollar)
    return '"' + _CONTROL.sub(lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), inside) + '"'


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value
