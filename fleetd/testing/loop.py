"""An event loop on virtual time: an hour passes at once, and one seed gives one order of events.

What is ready at the same moment runs in a seeded order, so that many seeds try many interleavings
and each can be had again. Nothing real may be waited for under it: no sockets, no threads, no
processes.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(RuntimeError):
    """Everything waits, and nothing is scheduled that could end it: a deadlock."""


class _Selector(selectors.SelectSelector):
    """Goes forward in time where a real one would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stalled("every task waits and no timer is set")
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves only when everything waits."""

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int) -> None:
        """Take the seed that orders what is ready at the same time."""
        self._virtual = _Selector()
        self._random = random.Random(seed)
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def _run_once(self) -> None:
        if len(self._ready) > 1:
            shuffled = list(self._ready)
            self._random.shuffle(shuffled)
            self._ready.clear()
            self._ready.extend(shuffled)
        super()._run_once()  # type: ignore[misc]  # the one private method that is called every turn


class LoopClock:
    """The running loop's time behind the Clock port; UTC begins at `epoch`."""

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        """Take the UTC of loop time 0."""
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Coroutine[Any, Any, T], *, seed: int) -> T:
    """Like `asyncio.run`, in virtual time. Raises Stalled when nothing can go on."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main)
