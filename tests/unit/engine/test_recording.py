from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleetd.core.actions import Mode, Reason, Remove, Repair, Start
from fleetd.core.facts import Known, Slot
from fleetd.core.meta import Key
from fleetd.core.plan import plan
from fleetd.core.records import (
    AuditRecord,
    EventRecord,
    InstanceRecord,
    ObjectRecord,
    RolloutRecord,
    SlotRecord,
    StatusRecord,
)
from fleetd.core.world import SetState, World
from fleetd.engine.executor import Outcome, Step
from fleetd.engine.recording import COMBINED, record_plan, record_steps, trim_events
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


def rows(store: FakeStore) -> list[tuple[str, int, float, float]]:
    return [(row.message, row.count, row.first, row.last) for row in store.read(EventRecord)]


def test_messages_that_differ_by_a_number_become_one_row_in_the_end() -> None:
    store = FakeStore()
    for number in range(100):
        failed = Step(START, Outcome.FAILED, f"timed out after {number} s")
        record_steps(store, [failed], float(number))
    kept = sorted(rows(store), key=lambda row: row[3])
    assert [row[0] for row in kept[:10]] == [f"timed out after {number} s" for number in range(10)]
    assert kept[10:] == [(f"{COMBINED}timed out after 99 s", 90, 10.0, 99.0)]
    record_steps(store, [Step(START, Outcome.FAILED, "timed out after 3 s")], 200.0)
    assert ("timed out after 3 s", 2, 3.0, 200.0) in rows(store), "one that is known stays itself"
    other = replace(START, node="n2")
    record_steps(store, [Step(other, Outcome.FAILED, "timed out after 4 s")], 201.0)
    assert ("timed out after 4 s", 1, 201.0, 201.0) in rows(store), "each host has its own"


def test_many_events_at_once_are_counted_as_if_one_by_one() -> None:
    one_by_one, at_once = FakeStore(), FakeStore()
    steps = [Step(START, Outcome.FAILED, f"no {number % 15}") for number in range(40)]
    for step in steps:
        record_steps(one_by_one, [step], 5.0)
    record_steps(at_once, steps, 5.0)
    assert rows(at_once) == rows(one_by_one)
    assert sum(count for _, count, *_ in rows(at_once)) == 40


def test_a_message_has_a_bound() -> None:
    store = FakeStore()
    for end in ("a", "b"):
        record_steps(store, [Step(START, Outcome.FAILED, "x" * 5000 + end)], 1.0)
    assert rows(store) == [("x" * 1024, 2, 1.0, 1.0)]
    assert {len(row.detail) for row in store.read(AuditRecord)} == {1024}


def test_the_latest_events_are_kept() -> None:
    store = FakeStore()
    for number in range(20):
        failed = Step(replace(START, node=f"n{number % 7}"), Outcome.FAILED, "no")
        record_steps(store, [failed], float(number))
    assert trim_events(store, 3) == 4
    assert sorted(row.node for row in store.read(EventRecord)) == ["n3", "n4", "n5"]
    commits = store.commits
    assert trim_events(store, 3) == 0
    assert store.commits == commits


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_action_that_was_begun_is_audited_with_its_outcome(outcome: Outcome) -> None:
    store = FakeStore()
    repair = Repair("n1", AGENT, Slot.A, "r1", Mode.START, Reason.DRIFT, "stopped: a.service")
    record_steps(store, [Step(repair, outcome, "" if outcome is Outcome.DONE else "why")], 7.0)
    told = "Drift: stopped: a.service" + ("" if outcome is Outcome.DONE else "; why")
    row = AuditRecord(
        at=7.0,
        who="fleetd",
        verb="repair",
        subject=f"DaemonSet {AGENT}",
        detail=told,
        node="n1",
        revision="r1",
        outcome=outcome.value,
    )
    assert store.read(AuditRecord) == (() if outcome is Outcome.NOT_TRIED else (row,))


def test_the_audit_says_who_asked_for_a_run() -> None:
    store = FakeStore()
    away = Remove("n1", AGENT, None, Reason.DELETED)
    record_steps(store, [Step(away, Outcome.DONE)], 7.0, who="ann@admin")
    (row,) = store.read(AuditRecord)
    assert (row.who, row.verb, row.detail, row.revision) == ("ann@admin", "remove", "Deleted", "")
    assert store.commits == 1, "with the events, in one transaction"


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
