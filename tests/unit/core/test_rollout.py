from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.actions import Start, Update
from fleetd.core.budget import resolve
from fleetd.core.facts import ContainerSeen, Slot
from fleetd.core.plan import plan
from fleetd.core.records import InstanceRecord, RolloutRecord, RolloutState
from fleetd.core.world import SetState
from tests.unit.core.worlds import (
    AGENT,
    NOW,
    Box,
    daemonset,
    decide,
    hosts,
    node,
    record,
    rolling,
    seen,
    slot,
    verdicts,
    world,
)

UP = "update:RevisionChanged"
FULL = "wait:NoSlot"
OK = "keep:UpToDate"
GO = "start:Missing"
SOON = "wait:Starting"
LOST = "unknownhost:Unreachable"
ROLLING = record("r2", RolloutState.PROGRESSING, baseline="r1")


def updating(unavailable: int | str = 1, **more: Any) -> SetState:
    options: dict[str, Any] = {"revision": "r2", "rollout": ROLLING, **more}
    annotations = options.pop("annotations", None)
    strategy = options.pop("strategy", None) or rolling(unavailable)
    return SetState(daemonset(updateStrategy=strategy, annotations=annotations), **options)


@pytest.mark.parametrize(
    ("unavailable", "said", "expected"),
    [
        pytest.param(1, "old old old", f"{UP} {FULL} {FULL}", id="one-at-a-time-by-name-K93-K95"),
        pytest.param(2, "old old old", f"{UP} {UP} {FULL}", id="two-at-a-time-K93"),
        pytest.param("34%", "old old old old", f"{UP} {UP} {FULL} {FULL}", id="percent-up-K82"),
        pytest.param(0, "old old old", f"{UP} {FULL} {FULL}", id="both-knobs-zero-mean-one-K84"),
        pytest.param(9, "old old", f"{UP} {UP}", id="number-not-capped-K83"),
        pytest.param(1, "new~ old old", f"{SOON} {FULL} {FULL}", id="young-new-uses-budget-K90"),
        pytest.param(1, "new* old old", f"{SOON} {FULL} {FULL}", id="crashing-new-uses-it-K90"),
        pytest.param(1, "old old old!", f"{FULL} {FULL} {UP}", id="broken-old-goes-first-K92-K94"),
        pytest.param(1, "old! old! old!", f"{UP} {UP} {UP}", id="all-broken-old-at-once-K92-K94"),
        pytest.param(2, "old old! old!", f"{FULL} {UP} {UP}", id="broken-old-counts-K92-P103"),
        pytest.param(3, "old old! old!", f"{UP} {UP} {UP}", id="what-is-left-after-broken-K93"),
        pytest.param(1, "old~ old old", f"{SOON} {FULL} {FULL}", id="young-old-is-not-broken"),
        pytest.param(1, "old* old old", f"{UP} {FULL} {FULL}", id="crashing-old-at-once-K92"),
        pytest.param(1, "- old old", f"{GO} {FULL} {FULL}", id="missing-counts-K90-K131"),
        pytest.param(1, "- - -", f"{GO} {GO} {GO}", id="missing-start-without-budget-K46"),
        pytest.param(
            1, "? old old old old", f"{LOST} {UP} {FULL} {FULL} {FULL}", id="unknown-free"
        ),
        pytest.param(1, "new new new", f"{OK} {OK} {OK}", id="done"),
        pytest.param(1, "new# new new", f"repair/restart:Drift {OK} {OK}", id="repair-takes-slot"),
        pytest.param(
            1, "new# new# new!", f"{FULL} {FULL} repair/start:Drift", id="repair-waits-for-a-slot"
        ),
        pytest.param(
            1,
            "new% new% new%",
            "repair/reload:Drift repair/reload:Drift repair/reload:Drift",
            id="repair-that-stops-nothing-is-free",
        ),
        pytest.param(1, "old# new# old!", f"{FULL} {FULL} {UP}", id="repairs-and-updates-share"),
        pytest.param(
            1, "old! old% old", f"{UP} repair/reload:Drift {FULL}", id="mend-while-waiting"
        ),
    ],
)
def test_budget(unavailable: int | str, said: str, expected: str) -> None:
    assert verdicts(decide(said, updating(unavailable))) == expected


