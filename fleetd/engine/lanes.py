"""One lane per host: what is done there, one thing at a time, and never two.

Looks are bounded. Hosts that did not answer last time have a room of their own, so that they delay
nobody who would. What comes while a lane is taken is remembered once, and done right after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from fleetd.core.node import Node

LOOKING = 256
SILENT = 32
ACTING = 256


class Work(Enum):
    """What a lane is taken for."""

    WAITING = "waiting"
    """For room to look."""
    LOOKING = "looking"
    ACTING = "acting"


@dataclass(slots=True)
class Lane:
    """A host that is busy. `again` is why it is to be looked at right after ("": it is not)."""

    node: Node
    work: Work
    again: str = ""


Job = Callable[[Lane], Awaitable[None]]


@dataclass(slots=True)
class Lanes:
    """The busy hosts, by name. `free` is called with each lane that has ended."""

    free: Callable[[Lane], None]
    busy: dict[str, Lane] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    group: asyncio.TaskGroup | None = None
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKING))
    silent: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SILENT))

    @property
    def open(self) -> bool:
        """Whether anything can be begun."""
        return self.group is not None

    @property
    def waiting(self) -> int:
        """How many hosts wait to be looked at."""
        return sum(lane.work is Work.WAITING for lane in self.busy.values())

    @property
    def full(self) -> bool:
        """Whether as many hosts are acted upon as may be at once."""
        return sum(lane.work is Work.ACTING for lane in self.busy.values()) >= ACTING

    def look(self, node: Node, why: str, job: Job, *, silent: bool) -> None:
        """Have a host looked at when there is room; one that is busy right after."""
        lane = self.busy.get(node.name)
        if lane is None:
            room = self.silent if silent else self.room
            self._begin(Lane(node, Work.WAITING), lambda lane: _in_room(room, lane, job))
        elif lane.work is not Work.WAITING:
            lane.again = why

    def act(self, node: Node, job: Job) -> None:
        """Do something else on a host, which must not be busy."""
        assert node.name not in self.busy, f"{node.name} is busy"
        self._begin(Lane(node, Work.ACTING), job)

    async def drain(self, timeout_s: float) -> None:
        """Let what acts come to its end, for so long; cut the rest, and all looks at once."""
        acting = [self.tasks[name] for name, lane in self.busy.items() if lane.work is Work.ACTING]
        for name, lane in self.busy.items():
            if lane.work is not Work.ACTING:
                self.tasks[name].cancel()
        if acting:
            await asyncio.wait(acting, timeout=timeout_s)
        for task in acting:
            task.cancel()

    def _begin(self, lane: Lane, job: Job) -> None:
        assert self.group is not None, "the lanes are not open yet"
        name = lane.node.name

        async def work() -> None:
            try:
                await job(lane)
            except BaseException:
                self.group = None  # it ends, and nothing can be begun in it any more
                raise
            finally:
                del self.busy[name]
                del self.tasks[name]
            self.free(lane)

        self.busy[name] = lane
        self.tasks[name] = self.group.create_task(work(), name=f"lane {name}")


async def _in_room(room: asyncio.Semaphore, lane: Lane, job: Job) -> None:
    async with room:
        lane.work = Work.LOOKING
        await job(lane)
