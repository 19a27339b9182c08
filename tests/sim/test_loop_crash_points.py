"""One rolling update by the service's loop, killed at every point, and taken over by another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fleetd.api.reports import RunOptions
from fleetd.engine.memory import Memory
from fleetd.testing import loop
from tests.sim.harness import unwatched
from tests.sim.oracle import Ear, Line
from tests.sim.test_crash_points import (
    HOSTS,
    IN_PLACE,
    PARTS,
    SURGE,
    Fuse,
    FusedStore,
    FusedTransport,
    Killed,
    Update,
    killed_at,
)


class LoopUpdate(Update):
    """An update that a loop carries out; each that is killed leaves its state to the next."""

    __slots__ = ()

    async def run(self, fuse: Fuse) -> bool:
        """One loop, from its start until everything is settled or it is killed."""
        self.term += 1
        ear = Ear(self.term)
        memory = Memory(FusedStore(self.sim.store, fuse))
        line = FusedTransport(Line(self.sim.fleet, self.oracle, ear), fuse)
        session = replace(self.sim.session(self.term), store=memory, transport=line)
        made = session.open_loop(memory, Random(0))

        def told(event: str, fields: Mapping[str, Any]) -> None:
            if event == "decided":
                self.oracle.on_decided(ear, fields["actions"])

        made.audience.watchers.append(told)
        work = asyncio.create_task(made.run())
        run = asyncio.create_task(made.perform(None, RunOptions(timeout_s=900), unwatched))
        try:
            await asyncio.wait({work, run}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return run.result().ended == "settled"
        finally:
            for task in (run, work):
                task.cancel()
            (*_, ended) = await asyncio.gather(run, work, return_exceptions=True)
        assert isinstance(ended, BaseExceptionGroup), ended
        _, others = ended.split(Killed)
        if others:
            raise others
        return False


@pytest.fixture(scope="module", params=[IN_PLACE, SURGE], ids=["in-place", "surge"])
def rolling(request: pytest.FixtureRequest) -> Mapping[str, int]:
    knobs: Mapping[str, int] = request.param
    return knobs


@pytest.fixture(scope="module")
def undisturbed(rolling: Mapping[str, int]) -> tuple[int, Any]:
    return loop.run(killed_at(rolling, 0, LoopUpdate), seed=0)


def test_the_update_has_many_points(undisturbed: tuple[int, Any]) -> None:
    points, ledgers = undisturbed
    assert points > 10 * HOSTS
    assert len(ledgers) == HOSTS


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_anywhere_the_next_one_takes_it_to_the_same_end(
    rolling: Mapping[str, int], undisturbed: tuple[int, Any], part: int
) -> None:
    points, ledgers = undisturbed
    for point in range(1 + part, points + 1, PARTS):
        try:
            _, after = loop.run(killed_at(rolling, point, LoopUpdate), seed=0)
        except BaseException as error:
            error.add_note(f"killed at point {point} of {points}")
            raise
        assert after == ledgers, f"killed at point {point} of {points}"
