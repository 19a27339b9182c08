"""Every verb is the same with a service and without: what a run reports, and what it leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fleetd.api.nodes import Nodes
from fleetd.api.reports import Report, RunOptions
from fleetd.api.running import drain, run
from fleetd.api.session import Session
from fleetd.core.facts import Owner
from fleetd.core.records import AuditRecord, InstanceRecord
from fleetd.core.stream import StreamState
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import Sim, agent, unwatched

BOUND = RunOptions(timeout_s=900)
UNIT = "fleetd-default.agent.main.a.service"


def nothing(sim: Sim) -> None:
    """All is well."""


def held(sim: Sim) -> None:
    nodes(sim).hold("h01", on=True)
    sim.put(agent("v2"))


def silent(sim: Sim) -> None:
    sim.fleet.fault("h01", Fault(unreachable=True))


def taken(sim: Sim) -> None:
    sim.names.append("h09")
    sim.fleet.add("h09").owner = Owner("another", 1)


def left(sim: Sim) -> None:
    sim.names.remove("h02")


def emptied(sim: Sim) -> None:
    sim.names = sim.names[:1]


def broken(sim: Sim) -> None:
    sim.put(agent("v2"))
    sim.fleet.registry.missing.add("example/agent:v2")


def twins(sim: Sim) -> None:
    sim.fleet.hosts["h02"].machine_id = sim.fleet.hosts["h01"].machine_id


def drifted(sim: Sim) -> None:
    sim.fleet.hosts["h03"].stop(UNIT)


def updated(sim: Sim) -> None:
    sim.put(agent("v2"))


def nodes(sim: Sim) -> Nodes:
    hosts = {host.name: host for host in sim.fleet.inventory()}
    return Nodes(sim.store, hosts, now=0.0, who="test")


async def settled(change: Callable[[Sim], None]) -> Sim:
    sim = Sim.of(4)
    sim.put(agent("v1"))
    await sim.converge()
    change(sim)
    return sim


@asynccontextmanager
async def session_of(sim: Sim, *, service: bool) -> AsyncIterator[Session]:
    """A caller's session, of a service or alone."""
    if not service:
        yield sim.session()
        return
    async with sim.served() as served:
        yield replace(sim.session(), loop=served)


def gist(report: Report) -> Any:
    """What a caller goes by, but for hosts that left: alone, their farewell is told a run later."""
    entries = {
        (each.node, each.daemonset, each.decision, each.outcome)
        for each in report.entries
        if each.reason != "NodeLeft" or each.outcome
    }
    holders = {name: sorted(hosts) for name, hosts in report.holders.items()}
    problems = [problem for problem in report.problems if "not cleaned yet" not in problem]
    return report.converged, entries, holders, problems


@pytest.mark.parametrize(
    ("change", "options"),
    [
        pytest.param(nothing, BOUND, id="all-is-well"),
        pytest.param(held, BOUND, id="held-by-a-person"),
        pytest.param(silent, BOUND, id="one-unreachable"),
        pytest.param(silent, replace(BOUND, max_unreachable=1), id="within-the-limit"),
        pytest.param(taken, BOUND, id="another-fleet's"),
        pytest.param(left, BOUND, id="left"),
        pytest.param(emptied, BOUND, id="guarded"),
        pytest.param(emptied, replace(BOUND, confirm_removals=3), id="confirmed"),
        pytest.param(broken, BOUND, id="failing"),
        pytest.param(twins, BOUND, id="twins"),
        pytest.param(drifted, BOUND, id="drifted"),
        pytest.param(updated, BOUND, id="updated"),
        pytest.param(updated, replace(BOUND, dry_run=True), id="only-tried"),
        pytest.param(broken, replace(BOUND, dry_run=True), id="only-tried-and-failing"),
        pytest.param(nothing, replace(BOUND, wait=False), id="not-waited-for"),
    ],
)
def test_a_run_reports_the_same_with_a_service(
    change: Callable[[Sim], None], options: RunOptions
) -> None:
    async def story(*, service: bool) -> tuple[Any, Any]:
        sim = await settled(change)
        async with session_of(sim, service=service) as session:
            report = await run(session, None, options, unwatched)
        return gist(report), sim.revisions()

    alone = loop.run(story(service=False), seed=1)
    assert loop.run(story(service=True), seed=1) == alone


def test_a_run_that_confirms_removals_lifts_the_guard_for_itself_only() -> None:
    async def story() -> None:
        sim = await settled(emptied)
        async with session_of(sim, service=True) as session:
            await run(session, None, replace(BOUND, confirm_removals=2), unwatched)
            assert len(sim.revisions()) == 4
            await run(session, None, replace(BOUND, confirm_removals=3), unwatched)
            assert list(sim.revisions()) == ["h01"]

    loop.run(story(), seed=1)


def test_a_node_is_drained_and_comes_back_through_a_service() -> None:
    async def story() -> None:
        sim = await settled(nothing)
        async with session_of(sim, service=True) as session:
            nodes(sim).drain("h02", on=True)
            report = await drain(session, ["h02"], BOUND, unwatched, ())
            assert report.converged, report
            assert sorted(row.node for row in sim.store.read(InstanceRecord)) == [
                *("h01", "h03", "h04"),
            ]
            nodes(sim).drain("h02", on=False)
            assert (await drain(session, ["h02"], BOUND, unwatched, ())).converged
            assert len(sim.revisions()) == 4

    loop.run(story(), seed=1)


def test_a_dry_run_asks_no_host_whose_stream_is_live_and_writes_nothing() -> None:
    async def story() -> None:
        sim = await settled(nothing)
        async with session_of(sim, service=True) as session:
            assert session.loop is not None
            await run(session, None, BOUND, unwatched)
            for name in sim.names[1:]:
                session.loop.note_stream(name, StreamState.LIVE)
            await run(session, None, BOUND, unwatched)
            sim.put(agent("v2"))
            session.loop.draining = True  # nobody else visits hosts meanwhile
            calls, audit = len(sim.fleet.calls), sim.store.read(AuditRecord)
            report = await run(session, None, replace(BOUND, dry_run=True), unwatched)
            assert [entry.node for entry in report.entries if entry.outcome == "planned"] == ["h01"]
            assert [call.name for call in sim.fleet.calls[calls:]] == ["h01"]
            assert sim.store.read(AuditRecord) == audit

    loop.run(story(), seed=1)
