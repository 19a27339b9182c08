"""Random walks with the service's loop: safe in any storm, home after it; wrong ones are caught."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from fleetd.api.reports import RunOptions
from fleetd.core.facts import Known
from fleetd.core.node import Node
from fleetd.core.plan import Plan
from fleetd.core.records import SlotRecord
from fleetd.engine.executor import Executor, Step
from fleetd.engine.lanes import Lane
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.engine.passes import Run
from fleetd.engine.world import Worlds
from fleetd.ports import Drop, Store
from fleetd.testing import loop
from fleetd.testing.store import FakeStore
from tests.sim.harness import unwatched
from tests.sim.oracle import Ear, Invariant, Line
from tests.sim.test_chaos import Doubling, Forgetful, Lazy, Limitless, breaks
from tests.sim.walk import Walk

SEEDS = range(16)

Alter = Callable[[Loop], Loop]
"""Makes a loop a wrong one."""


def right(made: Loop) -> Loop:
    """Nothing is wrong with it."""
    return made


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
        made = self.alter(session.open_loop(memory, Random(self.seed)))

        def told(event: str, fields: Mapping[str, Any]) -> None:
            if event == "decided":
                self.oracle.on_decided(ear, fields["actions"])

        made.audience.watchers.append(told)
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


# Wrong ones: each of these breaks the invariant that it is listed under.


class Blind(Loop):
    """Takes what was seen before an order for what is there while it is under way."""

    def _busy(self, nodes: Sequence[Node]) -> frozenset[str]:
        return frozenset()


class Trusting(Loop):
    """Goes on with what was seen before an order when the answer to that was lost."""

    def _ended(self, lane: Lane, step: Step) -> None:
        before = self.held.seen.get(step.action.node)
        Loop._ended(self, lane, step)
        if before and not isinstance(step.seen, Known):
            self.held.seen[step.action.node] = before
            lane.again = ""


class Late(Loop):
    """Writes slots down when the orders are out."""

    def _begin(self, decided: Plan) -> int:
        begun = Loop._begin(self, decided)
        for slot in decided.slots:
            self.store.commit([Drop(SlotRecord, node=slot.node)])
        return begun


class Sleepy(Loop):
    """Looks at nothing again by itself."""

    def _rest(self, name: str) -> None:
        return


def kind(of: type[Loop]) -> Alter:
    return lambda made: of(
        *(made.store, made.clock, made.audience, made.worlds, made.executor),
        *(made.held, made.chance, made.given, made.finish),
    )


def worlds(of: type[Worlds]) -> Alter:
    return lambda made: replace(made, worlds=of(made.worlds.store, made.worlds.fleet))


def executor(of: type[Executor]) -> Alter:
    def alter(made: Loop) -> Loop:
        one = made.executor
        return kind(Loop)(
            replace(made, executor=of(one.visits, one.rendering, one.images, one.fence, one.sink))
        )

    return alter


WRONG = [
    pytest.param(executor(Doubling), Invariant.ONE_COPY, id="doubling"),
    pytest.param(worlds(Limitless), Invariant.BUDGET, id="limitless"),
    pytest.param(worlds(Forgetful), Invariant.BUDGET, id="forgetful"),
    pytest.param(kind(Blind), Invariant.BUDGET, id="blind"),
    pytest.param(kind(Late), Invariant.BUDGET, id="late"),
    pytest.param(kind(Trusting), Invariant.KNOWN, id="trusting"),
    pytest.param(kind(Sleepy), None, id="sleepy"),
    pytest.param(executor(Lazy), None, id="lazy"),
]


@pytest.mark.parametrize(("alter", "invariant"), WRONG)
def test_a_wrong_loop_is_caught(alter: Alter, invariant: Invariant | None) -> None:
    walk = whole if invariant is None else storm
    assert any(invariant in breaks(walk(seed, alter), seed) for seed in range(60))