def test_three_bad_updates_take_down_no_more_than_one_p103() -> None:
    state = updating(1)
    for number, said in enumerate(["old old old", "new* old old", "newer* old old"], start=2):
        result = decide(said, replace(state, revision=f"r{number}", rollout=None))
        stopped = [entry for entry in result.actions if isinstance(entry, Update)]
        assert [entry.node for entry in stopped] == ["n0"]


@pytest.mark.parametrize(
    ("said", "more", "expected"),
    [
        pytest.param(
            "? old old old old",
            {"slots": (slot("n0"),)},
            f"{LOST} {FULL} {FULL} {FULL} {FULL}",
            id="touched-and-silent-counts",
        ),
        pytest.param(
            "? old old old old",
            {"slots": (slot("n0", released=NOW - 10, outcome="available"),)},
            f"{LOST} {FULL} {FULL} {FULL} {FULL}",
            id="touched-then-silent-counts-until-the-end",
        ),
        pytest.param(
            "? old old old old",
            {"slots": (slot("n0", taken=NOW - 900, released=NOW - 800),)},
            f"{LOST} {UP} {FULL} {FULL} {FULL}",
            id="touched-by-an-earlier-rollout-only",
        ),
        pytest.param(
            "old old old",
            {"slots": (slot("n2"),)},
            f"{FULL} {FULL} {UP}",
            id="cut-after-the-slot-goes-on-with-it",
        ),
        pytest.param(
            "old! old old",
            {"slots": (slot("n2"),)},
            f"{UP} {FULL} {FULL}",
            id="slot-not-used-yet-waits-when-another-broke",
        ),
        pytest.param(
            "old old old",
            {"slots": (slot("n1"), slot("n2"))},
            f"{FULL} {UP} {FULL}",
            id="more-slots-than-the-budget-are-used-one-by-one",
        ),
        pytest.param(
            "old new* old",
            {"slots": (slot("n1"),)},
            f"{FULL} {SOON} {FULL}",
            id="slot-and-not-available-count-once",
        ),
        pytest.param(
            "? ? old old old old old old",
            {},
            " ".join([LOST, LOST, UP, *[FULL] * 5]),
            id="up-to-max-unreachable",
        ),
        pytest.param(
            "? ? ? old old old old old",
            {},
            " ".join([*[LOST] * 3, *["wait:TooManyUnreachable"] * 5]),
            id="above-max-unreachable",
        ),
        pytest.param(
            "? ? ? old old old old old",
            {"annotations": {"fleetd/max-unreachable": "3"}},
            " ".join([*[LOST] * 3, UP, *[FULL] * 4]),
            id="max-unreachable-as-a-number",
        ),
        pytest.param(
            "? old old",
            {"annotations": {"fleetd/unreachable": "count"}},
            f"{LOST} {FULL} {FULL}",
            id="unreachable-counts-as-in-K97",
        ),
        pytest.param(
            "old old! -",
            {"strategy": {"type": "OnDelete"}},
            f"keep:OnDelete repair/start:Drift {GO}",
            id="OnDelete-replaces-nothing-K85",
        ),
        pytest.param(
            "old old! new",
            {"rollout": replace(ROLLING, state=RolloutState.FAILED)},
            f"wait:RolloutFailed repair/start:Drift {OK}",
            id="failed-repairs-only",
        ),
        pytest.param(
            "old old! new*",
            {"rollout": replace(ROLLING, state=RolloutState.FAILED)},
            "wait:RolloutFailed repair/start:Drift wait:RolloutFailed",
            id="failed-does-not-wait-for-the-crashing",
        ),
        pytest.param(
            "old old! new",
            {"rollout": replace(ROLLING, state=RolloutState.PAUSED), "paused": True},
            f"wait:RolloutPaused repair/start:Drift {OK}",
            id="paused-repairs-only",
        ),
        pytest.param(
            "old new",
            {"rollout": replace(ROLLING, state=RolloutState.COMPLETE)},
            f"{UP} {OK}",
            id="who-was-away-is-updated-when-back",
        ),
        pytest.param(
            "new* new",
            {"rollout": replace(ROLLING, state=RolloutState.COMPLETE)},
            f"{SOON} {OK}",
            id="restarting-after-completion",
        ),
    ],
)
def test_who_waits_for_what(said: str, more: dict[str, Any], expected: str) -> None:
    assert verdicts(decide(said, updating(1, **more))) == expected


