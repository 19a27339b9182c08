"""Whole runs over simulated hosts: what an operator sees, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleetd.api.nodes import Nodes
from fleetd.api.reports import RunOptions
from fleetd.core.meta import Key
from fleetd.core.records import InstanceRecord, NodeRecord, Record, RolloutRecord, StatusRecord
from fleetd.engine.passes import REPEATS
from fleetd.host.wire import decode, verb_of
from fleetd.testing import loop
from fleetd.testing.fleet import LOST_AFTER, Fault
from fleetd.testing.units import Behaviour
from tests.sim.harness import AGENT, Sim, agent, half, reasons, unwatched


def test_a_fleet_gets_one_copy_each() -> None:
    async def story() -> None:
        sim = Sim.of(7)
        revision = sim.put(agent("v1"))
        run = await sim.converge()
        assert run.ended == "settled"
        assert sim.revisions() == dict.fromkeys(sim.names, revision)
        assert sim.rollout().state == "complete"

    loop.run(story(), seed=1)


def test_a_settled_fleet_is_left_alone() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        calls = len(sim.fleet.calls)
        run = await sim.converge()
        assert run.ended == "settled"
        assert run.steps == ()
        assert len(sim.fleet.calls) - calls == len(sim.names)

    loop.run(story(), seed=2)


def test_a_rollout_touches_no_more_than_the_budget_at_once() -> None:
    async def story() -> None:
        sim = Sim.of(6)
        strategy = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}
        sim.put(agent("v1", **strategy))
        await sim.converge()
        second = sim.put(agent("v2", **strategy))
        run = await sim.converge()
        assert run.ended == "settled"
        assert set(sim.revisions().values()) == {second}
        assert sim.rollout().finished == 6

    loop.run(story(), seed=3)


def test_a_broken_update_stops_within_its_budget_and_says_why() -> None:
    async def story() -> None:
        sim = Sim.of(6, faults={"--is=bad": Behaviour(dies_after_s=3)})
        strategy = {
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}},
            "annotations": {"fleetd/progress-deadline-seconds": "60"},
        }
        first = sim.put(agent("v1", **strategy))
        await sim.converge()
        bad = sim.put(agent("bad", **strategy))
        run = await sim.converge()
        assert run.ended == "settled"
        assert sim.rollout().state == "failed"
        assert sorted(sim.revisions().values()) == sorted([first] * 4 + [bad] * 2)
        assert "h01" in sim.rollout().reason

    loop.run(story(), seed=4)


def test_a_silent_host_is_left_out_of_the_rollout_and_brought_up_to_date_when_back() -> None:
    async def story() -> None:
        sim = Sim.of(6)
        sim.put(agent("v1"))
        await sim.converge()
        sim.fleet.fault("h03", Fault(unreachable=True))
        second = sim.put(agent("v2"))
        run = await sim.converge()
        assert run.ended == "settled"
        assert [name for name, revision in sim.revisions().items() if revision != second] == ["h03"]
        sim.fleet.heal()
        await sim.converge()
        assert set(sim.revisions().values()) == {second}

    loop.run(story(), seed=5)


def test_a_host_that_leaves_is_cleaned_and_forgotten() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        sim.names.remove("h02")
        run = await sim.converge()
        assert run.ended == "settled"
        assert sim.fleet.hosts["h02"].ledger == {}
        assert sim.fleet.hosts["h02"].owner is None
        assert [row.name for row in sim.store.read(NodeRecord)] == ["h01", "h03"]

    loop.run(story(), seed=6)


def test_an_emptied_inventory_removes_nothing() -> None:
    async def story() -> None:
        sim = Sim.of(5)
        first = sim.put(agent("v1"))
        await sim.converge()
        names, sim.names = sim.names, []
        run = await sim.converge()
        assert sim.revisions() == dict.fromkeys(names, first)
        assert reasons(run.last.plan.decisions) == dict.fromkeys(names, "RemovalNeedsConfirmation")
        await sim.converge(confirm_removals=5)
        assert sim.revisions() == {}

    loop.run(story(), seed=7)


def test_a_renamed_host_keeps_its_copy() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        host = sim.fleet.add("h99")
        old = sim.fleet.hosts.pop("h02")
        for name in ("machine_id", "owner", "ledger", "files", "units"):
            setattr(host, name, getattr(old, name))
        sim.names = ["h01", "h03", "h99"]
        run = await sim.converge()
        assert run.steps == ()
        assert [row.name for row in sim.store.read(NodeRecord)] == ["h01", "h03", "h99"]

    loop.run(story(), seed=8)


def test_one_machine_under_two_names_is_refused_under_both() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.fleet.hosts["h03"].machine_id = sim.fleet.hosts["h02"].machine_id
        sim.put(agent("v1"))
        run = await sim.converge()
        assert list(sim.revisions()) == ["h01"]
        assert {name for name, note in run.last.notes if "one machine" in note} == {"h02", "h03"}

    loop.run(story(), seed=9)


def test_a_lost_reply_is_looked_into_and_not_repeated_blindly() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        revision = sim.put(agent("v1"))

        def cut(event: str, fields: Mapping[str, Any]) -> None:
            if event == "image_ready":
                sim.fleet.fault("h01", replace(LOST_AFTER, times=1))

        run = await sim.converge(progress=cut)
        assert [step.outcome for step in run.steps] == ["lost"]
        assert run.ended == "settled"
        assert sim.revisions() == {"h01": revision}

    loop.run(story(), seed=10)


def test_what_is_said_of_a_node_during_a_look_is_heard() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        sim.put(agent("v1"))
        hosts = {host.name: host for host in sim.fleet.inventory()}

        def hold(event: str, fields: Mapping[str, Any]) -> None:
            if event == "looking" and not sim.store.read(NodeRecord):
                Nodes(sim.store, hosts, now=0.0, who="test").hold("h01", on=True)

        await sim.converge(progress=hold)
        assert [row.held for row in sim.store.read(NodeRecord)] == [True, False]
        assert list(sim.revisions()) == ["h02"]

    loop.run(story(), seed=11)


def test_half_an_answer_ends_what_is_done_on_its_host() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        sim.put(agent("v1"))
        sim.put(agent("v1", Key("default", "second")))

        def halve(event: str, fields: Mapping[str, Any]) -> None:
            if event == "image_ready":
                sim.fleet.fault("h01", Fault(lie=half, times=1))

        run = await sim.converge(progress=halve)
        assert [step.outcome for step in run.steps] == ["done", "not-tried", "done"]
        assert run.ended == "settled"

    loop.run(story(), seed=12)


def test_a_farewell_that_was_lost_is_looked_into_first() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        sim.names.remove("h02")
        sim.put(agent("v2"))  # keeps the run going

        def lose(event: str, fields: Mapping[str, Any]) -> None:
            if event == "decided" and "h02" not in sim.revisions():
                sim.fleet.fault("h02", replace(LOST_AFTER, times=1))

        before = len(sim.fleet.calls)
        await sim.converge(progress=lose)
        calls = [call for call in sim.fleet.calls[before:] if call.name == "h02"]
        verbs = [verb_of(decode(call.stdin)[1]) for call in calls]
        assert verbs == ["observe", "remove", "observe", "purge", "observe"]

    loop.run(story(), seed=13)


def test_hosts_of_an_emptied_inventory_that_come_back_one_by_one_lose_nothing() -> None:
    async def story() -> None:
        sim = Sim.of(5)
        first = sim.put(agent("v1"))
        await sim.converge()
        names, sim.names = sim.names, []
        for back in names:
            for name in names:
                sim.fleet.fault(name, Fault(unreachable=True))
            sim.fleet.heal(back)
            await sim.converge()
        assert sim.revisions() == dict.fromkeys(names, first)
        sim.fleet.heal()
        await sim.converge(confirm_removals=5)
        assert sim.revisions() == {}

    loop.run(story(), seed=14)


def test_what_does_not_stay_right_is_given_up_in_one_run() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        sim.put(agent("v1"))
        await sim.converge()
        unit = sim.fleet.hosts["h01"].units["fleetd-default.agent.main.a.service"]
        unit.fail()

        def fail(event: str, fields: Mapping[str, Any]) -> None:
            if event == "action_ended":
                unit.fail()

        run = await sim.converge(progress=fail, timeout_s=None)
        assert run.ended == "stuck"
        assert [step.outcome for step in run.steps] == ["done"] * REPEATS
        again = await sim.converge()
        assert (again.ended, len(again.steps)) == ("settled", 1)

    loop.run(story(), seed=15)


def test_a_run_over_some_leaves_the_others_and_what_is_known_of_them() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        other = Key("default", "other")
        sim.put(agent("v1"))
        first = sim.put(agent("v1", other))
        await sim.converge()
        kept: list[type[Record]] = [StatusRecord, InstanceRecord, RolloutRecord]
        before = [sim.store.read(kind, name="other") for kind in kept]
        sim.put(agent("v2", other))
        second = sim.put(agent("v2"))
        run = await sim.converge(scope=frozenset({AGENT}))
        assert run.ended == "settled"
        assert {item.ds for item in run.last.plan.decisions} == {AGENT}
        assert set(sim.revisions().values()) == {second}
        assert set(sim.revisions(other).values()) == {first}
        assert [sim.store.read(kind, name="other") for kind in kept] == before

    loop.run(story(), seed=16)


def test_what_a_host_is_is_asked_again_after_each_boot() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        sim.put(agent("v1"))
        await sim.converge()
        host = sim.fleet.hosts["h01"]
        host.facts = replace(host.facts, podman="5.4.0")
        await sim.converge()
        assert "5.4.0" not in sim.store.read(NodeRecord)[0].facts_json
        host.reboot(down_s=0.0)
        await sim.converge()
        (record,) = sim.store.read(NodeRecord)
        assert "5.4.0" in record.facts_json
        assert record.boot_id == host.boot_id

    loop.run(story(), seed=17)


def test_a_broken_workload_is_tried_on_one_host_and_not_on_all() -> None:
    async def story() -> None:
        sim = Sim.of(16)
        sim.fleet.registry.missing.add("example/agent:v1")
        sim.put(agent("v1"))
        done = await sim.session().reconciler(None, RunOptions(), unwatched).once()
        assert Counter(step.outcome for step in done.steps) == {"failed": 1, "not-tried": 15}

    loop.run(story(), seed=11)


def test_one_bad_host_does_not_end_the_starts_of_the_others() -> None:
    async def story() -> None:
        sim = Sim.of(16)
        sim.fleet.hosts["h05"].missing_paths.add("/data")
        volume = {"name": "data", "hostPath": {"path": "/data", "type": "Directory"}}
        sim.put(agent("v1", pod={"volumes": [volume]}))
        done = await sim.session().reconciler(None, RunOptions(), unwatched).once()
        assert Counter(step.outcome for step in done.steps) == {"failed": 1, "done": 15}

    loop.run(story(), seed=12)
