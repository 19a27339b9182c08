from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.actions import Remove, Start, Wait
from fleetd.core.facts import Known, Observation, Slot, Unknown
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.plan import Plan, plan
from fleetd.core.records import InstanceRecord, RolloutState
from fleetd.core.world import SetState, World
from tests.unit.core.worlds import (
    AGENT,
    CRASHING,
    NOW,
    SILENT,
    Box,
    daemonset,
    decide,
    hosts,
    node,
    observation,
    record,
    seen,
    slot,
    verdict,
    verdicts,
    world,
)

STATE = SetState(daemonset(), "r1", record())
WEB = SetState(daemonset(template={"nodeSelector": {"role": "web"}}), "r1", record())
GONE = Key("default", "gone")
LAST = InstanceRecord(*AGENT, "n0", "a", "r1", "b", "Running", True, True, 0, "", 0.0, 0.0)
HERE = seen(Box())
NONE = seen()


@pytest.mark.parametrize(
    ("where", "said", "state", "expected"),
    [
        pytest.param(node("n0"), NONE, STATE, "start:Missing", id="missing-K46"),
        pytest.param(node("n0"), HERE, STATE, "keep:UpToDate", id="there"),
        pytest.param(node("n0"), SILENT, STATE, "unknownhost:Unreachable", id="silent"),
        pytest.param(node("n0"), None, STATE, "unknownhost:Unreachable", id="not-visited"),
        pytest.param(
            node("n0"),
            Known(replace(observation(Box()), units=Unknown("cut"))),
            STATE,
            "unknownhost:Unreadable",
            id="half-an-answer",
        ),
        pytest.param(
            node("n0"),
            Known(replace(observation(Box()), owner=Unknown("cut"))),
            STATE,
            "unknownhost:Unreadable",
            id="owner-unreadable",
        ),
        pytest.param(
            node("n0"), seen(owner="fleet-2"), STATE, "skipped:OwnedByAnotherFleet", id="theirs"
        ),
        pytest.param(node("n0"), seen(owner=None), STATE, "start:Missing", id="unclaimed"),
        pytest.param(node("n0", held=True), NONE, STATE, "held:Held", id="held-without-a-copy"),
        pytest.param(
            node("n0", held=True, left=True), HERE, STATE, "held:Held", id="held-although-left"
        ),
        pytest.param(node("n0", held=True), NONE, WEB, "skipped:NotEligible", id="held-in-vain"),
        pytest.param(node("n0"), NONE, WEB, "skipped:NotEligible", id="not-eligible"),
        pytest.param(node("n0"), SILENT, WEB, "skipped:NotEligible", id="silent-and-not-eligible"),
        pytest.param(
            node("n0"),
            SILENT,
            replace(WEB, instances=(LAST,)),
            "unknownhost:Unreachable",
            id="silent-not-eligible-with-a-copy",
        ),
        pytest.param(node("n0"), HERE, WEB, "remove:NotEligible", id="label-gone-K4-K50"),
        pytest.param(
            node("n0", "a:NoExecute"), HERE, STATE, "remove:NotEligible", id="NoExecute-K50"
        ),
        pytest.param(
            node("n0", "a:NoSchedule"), HERE, STATE, "keep:Misscheduled", id="NoSchedule-K7"
        ),
        pytest.param(
            node("n0", "a:NoSchedule"),
            seen(CRASHING),
            STATE,
            "keep:Misscheduled",
            id="misscheduled-is-not-mended-K58",
        ),
        pytest.param(node("n0", left=True), HERE, STATE, "remove:NodeLeft", id="left"),
        pytest.param(node("n0", left=True), NONE, STATE, "skipped:NodeLeft", id="left-and-clean"),
        pytest.param(
            node("n0", left=True),
            SILENT,
            replace(STATE, instances=(LAST,)),
            "unknownhost:Unreachable",
            id="left-and-silent",
        ),
        pytest.param(
            node("n0", unknown_labels=frozenset({"role"})),
            NONE,
            WEB,
            "wait:LabelNotObserved",
            id="label-unknown-without-a-copy",
        ),
        pytest.param(
            node("n0", unknown_labels=frozenset({"role"})),
            HERE,
            WEB,
            "keep:LabelNotObserved",
            id="label-unknown-with-a-copy",
        ),
    ],
)
def test_buckets(
    where: Node, said: Known[Observation] | Unknown | None, state: SetState, expected: str
) -> None:
    sights = {} if said is None else {"n0": said}
    result = plan(world(sights, state, nodes=(where,)), NOW)
    assert verdicts(result) == expected


