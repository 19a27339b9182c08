"""The text of a user's unit: read as systemd reads it, checked, and given our lines.

The user's lines stay as they are written; ours follow in sections of the same names, which systemd
joins. Only `[Install]` is replaced: what starts a copy, and when, is fleetd's business. What would
hide the process from systemd, or give the unit a second name, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SECTION = re.compile(r"\[(?P<name>[^\[\]]+)\]\Z")
_FALSE = frozenset({"", "no", "false", "0", "off", "n", "f"})
_STARTED_BY = frozenset({"multi-user.target", "default.target", "graphical.target"})
_NEEDS = {
    ("Service", "LoadCredential"): 247,
    ("Service", "SetCredential"): 247,
    ("Service", "LoadCredentialEncrypted"): 250,
    ("Service", "SetCredentialEncrypted"): 250,
    ("Service", "ImportCredential"): 254,
}
"""Settings that an older systemd skips with a warning, and the first version that has them."""
_TYPE_NEEDS = {"exec": 240, "notify-reload": 253}


class UnitError(ValueError):
    """A unit text that fleetd cannot take; the message names the line and what to write instead."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One `key=value` of a section; continued lines are joined by blanks, as systemd does."""

    section: str
    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class UnitText:
    """A parsed unit: `text` is the user's without its `[Install]` sections."""

    text: str
    settings: tuple[Setting, ...]

    def get(self, section: str, key: str) -> str | None:
        """The value that wins, or None where the key is not set."""
        found = [s.value for s in self.settings if (s.section, s.key) == (section, key)]
        return found[-1] if found else None

    def has(self, section: str, *keys: str) -> bool:
        """Whether one of the keys is set."""
        return any(self.get(section, key) is not None for key in keys)

    def extended(self, lines: Mapping[str, Sequence[str]]) -> str:
        """The text with these lines added, by section."""
        parts = [self.text.rstrip("\n")]
        parts += ["\n".join((f"[{name}]", *added)) for name, added in lines.items() if added]
        return "\n\n".join(parts) + "\n"


def parse(text: str) -> UnitText:
    """Read a unit.

    Raises:
        UnitError: for a line that systemd would not take.
    """
    kept: list[str] = []
    settings: list[Setting] = []
    section = ""
    lines = text.replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        first, stripped = at, lines[at].strip()
        at += 1
        if found := _SECTION.match(stripped):
            section = found["name"]
        elif stripped and stripped[0] not in "#;":
            at, logical = _logical_line(lines, first)
            settings.append(_setting(section, logical, first + 1))
        if section != "Install":
            kept += lines[first:at]
    return UnitText("\n".join(kept), tuple(settings))


def check(unit: UnitText, systemd: int) -> None:
    """Whether fleetd can run this unit on a systemd of this version.

    Raises:
        UnitError: with the line and what to write instead.
    """
    for setting in unit.settings:
        if message := _objection(setting, systemd):
            raise UnitError(f"line {setting.line}: {setting.key}={setting.value}: {message}")
    if not unit.get("Service", "ExecStart"):
        raise UnitError("has no ExecStart= in a [Service] section")
    if unit.get("Service", "Type") == "oneshot" and (
        (unit.get("Service", "RemainAfterExit") or "").lower() in _FALSE
    ):
        raise UnitError(
            "Type=oneshot is over as soon as it has run, so that it is never ready; "
            "add RemainAfterExit=yes, or choose another type"
        )


def _objection(setting: Setting, systemd: int) -> str:
    match setting.section, setting.key, setting.value:
        case "Install", "WantedBy" | "RequiredBy", value if set(value.split()) <= _STARTED_BY:
            return ""
        case "Install", "WantedBy" | "RequiredBy", _:
            return "a copy is started by multi-user.target; leave the [Install] section out"
        case "Install", _, _:
            return "a copy has one name and one unit; leave the [Install] section out"
        case "Service", "KillMode", "none":
            return "would leave processes behind at a stop; use mixed or control-group"
        case "Unit", "RefuseManualStart" | "RefuseManualStop" | "StopWhenUnneeded", value:
            return "" if value.lower() in _FALSE else "fleetd could not start or stop it"
        case "Service", "Type", value if _TYPE_NEEDS.get(value, 0) > systemd:
            return f"needs systemd {_TYPE_NEEDS[value]}, the host has {systemd}"
        case section, key, _ if _NEEDS.get((section, key), 0) > systemd:
            return f"needs systemd {_NEEDS[section, key]}, the host has {systemd}"
        case _:
            return ""


def _logical_line(lines: Sequence[str], first: int) -> tuple[int, str]:
    """The index after the line that starts at `first`, and its text with continuations joined."""
    at, joined = first, ""
    while at < len(lines):
        line = lines[at]
        at += 1
        if at - 1 > first and line.lstrip()[:1] in {"#", ";"}:
            continue  # a comment inside a continued line does not end it
        if not line.endswith("\\"):
            return at, joined + line
        joined += line[:-1] + " "
    raise UnitError(f"line {first + 1}: ends in a backslash with nothing to follow")


def _setting(section: str, line: str, number: int) -> Setting:
    if "\0" in line:
        raise UnitError(f"line {number}: contains a NUL character")
    key, equals, value = line.partition("=")
    if not equals or not key.strip():
        raise UnitError(f"line {number}: is neither [Section] nor Key=value: {line.strip()!r}")
    if not section:
        raise UnitError(f"line {number}: stands before the first [Section]")
    return Setting(section, key.strip(), value.strip(), number)
