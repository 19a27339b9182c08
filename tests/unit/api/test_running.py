from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetd.api.nodes import Nodes
from fleetd.api.reading import SOURCES
from fleetd.api.reports import Report, RunOptions
from fleetd.api.running import run
from fleetd.core.facts import Owner
from fleetd.core.node import Inventory
from fleetd.core.records import EventRecord, NodeRecord, Setting
from fleetd.engine.recording import EVENTS_KEPT
from fleetd.errors import Refused
from fleetd.ports import Put
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import Sim, agent, unwatched

BOUND = RunOptions(timeout_s=900)


def held(sim: Sim) -> None:
    hosts = {host.name: host for host in sim.fleet.inventory()}
    Nodes(sim.store, hosts, now=0.0, who="test").hold("h01", on=True)
    sim.put(agent("v2"))


def silent(sim: Sim) -> None:
    sim.fleet.fault("h01", Fault(unreachable=True))


def taken(sim: Sim) -> None:
    sim.names.append("h09")
    sim.fleet.add("h09").owner = Owner("another", 1)


def emptied(sim: Sim) -> None:
    sim.names = sim.names[:1]


def broken(sim: Sim) -> None:
    sim.put(agent("v2"))
    sim.fleet.registry.missing.add("example/agent:v2")


def twins(sim: Sim) -> None:
    sim.fleet.hosts["h02"].machine_id = sim.fleet.hosts["h01"].machine_id


def nothing(sim: Sim) -> None:
    """All is well."""


async def settled(change: Callable[[Sim], None]) -> Sim:
    sim = Sim.of(4)
    sim.put(agent("v1"))
    await sim.converge()
    change(sim)
    return sim


@pytest.mark.parametrize(
    ("change", "options", "converged"),
    [
        pytest.param(nothing, BOUND, True, id="all-is-well"),
        pytest.param(held, BOUND, True, id="held-by-a-person"),
        pytest.param(silent, BOUND, False, id="one-unreachable"),
        pytest.param(silent, replace(BOUND, max_unreachable=1), True, id="within-the-limit"),
        pytest.param(taken, BOUND, False, id="another-fleet's"),
        pytest.param(emptied, BOUND, False, id="guarded"),
        pytest.param(emptied, replace(BOUND, confirm_removals=3), True, id="confirmed"),
        pytest.param(broken, BOUND, False, id="failing"),
        pytest.param(twins, BOUND, False, id="twins"),
        pytest.param(nothing, replace(BOUND, dry_run=True), False, id="only-tried"),
        pytest.param(broken, replace(BOUND, timeout_s=1.0), False, id="out-of-time"),
        pytest.param(nothing, replace(BOUND, wait=False), False, id="not-waited-for"),
    ],
)
def test_a_run_converged_when_all_is_as_asked_but_for_what_the_caller_takes(
    change: Callable[[Sim], None], options: RunOptions, converged: bool
) -> None:
    async def story() -> None:
        sim = await settled(change)
        report = await run(sim.session(), None, options, unwatched)
        assert report.converged is converged, report

    loop.run(story(), seed=1)


async def report_on(change: Callable[[Sim], None], options: RunOptions = BOUND) -> Report:
    sim = await settled(change)
    return await run(sim.session(), None, options, unwatched)


def test_who_keeps_it_from_converging_is_named() -> None:
    async def story() -> None:
        report = await report_on(silent)
        assert list(report.holders) == ["default/agent"]
        assert list(report.holders["default/agent"]) == ["h01"]
        assert [(entry.node, entry.decision) for entry in report.entries] == [("h01", "unknown")]

    loop.run(story(), seed=1)


def test_what_failed_is_told_once_as_it_ended_last() -> None:
    async def story() -> None:
        report = await report_on(broken)
        failed = [entry for entry in report.entries if entry.outcome == "failed"]
        assert [(entry.node, entry.decision) for entry in failed] == [("h01", "update")]
        assert "manifest unknown" in failed[0].message
        assert any("gave up" in problem for problem in report.problems)

    loop.run(story(), seed=1)


def test_a_dry_run_tells_what_it_would_do_and_writes_nothing() -> None:
    async def story() -> None:
        sim = await settled(broken)
        commits, hosts = sim.commits, sim.revisions()
        options = replace(BOUND, dry_run=True)
        report = await run(sim.session(), None, options, unwatched)
        planned = [(entry.node, entry.decision) for entry in report.entries if entry.outcome]
        assert planned == [("h01", "update")]
        assert (sim.commits, sim.revisions()) == (commits, hosts)

    loop.run(story(), seed=1)


def test_another_inventory_needs_saying_so() -> None:
    async def story() -> None:
        sim = await settled(nothing)
        first = sim.session()
        await run(first, None, BOUND, unwatched)
        other = replace(first, inventory=Inventory(first.inventory.hosts[:1], ("elsewhere",)))
        for options in (BOUND, replace(BOUND, dry_run=True)):
            with pytest.raises(Refused, match=r"test; now: elsewhere.* --new-inventory"):
                await run(other, None, options, unwatched)
        assert len(sim.store.read(NodeRecord)) == 4
        tried = replace(BOUND, dry_run=True, new_inventory=True)
        await run(other, None, tried, unwatched)
        assert sim.store.read(Setting, name=SOURCES) == (Setting(SOURCES, "test"),)
        await run(other, None, replace(BOUND, new_inventory=True), unwatched)
        assert sim.store.read(Setting, name=SOURCES) == (Setting(SOURCES, "elsewhere"),)
        await run(other, None, BOUND, unwatched)

    loop.run(story(), seed=1)


def test_a_run_leaves_no_more_events_than_are_kept() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        old = EventRecord("ns", "DaemonSet", "old", "", "Failed", True, "", 1, 0.0, 0.0)
        sim.store.commit(
            Put(replace(old, node=f"n{number}", last=float(number)))
            for number in range(EVENTS_KEPT + 3)
        )
        await run(sim.session(), None, BOUND, unwatched)
        kept = sim.store.read(EventRecord, name="old")
        assert len(kept) == EVENTS_KEPT
        assert min(row.last for row in kept) == 3.0

    loop.run(story(), seed=1)