@pytest.mark.parametrize(
    ("boxes", "goes"),
    [
        pytest.param((Box("r1"), Box("r2", slot=Slot.B)), Slot.A, id="other-revision-goes"),
        pytest.param((Box("r2", age=3), Box("r1", slot=Slot.B)), Slot.A, id="available-stays"),
        pytest.param(
            (replace(CRASHING, revision="r2"), Box("r1", age=1, slot=Slot.B)),
            Slot.A,
            id="ready-stays",
        ),
        pytest.param((Box("r2"), Box("r2", slot=Slot.B)), Slot.B, id="first-slot-stays"),
        pytest.param(
            (Box("r2"), Box("r2", slot=Slot.B, ledgered=False)), Slot.B, id="not-in-the-ledger"
        ),
    ],
)
def test_of_two_copies_the_worse_goes_k55(boxes: tuple[Box, ...], goes: Slot) -> None:
    state = SetState(daemonset(), "r2", record("r2"))
    (entry,) = plan(world({"n0": seen(*boxes)}, state), NOW).decisions
    assert isinstance(entry, Remove)
    assert (entry.slot, entry.reason) == (goes, "ExtraCopy")


def test_units_without_a_ledger_are_started_over_in_their_slot() -> None:
    said = seen(Box(slot=Slot.B, ledgered=False))
    (entry,) = plan(world({"n0": said}, STATE), NOW).decisions
    assert isinstance(entry, Start)
    assert entry.slot is Slot.B


@pytest.mark.parametrize(
    ("where", "said", "removals", "expected"),
    [
        pytest.param(node("n0"), seen(Box(ds=GONE)), {GONE}, "remove:Deleted", id="deleted"),
        pytest.param(
            node("n0", left=True),
            seen(Box(ds=GONE)),
            {GONE},
            "remove:Deleted",
            id="deleted-and-left",
        ),
        pytest.param(node("n0", held=True), seen(Box(ds=GONE)), {GONE}, "held:Held", id="held"),
        pytest.param(node("n0"), seen(Box(ds=GONE)), set(), "skipped:Orphan", id="orphan"),
        pytest.param(node("n0"), NONE, {GONE}, "", id="nothing-left"),
        pytest.param(node("n0"), SILENT, {GONE}, "unknownhost:Unreachable", id="silent"),
        pytest.param(
            node("n0"), seen(Box(ds=GONE), owner="fleet-2"), {GONE}, "", id="another-fleets"
        ),
    ],
)
def test_copies_of_no_daemonset(
    where: Node, said: Known[Observation] | Unknown, removals: set[Key], expected: str
) -> None:
    last = InstanceRecord(*GONE, "n0", "a", "r1", "b", "Running", True, True, 0, "", 0.0, 0.0)
    what = world({"n0": said}, nodes=(where,), removals=frozenset(removals), remembered=(last,))
    result = plan(what, NOW)
    assert verdicts(result) == expected
    assert bool(result.gone) == (said is NONE)


def test_a_set_applied_again_is_not_removed() -> None:
    result = plan(world({"n0": HERE}, STATE, removals=frozenset({AGENT})), NOW)
    assert verdicts(result) == "keep:UpToDate"


