"""The life of the service: it begins, turns, reads its settings again, and ends.

All parts run in one TaskGroup: when one of them fails, all end, and the process with them; whoever
supervises it starts it again (crash-only). An orderly end begins nothing new, lets what is under
way on hosts end within a bound, and then cuts: every host stays consistent either way, the bound
only saves the next start some work. A second wish to end cuts at once.

Separate from the composition so that it can be shown without sockets, hosts and systemd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleetd.ports import Clock, EventSink

DRAIN_S = 30.0
"""How long what is in flight may go on after SIGTERM; well below TimeoutStopSec of the unit."""
BEAT_S = 5.0
"""The slowest heart beat; a watchdog with less patience is fed more often."""

Part = tuple[str, Callable[[], Coroutine[Any, Any, None]]]
"""A part of the service: its name, and what runs until it is cancelled."""


class Supervisor(Protocol):
    """Whoever started us and watches over us."""

    @property
    def watchdog_s(self) -> float:
        """How long a silence it bears; 0.0 when it does not listen for the heart."""
        ...

    def ready(self) -> None:
        """The start, or a reload, is over."""

    def status(self, text: str) -> None:
        """One line for people."""

    def reloading(self) -> None:
        """A reload begins."""

    def stopping(self) -> None:
        """The end begins."""

    def alive(self) -> None:
        """We still turn."""

    def extend(self, seconds: float) -> None:
        """What is under way takes this much longer."""


@dataclass(slots=True)
class Life:
    """One life. `end` and `reload` may be called at any time, by signal handlers too.

    `say` gives the line of status; `read_again` reads settings and inventory, and raises nothing
    for what is wrong with them; `drain` begins nothing new and returns when nothing is in flight.
    """

    supervisor: Supervisor
    clock: Clock
    sink: EventSink
    say: Callable[[], str]
    read_again: Callable[[], Awaitable[object]]
    drain: Callable[[float], Awaitable[None]]
    ending: bool = False
    """Nothing new is begun any more."""
    begun: bool = False
    """All parts run, or did."""
    _end: asyncio.Event = field(default_factory=asyncio.Event)
    _cut: asyncio.Event = field(default_factory=asyncio.Event)
    _reload: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self) -> None:
        """End in good order; when asked again, at once."""
        (self._cut if self.ending else self._end).set()
        self.ending = True

    def reload(self) -> None:
        """Read settings and inventory again; several wishes at once are one."""
        self._reload.set()

    async def begin(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do what has to be done before parts can run; False when told to end meanwhile.

        However long it takes, the supervisor hears that it goes on. Raises what the work raises.
        """
        begun = asyncio.ensure_future(work)
        others = (asyncio.ensure_future(self._end.wait()), asyncio.ensure_future(self._beat()))
        try:
            await asyncio.wait((begun, others[0]), return_when=asyncio.FIRST_COMPLETED)
            if begun.done():
                begun.result()
            return not self.ending
        finally:
            for one in (begun, *others):
                one.cancel()
            await asyncio.gather(begun, *others, return_exceptions=True)

    async def run(self, parts: Iterable[Part]) -> None:
        """Run all parts until somebody wishes to end; raises what a part failed with, as a group.

        A part that just ends has failed, too.
        """
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_whole(part), name=part[0]) for part in parts]
            running.append(group.create_task(self._beat(), name="heart"))
            running.append(group.create_task(self._reloads(), name="reload"))
            self.begun = True
            self.supervisor.status(self.say())
            self.supervisor.ready()
            await self._end.wait()
            self.supervisor.stopping()
            self.sink.emit("service_ending", bound_s=DRAIN_S)
            await self._drained()
            for task in running:
                task.cancel()

    async def _drained(self) -> None:
        """Let what is in flight end, within the bound, or until somebody is in a hurry."""
        work = asyncio.ensure_future(self.drain(DRAIN_S))
        hurry = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait((work, hurry), timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for waiting in (work, hurry):
                waiting.cancel()
            await asyncio.gather(work, hurry, return_exceptions=True)

    async def _beat(self) -> None:
        """Tell the supervisor how we are, by the very loop that does the work."""
        watchdog_s = self.supervisor.watchdog_s
        pause = min(BEAT_S, watchdog_s / 3) if watchdog_s else BEAT_S
        while True:
            if watchdog_s:
                self.supervisor.alive()
            self.supervisor.status(self.say())
            if self.ending or not self.begun:
                self.supervisor.extend(3 * pause)
            await self.clock.sleep(pause)

    async def _reloads(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self.supervisor.reloading()
            try:
                await self.read_again()
            finally:
                self.supervisor.status(self.say())
                self.supervisor.ready()


async def _whole(part: Part) -> None:
    name, run = part
    try:
        await run()
    except Exception as error:
        error.add_note(f"This was the part {name!r} of the service.")
        raise
    raise RuntimeError(f"the part {name!r} of the service has ended, and must not")
