from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleetd.api.reports import RunOptions
from fleetd.core.facts import Known, Observation, Owner, Part, Unknown
from fleetd.core.node import Node
from fleetd.core.records import AuditRecord, InstanceRecord, NodeRecord, SlotRecord
from fleetd.engine.leaving import farewell
from fleetd.host.replies import Lost, Ok, Refused, Reply
from fleetd.ports import Put
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import FLEET, Sim, agent, unwatched


async def part(
    sim: Sim, *left: str, at_most: int = 1, seen: Mapping[str, Part[Observation]] | None = None
) -> dict[str, Reply]:
    """Say farewell to these, as seen truly unless told otherwise."""
    executor = sim.session().reconciler(None, RunOptions(), unwatched).executor
    truth = {name: Known(host.observe()) for name, host in sim.fleet.hosts.items()}
    nodes = [Node(host.name, host.ssh, left=host.name in left) for host in sim.fleet.inventory()]
    return await farewell(sim.store, executor, nodes, {**truth, **(seen or {})}, at_most=at_most)


def remembered(sim: Sim) -> None:
    slot = SlotRecord("default", "agent", "h01", "r1", "update", 1.0)
    copy = InstanceRecord(
        *("default", "agent", "h01", "a", "r1", "b", "Running", True, True, 0, "", 0.0, 0.0)
    )
    sim.store.commit([Put(NodeRecord("h01")), Put(NodeRecord("h02")), Put(slot), Put(copy)])


def audited(sim: Sim) -> list[tuple[str, str, str, str]]:
    rows = sim.store.read(AuditRecord)
    return [(row.who, row.verb, row.node, row.outcome) for row in rows]


def told(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop.run(story(), seed=1)


def test_who_left_and_has_nothing_is_purged_and_forgotten() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        remembered(sim)
        sim.fleet.hosts["h01"].owner = Owner(FLEET.id, 1)
        (reply,) = (await part(sim, "h01")).values()
        assert isinstance(reply, Ok)
        assert [host.owner for host in sim.fleet.hosts.values()] == [None, None]
        assert [row.name for row in sim.store.read(NodeRecord)] == ["h02"]
        assert sim.store.read(InstanceRecord) == ()
        assert sim.store.read(SlotRecord) == ()
        assert audited(sim) == [("test", "purge", "h01", "done")]

    told(story)


@pytest.mark.parametrize("owner", [None, Owner("other", 3)], ids=["nobody's", "another's"])
def test_who_is_not_ours_is_forgotten_without_a_visit(owner: Owner | None) -> None:
    async def story() -> None:
        sim = Sim.of(2)
        remembered(sim)
        sim.fleet.hosts["h01"].owner = owner
        assert await part(sim, "h01") == {"h01": Ok()}
        assert sim.fleet.calls == []
        assert sim.fleet.hosts["h01"].owner == owner
        assert [row.name for row in sim.store.read(NodeRecord)] == ["h02"]

    told(story)


def half_seen(seen: Observation, part: str) -> Known[Observation]:
    return Known(replace(seen, **{part: Unknown("cut")}))


@pytest.mark.parametrize("kind", ["silent", "no-owner", "no-ledger", "never-seen"])
def test_who_is_not_known_to_have_nothing_stays(kind: str) -> None:
    async def story() -> None:
        sim = Sim.of(2)
        remembered(sim)
        truth = sim.fleet.hosts["h01"].observe()
        seen: dict[str, Any] = {
            "silent": Unknown("no route"),
            "no-owner": half_seen(truth, "owner"),
            "no-ledger": half_seen(truth, "ledger"),
            "never-seen": None,
        }
        assert await part(sim, "h01", seen={"h01": seen[kind]}) == {}
        assert len(sim.store.read(NodeRecord)) == 2

    told(story)


def test_who_has_a_copy_stays() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        sim.put(agent("v1"))
        await sim.converge()
        assert await part(sim, "h01") == {}
        assert set(sim.revisions()) == {"h01", "h02"}

    told(story)


@pytest.mark.parametrize(
    ("fault", "owner", "kind"),
    [
        pytest.param(Fault(unreachable=True), Owner(FLEET.id, 1), Lost, id="lost"),
        pytest.param(Fault(), Owner(FLEET.id, 9), Refused, id="of-a-newer-term"),
    ],
)
def test_who_cannot_be_purged_is_not_forgotten(fault: Fault, owner: Owner, kind: type) -> None:
    async def story() -> None:
        sim = Sim.of(2)
        remembered(sim)
        sim.fleet.hosts["h01"].owner = owner
        sim.fleet.fault("h01", fault)
        assert isinstance((await part(sim, "h01"))["h01"], kind)
        assert len(sim.store.read(NodeRecord)) == 2
        assert audited(sim) == [("test", "purge", "h01", kind.__name__.lower())]

    told(story)


def test_too_many_are_no_farewell() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        remembered(sim)
        assert await part(sim, "h01", "h02") == {}
        assert len(sim.store.read(NodeRecord)) == 2
        assert len(await part(sim, "h01", "h02", at_most=2)) == 2
        assert sim.store.read(NodeRecord) == ()

    told(story)