def fleet(total: int, out: int, *, how: str) -> World:
    """`total` nodes with a copy each, `out` of which left or are no longer eligible."""
    nodes = tuple(
        node(
            f"n{index:02}",
            labels={} if how == "label" and index < out else {"role": "web"},
            left=how == "left" and index < out,
        )
        for index in range(total)
    )
    return world({one.name: HERE for one in nodes}, WEB, nodes=nodes)


def removed(result: Plan) -> int:
    return sum(isinstance(entry, Remove) for entry in result.decisions)


@pytest.mark.parametrize("how", ["left", "label"])
@pytest.mark.parametrize(
    ("total", "out", "confirmed", "expected"),
    [
        pytest.param(4, 1, None, 1, id="one-goes"),
        pytest.param(4, 2, None, 0, id="two-of-four-do-not"),
        pytest.param(40, 2, None, 2, id="five-percent-goes"),
        pytest.param(40, 3, None, 0, id="more-does-not"),
        pytest.param(40, 3, 2, 0, id="confirmed-too-few"),
        pytest.param(40, 3, 3, 3, id="confirmed"),
        pytest.param(4, 4, None, 0, id="emptied"),
    ],
)
def test_guard_i11(how: str, total: int, out: int, confirmed: int | None, expected: int) -> None:
    result = plan(replace(fleet(total, out, how=how), confirm_removals=confirmed), NOW)
    assert removed(result) == expected
    waits = [entry for entry in result.decisions if isinstance(entry, Wait)]
    assert len(waits) == out - expected
    for entry in waits:
        assert entry.reason == "RemovalNeedsConfirmation"
        assert f"--confirm-removals={out}" in entry.detail
    assert bool(waits) == any(event.warning for event in result.events)
    assert result.settled == (expected == 0)


@pytest.mark.parametrize("how", ["left", "label"])
@pytest.mark.parametrize(
    ("remembered", "expected"),
    [
        pytest.param(True, 0, id="seen-before"),
        pytest.param(False, 1, id="never-had-a-copy"),
    ],
)
def test_guard_counts_hosts_out_of_sight(how: str, remembered: bool, expected: int) -> None:
    everyone = fleet(4, 3, how=how)
    (web,) = everyone.sets
    last = tuple(
        InstanceRecord(*web.key, name, "a", "r1", "b", "Running", True, True, 0, "", 0.0, 0.0)
        for name in everyone.seen
    )
    back = replace(
        everyone,
        seen={"n00": HERE, "n03": HERE},
        sets=(replace(web, instances=last if remembered else ()),),
    )
    assert removed(plan(back, NOW)) == expected


def test_deletion_is_not_guarded() -> None:
    said = {f"n{index}": seen(Box(ds=GONE)) for index in range(10)}
    assert removed(plan(world(said, removals=frozenset({GONE})), NOW)) == 10


def test_every_pair_has_one_decision_in_order() -> None:
    other = SetState(daemonset("other"), "r1", replace(record(), name="other"))
    result = plan(world(hosts("old - ?"), STATE, other), NOW)
    pairs = [(entry.node, entry.ds.name) for entry in result.decisions]
    assert pairs == [(f"n{i}", name) for i in range(3) for name in ("agent", "other")]


