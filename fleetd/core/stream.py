"""What a host's event stream says, line by line. Pure, and safe whatever a host sends.

A stream is the output of the `follow` script after its BEGIN line: lines of the host's journal as
`journalctl -o json` writes them, already sifted on the host, and a few typed lines of the script's
own. An event never says what is so on the host; it is only a reason to look. So a hostile host
can make us look at that very host, and nothing else; how often is bounded by `Budget`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LONGEST_LINE = 16 << 10
"""In bytes; what is longer is dropped."""
WATCH = "fleetd_watch-"
"""What the names of a stream's own units begin with: not with `fleetd-`, as a workload's do."""
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,255}")
_CURSOR = re.compile(r"[A-Za-z0-9=;-]{1,512}")
_DIGITS = re.compile(r"[0-9]{1,20}")


class StreamState(StrEnum):
    """How a host is watched."""

    LIVE = "live"
    """Its journal tells of what happens, as was just tried."""
    POLLING = "polling"
    """It answers, but its journal tells nothing: it has to be asked from time to time."""
    DOWN = "down"
    """No connection, or not yet."""


class EventKind(StrEnum):
    """What happened, as far as the journal names it; the value is what is said of it."""

    STARTED = "unit started"
    STOPPED = "unit stopped"
    EXITED = "process exited"
    FAILED = "unit failed"
    RESTARTING = "unit restarts"
    RELOADED = "systemd reloads"
    FILES = "files changed"
    BEAT = "beat"
    """The stream's own line: asked for, to see that the journal tells."""
    UNIT = "unit"
    """Something else that systemd says of a unit."""


_KINDS = {
    "39f53479d3a045ac8e11786248231fbf": EventKind.STARTED,
    "7d4958e842da4a758f6c1cdc7b36dcc5": EventKind.STARTED,  # starting
    "9d1aaa27d60140bd96365438aad20286": EventKind.STOPPED,
    "de5b426a63be47a7b6ac3eaac82e2f6f": EventKind.STOPPED,  # stopping
    "7ad2d189f7e94e70a38c781354912448": EventKind.STOPPED,  # deactivated
    "98e322203f7a4ed290d09fe03c09fe15": EventKind.EXITED,
    "be02cf6855d2428ba40df7e9d022f03d": EventKind.FAILED,  # job failed
    "d9b373ed55a64feb8242e02dbe79a49c": EventKind.FAILED,
    "5eb03494b6584870a536b337290809b3": EventKind.RESTARTING,
}


@dataclass(frozen=True, slots=True)
class HostEvent:
    """One line of the journal that concerns us.

    `at_s` is the host's monotonic clock in seconds, of the boot `boot`; `cursor` is where a later
    stream goes on.
    """

    kind: EventKind
    unit: str = ""
    cursor: str = ""
    boot: str = ""
    at_s: float | None = None

    @property
    def why(self) -> str:
        """The reason to look, for people: `unit stopped: NAME`."""
        return f"{self.kind}: {self.unit}" if self.unit else str(self.kind)


@dataclass(frozen=True, slots=True)
class Watching:
    """The script has asked for a line of the journal: it must come, or the journal is silent.

    `left` paths are not watched, since there are too many.
    """

    paths: int
    left: int


@dataclass(frozen=True, slots=True)
class Said:
    """What the script, or journalctl through it, had to say."""

    text: str


Line = HostEvent | Watching | Said


def read(line: bytes) -> Line | None:
    """Read one line; None for what says nothing to us. Never raises."""
    if line.startswith(b"{"):
        return _event(line)
    word, _, rest = line.decode("utf-8", "replace").partition("\t")
    if word == "watching":
        numbers = rest.split("\t")
        if len(numbers) == 2 and all(_DIGITS.fullmatch(number) for number in numbers):
            return Watching(int(numbers[0]), int(numbers[1]))
    if word == "said":
        return Said("".join(char for char in rest if char.isprintable())[:200])
    return None


def _event(line: bytes) -> HostEvent | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    unit = _text(fields.get("UNIT"), _UNIT)
    monotonic = _text(fields.get("__MONOTONIC_TIMESTAMP"), _DIGITS)
    return HostEvent(
        _kind(unit, fields),
        "" if unit.startswith(WATCH) else unit,
        _text(fields.get("__CURSOR"), _CURSOR),
        _text(fields.get("_BOOT_ID"), _UNIT),
        int(monotonic) / 1e6 if monotonic else None,
    )


def _kind(unit: str, fields: dict[str, Any]) -> EventKind:
    if unit.startswith(WATCH):
        return EventKind.FILES if unit.endswith("-files.service") else EventKind.BEAT
    if not unit:
        return EventKind.RELOADED
    return _KINDS.get(str(fields.get("MESSAGE_ID")), EventKind.UNIT)


def _text(value: object, form: re.Pattern[str]) -> str:
    """The value where it has this form, else nothing."""
    return value if isinstance(value, str) and form.fullmatch(value) else ""


class Lines:
    """Cuts a stream into lines, dropping what is longer than a line may be."""

    __slots__ = ("_dropping", "_rest")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rest = b""
        self._dropping = False

    def take(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in `data`."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            line, self._rest = self._rest + part, b""
            if self._dropping:
                self._dropping = False
            elif line and len(line) <= LONGEST_LINE:
                yield line
        if not self._dropping:
            self._rest += rest
            if len(self._rest) > LONGEST_LINE:
                self._rest, self._dropping = b"", True


class Budget:
    """How much a host may say: so many bytes at once, and so many per second after that."""

    __slots__ = ("_at", "_left")

    BURST = 1 << 20
    PER_SECOND = 16 << 10

    def __init__(self, now: float) -> None:
        """Begin with a whole burst; `now` is any clock's, in seconds."""
        self._at = now
        self._left = float(self.BURST)

    def take(self, size: int, now: float) -> bool:
        """Count `size` bytes; False when that was too much."""
        self._left = min(self.BURST, self._left + (now - self._at) * self.PER_SECOND) - size
        self._at = now
        return self._left >= 0


class Lag:
    """How late events come, without trusting that two machines have the same time."""

    __slots__ = ("_before", "_boot", "_offset")

    def __init__(self) -> None:
        """Begin with no idea."""
        self._boot = ""
        self._offset = self._before = 0.0

    def of(self, event: HostEvent, now: float) -> float | None:
        """Seconds by which it came later than the fastest line of the last two beats.

        Both clocks are monotonic (`now` is ours), so no step of a wall clock is in it; what every
        line takes, the fastest too, is not in it either: journald tells readers every 250 ms. None
        where there is nothing to compare it with.
        """
        if event.at_s is None or not event.boot:
            return None
        offset = now - event.at_s
        if event.boot != self._boot:
            self._boot, self._offset, self._before = event.boot, offset, offset
            return None
        late = max(0.0, offset - min(self._offset, self._before))
        if event.kind is EventKind.BEAT:
            # Not for ever, or clocks that run apart would add up.
            self._before, self._offset = self._offset, offset
        self._offset = min(self._offset, offset)
        return late
