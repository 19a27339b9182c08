"""Where the events of a run go: the structured log, several places, or nowhere.

Progress for people is the command line's; the log is for `--debug` and for a service. It goes to
stderr, since stdout is for data.

A service of thousands of hosts must not drown its journal: what goes well and changes nothing is
`debug`, what fleetd changed is `info`, and trouble is `warning` or `error` when it begins and not
again each time somebody looks; its end is `info`.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TextIO

from fleetd.ports import EventSink

Form = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

NAMED: Final = 100
"""So many items of a list stand in a line..."""
TEXT: Final = 4096
"""... and so many characters of what a host says."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PRIORITY: Final[Mapping[str, int]] = {"debug": 7, "info": 6, "warning": 4, "error": 3}

_LEVELS: Final[Mapping[str, Level]] = {
    "service_started": "info",
    "service_ended": "info",
    "inventory_changed": "info",
    "inventory_failed": "error",
    "settings_failed": "error",
    "restart_needed": "warning",
    "service_ending": "info",
    "quarantined": "error",
    "node_forgotten": "info",
    "stream_replaced": "info",
    "image_not_asked": "warning",
}
"""Events that are always of one level; any other that is not judged below is `debug`."""

_OUTCOMES: Final[Mapping[str, Level]] = {
    "done": "info",
    "failed": "error",
    "refused": "error",
    "lost": "warning",
}
"""Of actions on hosts."""


class LogSink:
    """Writes each event as one line: for a person on a terminal, as JSON elsewhere.

    In systemd's journal each line begins with its priority (`<4>`), which the journal takes off and
    keeps: `journalctl -p warning` finds it, and `-o cat` gives whole lines of JSON.
    """

    def __init__(
        self,
        *,
        form: Form = "auto",
        debug: bool = True,
        stream: TextIO | None = None,
        **context: Any,
    ) -> None:
        """Take what every line is to say; without `debug`, events of that level are left out."""
        import structlog  # noqa: PLC0415 - only a run that logs pays for loading it

        out = sys.stderr if stream is None else stream
        console = form == "console" or (form == "auto" and out.isatty())
        last: Any = (
            structlog.dev.ConsoleRenderer(colors=False)
            if console
            else structlog.processors.JSONRenderer(default=str)
        )
        finish: Any = _with_priority if _is_journal(out) else _clean
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(out),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                last,
                finish,
            ],
            **context,
        )
        self._debug = debug
        self._levels = Levels()

    def emit(self, event: str, **fields: Any) -> None:
        """Write one line; a log that cannot be written stops nothing."""
        level, said = self._levels.judge(event, fields)
        if level == "debug" and not self._debug:
            return
        write: Callable[..., Any] = getattr(self._logger, level)
        with contextlib.suppress(OSError):
            write(event, **{name: _short(value) for name, value in said.items()})


class Levels:
    """How much an event matters, by what came before it."""

    def __init__(self) -> None:
        """Start with no trouble known."""
        self._trouble: dict[str, str] = {}
        """Hosts whose last look was not answered well: how."""
        self._planned: dict[str, Any] = {}
        """What the last decision wants done, until the pass tells that it ended."""

    def judge(self, event: str, fields: Mapping[str, Any]) -> tuple[Level, Mapping[str, Any]]:
        """The level of an event, and its fields with what is known beside them."""
        match event:
            case "visit":
                return self._visit(fields)
            case "decided":
                actions = fields["actions"]
                self._planned = {
                    "planned": dict(Counter(action["action"] for action in actions)),
                    "daemonsets": sorted({action["daemonset"] for action in actions}),
                }
                return "debug", fields
            case "pass_ended":
                planned, self._planned = self._planned, {}
                return "info" if fields["actions"] else "debug", {**fields, **planned}
            case "action_ended":
                return _OUTCOMES.get(fields["outcome"], "debug"), fields
            case "stream":
                polling = fields["state"] == "polling" and not is_off(fields["why"])
                return "warning" if polling else "debug", fields
            case _:
                return _LEVELS.get(event, "debug"), fields

    def _visit(self, fields: Mapping[str, Any]) -> tuple[Level, Mapping[str, Any]]:
        """A host that begins to be in trouble, goes on so, or is back.

        How an order ended is told by its action; only that no answer came is told here.
        """
        node, outcome = fields["node"], fields["outcome"]
        before = self._trouble.get(node)
        if outcome == "ok":
            if before is None:
                return "debug", fields
            del self._trouble[node]
            return "info", {**fields, "before": before}
        if outcome != "lost" and fields["request"].lower() != "observe":
            return "debug", fields
        self._trouble[node] = outcome
        return "debug" if before == outcome else "warning", fields


class Several:
    """Hands each event on to several sinks, in their order."""

    def __init__(self, *sinks: EventSink) -> None:
        """Take the sinks."""
        self._sinks = sinks

    def emit(self, event: str, **fields: Any) -> None:
        """Tell all of them."""
        for sink in self._sinks:
            sink.emit(event, **fields)


class Silence:
    """Takes every event and keeps none."""

    def emit(self, event: str, **fields: Any) -> None:
        """Forget it."""


def is_off(why: str) -> bool:
    """Whether a stream is polled since somebody wants it so, by what its event says."""
    return why.endswith(" off")


def _short(value: object) -> object:
    """What is too long would be cut by the journal, in the middle of a line."""
    if isinstance(value, str) and len(value) > TEXT:
        return f"{value[:TEXT]}... and {len(value) - TEXT} characters more"
    if isinstance(value, list | tuple) and len(value) > NAMED:
        return [*value[:NAMED], f"and {len(value) - NAMED} more"]
    return value


def _is_journal(stream: TextIO) -> bool:
    """Whether the stream is the one that systemd connected to its journal (systemd.exec)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _clean(_logger: object, _level: str, line: str) -> str:
    r"""One line without control characters: what a host says must not steer a terminal."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), line)


def _with_priority(logger: object, level: str, line: str) -> str:
    return f"<{_PRIORITY[level]}>{_clean(logger, level, line)}"