@pytest.mark.parametrize(
    ("rollout", "revision"),
    [
        pytest.param(None, "r2", id="first-ever"),
        pytest.param(record("r1"), "r1", id="new-revision-without-a-finished-host"),
        pytest.param(replace(ROLLING, finished=0), "r1", id="no-finished-host-yet"),
        pytest.param(replace(ROLLING, finished=1), "r2", id="one-finished-host"),
        pytest.param(replace(ROLLING, state=RolloutState.FAILED), "r1", id="failed"),
        pytest.param(replace(ROLLING, state=RolloutState.PAUSED), "r1", id="paused"),
        pytest.param(replace(ROLLING, state=RolloutState.COMPLETE), "r2", id="complete"),
        pytest.param(
            replace(ROLLING, state=RolloutState.FAILED, baseline=""), "r2", id="no-baseline"
        ),
    ],
)
def test_revision_of_a_missing_copy(rollout: RolloutRecord | None, revision: str) -> None:
    paused = rollout is not None and rollout.state is RolloutState.PAUSED
    (start,) = decide("-", updating(rollout=rollout, paused=paused)).decisions
    assert isinstance(start, Start)
    assert start.revision == revision


def test_missing_copy_under_on_delete_is_current_k67_k85() -> None:
    state = updating(strategy={"type": "OnDelete"}, rollout=record("r1"))
    (start,) = decide("-", state).decisions
    assert isinstance(start, Start)
    assert start.revision == "r2"


@pytest.mark.parametrize(
    ("said", "rollout", "expected"),
    [
        pytest.param("old", record("r1"), RolloutState.PROGRESSING, id="new-revision"),
        pytest.param("new new", ROLLING, RolloutState.COMPLETE, id="all-available"),
        pytest.param("new new~", ROLLING, RolloutState.PROGRESSING, id="one-still-young"),
        pytest.param(
            "new new new ?", ROLLING, RolloutState.COMPLETE, id="untouched-silent-skipped"
        ),
        pytest.param("new ? ?", ROLLING, RolloutState.PROGRESSING, id="too-many-silent"),
        pytest.param("? ?", ROLLING, RolloutState.PROGRESSING, id="all-silent-is-no-success"),
        pytest.param("?", replace(ROLLING, finished=0), RolloutState.PROGRESSING, id="only-silent"),
        pytest.param(
            "new old",
            replace(ROLLING, last_progress=NOW - 601),
            RolloutState.FAILED,
            id="no-progress",
        ),
        pytest.param(
            "new new old",
            replace(ROLLING, last_progress=NOW - 601),
            RolloutState.PROGRESSING,
            id="progress-at-the-last-moment",
        ),
        pytest.param(
            "new ? ?",
            replace(ROLLING, last_progress=NOW - 601),
            RolloutState.PROGRESSING,
            id="deadline-stands-still-while-stalled",
        ),
        pytest.param(
            "new new",
            replace(ROLLING, state=RolloutState.FAILED),
            RolloutState.FAILED,
            id="failed-is-sticky",
        ),
        pytest.param(
            "new new",
            replace(ROLLING, state=RolloutState.PAUSED),
            RolloutState.COMPLETE,
            id="nobody-wants-the-pause-any-more",
        ),
    ],
)
def test_state(said: str, rollout: RolloutRecord, expected: RolloutState) -> None:
    result = decide(said, updating(rollout=rollout))
    assert (result.rollouts[0] if result.rollouts else rollout).state is expected


LATE = replace(ROLLING, last_progress=NOW - 601, finished=4)


