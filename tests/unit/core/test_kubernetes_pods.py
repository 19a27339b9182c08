"""The numbered behaviours of Kubernetes' controller, D to F and H: copies, rollouts, counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.actions import Start
from fleetd.core.budget import rules_of
from fleetd.core.facts import ContainerSeen, Slot
from fleetd.core.plan import Plan, plan
from fleetd.core.records import InstanceRecord, RolloutState, SlotKind, SlotRecord
from fleetd.core.revision import revision_of
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
    verdicts,
    world,
)

UP = "update:RevisionChanged"
FULL = "wait:NoSlot"
OK = "keep:UpToDate"
GO = "start:Missing"
BESIDE = "start:Surge"
SOON = "wait:Starting"
DONE = "remove:Replaced"
EXTRA = "remove:ExtraCopy"
LOST = "unknownhost:Unreachable"
ROLLING = record("r2", RolloutState.PROGRESSING, baseline="r1", finished=1)
ON_DELETE = {"type": "OnDelete"}


def rollout(unavailable: int | str = 1, surge: int | str = 0, **more: Any) -> SetState:
    options: dict[str, Any] = {"revision": "r2", "rollout": ROLLING, **more}
    strategy = options.pop("strategy", None) or rolling(unavailable, surge)
    spec = options.pop("spec", {})
    return SetState(daemonset(updateStrategy=strategy, **spec), **options)


def taken(name: str, kind: SlotKind, revision: str = "r2", **more: Any) -> SlotRecord:
    return SlotRecord(*AGENT, name, revision, kind, NOW - 50, **more)


SURGED: dict[str, Any] = {"slots": (taken("n0", SlotKind.SURGE),)}
ASKED: dict[str, Any] = {"slots": (taken("n0", SlotKind.DELETE, ""),)}

# id, maxUnavailable, maxSurge, what else is known, what the hosts say, what is decided
ROWS: list[tuple[str, int | str, int | str, Mapping[str, Any], str, str]] = [
    ("K 46 none there: one is made", 1, 0, {}, "-", GO),
    ("K 47 one on its way out keeps a new one from being made", 1, 0, {}, "new.", SOON),
    ("K 48 with surge a new one at once", 0, 1, {}, "old.", BESIDE),
    ("K 51 a failed copy is made to run again", 1, 0, {}, "new!", "repair/start:Drift"),
    ("K 55 two of a kind without surge", 1, 0, {}, "new+new", EXTRA),
    ("K 55 of two the better one stays", 1, 0, {}, "old+new", EXTRA),
    ("K 56 one of each may stay with surge", 0, 1, SURGED, "old+new~", SOON),
    ("K 56 two of the current revision may not", 0, 1, {}, "new+new", EXTRA),
    ("K 56 two of other revisions may not", 0, 1, {"revision": "r3"}, "old+new", EXTRA),
    ("K 57 the old one goes when the new one is available", 0, 1, SURGED, "old+new", DONE),
    ("K 57 or when the old one is not ready", 0, 1, SURGED, "old*+new~", DONE),
    ("K 57 the old one is judged by readiness", 0, 1, SURGED, "old~+new~", SOON),
    ("K 57 the new one by availability", 0, 1, SURGED, "old+new~", SOON),
    ("K 75 removed by hand: made again", 1, 0, {}, "- new", f"{GO} {OK}"),
    ("K 84 both knobs 0 mean one", 0, 0, {}, "old old", f"{UP} {FULL}"),
    ("K 86 missing ones are made beside an update", 2, 0, {}, "- old", f"{GO} {UP}"),
    ("K 90 no copy counts as unavailable", 1, 0, {}, "- old", f"{GO} {FULL}"),
    ("K 90 a new one that is not available counts", 1, 0, {}, "new~ old", f"{SOON} {FULL}"),
    ("K 91 one on its way out counts", 1, 0, {}, "new. old", f"{SOON} {FULL}"),
    ("K 92 a broken old one is replaced beyond the budget", 1, 0, {}, "old! old!", f"{UP} {UP}"),
    ("K 92 and counts", 1, 0, {}, "old! old", f"{UP} {FULL}"),
    ("K 93 a good old one within the budget", 2, 0, {}, "old old old", f"{UP} {UP} {FULL}"),
    ("K 94 no good one for a half-failed rollout", 1, 0, {}, "new* old", f"{SOON} {FULL}"),
    ("K 94 a fix gets to all broken ones", 1, 0, {"revision": "r3"}, "new* new*", f"{UP} {UP}"),
    ("K 95 by name, broken ones first", 1, 0, {}, "old old old!", f"{FULL} {FULL} {UP}"),
    ("K 96 replaced in place", 1, 0, {}, "old", UP),
    ("K 97 silent hosts do not hold it up", 1, 0, {}, "? old old old old",
     f"{LOST} {UP} {FULL} {FULL} {FULL}"),
    ("K 98 the new one beside the old one", 0, 1, {}, "old", BESIDE),
    ("K 99 a broken old one gets its new one beyond the surge", 0, 1, {}, "old! old* old",
     f"{BESIDE} {BESIDE} {FULL}"),
    ("K 100 within the surge", 0, 2, {}, "old old old", f"{BESIDE} {BESIDE} {FULL}"),
    ("K 100 percent, rounded up", 0, "34%", {}, "old old old old",
     f"{BESIDE} {BESIDE} {FULL} {FULL}"),
    ("K 100 a new one not yet available counts", 0, 1, SURGED, "old+new~ old", f"{SOON} {FULL}"),
    ("K 100 and a broken new one", 0, 1, SURGED, "old+new* old", f"{SOON} {FULL}"),
    ("K 100 an available one counts no more", 0, 1, SURGED, "old+new old", f"{DONE} {BESIDE}"),
    ("K 101 minReadySeconds included", 0, 1, {**SURGED, "spec": {"minReadySeconds": 90}},
     "old+new", SOON),
    ("K 103 without an old one it is the repair's matter", 0, 1, {}, "new! - new",
     f"repair/start:Drift {GO} {OK}"),
    ("K 105 a further change moves the target", 1, 0, {"revision": "r3"}, "old new newer",
     f"{UP} {FULL} {OK}"),
    ("K 106 going back restarts nothing that never left", 1, 0,
     {"revision": "r1", "rollout": None}, "old new old", f"{OK} {UP} {OK}"),
    ("K 109 paused: ours", 1, 0, {"paused": True}, "old", "wait:RolloutPaused"),
    ("K 156 surge and in place side by side", 1, 1, {}, "old old old", f"{BESIDE} {UP} {FULL}"),
    ("K 85 OnDelete replaces nothing", 1, 0, {"strategy": ON_DELETE}, "old old",
     "keep:OnDelete keep:OnDelete"),
    ("K 67 OnDelete makes missing ones of the current template", 1, 0, {"strategy": ON_DELETE},
     "- old", f"{GO} keep:OnDelete"),
    ("OnDelete replaces what somebody deletes", 1, 0, {"strategy": ON_DELETE, **ASKED},
     "old old", "remove:PodDeleted keep:OnDelete"),
    ("a deleted pod costs no budget", 1, 0, {"rollout": record("r2"), **ASKED},
     "new new!", "remove:PodDeleted repair/start:Drift"),
    ("a deleted pod counts as down", 1, 0, ASKED, "- old", f"{GO} {FULL}"),
    ("undo while surging: the new one goes", 0, 1,
     {"revision": "r1", "rollout": None, **SURGED}, "old+new~", DONE),
    ("a third revision while surging: the good one stays", 0, 1,
     {"revision": "r3", "rollout": None, **SURGED}, "old+new*", EXTRA),
    ("a host that falls silent while surging holds the surge", 0, 1, SURGED,
     "? old old old old", f"{LOST} {FULL} {FULL} {FULL} {FULL}"),
    ("a surge that was cut goes on first", 0, 1,
     {"slots": (taken("n1", SlotKind.SURGE),)}, "old old", f"{FULL} {BESIDE}"),
    ("paused while surging: the pair is brought to its end", 0, 1,
     {"paused": True, **SURGED}, "old+new", DONE),
    ("surge taken back while surging: one copy stays", 1, 0, SURGED, "old+new~", EXTRA),
    ("a damaged new one is mended for nothing", 0, 1, SURGED, "old+new!", "repair/start:Drift"),
    ("with maxUnavailable 0 one is repaired at a time", 0, 1, {"rollout": record("r2")},
     "new# new#", f"repair/restart:Drift {FULL}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("unavailable", "surge", "more", "said", "expected"),
    [pytest.param(*row[1:], id=row[0]) for row in ROWS],
)
def test_decisions(
    unavailable: int | str, surge: int | str, more: Mapping[str, Any], said: str, expected: str
) -> None:
    assert verdicts(decide(said, rollout(unavailable, surge, **more))) == expected


def start_of(result: Plan) -> Start:
    (start,) = result.actions
    assert isinstance(start, Start)
    return start


@pytest.mark.parametrize("said", [pytest.param("old", id="K 98 in the other slot, after a record")])
def test_surge_takes_the_other_slot_and_a_record(said: str) -> None:
    result = decide(said, rollout(0, 1))
    start = start_of(result)
    assert (start.slot, start.revision) == (Slot.B, "r2")
    (record_,) = result.slots
    assert (record_.node, record_.revision, record_.kind) == ("n0", "r2", SlotKind.SURGE)
    swapped = {"n0": seen(Box("r1", slot=Slot.B))}
    assert start_of(plan(world(swapped, rollout(0, 1)), NOW)).slot is Slot.A


@pytest.mark.parametrize("said", [pytest.param("new", id="K 101 the record is given back then")])
def test_the_surge_record_is_given_back(said: str) -> None:
    result = decide(said, rollout(0, 1, **SURGED))
    assert [(slot.node, slot.outcome) for slot in result.slots] == [("n0", "available")]
    both = decide("old+new", rollout(0, 1, **SURGED))
    assert both.slots == ()


@pytest.mark.parametrize("port", [pytest.param(80, id="K 98 copies that would clash do not surge")])
def test_copies_that_would_clash_are_updated_in_place(port: int) -> None:
    ports = [{"containerPort": port, "hostPort": port}]
    template = {"containers": [{"name": "m", "image": "i", "ports": ports}]}
    state = rollout(0, 1, spec={"template": template})
    assert verdicts(decide("old old", state)) == f"{UP} {FULL}"


def misscheduled(said: str, state: SetState) -> str:
    names = [f"n{at}" for at in range(len(said.split()))]
    nodes = tuple(node(name, *(("a:NoSchedule",) if name == "n0" else ())) for name in names)
    return verdicts(plan(world(hosts(said), state, nodes=nodes), NOW))


STAYS = "keep:Misscheduled"
AWAY = "remove:Misscheduled"


@pytest.mark.parametrize(
    ("state", "said", "expected"),
    [
        pytest.param(rollout(1), "old new", f"{AWAY} {OK}", id="K 88 rolled within the budget"),
        pytest.param(rollout(1), "old new~", f"{STAYS} {SOON}", id="K 88 and only within it"),
        pytest.param(rollout(1), "new new", f"{STAYS} {OK}", id="K 88 the current one stays"),
        pytest.param(rollout(0, 1), "old! new", f"{AWAY} {OK}", id="K 102 broken: at once"),
        pytest.param(rollout(0, 1), "old new", f"{AWAY} {OK}", id="K 102 more than desired"),
        pytest.param(rollout(0, 1), "old new~", f"{STAYS} {SOON}", id="K 102 not more"),
        pytest.param(
            rollout(0, 1, **SURGED), "old+new new", f"{DONE} {OK}", id="K 58 pair, new available"
        ),
        pytest.param(rollout(1), "old+new new", f"{EXTRA} {OK}", id="K 58 duplicates go"),
    ],
)
def test_copies_that_may_only_stay(state: SetState, said: str, expected: str) -> None:
    assert misscheduled(said, state) == expected


@pytest.mark.parametrize("effect", [pytest.param("NoExecute", id="K 50 all copies, no budget")])
def test_copies_that_may_not_stay_go_outside_of_the_budget(effect: str) -> None:
    state = rollout(1, rollout=record("r2"))
    nodes = (node("n0", f"a:{effect}"), node("n1"), node("n2"))
    said = hosts("new+new new! new")
    result = plan(world(said, state, nodes=nodes), NOW)
    assert verdicts(result) == f"remove:NotEligible repair/start:Drift {OK}"
    assert result.slots == ()
    (gone, *_) = result.actions
    assert getattr(gone, "slot", "") is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param("old old", "remove:PodDeleted", id="asked"),
        pytest.param("- old", GO, id="gone, and made again"),
    ],
)
def test_a_pod_deleted_by_hand_comes_back_as_the_current_one(said: str, expected: str) -> None:
    state = rollout(strategy=ON_DELETE, **ASKED)
    result = decide(said, state)
    assert verdicts(result).split()[0] == expected
    if expected == GO:
        assert [slot.outcome for slot in result.slots] == ["gone"]
        assert start_of(result).revision == "r2"
    else:
        assert result.slots == ()


@pytest.mark.parametrize(
    "foreign", [pytest.param("someone-elses", id="K 70 what is not ours is ignored")]
)
def test_what_belongs_to_someone_else(foreign: str) -> None:
    box = Box("r2")
    own = ContainerSeen("c0", box.unit.removesuffix(".service"), running=True, ours=True)
    other = ContainerSeen("c1", foreign, running=True, ours=False)
    at = world({"n0": seen(box, engine=(own, other))}, rollout())
    assert verdicts(plan(at, NOW)) == OK
    theirs = world({"n0": seen(Box("r2"), owner="fleet-2")}, rollout())
    assert verdicts(plan(theirs, NOW)) == "skipped:OwnedByAnotherFleet"


@pytest.mark.parametrize(
    "age", [pytest.param(4.0, id="K 73 K 136 woken when it becomes available")]
)
def test_wakes_for_readiness(age: float) -> None:
    at = world({"n0": seen(Box("r2", age=age))}, rollout(spec={"minReadySeconds": 30}))
    assert plan(at, NOW).wake_at == NOW + 30 - age


def status_counts(result: Plan) -> tuple[int, ...]:
    found = result.statuses[AGENT]
    return (
        *(found.desired, found.current, found.ready, found.updated),
        *(found.available, found.unavailable, found.misscheduled),
    )


LAST = InstanceRecord(*AGENT, "n0", "a", "r2", "b", "Running", True, True, 0, "", 0.0, 0.0)
# desired, current, ready, updated, available, unavailable, misscheduled
COUNTS: list[tuple[str, SetState, str, tuple[int, ...]]] = [
    ("K 77 ready", rollout(), "new", (1, 1, 1, 1, 1, 0, 0)),
    ("K 77 not ready", rollout(), "new*", (1, 1, 0, 1, 0, 1, 0)),
    ("K 78 ready, not yet available", rollout(), "new~", (1, 1, 1, 1, 0, 1, 0)),
    ("K 79 at exactly the boundary", rollout(spec={"minReadySeconds": 60}), "new",
     (1, 1, 1, 1, 1, 0, 0)),
    ("K 126 desired", rollout(), "new - ?", (3, 1, 1, 1, 1, 2, 0)),
    ("K 127 current", rollout(), "new new! -", (3, 2, 1, 2, 1, 2, 0)),
    ("K 129 updated", rollout(), "old new", (2, 2, 2, 1, 2, 0, 0)),
    ("K 129 judged on the oldest", rollout(0, 1, **SURGED), "old+new", (1, 1, 1, 0, 1, 0, 0)),
    ("K 129 ready is the oldest's, too", rollout(0, 1, **SURGED), "old*+new",
     (1, 1, 0, 0, 0, 1, 0)),
    ("K 130 updated lags while surging", rollout(0, 1, **SURGED), "old+new new",
     (2, 2, 2, 1, 2, 0, 0)),
    ("K 131 missing ones are unavailable", rollout(), "- new", (2, 1, 1, 1, 1, 1, 0)),
    ("K 132 one on its way out is current", rollout(), "new. new", (2, 2, 1, 2, 1, 1, 0)),
    ("K 138 silent: current and updated only", rollout(instances=(LAST,)), "? new",
     (2, 2, 1, 2, 1, 1, 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "said", "expected"), [pytest.param(*row[1:], id=row[0]) for row in COUNTS]
)
def test_counts(state: SetState, said: str, expected: tuple[int, ...]) -> None:
    assert status_counts(decide(said, state)) == expected


@pytest.mark.parametrize(
    "taints", [pytest.param(("a:NoSchedule", "a:NoExecute"), id="K 128 may it stay or not")]
)
def test_misscheduled(taints: tuple[str, ...]) -> None:
    nodes = tuple(node(f"n{at}", taint) for at, taint in enumerate(taints))
    result = plan(world(hosts("new new"), rollout(), nodes=nodes), NOW)
    assert status_counts(result) == (0, 0, 0, 0, 0, 0, 2)


@pytest.mark.parametrize("first", [pytest.param(Slot.B, id="K 129 the oldest by when it was met")])
def test_the_oldest_is_the_one_met_first(first: Slot) -> None:
    created = {first: 10.0, Slot.A: 20.0}
    rows = tuple(
        replace(LAST, slot=str(where), revision=revision, created=created[where])
        for where, revision in ((Slot.A, "r1"), (Slot.B, "r2"))
    )
    result = decide("old+new", rollout(0, 1, instances=rows, **SURGED))
    assert result.statuses[AGENT].updated == 1


@pytest.mark.parametrize(
    ("knob", "desired", "expected"),
    [
        pytest.param("10%", 1, 1, id="K 82 rounded up"),
        pytest.param("50%", 4, 2, id="K 82 of the desired number"),
        pytest.param(7, 3, 7, id="K 83 not capped"),
    ],
)
def test_knobs(knob: int | str, desired: int, expected: int) -> None:
    assert rules_of(daemonset(updateStrategy=rolling(knob, 0)), desired).max_unavailable == expected
    assert rules_of(daemonset(updateStrategy=rolling(0, knob)), desired).surge == expected


@pytest.mark.parametrize(
    "unit", [pytest.param("on its way out", id="K 49 failed ones do not block")]
)
def test_failed_copies_on_their_way_out_do_not_block(unit: str) -> None:
    assert verdicts(decide("new!", rollout(**ASKED))) == "remove:PodDeleted"
    assert verdicts(decide("-", rollout(**ASKED))) == GO


@pytest.mark.parametrize(
    ("spec", "again"),
    [
        pytest.param({"minReadySeconds": 5}, False, id="K 107 minReadySeconds"),
        pytest.param({"revisionHistoryLimit": 1}, False, id="K 107 history limit"),
        pytest.param({"updateStrategy": rolling(3)}, False, id="K 107 the strategy"),
        pytest.param({"template": {"tolerations": [{"operator": "Exists"}]}}, True, id="K 108"),
        pytest.param({"template": {"nodeSelector": {"a": "b"}}}, True, id="K 108 selector"),
    ],
)
def test_what_restarts_copies(spec: dict[str, Any], again: bool) -> None:
    before, after = daemonset(), daemonset(**spec)
    changed = revision_of(before.spec.template, {}) != revision_of(after.spec.template, {})
    assert changed is again
