"""Behaviours of Kubernetes' controller that only whole passes show, and stories of surges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fleetd.api import rollouts
from fleetd.api.delete import delete, finish
from fleetd.api.nodes import Nodes
from fleetd.api.reports import RunOptions
from fleetd.core.records import ObjectRecord, SlotRecord, StatusRecord
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from fleetd.testing.hosts import SimHost
from fleetd.testing.units import Behaviour
from tests.sim.harness import AGENT, Sim, agent, unwatched
from tests.sim.oracle import MIN_READY_S, never_two_copies

SURGE: dict[str, Any] = {
    "updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}},
    "annotations": {"fleetd/progress-deadline-seconds": "60"},
}
BAD = {"--is=bad": Behaviour(dies_after_s=3)}


def run(story: Any) -> None:
    loop.run(story, seed=7)


def served(host: SimHost) -> Iterator[tuple[float, int]]:
    """How many copies were alive after each start and stop."""
    alive: set[str] = set()
    for moment in host.history:
        (alive.add if moment.event == "start" else alive.discard)(moment.slot)
        yield moment.time, len(alive)


def now(sim: Sim) -> float:
    return sim.session().clock.now()


def nodes(sim: Sim) -> Nodes:
    hosts = {host.name: host for host in sim.fleet.inventory()}
    return Nodes(sim.store, hosts, now=now(sim), who="ann")


@pytest.mark.parametrize("size", [pytest.param(5, id="K 98 K 100 K 101 never a gap")])
def test_a_surge_leaves_no_gap(size: int) -> None:
    async def story() -> None:
        sim = Sim.of(size)
        sim.put(agent("v1", **SURGE))
        await sim.converge()
        second = sim.put(agent("v2", **SURGE))
        assert (await sim.converge()).ended == "settled"
        assert sim.revisions() == dict.fromkeys(sim.names, second)
        for host in sim.fleet.hosts.values():
            never_two_copies(host, frozenset({AGENT}))
            counts = [count for _, count in served(host)]
            assert counts == [1, 2, 1], host.name
            (first, both, alone) = [time for time, _ in served(host)]
            assert alone - both >= MIN_READY_S
            assert first < both
        assert [slot for slot in sim.store.read(SlotRecord) if not slot.released] == []

    run(story())


@pytest.mark.parametrize("kind", [pytest.param("bad", id="a broken new one: the old one stays")])
def test_a_broken_surge_keeps_the_old_copies(kind: str) -> None:
    async def story() -> None:
        sim = Sim.of(4, faults=BAD)
        first = sim.put(agent("v1", **SURGE))
        await sim.converge()
        sim.put(agent(kind, **SURGE))
        await sim.converge()
        assert sim.rollout().state == "failed"
        for host in sim.fleet.hosts.values():
            copies = {copy.revision for copy in host.ledger.values()}
            assert first in copies
            assert not [m for m in host.history if m.event == "stop" and m.revision == first]
        again = sim.put(agent("v1", **SURGE))
        assert again == first
        await sim.converge()
        assert all(len(host.ledger) == 1 for host in sim.fleet.hosts.values())
        assert sim.revisions() == dict.fromkeys(sim.names, first)

    run(story())


@pytest.mark.parametrize("fault", [pytest.param("silent", id="a host is lost while it surges")])
def test_a_host_lost_while_it_surges_goes_on_when_it_is_back(fault: str) -> None:
    async def story() -> None:
        sim = Sim.of(5)
        sim.put(agent("v1", **SURGE))
        await sim.converge()
        second = sim.put(agent("v2", **SURGE))
        reconciler = sim.session().reconciler(None, RunOptions(), unwatched)
        await reconciler.once()
        sim.fleet.fault("h01", Fault(unreachable=True))
        await sim.converge(timeout_s=600)
        assert len(sim.fleet.hosts["h01"].ledger) == 2, fault
        sim.fleet.heal()
        assert (await sim.converge()).ended == "settled"
        assert sim.revisions() == dict.fromkeys(sim.names, second)
        assert all(len(host.ledger) == 1 for host in sim.fleet.hosts.values())

    run(story())


@pytest.mark.parametrize("seconds", [pytest.param(120, id="K 18 timed by fleetd, over restarts")])
def test_tolerated_for_its_time(seconds: int) -> None:
    async def story() -> None:
        tolerations = [
            {
                "key": "repair",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": seconds,
            }
        ]
        sim = Sim.of(3)
        sim.put(agent("v1", pod={"tolerations": tolerations}))
        await sim.converge()
        nodes(sim).taint("h02", ["repair:NoExecute"])
        began = now(sim)
        done = await sim.converge()
        assert done.last.plan.wake_at == began + seconds
        assert len(sim.fleet.hosts["h02"].ledger) == 1
        clock = sim.session().clock
        await clock.sleep(seconds / 2)
        await sim.converge()  # another coordinator, who remembers since when
        assert len(sim.fleet.hosts["h02"].ledger) == 1
        await clock.sleep(began + seconds - clock.now())
        await sim.converge()
        assert sim.fleet.hosts["h02"].ledger == {}
        assert (await sim.converge()).steps == ()
        nodes(sim).taint("h02", ["repair-"])
        await sim.converge()
        assert len(sim.fleet.hosts["h02"].ledger) == 1

    run(story())


@pytest.mark.parametrize("strategy", ["OnDelete", "RollingUpdate"])
def test_a_pod_deleted_by_hand(strategy: str) -> None:
    async def story() -> None:
        sim = Sim.of(3)
        options = {"updateStrategy": {"type": strategy}}
        first = sim.put(agent("v1", **options))
        await sim.converge()
        second = sim.put(agent("v2", **options)) if strategy == "OnDelete" else first
        await sim.converge()
        rollouts.delete_pod(sim.store, AGENT, "h02", now=now(sim), who="ann")
        assert (await sim.converge()).ended == "settled"
        assert sim.revisions() == {"h01": first, "h02": second, "h03": first}
        events = [moment.event for moment in sim.fleet.hosts["h02"].history]
        assert events == ["start", "stop", "start"]
        assert [slot.outcome for slot in sim.store.read(SlotRecord, node="h02")][:1] == ["gone"]

    run(story())


@pytest.mark.parametrize("word", [pytest.param("pause", id="paused, then resumed")])
def test_a_paused_rollout_waits(word: str) -> None:
    async def story() -> None:
        sim = Sim.of(4)
        first = sim.put(agent("v1"))
        await sim.converge()
        rollouts.pause(sim.store, AGENT, now=now(sim), who="ann")
        second = sim.put(agent("v2"))
        await sim.converge()
        assert set(sim.revisions().values()) == {first}, word
        assert sim.rollout().state == "paused"
        rollouts.resume(sim.store, AGENT, now=now(sim), who="ann")
        await sim.converge()
        assert set(sim.revisions().values()) == {second}

    run(story())


@pytest.mark.parametrize("word", [pytest.param("resume", id="failed, then resumed")])
def test_a_failed_rollout_is_tried_again(word: str) -> None:
    async def story() -> None:
        sim = Sim.of(3, faults=dict(BAD))
        options = {"annotations": SURGE["annotations"]}
        sim.put(agent("v1", **options))
        await sim.converge()
        second = sim.put(agent("bad", **options))
        await sim.converge()
        assert sim.rollout().state == "failed", word
        sim.fleet.behaviours.clear()
        for host in sim.fleet.hosts.values():
            for unit in host.units.values():
                unit.behaviour = Behaviour()
        await sim.converge()
        assert sim.rollout().state == "failed"
        rollouts.resume(sim.store, AGENT, now=now(sim), who="ann")
        await sim.converge()
        assert sim.rollout().state == "complete"
        assert set(sim.revisions().values()) == {second}

    run(story())


@pytest.mark.parametrize("cascade", [pytest.param("foreground", id="K 143 goes after its copies")])
def test_foreground(cascade: Any) -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        delete(sim.store, [("DaemonSet", AGENT)], cascade=cascade, now=now(sim), who="ann")
        sim.fleet.fault("h03", Fault(unreachable=True))
        for left in (["h03"], []):
            done = await sim.converge()
            finish(sim.store, done.last.plan.decisions, None, now=now(sim), who="ann")
            here = [name for name, host in sim.fleet.hosts.items() if host.ledger]
            assert here == left
            assert bool(sim.store.read(ObjectRecord)) is bool(left)
            sim.fleet.heal()

    run(story())


@pytest.mark.parametrize("cascade", [pytest.param("orphan", id="K 144 taken over as they run")])
def test_orphans_are_not_restarted(cascade: Any) -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        before = {name: list(host.history) for name, host in sim.fleet.hosts.items()}
        delete(sim.store, [("DaemonSet", AGENT)], cascade=cascade, now=now(sim), who="ann")
        await sim.converge()
        sim.put(agent("v1"))
        assert (await sim.converge()).ended == "settled"
        assert {name: list(host.history) for name, host in sim.fleet.hosts.items()} == before

    run(story())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(True, id="K 60 the first failure ends the starts"),
        pytest.param(False, id="K 60 twice as many with each round"),
    ],
)
def test_slow_start(bad: bool) -> None:
    async def story() -> None:
        sim = Sim.of(8)
        if bad:
            sim.fleet.registry.missing.add("example/agent:v1")
        sim.put(agent("v1"))
        done = await sim.session().reconciler(None, RunOptions(), unwatched).once()
        outcomes = [step.outcome.value for step in done.steps]
        if bad:
            assert outcomes == ["failed"] + ["not-tried"] * 7
        else:
            assert outcomes == ["done"] * 8
            times = sorted(host.history[0].time for host in sim.fleet.hosts.values())
            assert times[1] > times[0]

    run(story())


@pytest.mark.parametrize("gone", [pytest.param(True, id="K 61 what is gone already is no error")])
def test_removing_what_is_gone(gone: bool) -> None:
    async def story() -> None:
        sim = Sim.of(2)
        sim.put(agent("v1"))
        await sim.converge()
        delete(sim.store, [("DaemonSet", AGENT)], cascade="background", now=now(sim), who="ann")
        host = sim.fleet.hosts["h01"]
        for place in list(host.ledger):
            host._remove(place)
        assert (await sim.converge()).ended == "settled"
        assert [bool(each.ledger) for each in sim.fleet.hosts.values()] == [not gone, not gone]

    run(story())


@pytest.mark.parametrize("bad", [pytest.param("h02", id="K 62 K 87 errors of a pass are gathered")])
def test_one_bad_host_holds_up_no_other(bad: str) -> None:
    async def story() -> None:
        sim = Sim.of(3)
        path = {"volumes": [{"name": "v", "hostPath": {"path": "/srv/x", "type": "Directory"}}]}
        sim.fleet.hosts[bad].missing_paths.add("/srv/x")
        container = {
            "name": "main",
            "image": "example/agent:v1",
            "volumeMounts": [{"name": "v", "mountPath": "/x"}],
        }
        sim.put(agent("v1", pod={**path, "containers": [container]}))
        done = await sim.converge(timeout_s=60)
        assert sorted(sim.revisions()) == ["h01", "h03"]
        assert {step.action.node for step in done.steps if step.outcome.value == "failed"} == {bad}

    run(story())


@pytest.mark.parametrize("lost", [pytest.param("h01", id="K 64 nothing more before a look")])
def test_what_is_not_confirmed_is_looked_into_first(lost: str) -> None:
    async def story() -> None:
        sim = Sim.of(2)
        sim.put(agent("v1"))
        reconciler = sim.session().reconciler(None, RunOptions(), unwatched)
        await reconciler.once(act=False)
        sim.fleet.fault(lost, Fault(keep=0, times=3))
        await sim.converge()
        sim.fleet.heal()
        await sim.converge()
        starts = [moment for moment in sim.fleet.hosts[lost].history if moment.event == "start"]
        assert len(starts) == 1

    run(story())


@pytest.mark.parametrize("number", [pytest.param(2, id="K 133 observed once it was acted upon")])
def test_observed_generation(number: int) -> None:
    async def story() -> None:
        sim = Sim.of(1)
        sim.put(agent("v1"))
        sim.put(agent("v2"))
        (row,) = sim.store.read(ObjectRecord)
        assert (row.generation, row.observed_generation) == (number, 0)
        await sim.converge()
        (row,) = sim.store.read(ObjectRecord)
        assert row.observed_generation == number

    run(story())


@pytest.mark.parametrize("size", [pytest.param(3, id="K 134 nothing changed, nothing written")])
def test_a_settled_fleet_writes_nothing(size: int) -> None:
    async def story() -> None:
        sim = Sim.of(size)
        sim.put(agent("v1"))
        await sim.converge()
        before = sim.store.read(StatusRecord)
        await sim.session().clock.sleep(300)
        await sim.converge()
        assert sim.store.read(StatusRecord) == before

    run(story())
