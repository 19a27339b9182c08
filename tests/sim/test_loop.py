"""The service's loop over simulated hosts, in virtual time: what wakes it, and what never does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleetd.api import rollouts
from fleetd.api.delete import delete
from fleetd.api.nodes import Nodes
from fleetd.api.reports import RunOptions
from fleetd.core.meta import Key
from fleetd.core.records import EventRecord, NodeRecord, ObjectRecord
from fleetd.core.stream import StreamState
from fleetd.engine.loop import Loop
from fleetd.engine.passes import REPEATS, TRIES
from fleetd.host.requests import Apply, Purge
from fleetd.host.wire import decode
from fleetd.testing import loop
from fleetd.testing.fleet import LOST_AFTER, Fault
from fleetd.testing.loop import LoopClock
from fleetd.testing.units import Behaviour
from tests.sim.harness import AGENT, Sim, agent, unwatched

UNIT = "fleetd-default.agent.main.a.service"
SECOND = Key("default", "second")
ALL = RunOptions(timeout_s=900)
DEAF = Fault(slow_s=10_000)
"""The host takes every request, and answers none in time."""


def told(
    story: Callable[[Sim, Loop], Coroutine[Any, Any, None]], hosts: int = 3, **of: Any
) -> None:
    """Tell a story of a fleet that is served, and settled on v1."""

    async def whole() -> None:
        sim = Sim.of(hosts, **of)
        sim.put(agent("v1"))
        async with sim.served() as served:
            assert (await served.perform(None, ALL, unwatched)).ended == "settled"
            for name in sim.names:
                served.note_stream(name, StreamState.LIVE)
            await asyncio.sleep(30)
            await story(sim, served)

    loop.run(whole(), seed=7)


def decisions(served: Loop) -> list[Mapping[str, Any]]:
    """The passes from now on, as they are told."""
    passes: list[Mapping[str, Any]] = []

    def hear(event: str, fields: Mapping[str, Any]) -> None:
        if event == "pass_ended":
            passes.append(fields)

    served.audience.watchers.append(hear)
    return passes


def orders(sim: Sim, since: int = 0) -> list[str]:
    """The hosts that were sent an apply."""
    return [
        call.name for call in sim.fleet.calls[since:] if isinstance(decode(call.stdin)[1], Apply)
    ]


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], object], within_s: float = 300.0) -> float:
    """Wait for a condition; how long it took."""
    began = now()
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
    return now() - began


def is_up(sim: Sim, name: str) -> bool:
    host = sim.fleet.hosts[name]
    return host.up and UNIT in host.units and host.unit(UNIT).running(host.uptime_s)


def people(sim: Sim) -> Nodes:
    hosts = {host.name: host for host in sim.fleet.inventory()}
    return Nodes(sim.store, hosts, now=LoopClock().now(), who="test")


# What wakes it.


def test_a_watched_fleet_sleeps_but_for_rare_full_looks_that_do_not_come_together() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        await asyncio.sleep(600)
        passes, since, began = decisions(served), len(sim.fleet.calls), now()
        await asyncio.sleep(3600)
        assert passes == []
        looks = Counter(call.name for call in sim.fleet.calls[since:])
        assert set(looks) == set(sim.names)
        assert all(3 <= count <= 6 for count in looks.values()), looks
        seconds = Counter(int(call.time - began) // 10 for call in sim.fleet.calls[since:])
        assert max(seconds.values()) <= len(sim.names) / 2

    told(story, hosts=12)


def test_a_host_without_a_stream_is_polled() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        served.note_stream("h01", StreamState.POLLING)
        await asyncio.sleep(1)
        since = len(sim.fleet.calls)
        await asyncio.sleep(600)
        looks = Counter(call.name for call in sim.fleet.calls[since:])
        assert 20 <= looks["h01"] <= 27
        assert looks["h02"] <= 1

    told(story)


def test_drift_that_a_stream_tells_of_is_repaired_within_a_second() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.hosts["h02"].stop(UNIT)
        served.wake("h02", "unit stopped")
        assert await until(lambda: is_up(sim, "h02")) < 1.0

    told(story)


def test_what_comes_while_a_host_is_busy_is_done_once_right_after() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        since = len(sim.fleet.calls)
        served.wake("h02", "first")
        await asyncio.sleep(0.0005)
        for _ in range(100):
            served.wake("h02", "again")
        await asyncio.sleep(30)
        assert len(sim.fleet.calls) - since == 2

    told(story)


def test_a_copy_is_looked_at_when_its_time_has_come_and_not_before() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.hosts["h02"].stop(UNIT)
        served.wake("h02", "unit stopped")
        await until(lambda: is_up(sim, "h02"))
        since = len(sim.fleet.calls)
        await asyncio.sleep(9)
        assert sim.fleet.calls[since:] == []
        await asyncio.sleep(3)
        assert [call.name for call in sim.fleet.calls[since:]] == ["h02"]

    told(story)


def test_a_copy_that_is_not_ready_is_looked_at_more_and_more_seldom() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        served.note_stream("h01", StreamState.POLLING)
        sim.fleet.hosts["h01"].unit(UNIT).behaviour = Behaviour(dies_after_s=3)
        sim.fleet.hosts["h01"].crash(UNIT)
        served.wake("h01", "crash")
        since, began = len(sim.fleet.calls), now()
        await asyncio.sleep(600)
        times = [call.time - began for call in sim.fleet.calls[since:] if call.name == "h01"]
        assert sum(time < 10 for time in times) >= 4
        assert sum(time > 300 for time in times) <= 25

    told(story)


def test_the_progress_deadline_wakes_it() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.put(agent("bad", annotations={"fleetd/progress-deadline-seconds": "200"}))
        took = await until(lambda: sim.rollout().state == "failed", 400)
        assert 195 <= took <= 205

    told(story, faults={"--is=bad": Behaviour(never_starts=True)})


def test_tolerated_seconds_wake_it() -> None:
    toleration = {"key": "bad", "effect": "NoExecute", "tolerationSeconds": 300}

    async def story(sim: Sim, served: Loop) -> None:
        sim.put(agent("v2", pod={"tolerations": [{**toleration, "operator": "Exists"}]}))
        await served.perform(None, ALL, unwatched)
        people(sim).taint("h02", ["bad:NoExecute"])
        took = await until(lambda: "h02" not in sim.revisions(), 1000)
        assert took == pytest.approx(300, abs=2)

    told(story)


def test_what_people_say_is_heard_at_once_and_what_it_writes_itself_is_not() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        passes = decisions(served)
        people(sim).hold("h02", on=True)
        await asyncio.sleep(1)
        assert len(passes) == 1
        second = sim.put(agent("v2"))
        await until(lambda: len(set(sim.revisions().values())) == 2)
        rollouts.pause(sim.store, AGENT, now=0.0, who="test")
        await asyncio.sleep(60)
        rollouts.resume(sim.store, AGENT, now=1e10, who="test")
        await until(lambda: list(sim.revisions().values()).count(second) == 2)
        people(sim).hold("h02", on=False)
        await until(lambda: set(sim.revisions().values()) == {second})

    told(story)


def test_a_pod_that_somebody_deleted_goes_and_comes_again() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        before = len(sim.fleet.hosts["h02"].history)
        rollouts.delete_pod(sim.store, AGENT, "h02", now=0.0, who="test")
        await until(lambda: len(sim.fleet.hosts["h02"].history) > before and is_up(sim, "h02"), 30)

    told(story)


# Hosts that are slow, dead, or back.


def test_a_slow_host_delays_nobody() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.fault("h01", Fault(slow_s=150))
        second = sim.put(
            agent("v2", updateStrategy={"rollingUpdate": {"maxUnavailable": 2}}),
        )
        took = await until(lambda: list(sim.revisions().values()).count(second) >= 5)
        assert took < 120
        sim.fleet.hosts["h05"].stop(UNIT)
        served.wake("h05", "unit stopped")
        assert await until(lambda: is_up(sim, "h05")) < 1.0

    told(story, hosts=6)


def test_a_slow_first_start_holds_the_others_up_for_no_longer_than_a_moment() -> None:
    async def story() -> None:
        sim = Sim.of(6)

        def slow(event: str, fields: Mapping[str, Any]) -> None:
            if event == "image_ready" and fields["node"] == "h01":
                sim.fleet.fault("h01", Fault(slow_s=100))

        async with sim.served() as served:
            served.audience.watchers.append(slow)
            await until(lambda: len(served.seen) == 6)
            sim.put(agent("v1"))
            assert await until(lambda: len(sim.revisions()) == 6) < 20

    loop.run(story(), seed=3)


def test_hosts_that_answer_nothing_delay_nobody() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        dead = sim.names[:50]
        for name in dead:
            sim.fleet.fault(name, DEAF)
            served.note_stream(name, StreamState.DOWN)
        await asyncio.sleep(300)
        live = sim.fleet.hosts["h55"]
        live.stop(UNIT)
        served.wake("h55", "unit stopped")
        assert await until(lambda: is_up(sim, "h55")) < 1.0

    told(story, hosts=60)


def test_a_host_that_comes_back_is_brought_up_to_date_at_once() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.fault("h02", Fault(unreachable=True))
        served.note_stream("h02", StreamState.DOWN)
        await asyncio.sleep(5)
        second = sim.put(agent("v2"))
        await served.perform(frozenset({AGENT}), ALL, unwatched)
        await asyncio.sleep(3600)
        assert sim.revisions()["h02"] != second
        since = len(sim.fleet.calls)
        await asyncio.sleep(600)
        tries = [call for call in sim.fleet.calls[since:] if call.name == "h02"]
        assert 600 / 16 <= len(tries) <= 600 / 7
        sim.fleet.heal("h02")
        assert await until(lambda: sim.revisions()["h02"] == second) < 16.5

    told(story)


def test_a_host_whose_stream_is_back_is_not_waited_for() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.hosts["h02"].reboot(120)
        served.note_stream("h02", StreamState.DOWN)
        await asyncio.sleep(120.5)
        sim.fleet.hosts["h02"].stop(UNIT)
        served.note_stream("h02", StreamState.LIVE)
        assert await until(lambda: is_up(sim, "h02")) < 1.0

    told(story)


def test_a_lost_reply_is_looked_into_and_not_repeated_blindly() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        since = len(sim.fleet.calls)

        def cut(event: str, fields: Mapping[str, Any]) -> None:
            if event == "image_ready" and fields["node"] == "h01":
                sim.fleet.fault("h01", replace(LOST_AFTER, times=1))

        served.audience.watchers.append(cut)
        second = sim.put(agent("v2"))
        run = await served.perform(None, ALL, unwatched)
        assert run.ended == "settled"
        assert "lost" in [step.outcome for step in run.steps]
        assert sorted(orders(sim, since)) == sim.names
        assert set(sim.revisions().values()) == {second}

    told(story)


def test_what_fails_is_tried_less_and_less_and_at_once_when_something_new_is_asked_for() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        for host in sim.fleet.hosts.values():
            host.missing_paths.add("/data")
        volume = {"name": "d", "hostPath": {"path": "/data", "type": "Directory"}}
        patient = {"fleetd/progress-deadline-seconds": "100000"}
        sim.put(agent("v2", pod={"volumes": [volume]}, annotations=patient))
        since = len(sim.fleet.calls)
        await asyncio.sleep(3600)
        tried = orders(sim, since)
        assert 12 <= len(tried) <= 40
        third = sim.put(agent("v3"))
        took = await until(lambda: set(sim.revisions().values()) == {third})
        assert took < 60

    told(story)


def test_what_does_not_stay_right_is_put_right_less_and_less() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        path = next(iter(sim.fleet.hosts["h01"].files))
        since = len(sim.fleet.calls)
        for _ in range(3600):
            sim.fleet.hosts["h01"].edit(path, b"another tool thinks so")
            served.wake("h01", "files changed")
            await asyncio.sleep(1)
        assert REPEATS < len(orders(sim, since)) < 60

    told(story)


# Runs that take part.


def test_a_run_ends_when_its_own_scope_is_settled() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.put(agent("bad"))
        sim.put(agent("v1", SECOND))
        events: list[tuple[str, Mapping[str, Any]]] = []
        run = await served.perform(
            frozenset({SECOND}), ALL, lambda event, fields: events.append((event, fields))
        )
        assert run.ended == "settled"
        assert {item.ds for item in run.last.plan.decisions} == {SECOND}
        assert set(run.last.plan.statuses) == {SECOND}
        assert {step.action.ds for step in run.steps} == {SECOND}
        names = {event for event, _ in events}
        assert {"looking", "decided", "action_started", "action_ended", "image_ready"} <= names
        told_of = [fields["daemonset"] for event, fields in events if event == "action_ended"]
        assert told_of == [str(SECOND)] * 3

    told(story, faults={"--is=bad": Behaviour(never_starts=True)})


def test_runs_end_when_their_time_is_up_and_the_work_goes_on() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        second = sim.put(agent("v2"))
        run = await served.perform(None, RunOptions(timeout_s=5), unwatched)
        assert run.ended == "time"
        await until(lambda: set(sim.revisions().values()) == {second})

    told(story)


def test_a_run_gives_up_what_failed_several_times() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        for host in sim.fleet.hosts.values():
            host.missing_paths.add("/data")
        volume = {"name": "d", "hostPath": {"path": "/data", "type": "Directory"}}
        sim.put(agent("v1", SECOND, pod={"volumes": [volume]}))
        run = await served.perform(frozenset({SECOND}), ALL, unwatched)
        assert run.ended == "stuck"
        assert Counter(step.action.node for step in run.steps) == dict.fromkeys(sim.names, TRIES)

    told(story)


def test_a_run_that_does_not_wait_tries_everything_once() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.put(agent("v1", SECOND))
        run = await served.perform(frozenset({SECOND}), RunOptions(wait=False), unwatched)
        assert run.ended == "once"
        assert [step.action.node for step in run.steps] == sim.names
        assert {step.outcome for step in run.steps} == {"done"}

    told(story)


def test_a_run_whose_caller_goes_away_stops_no_work() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        second = sim.put(agent("v2"))
        run = asyncio.create_task(served.perform(None, ALL, unwatched))
        await until(lambda: second in sim.revisions().values())
        run.cancel()
        await until(lambda: set(sim.revisions().values()) == {second})
        assert served.performances == []

    told(story)


def test_many_runs_at_once_end_each_for_itself() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.put(agent("v2"))
        sim.put(agent("v1", SECOND))
        scopes = (None, frozenset({AGENT}), frozenset({SECOND}))
        runs = await asyncio.gather(*(served.perform(each, ALL, unwatched) for each in scopes))
        assert [run.ended for run in runs] == ["settled"] * 3
        assert [len(run.steps) for run in runs] == [6, 3, 3]

    told(story)


def test_a_run_over_everything_looks_at_every_host_first() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.hosts["h03"].stop(UNIT)  # and nobody tells
        await served.perform(frozenset({AGENT}), ALL, unwatched)
        assert not is_up(sim, "h03")
        await served.perform(None, ALL, unwatched)
        assert is_up(sim, "h03")

    told(story)


# The end of things.


def test_a_foreground_deletion_ends_by_itself() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        place = ("DaemonSet", AGENT)
        delete(sim.store, [place], cascade="foreground", now=1.0, who="test")
        await until(lambda: sim.store.read(ObjectRecord, kind="DaemonSet") == ())
        assert sim.revisions() == {}

    told(story)


def test_draining_begins_nothing_and_lets_orders_end() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        second = sim.put(agent("v2"))
        await until(lambda: second in sim.revisions().values())
        began = len(orders(sim))
        await served.drain(20.0)
        assert served.lanes.busy == {}
        assert served.seen["h01"] is not None
        await asyncio.sleep(300)
        served.wake_all("too late")
        await asyncio.sleep(1)
        assert len(orders(sim)) == began
        assert list(sim.revisions().values()).count(second) == 1

    told(story)


def test_draining_cuts_what_takes_too_long() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.fault("h01", DEAF)
        sim.put(agent("v2"))
        await until(lambda: "h01" in served.lanes.busy)
        began = now()
        await served.drain(20.0)
        await until(lambda: not served.lanes.busy)
        assert now() - began < 20.1

    told(story)


def test_events_of_failures_are_kept_with_counts() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.hosts["h01"].missing_paths.add("/data")
        volume = {"name": "d", "hostPath": {"path": "/data", "type": "Directory"}}
        sim.put(agent("v1", SECOND, pod={"volumes": [volume]}))
        await asyncio.sleep(120)
        (event,) = sim.store.read(EventRecord, reason="FailedStart", node="h01")
        assert event.count > 2

    told(story)


def test_what_failed_while_a_host_was_going_away_is_tried_at_once_when_it_is_back() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        def vanish(event: str, fields: Mapping[str, Any]) -> None:
            if event == "action_started" and fields["node"] == "h02":
                sim.fleet.fault("h02", Fault(unreachable=True))

        patient = {"fleetd/progress-deadline-seconds": "100000"}
        served.audience.watchers.append(vanish)
        second = sim.put(agent("v2", annotations=patient))
        await asyncio.sleep(60)
        for _ in range(8):
            sim.fleet.heal("h02")
            await asyncio.sleep(18)
        served.audience.watchers.remove(vanish)
        sim.fleet.fault("h02", Fault(unreachable=True))
        await asyncio.sleep(60)
        assert sim.revisions()["h02"] != second
        sim.fleet.heal("h02")
        assert await until(lambda: sim.revisions()["h02"] == second) < 16.5

    told(story)


def test_a_farewell_that_fails_is_tried_less_and_less() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        sim.fleet.hosts["h03"].ledger.clear()
        owner = sim.fleet.hosts["h03"].owner
        assert owner is not None
        sim.fleet.hosts["h03"].owner = replace(owner, term=99)  # it obeys somebody else by now
        sim.names.remove("h03")
        since = len(sim.fleet.calls)
        served.take_inventory(sim.session().inventory)
        await asyncio.sleep(3600)
        tried = [
            call for call in sim.fleet.calls[since:] if isinstance(decode(call.stdin)[1], Purge)
        ]
        assert 5 <= len(tried) <= 40

    told(story)


def test_when_a_host_was_seen_last_is_written_down_though_nothing_is_to_be_decided() -> None:
    async def story(sim: Sim, served: Loop) -> None:
        await asyncio.sleep(1800)
        passes, before = decisions(served), LoopClock().now()
        await asyncio.sleep(960)
        assert passes == []
        assert all(row.seen > before for row in sim.store.read(NodeRecord))

    told(story)
