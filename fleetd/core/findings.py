"""What a pure check has found: a field path, what is wrong there, and what to write instead.

Whoever knows the file adds source and line, and makes it an `errors.Problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found at a field path. A `note` is worth telling, and no error.

    One that is `aside` is worth telling only to who asks what becomes of each field.
    """

    path: str
    message: str
    hint: str = ""
    note: bool = False
    aside: bool = False


class Findings:
    """Gathers findings, in the order in which they are made."""

    def __init__(self) -> None:
        """Start with none."""
        self._found: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found)

    def add(self, finding: Finding) -> None:
        """Take one as it is."""
        self._found.append(finding)

    def errors(self) -> list[Finding]:
        """Those that must be changed."""
        return [finding for finding in self._found if not finding.note]

    def error(self, path: str, message: str, hint: str = "") -> None:
        """Something that must be changed."""
        self._found.append(Finding(path, message, hint))

    def note(self, path: str, message: str) -> None:
        """Something that the user should know."""
        self._found.append(Finding(path, message, note=True))

    def aside(self, path: str, message: str) -> None:
        """Something that changes nothing, and is told only to who asks."""
        self._found.append(Finding(path, message, note=True, aside=True))

    def check(self, path: str, rule: Callable[[str], str], value: str) -> bool:
        """Hold a text to a rule of `names`; the message shows the text, cut when it is long."""
        wrong = rule(value)
        if wrong:
            shown = value if len(value) <= 80 else f"{value[:77]}..."
            self.error(path, f"{shown!r} {wrong}" if value else f"{wrong} (it is empty)")
        return not wrong

    def unique(self, path: str, value: object, seen: set[object], what: str) -> None:
        """Complain about a value that is in `seen` already, and put it there."""
        if value in seen:
            self.error(path, f"{what} is there twice: {value}")
        seen.add(value)

    def at_least(self, path: str, value: int | None, least: int) -> None:
        """Hold a number to its lowest value."""
        if value is not None and value < least:
            self.error(path, f"must be {least} or more, not {value}")
