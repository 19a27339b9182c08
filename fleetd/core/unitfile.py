"""The text of a user's unit: read as systemd reads it, checked, and given our lines.

The user's lines stay as they are written; ours follow in sections of the same names, which systemd
joins. Only `[Install]` is replaced: what starts a copy, and when, is fleetd's business. What would
hide the process from systemd, or let a timer or a socket start something else, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

NEWEST = 1 << 20
"""A systemd that has every setting, for checks before any host is known."""

_SECTION = re.compile(r"\[(?P<name>[^\[\]]+)\]\Z")
_FALSE = frozenset({"", "no", "false", "0", "off", "n", "f"})
_STARTED_BY = frozenset({"multi-user.target", "default.target", "graphical.target"})
_USUAL = {"timer": frozenset({"timers.target"}), "socket": frozenset({"sockets.target"})}
_NEEDS = {
    ("Service", "LoadCredential"): 247,
    ("Service", "SetCredential"): 247,
    ("Service", "LoadCredentialEncrypted"): 250,
    ("Service", "SetCredentialEncrypted"): 250,
    ("Service", "ImportCredential"): 254,
}
"""Settings that an older systemd skips with a warning, and the first version that has them."""
_TYPE_NEEDS = {"exec": 240, "notify-reload": 253}

_SPAN = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)\s*(?P<unit>[a-z]*)\s*")
_UNITS = {
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("us", "usec"), 1e-6),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}


class Kind(StrEnum):
    """The kinds of unit that a workload may bring; the word is the unit's suffix."""

    SERVICE = "service"
    TIMER = "timer"
    SOCKET = "socket"


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
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
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


def check(unit: UnitText, systemd: int = NEWEST, started_by: Kind | None = None) -> None:
    """Whether fleetd can run this service on a systemd of this version.

    `started_by`: the timer or socket beside it, which starts it in fleetd's place.

    Raises:
        UnitError: with the line and what to write instead.
    """
    for setting in unit.settings:
        if message := _objection(setting, systemd):
            raise _wrong(setting, message)
    if not unit.get("Service", "ExecStart"):
        raise UnitError("has no ExecStart= in a [Service] section")
    oneshot = unit.get("Service", "Type") == "oneshot"
    remains = (unit.get("Service", "RemainAfterExit") or "").lower() not in _FALSE
    if started_by is Kind.TIMER and remains:
        raise UnitError("RemainAfterExit=yes keeps it active, so that no timer starts it again")
    if oneshot and not remains and started_by is None:
        raise UnitError(
            "Type=oneshot is over as soon as it has run, so that it is never ready; "
            "add RemainAfterExit=yes, choose another type, or let a timer: start it"
        )


def check_trigger(unit: UnitText, kind: Kind) -> None:
    """Whether this timer or socket starts the service beside it, and goes on doing so.

    Raises:
        UnitError: with the line and what to write instead.
    """
    section, start = ("Timer", "On") if kind is Kind.TIMER else ("Socket", "Listen")
    for setting in unit.settings:
        if message := _trigger_objection(setting):
            raise _wrong(setting, message)
    if not any(s.section == section and s.key.startswith(start) and s.value for s in unit.settings):
        raise UnitError(f"has no {start}...= in a [{section}] section, so that it starts nothing")


def left_out(unit: UnitText, kind: Kind = Kind.SERVICE) -> tuple[Setting, ...]:
    """The settings of `[Install]` that are more than the usual target, and have no effect here."""
    usual = _USUAL.get(kind, _STARTED_BY)
    return tuple(
        setting
        for setting in unit.settings
        if setting.section == "Install"
        and not (setting.key in {"WantedBy", "RequiredBy"} and set(setting.value.split()) <= usual)
    )


def seconds(span: str) -> float | None:
    """A time span as systemd reads it, such as `1min 30s`; None for `infinity` and nonsense."""
    total, at = 0.0, 0
    text = span.strip()
    while at < len(text):
        found = _SPAN.match(text, at)
        if found is None or found["unit"] not in _UNITS:
            return None
        total += float(found["number"]) * _UNITS[found["unit"]]
        at = found.end()
    return total if text else None


def _wrong(setting: Setting, message: str) -> UnitError:
    return UnitError(f"line {setting.line}: {setting.key}={setting.value}: {message}")


def _objection(setting: Setting, systemd: int) -> str:
    match setting.section, setting.key, setting.value:
        case "Service", "KillMode", "none":
            return "would leave processes behind at a stop; use mixed or control-group"
        case "Unit", "RefuseManualStart" | "RefuseManualStop" | "StopWhenUnneeded", value:
            return "" if value.lower() in _FALSE else "fleetd could not start or stop it"
        case "Service", "Type", value if _TYPE_NEEDS.get(value, 0) > systemd:
            return f"needs systemd {_TYPE_NEEDS[value]}, and the host's is older"
        case section, key, _ if _NEEDS.get((section, key), 0) > systemd:
            return f"needs systemd {_NEEDS[section, key]}, and the host's is older"
        case _:
            return ""


def _trigger_objection(setting: Setting) -> str:
    match setting.section, setting.key, setting.value:
        case ("Timer", "Unit", _) | ("Socket", "Service", _):
            return "it starts the service beside it; leave the line out"
        case "Socket", "Accept", value if value.lower() not in _FALSE:
            return "would start a service for each connection, which is no copy of an agent"
        case "Timer", "RemainAfterElapse", value if value.lower() in _FALSE:
            return "would be gone after its last run, and be started again; leave the line out"
        case "Unit", "RefuseManualStart" | "RefuseManualStop" | "StopWhenUnneeded", value:
            return "" if value.lower() in _FALSE else "fleetd could not start or stop it"
        case "Service", _, _:
            return "belongs into unit:"
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
