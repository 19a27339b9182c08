"""The journal of a simulated host: what happens there, told to whoever follows.

It writes the lines that `journalctl -o json` writes of PID 1, and keeps the last of them, so that a
stream can go on where an earlier one ended. Time comes from outside, as all of a simulated host's.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fleetd.core.stream import EventKind
from fleetd.host.replies import begin_mark
from fleetd.host.requests import Follow
from fleetd.testing.units import SimUnit

KEPT = 200
_IDS = {
    EventKind.STARTED: "39f53479d3a045ac8e11786248231fbf",
    EventKind.STOPPED: "7ad2d189f7e94e70a38c781354912448",
    EventKind.EXITED: "98e322203f7a4ed290d09fe03c09fe15",
    EventKind.FAILED: "d9b373ed55a64feb8242e02dbe79a49c",
    EventKind.RESTARTING: "5eb03494b6584870a536b337290809b3",
}
_OWN = "fleetd_watch-1-"


class Ears(Protocol):
    """Whoever follows a simulated host."""

    def tell(self, data: bytes) -> None:
        """Take output."""

    def cut(self) -> None:
        """The host is gone."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something happen then."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: bytes
    own: bool
    """Told to followers alone, and not kept: a stream's own lines are of no other stream's."""


class SimJournal:
    """The journal of one host. `deaf`: it takes lines and tells nobody."""

    def __init__(self, monotonic: Callable[[], float], boot: Callable[[], str]) -> None:
        """Take the host's clock since boot, and which boot that is."""
        self.deaf = False
        self._due: set[tuple[str, float]] = set()
        self._monotonic = monotonic
        self._boot = boot
        self._number = 0
        self._kept: deque[_Line] = deque(maxlen=KEPT)
        self._ears: list[Ears] = []

    def is_followed(self) -> bool:
        """Whether anybody listens."""
        return bool(self._ears)

    def follow(self, nonce: str, request: Follow, ears: Ears) -> Callable[[], None]:
        """Tell from now on, or from the cursor on; returns what ends that."""
        self._ears.append(ears)
        ears.tell(f"{begin_mark(nonce)}\n".encode())
        number = request.cursor.removeprefix("i=")
        for line in self._kept if number.isdigit() and not self.deaf else ():
            if line.number > int(number):
                ears.tell(line.text)
        ears.tell(b"watching\t3\t0\n")

        def beat() -> None:
            if ears in self._ears:
                self._write(f"{_OWN}beat.service", EventKind.BEAT, ears)
                ears.later(request.beat_s, beat)

        beat()

        def end() -> None:
            if ears in self._ears:
                self._ears.remove(ears)

        return end

    def note(self, kind: EventKind, unit: str = "") -> None:
        """Something happened."""
        self._write(f"{_OWN}1-files.service" if kind is EventKind.FILES else unit, kind)

    def foresee(self, unit: SimUnit) -> None:
        """Tell what becomes of a unit by itself, when it is time, if anybody follows then."""
        now = self._monotonic()
        at, started = unit.next_change(now), unit.started_at
        if at is None or not self._ears or (due := (unit.name, at)) in self._due:
            return
        self._due.add(due)

        def change() -> None:
            self._due.discard(due)
            if unit.started_at == started:
                alive = unit.running(self._monotonic())
                self.note(EventKind.STARTED if alive else EventKind.EXITED, unit.name)
                self.foresee(unit)

        self._ears[0].later(at - now, change)

    def cut(self) -> None:
        """The host goes down, and every connection with it."""
        ears, self._ears = self._ears, []
        for each in ears:
            each.cut()

    def _write(self, unit: str, kind: EventKind, to: Ears | None = None) -> None:
        self._number += 1
        fields = {
            "__CURSOR": f"i={self._number}",
            "__MONOTONIC_TIMESTAMP": str(int(max(0.0, self._monotonic()) * 1e6)),
            "_BOOT_ID": self._boot(),
            "MESSAGE": "Reloading." if kind is EventKind.RELOADED else f"{unit}: {kind}",
        }
        if unit:
            fields["UNIT"] = unit
        if kind in _IDS:
            fields["MESSAGE_ID"] = _IDS[kind]
        line = _Line(self._number, json.dumps(fields).encode() + b"\n", to is not None)
        if not line.own:
            self._kept.append(line)
        for ears in () if self.deaf else [to] if to else list(self._ears):
            ears.tell(line.text)