@pytest.mark.parametrize(
    ("words", "more", "settled"),
    [
        pytest.param("old old", {}, True, id="all-well"),
        pytest.param("old ?", {}, True, id="unknown"),
        pytest.param("old -", {}, False, id="a-start"),
        pytest.param("old old%", {}, False, id="a-repair"),
        pytest.param("old old~", {}, False, id="starting"),
        pytest.param(
            "old new",
            {"revision": "r2", "rollout": record("r2", RolloutState.PROGRESSING)},
            False,
            id="rollout",
        ),
        pytest.param(
            "old new*",
            {"revision": "r2", "rollout": record("r2", RolloutState.FAILED)},
            True,
            id="failed",
        ),
        pytest.param(
            "old new",
            {"revision": "r2", "rollout": record("r2", RolloutState.PAUSED), "paused": True},
            True,
            id="paused",
        ),
        pytest.param(
            "new ? ?",
            {"revision": "r2", "rollout": record("r2", RolloutState.PROGRESSING)},
            True,
            id="stalled",
        ),
        pytest.param(
            "new new new new ?",
            {
                "revision": "r2",
                "rollout": record("r2", RolloutState.PROGRESSING),
                "slots": (slot("n4"),),
            },
            False,
            id="one-touched-and-silent",
        ),
    ],
)
def test_settled(words: str, more: dict[str, Any], settled: bool) -> None:
    assert decide(words, replace(STATE, **more)).settled is settled


def test_a_copy_that_crashes_for_ever_settles() -> None:
    said = seen(replace(CRASHING, restarts=5))
    result = plan(world({"n0": said}, STATE), NOW)
    assert verdicts(result) == "keep:NotAvailable"
    assert result.settled


def test_wakes_when_a_copy_gets_available_or_a_deadline_ends() -> None:
    assert decide("old~ old", STATE).wake_at == NOW + 7
    rolling = record("r2", RolloutState.PROGRESSING, at=NOW - 597)
    assert decide("old! old", SetState(daemonset(), "r2", rolling)).wake_at == NOW + 3
    assert decide("old old", STATE).wake_at is None


def test_transitions_are_told_once() -> None:
    rolling = record("r2", RolloutState.PROGRESSING)
    state = SetState(daemonset(), "r2", record("r1"))
    assert [event.reason for event in decide("old", state).events] == ["RolloutStarted"]
    done = decide("new", replace(state, rollout=rolling))
    assert [event.reason for event in done.events] == ["RolloutComplete"]
    assert decide("new", replace(state, rollout=done.rollouts[0])).events == ()


def test_settled_fleet_writes_nothing() -> None:
    first = decide("old old", STATE)
    later = plan(world(hosts("old old"), replace(STATE, instances=first.instances)), NOW + 3)
    assert len(first.instances) == 2
    assert (later.instances, later.gone, later.slots, later.rollouts, later.events) == ((),) * 5


def test_what_was_said_a_while_ago_is_thought_of_as_of_then() -> None:
    looked = {"n0": NOW, "n1": NOW}
    said = hosts("old old~")
    first = plan(world(said, STATE, looked=looked), NOW)
    again = world(said, replace(STATE, instances=first.instances), looked=looked)
    later = plan(again, NOW + 100)
    assert (later.instances, later.wake_at) == ((), first.wake_at)


def test_memory_of_a_copy_follows_what_is_seen_only() -> None:
    last = tuple(replace(LAST, node=f"n{index}") for index in range(3))
    result = decide("old! - ?", replace(STATE, instances=last))
    assert [(entry.node, entry.phase) for entry in result.instances] == [("n0", "Failed")]
    assert [entry.node for entry in result.gone] == ["n1"]


def test_verdict_names_the_mode() -> None:
    assert verdict(decide("old%", STATE).decisions[0]) == "repair/reload:Drift"


def test_a_restart_by_systemd_is_told_once_with_its_reason() -> None:
    known = replace(STATE, instances=(replace(LAST, restarts=1),))
    why = "liveness probe failed: HTTP status 503"
    box = Box(restarts=2, probed=True, probe=True, probe_message=f"restarted: {why}")
    (event,) = [e for e in plan(world({"n0": seen(box)}, known), NOW).events if e.node]
    assert (event.node, event.reason, event.warning) == ("n0", "Restarted", True)
    assert event.message == f"started again by systemd: {why}"
    told = replace(STATE, instances=(replace(LAST, restarts=2),))
    assert not [e for e in plan(world({"n0": seen(box)}, told), NOW).events if e.node]