def test_touched_silent_host_keeps_a_rollout_from_complete() -> None:
    result = decide("new new new new ?", updating(slots=(slot("n4"),)))
    assert result.rollouts[0].state is RolloutState.PROGRESSING
    assert not result.settled


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("new new new new ?", id="the-last-one"),
        pytest.param("new new old old ?", id="the-others-have-no-budget"),
    ],
)
def test_a_rollout_waits_at_its_deadline_for_touched_silent_hosts(said: str) -> None:
    state = replace(
        updating(slots=(slot("n4"),), rollout=LATE),
        daemonset=daemonset(updateStrategy=rolling(1)),
    )
    result = decide(said, state)
    (waits,) = result.rollouts
    assert waits.state is RolloutState.PROGRESSING
    assert "n4 (unreachable: connection timed out)" in waits.reason
    assert result.settled
    again = decide(said, replace(state, rollout=waits))
    assert (again.rollouts, again.settled) == ((), True), "it goes on waiting, quietly"
    (back,) = decide(said.replace("?", "old"), replace(state, rollout=waits)).rollouts
    assert (back.last_progress, back.reason) == (NOW, "")


def test_a_silent_host_excuses_no_broken_copy() -> None:
    late = replace(LATE, finished=3)
    result = decide("new new new new* ?", updating(slots=(slot("n4"),), rollout=late))
    assert result.rollouts[0].state is RolloutState.FAILED


def test_failure_names_hosts_and_their_reasons() -> None:
    late = replace(ROLLING, last_progress=NOW - 601)
    state = updating(rollout=late, failures={"n2": "check: /dev/ipmi0 is missing"})
    (failed,) = decide("new new* -", state).rollouts
    assert "n1 (fleetd-default.agent.main.a.service died" in failed.reason
    assert "n2 (check: /dev/ipmi0 is missing)" in failed.reason
    assert "n0" not in failed.reason


def test_deadline_starts_again_after_a_stall() -> None:
    stalled = replace(ROLLING, last_progress=NOW - 601, reason="too many are unreachable")
    (going,) = decide("new old", updating(rollout=stalled)).rollouts
    assert (going.state, going.last_progress, going.reason) == (RolloutState.PROGRESSING, NOW, "")


def test_baseline_is_the_last_complete_revision() -> None:
    state = updating(rollout=record("r1"))
    assert decide("old", state).rollouts[0].baseline == "r1"
    again = replace(state, revision="r3", rollout=replace(ROLLING, state=RolloutState.FAILED))
    assert decide("old", again).rollouts[0].baseline == "r1"


def test_pause_survives_a_new_revision() -> None:
    paused = record("r1", RolloutState.PAUSED)
    (now,) = decide("old", updating(rollout=paused, paused=True)).rollouts
    assert (now.revision, now.state) == ("r2", RolloutState.PAUSED)


def test_a_pause_asked_for_stops_updates() -> None:
    result = decide("old new", updating(paused=True))
    assert verdicts(result) == f"wait:RolloutPaused {OK}"
    assert result.rollouts[0].state is RolloutState.PAUSED


FAILED_ROLLOUT = replace(ROLLING, state=RolloutState.FAILED, reason="no progress", finished=1)


@pytest.mark.parametrize(
    ("rollout", "resumed", "expected"),
    [
        pytest.param(FAILED_ROLLOUT, 0.0, RolloutState.FAILED, id="failed-is-sticky"),
        pytest.param(FAILED_ROLLOUT, NOW - 200, RolloutState.FAILED, id="resumed-before-it"),
        pytest.param(FAILED_ROLLOUT, NOW - 1, RolloutState.PROGRESSING, id="failed-is-retried"),
        pytest.param(
            replace(ROLLING, state=RolloutState.PAUSED), NOW, RolloutState.PROGRESSING, id="paused"
        ),
        pytest.param(
            record("r2", at=NOW - 100), NOW - 1, RolloutState.COMPLETE, id="complete-stays-complete"
        ),
    ],
)
def test_resume(rollout: RolloutRecord, resumed: float, expected: RolloutState) -> None:
    state = updating(rollout=rollout, resumed=resumed)
    result = decide("new old", state)
    now = result.rollouts[0] if result.rollouts else rollout
    assert now.state is expected
    # The same word is heeded once: when it fails again, it stays so.
    again = replace(now, state=RolloutState.FAILED, reason="again")
    if expected is RolloutState.PROGRESSING:
        assert decide("new old", replace(state, rollout=again)).rollouts == ()


