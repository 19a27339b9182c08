"""One opened stream of one host: bytes in, what to do about them out.

Separate from `following`, which opens streams and opens them again, so that what a host says is
judged in one place, without tasks and waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

from fleetd.core.stream import Budget, EventKind, HostEvent, Lag, Lines, Said, StreamState, read
from fleetd.host.lines import clean
from fleetd.host.replies import begin_mark
from fleetd.ports import Output

BEAT_S = 300
"""How often a host has its journal say something."""
GRACE_S = 60.0
"""How much later that may come before the stream counts as silent."""
OPEN_S = 120.0
"""Until the script on the host begins."""
CANARY_S = 30.0
"""From there until the journal tells what it was asked for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a stream: how the host is watched now, and why.

    `silent`: it was live, and said nothing any more; `lived_s`: for how long it was live.
    """

    state: StreamState
    why: str
    silent: bool = False
    lived_s: float = 0.0


class Listening:
    """Takes the bytes of one stream. `timer` is when it is given up; it moves as the host speaks.

    `on_live` is called once, when the journal is known to tell; `on_event` for all that it tells.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_flooded",
        "_lag",
        "_lines",
        "_mark",
        "_on_event",
        "_on_live",
        "_release",
        "_said",
        "begun",
        "live_since",
        "nonce",
        "timer",
    )

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        release: Callable[[], None],
        on_live: Callable[[], None],
        on_event: Callable[[HostEvent, float | None], None],
    ) -> None:
        """Take a monotonic clock, and who is told.

        `release` is called once, when the stream is open or will never be.
        """
        self._clock = clock
        self._release: Callable[[], None] | None = release
        self._on_live = on_live
        self._on_event = on_event
        self._budget = Budget(clock())
        self._lag = Lag()
        self._lines = Lines()
        self._said = ""
        self._flooded = False
        self.nonce = token_hex(8)
        self._mark = begin_mark(self.nonce).encode()
        self.begun = False
        self.live_since: float | None = None
        self.timer: asyncio.Timeout | None = None

    def close(self) -> None:
        """Take no more."""
        self.timer = None
        self._let_go()

    def _let_go(self) -> None:
        if self._release is not None:
            self._release()
            self._release = None

    def take(self, data: bytes) -> None:
        """Take what came from the host."""
        if not self._budget.take(len(data), self._clock()):
            self._flooded = True
            self._wait(0.0)
        for line in () if self._flooded else self._lines.take(data):
            if self.begun:
                self._line(line)
            elif line == self._mark:
                self.begun = True
                self._let_go()
                self._wait(CANARY_S)

    def _line(self, line: bytes) -> None:
        match read(line):
            case HostEvent() as event:
                self._event(event)
            case Said(text=text):
                self._said = text
            case _:
                pass

    def _event(self, event: HostEvent) -> None:
        lag = self._lag.of(event, self._clock())
        self._on_event(event, lag)
        if event.kind is not EventKind.BEAT:
            return
        self._wait(BEAT_S + GRACE_S)
        if not self.live:
            self.live_since = self._clock()
            self._on_live()

    @property
    def live(self) -> bool:
        """Whether the journal is known to tell."""
        return self.live_since is not None

    def _wait(self, seconds: float) -> None:
        if self.timer is not None and not self.timer.expired():
            self.timer.reschedule(asyncio.get_running_loop().time() + seconds)

    def ended(self, output: Output | None) -> Ended:
        """What to make of its end; None: it was given up."""
        lived_s = 0.0 if self.live_since is None else self._clock() - self.live_since
        polling = self._deaf(output)
        if polling:
            return Ended(StreamState.POLLING, polling, lived_s=lived_s)
        if output is None and self.live:
            why = "its journal fell silent"
            return Ended(StreamState.DOWN, why, silent=True, lived_s=lived_s)
        if output is None:
            return Ended(StreamState.DOWN, "it did not begin to tell in time")
        said = " ".join(output.stderr.decode("utf-8", "replace").split())
        why = clean(output.error or self._said or said) or "its stream ended"
        return Ended(StreamState.DOWN, why, lived_s=lived_s)

    def _deaf(self, output: Output | None) -> str:
        """Why a host that answers cannot be followed; "" when that is not it."""
        if self._flooded:
            return "it said too much at once"
        if not self.begun or self.live:
            return ""
        if output is None:
            return f"its journal tells nothing{f': {self._said}' if self._said else ''}"
        return "" if output.status is None else self._said or "its journal cannot be read"
