"""Orders that take long, while everything else goes on: the budget holds at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fleetd.api import rollouts
from fleetd.api.reports import RunOptions
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import AGENT, unwatched
from tests.sim.oracle import Ear, Invariant, Line
from tests.sim.test_chaos import breaks
from tests.sim.test_crash_points import IN_PLACE, SURGE, Update
from tests.sim.test_loop_chaos import Alter, Blind, kind, right

SEEDS = range(12)


async def slow(seed: int, rolling: Mapping[str, int], alter: Alter = right) -> int:
    """Hosts that take up to a minute for each visit, and people who change their minds meanwhile.

    How many copies were stopped by orders.
    """
    chance = Random(seed)
    update = Update.ready(rolling)
    sim, ear, memory = update.sim, Ear(1), Memory(update.sim.store)
    sim.store = memory
    update.put("v0")
    line = Line(sim.fleet, update.oracle, ear)
    made = alter(
        replace(sim.session(), store=memory, transport=line).open_loop(memory, Random(seed))
    )

    def told(event: str, fields: Mapping[str, Any]) -> None:
        if event == "decided":
            update.oracle.on_decided(ear, fields["actions"])

    made.audience.watchers.append(told)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(made.run())
        await made.perform(None, RunOptions(timeout_s=900), unwatched)
        for number in range(1, 40):
            await mind_changes(update, made, chance, number)
        sim.fleet.heal()
        rollouts.resume(memory, AGENT, now=1e10, who="test")
        update.put("last")
        run = await made.perform(None, RunOptions(timeout_s=3600), unwatched)
        assert run.ended == "settled", run.last.plan.decisions
        work.cancel()
    return update.oracle.seen["stopped"]


async def mind_changes(update: Update, made: Loop, chance: Random, number: int) -> None:
    """One thing happens, and a while passes."""
    sim = update.sim
    name = chance.choice(sim.names)
    match chance.choice(("slow", "slow", "new", "back", "pause", "resume", "hurt", "look")):
        case "slow":
            sim.fleet.fault(name, Fault(slow_s=chance.choice((3, 15, 40))))
        case "new":
            update.put(f"v{number}")
        case "back":
            update.put("v0")
        case "pause":
            rollouts.pause(made.store, AGENT, now=made.clock.now(), who="test")
        case "resume":
            rollouts.resume(made.store, AGENT, now=made.clock.now(), who="test")
        case "hurt":
            host = sim.fleet.hosts[name]
            if host.files:
                host.edit(chance.choice(sorted(host.files)), b"changed by hand")
                made.wake(name, "files changed")
        case _:
            made.wake_all("somebody asked")
    await asyncio.sleep(chance.choice((0.1, 1, 5, 12, 30)))


@pytest.mark.parametrize("rolling", [IN_PLACE, SURGE], ids=["in-place", "surge"])
def test_no_more_than_the_budget_is_down_while_orders_take_long(
    rolling: Mapping[str, int],
) -> None:
    stopped = [loop.run(slow(seed, rolling), seed=seed) for seed in SEEDS]
    assert sum(stopped) > len(SEEDS)


def test_who_trusts_what_was_seen_before_an_order_is_caught() -> None:
    def story(seed: int) -> Any:
        async def told() -> None:
            await slow(seed, IN_PLACE, kind(Blind))

        return told()

    assert any(Invariant.BUDGET in breaks(story(seed), seed) for seed in range(40))