def test_slot_is_taken_with_the_decision_and_once() -> None:
    (taken,) = decide("old old", updating()).slots
    assert (taken.node, taken.revision, taken.kind, taken.released) == ("n0", "r2", "update", 0.0)
    assert decide("old old", updating(slots=(taken,))).slots == ()


def test_slot_with_a_second_copy_in_it_is_cleared_within_the_budget() -> None:
    box = Box("r2")
    name = box.unit.removesuffix(".service")
    first = ContainerSeen("1", name, running=True, ours=True, ds=AGENT, slot=Slot.A)
    doubled = seen(box, engine=(first, replace(first, id="2", name="by-hand")))
    said = {"n0": doubled, "n1": doubled, "n2": seen(box)}
    result = plan(world(said, updating(1)), NOW)
    assert verdicts(result) == f"remove:ExtraCopy {FULL} {OK}"
    assert [(taken.node, taken.kind) for taken in result.slots] == [("n0", "repair")]


def test_repair_slot_bears_the_revision_of_the_copy() -> None:
    (taken,) = decide("new# new", updating()).slots
    assert (taken.node, taken.revision, taken.kind) == ("n0", "r2", "repair")


@pytest.mark.parametrize(
    ("said", "more", "outcome"),
    [
        pytest.param("new", {}, "available", id="seen-available"),
        pytest.param("new~", {}, None, id="not-available-yet"),
        pytest.param("?", {}, None, id="silent"),
        pytest.param("-", {}, None, id="no-copy"),
        pytest.param("old", {}, None, id="update-still-to-come"),
        pytest.param(
            "old",
            {"rollout": replace(ROLLING, state=RolloutState.FAILED)},
            "unused",
            id="update-that-will-not-come",
        ),
        pytest.param("old", {"revision": "r1"}, "unused", id="gone-back-K106"),
        pytest.param("old", {"revision": "r3"}, "unused", id="target-moved-K105"),
        pytest.param("new!", {"revision": "r3"}, "superseded", id="handed-on-to-the-next-update"),
    ],
)
def test_slot_is_released(said: str, more: dict[str, Any], outcome: str | None) -> None:
    result = decide(said, updating(slots=(slot("n0"),), **more))
    released = [entry.outcome for entry in result.slots if entry.released]
    assert released == ([outcome] if outcome else [])


def test_slot_of_a_node_no_longer_eligible_is_gone() -> None:
    nodes = (node("n0", "a:NoExecute"),)
    result = plan(world(hosts("new*"), updating(slots=(slot("n0"),)), nodes=nodes), NOW)
    assert [entry.outcome for entry in result.slots] == ["gone"]


def test_finished_remembers_who_fell_silent() -> None:
    last = InstanceRecord(*AGENT, "n1", "a", "r2", "b", "Running", True, True, 0, "", 0.0, 0.0)
    result = decide("new ? new", updating(instances=(last,)))
    assert result.rollouts[0].finished == 3


@pytest.mark.parametrize(
    ("knob", "total", "expected"),
    [
        pytest.param(3, 10, 3, id="number"),
        pytest.param("3", 10, 3, id="number-as-text"),
        pytest.param("25%", 10, 3, id="percent-rounds-up"),
        pytest.param("1%", 1, 1, id="smallest"),
        pytest.param("0%", 10, 0, id="zero"),
        pytest.param("10%", 0, 0, id="of-nothing"),
    ],
)
def test_resolve_k82(knob: int | str, total: int, expected: int) -> None:
    assert resolve(knob, total) == expected


def test_percent_is_of_the_desired_not_of_all_nodes_k82() -> None:
    template = {"nodeSelector": {"role": "web"}}
    labels = {"role": "web"}
    nodes = tuple(node(f"n{i}", labels=labels if i < 4 else {}) for i in range(20))
    state = SetState(daemonset(template=template, updateStrategy=rolling("25%")), "r2", ROLLING)
    said = hosts(" ".join(["old"] * 4 + ["-"] * 16))
    result = plan(world(said, state, nodes=nodes), NOW)
    assert len(result.actions) == 1
