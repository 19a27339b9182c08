"""When something is due again: back-off with jitter, slow start, and timers that wake.

Small and without any knowledge of hosts, so that each can be tried alone. Times are the monotonic
seconds of whoever asks; chance comes from outside, so that a test can have it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow: `first` seconds, `factor` times as long with each try, at most `longest`.

    Each is shortened by up to half by chance, so that what failed together does not come again
    together.
    """

    first: float
    longest: float
    factor: float = 2.0

    def wait(self, tries: int, chance: Random) -> float:
        """Seconds to wait after so many tries (1: the first)."""
        # The exponent is bounded: a host that has been away for a year is no overflow.
        grown = self.first * self.factor ** min(max(tries - 1, 0), 64)
        return min(grown, self.longest) * (1.0 - chance.random() / 2)


@dataclass(slots=True)
class Try:
    """What became of one action lately. `after` is when it may be tried again."""

    failed: int = 0
    done: int = 0
    after: float = 0.0
    ended: float = 0.0
    message: str = ""


@dataclass(slots=True)
class Ramp:
    """A slow start (K 60): one at first, one more beside it for each that goes well.

    While none has gone well, a failure closes it until `after`: it may be the workload. Later on
    one is taken for the host's own, and halves the room.
    """

    room: int = 1
    running: int = 0
    good: int = 0
    failed: int = 0
    after: float = 0.0

    def begin(self) -> None:
        """One is begun."""
        self.running += 1

    def end(self, *, good: bool, again: float) -> None:
        """One has ended; `again` is when it may go on if it has to be closed."""
        self.running -= 1
        if good:
            self.good += 1
            self.room += 1
            self.failed = 0
            return
        self.failed += 1
        self.room = max(1, self.room // 2)
        if not self.good:
            self.after = again


@dataclass(slots=True)
class Timers:
    """One timer per key, on the event loop's own heap; setting one again moves it."""

    handles: dict[Hashable, asyncio.TimerHandle] = field(default_factory=dict)

    def set(self, key: Hashable, delay: float, call: Callable[[], None]) -> None:
        """Call `call` once, `delay` seconds from now, in place of what was set for the key."""
        self.cancel(key)

        def due() -> None:
            self.handles.pop(key, None)
            call()

        self.handles[key] = asyncio.get_running_loop().call_later(max(delay, 0.0), due)

    def cancel(self, key: Hashable) -> None:
        """Nothing is due for this key any more."""
        handle = self.handles.pop(key, None)
        if handle is not None:
            handle.cancel()

    def clear(self) -> None:
        """Nothing is due any more."""
        for handle in self.handles.values():
            handle.cancel()
        self.handles.clear()
