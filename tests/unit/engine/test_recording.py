from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleetd.core.actions import Reason, Remove, Start
from fleetd.core.facts import Known, Slot
from fleetd.core.meta import Key
from fleetd.core.plan import plan
from fleetd.core.records import (
    EventRecord,
    InstanceRecord,
    ObjectRecord,
    RolloutRecord,
    SlotRecord,
    StatusRecord,
)
from fleetd.core.world import SetState, World
from fleetd.engine.executor import Outcome, Step
from fleetd.engine.recording import record_plan, record_steps
from fleetd.testing.store import FakeStore
from tests.sim.harness import AGENT, Sim, agent
from tests.unit.core.worlds import FLEET, Box, node, observation

START = Start("n1", AGENT, Slot.A, "r1", Reason.MISSING)


def events(store: FakeStore) -> list[tuple[str, str, int, float, float]]:
    return [
        (row.reason, row.node, row.count, row.first, row.last) for row in store.read(EventRecord)
    ]


def test_a_failure_again_is_one_event_with_a_count() -> None:
    store = FakeStore()
    for now in (1.0, 2.0, 3.0):
        record_steps(store, [Step(START, Outcome.FAILED, "pull: no such image")], now)
    record_steps(store, [Step(START, Outcome.FAILED, "check: no such path")], 4.0)
    assert sorted(events(store)) == [
        ("FailedStart", "n1", 1, 4.0, 4.0),
        ("FailedStart", "n1", 3, 1.0, 3.0),
    ]


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome.DONE, False),
        (Outcome.LOST, False),
        (Outcome.NOT_TRIED, False),
        (Outcome.FAILED, True),
        (Outcome.REFUSED, True),
    ],
)
def test_what_a_host_said_no_to_is_told(outcome: Outcome, told: bool) -> None:
    store = FakeStore()
    remove = Remove("n1", AGENT, None, Reason.DELETED)
    record_steps(store, [Step(remove, outcome, "why")], 1.0)
    assert [name for name, *_ in events(store)] == (["FailedRemove"] if told else [])


def test_what_was_done_to_units_of_the_host_is_told() -> None:
    store = FakeStore()
    away = Remove("n1", AGENT, None, Reason.DELETED)
    steps = [
        Step(START, Outcome.DONE, notes=("old.service was stopped",)),
        Step(away, Outcome.DONE, notes=("old.service is as it was",)),
    ]
    record_steps(store, steps, 1.0)
    told = {(row.reason, row.message, row.warning) for row in store.read(EventRecord)}
    assert told == {
        ("TookOver", "old.service was stopped", False),
        ("GaveBack", "old.service is as it was", False),
    }


def world_of(store: FakeStore, *sets: SetState) -> World:
    box = Box(revision=sets[0].revision)
    return World((node("n1"), node("n2")), sets, {"n1": Known(observation(box))}, FLEET)


def test_a_plan_is_written_once_and_whole() -> None:
    store = FakeStore()
    daemonset = agent("v1")
    revision = Sim(None, store).put(daemonset)  # type: ignore[arg-type]  # there is no fleet
    gone = InstanceRecord(*AGENT, "n1", "b", "r0", "b", "Running", True, True, 0, "", 0.0, 0.0)
    state = SetState(daemonset, revision, instances=(gone,))
    decided = plan(world_of(store, state), 100.0)
    commits = store.commits
    record_plan(store, decided, None, 100.0)
    assert store.commits == commits + 1
    assert [row.slot for row in store.read(InstanceRecord)] == ["a"]
    (row,) = store.read(ObjectRecord)
    assert row.observed_generation == row.generation
    assert [row.revision for row in store.read(RolloutRecord)] == [revision]
    assert [name for name, *_ in events(store)] == ["RolloutComplete"]


def test_a_plan_that_changes_nothing_writes_nothing() -> None:
    store = FakeStore()
    daemonset = agent("v1")
    revision = Sim(None, store).put(daemonset)  # type: ignore[arg-type]  # there is no fleet
    record_plan(store, plan(world_of(store, SetState(daemonset, revision)), 100.0), None, 100.0)
    state = SetState(
        daemonset,
        revision,
        rollout=store.read(RolloutRecord)[0],
        instances=store.read(InstanceRecord),
    )
    commits, before = store.commits, store.read(StatusRecord)
    record_plan(store, plan(world_of(store, state), 101.0), None, 101.0)
    assert (store.commits, store.read(StatusRecord)) == (commits, before)


def test_a_run_over_some_writes_nothing_of_others() -> None:
    store = FakeStore()
    other = agent("v1", Key("default", "other"))
    states = [
        SetState(one, Sim(None, store).put(one))  # type: ignore[arg-type]  # there is no fleet
        for one in (agent("v1"), other)
    ]
    decided = plan(world_of(store, *states), 100.0)
    slot = SlotRecord("default", "other", "n1", "r", "update", 1.0)
    record_plan(store, replace(decided, slots=(slot,)), {AGENT}, 100.0)
    for kind in (RolloutRecord, InstanceRecord, EventRecord, SlotRecord):
        assert store.read(kind, name="other") == ()
    assert store.read(RolloutRecord, name="agent") != ()


def test_a_condition_keeps_the_time_of_its_status() -> None:
    store = FakeStore()
    daemonset = agent("v1")
    revision = Sim(None, store).put(daemonset)  # type: ignore[arg-type]  # there is no fleet
    told: list[dict[str, str]] = []
    for now, states in ((100.0, revision), (200.0, revision), (300.0, "r9")):
        state = SetState(daemonset, states, store.read(RolloutRecord)[0] if told else None)
        box = Known(observation(Box(revision=revision)))
        world = World((node("n1"),), (state,), {"n1": box}, FLEET)
        record_plan(store, plan(world, now), None, now)
        (row,) = store.read(StatusRecord)
        found = json.loads(row.status_json)["conditions"]
        told.append({each["type"]: each["lastTransitionTime"][-4:] for each in found})
    first = dict.fromkeys(("Progressing", "Available", "Degraded"), ":40Z")
    assert told == [first, first, {**first, "Progressing": ":00Z"}]
