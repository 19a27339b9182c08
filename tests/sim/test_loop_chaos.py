"""Random walks with the service's loop: safe in any storm, home after it; wrong ones are caught."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from fleetd.api.reports import RunOptions
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.engine.passes import Run
from fleetd.ports import Store
from fleetd.testing import loop
from fleetd.testing.store import FakeStore
from tests.sim.harness import unwatched
from tests.sim.oracle import Ear, Line
from tests.sim.walk import Walk

SEEDS = range(40)

Alter = Callable[[Loop], None]
"""Makes a loop a wrong one."""


def right(made: Loop) -> None:
    """Nothing is wrong with it."""


@dataclass(slots=True)
class LoopWalk(Walk):
    """A walk whose coordinators are loops. One memory serves all: what people say goes there."""

    alter: Alter = right
    below: FakeStore = field(init=False)

    def __post_init__(self) -> None:
        super(LoopWalk, self).__post_init__()
        assert isinstance(self.sim.store, FakeStore)
        self.below = self.sim.store
        self.sim.store = Memory(self.below)

    def past(self) -> FakeStore:
        old = FakeStore()
        old._rows = dict(self.below._rows)
        return old

    @asynccontextmanager
    async def serving(self, store: Store, term: int) -> AsyncIterator[Loop]:
        """A loop under the eyes of the oracle."""
        ear = Ear(term)
        memory = store if isinstance(store, Memory) else Memory(store)
        line = Line(self.stage, self.oracle, ear)
        session = replace(self.sim.session(term), store=memory, transport=line)
        made = session.open_loop(memory, Random(self.seed))

        def told(event: str, fields: Mapping[str, Any]) -> None:
            if event == "decided":
                self.oracle.on_decided(ear, fields["actions"])

        made.audience.watchers.append(told)
        self.alter(made)
        work = asyncio.gather(made.run(), self._watch_inventory(made))
        try:
            yield made
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    async def _watch_inventory(self, made: Loop) -> None:
        while True:
            await asyncio.sleep(0.3)
            inventory = self.sim.session().inventory
            if inventory != made.inventory:
                made.take_inventory(inventory)

    async def _serve(self, store: Store, term: int) -> None:
        async with self.serving(store, term):
            await asyncio.Event().wait()

    async def coordinate(
        self, store: Store, term: int, *, timeout_s: float, confirm: int | None = None
    ) -> Run:
        async with self.serving(store, term) as made:
            options = RunOptions(timeout_s=timeout_s, confirm_removals=confirm)
            return await made.perform(None, options, unwatched)


async def storm(seed: int, alter: Alter = right) -> None:
    await LoopWalk(seed, alter=alter).happen()


async def whole(seed: int, alter: Alter = right) -> None:
    walk = LoopWalk(seed, alter=alter)
    await walk.happen()
    await walk.come_home()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fleet_is_safe_in_a_storm_and_comes_home(seed: int) -> None:
    loop.run(whole(seed), seed=seed)
