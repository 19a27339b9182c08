from __future__ import annotations

import json
from typing import Any

import pytest

from fleetd.api.fleet import Fleet, known_fleet
from fleetd.api.hosts import adopt, named, purge
from fleetd.core.facts import Owner
from fleetd.core.records import AuditRecord, InstanceRecord, NodeRecord
from fleetd.errors import NotFound, Refused
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from fleetd.testing.store import FakeStore
from tests.sim.harness import FLEET, Sim, agent, unwatched


async def running(count: int) -> Sim:
    sim = Sim.of(count)
    sim.put(agent("v1"))
    await sim.converge()
    return sim


def test_a_lost_state_is_had_back_from_the_hosts() -> None:
    async def story() -> None:
        sim = await running(3)
        revisions = sim.revisions()
        before = [host.history[:] for host in sim.fleet.hosts.values()]
        sim.store = FakeStore()
        report = await adopt(sim.session(), unwatched)
        assert report.converged
        assert known_fleet(sim.store) == Fleet(FLEET.id, FLEET.key, 2)
        copies = sim.store.read(InstanceRecord)
        assert {row.node: row.revision for row in copies} == revisions
        assert all(json.loads(row.facts_json) for row in sim.store.read(NodeRecord))
        sim.put(agent("v1"))
        run = await sim.converge()
        assert (run.ended, run.steps) == ("settled", ())
        assert [host.history for host in sim.fleet.hosts.values()] == before

    loop.run(story(), seed=1)


def test_the_highest_term_of_all_hosts_is_topped() -> None:
    async def story() -> None:
        sim = await running(2)
        sim.fleet.hosts["h02"].owner = Owner(FLEET.id, 41)
        sim.store = FakeStore()
        await adopt(sim.session(), unwatched)
        fleet = known_fleet(sim.store)
        assert fleet is not None
        assert fleet.term == 42

    loop.run(story(), seed=1)


def test_who_does_not_answer_or_is_nobodys_is_named() -> None:
    async def story() -> None:
        sim = await running(2)
        sim.fleet.add("h03")
        sim.names.append("h03")
        sim.fleet.fault("h02", Fault(unreachable=True))
        sim.store = FakeStore()
        report = await adopt(sim.session(), unwatched)
        assert not report.converged
        silent, nobodys = report.problems
        assert silent.startswith("h02: ")
        assert nobodys == "h03: belongs to no fleet"

    loop.run(story(), seed=1)


def test_a_state_with_something_in_it_is_not_overwritten() -> None:
    async def story() -> None:
        sim = await running(1)
        commits = sim.commits
        with pytest.raises(Refused, match="not empty"):
            await adopt(sim.session(), unwatched)
        assert sim.commits == commits

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        pytest.param([None, None], "none of the hosts", id="nobody's"),
        pytest.param([Owner("f1", 1), Owner("f2", 1)], "h01: f1; h02: f2", id="two-fleets"),
    ],
)
def test_hosts_of_no_fleet_or_of_several_are_not_adopted(owners: Any, message: str) -> None:
    async def story() -> None:
        sim = Sim.of(2)
        for host, owner in zip(sim.fleet.hosts.values(), owners, strict=True):
            host.owner, host.owner_key = owner, "00"
        with pytest.raises(Refused, match=message):
            await adopt(sim.session(), unwatched)
        assert sim.commits == 0

    loop.run(story(), seed=1)


def test_purge_takes_every_trace_and_forgets() -> None:
    async def story() -> None:
        sim = await running(2)
        report = await purge(sim.session(), "h01", unwatched)
        host = sim.fleet.hosts["h01"]
        assert report.converged
        assert (host.owner, host.ledger, host.files, host.units) == (None, {}, {}, {})
        assert [row.name for row in sim.store.read(NodeRecord)] == ["h02"]
        assert [row.node for row in sim.store.read(InstanceRecord)] == ["h02"]
        (audit,) = sim.store.read(AuditRecord, verb="purge")
        assert (audit.subject, audit.node, audit.outcome) == ("Node h01", "h01", "done")

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("left", "known"), [(False, ["h01", "h02"]), (True, ["h02"])], ids=["present", "left"]
)
def test_who_does_not_answer_a_purge_is_forgotten_only_when_it_left(
    left: bool, known: list[str]
) -> None:
    async def story() -> None:
        sim = await running(2)
        sim.fleet.fault("h01", Fault(unreachable=True))
        if left:
            sim.names.remove("h01")
        report = await purge(sim.session(), "h01", unwatched)
        assert not report.converged
        assert report.problems[0].startswith("h01: ")
        (audit,) = sim.store.read(AuditRecord, verb="purge")
        assert (audit.node, audit.outcome) == ("h01", "lost")
        assert report.problems == (f"h01: {audit.detail}",)
        assert [row.name for row in sim.store.read(NodeRecord)] == known

    loop.run(story(), seed=1)


def test_another_fleets_host_is_not_purged() -> None:
    async def story() -> None:
        sim = await running(1)
        host = sim.fleet.hosts["h01"]
        host.owner = Owner("another", 1)
        report = await purge(sim.session(), "h01", unwatched)
        assert report.problems == ("h01: this host belongs to fleet another",)
        assert host.ledger != {}

    loop.run(story(), seed=1)


def test_hosts_are_named_or_all_of_them() -> None:
    async def story() -> None:
        sim = await running(3)
        sim.names.remove("h03")
        session = sim.session()
        assert [node.name for node in named(session, ["h03", "h01"])] == ["h03", "h01"]
        assert [node.name for node in named(session, [], every=True)] == ["h01", "h02"]
        with pytest.raises(NotFound, match="nobody, noone"):
            named(session, ["nobody", "h01", "noone"])

    loop.run(story(), seed=1)
