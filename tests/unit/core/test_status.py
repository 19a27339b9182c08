from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.core.plan import plan
from fleetd.core.records import InstanceRecord, RolloutRecord, RolloutState
from fleetd.core.status import Status
from fleetd.core.world import SetState
from tests.unit.core.worlds import (
    AGENT,
    NOW,
    daemonset,
    decide,
    hosts,
    node,
    record,
    rolling,
    seen,
    world,
)

STATE = SetState(daemonset(updateStrategy=rolling(2)), "r2", record("r2", RolloutState.PROGRESSING))


def counts(status: Status) -> tuple[int, ...]:
    return (
        status.desired,
        status.current,
        status.ready,
        status.updated,
        status.available,
        status.unavailable,
        status.misscheduled,
        status.unknown,
    )


def of(words: str, state: SetState = STATE) -> Status:
    return decide(words, state).statuses[AGENT]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("", (0, 0, 0, 0, 0, 0, 0, 0), id="no-nodes"),
        pytest.param("new new", (2, 2, 2, 2, 2, 0, 0, 0), id="all-well"),
        pytest.param("old new", (2, 2, 2, 1, 2, 0, 0, 0), id="half-updated-K129"),
        pytest.param("new~ new", (2, 2, 2, 2, 1, 1, 0, 0), id="ready-before-available-K78"),
        pytest.param("new* new", (2, 2, 1, 2, 1, 1, 0, 0), id="crashing"),
        pytest.param("- new", (2, 1, 1, 1, 1, 1, 0, 0), id="missing-is-unavailable-K127-K131"),
        pytest.param("? new", (2, 1, 1, 1, 1, 1, 0, 1), id="silent-and-never-seen"),
    ],
)
def test_counts(words: str, expected: tuple[int, ...]) -> None:
    assert counts(of(words)) == expected


def test_silent_host_keeps_current_and_updated_only_k138() -> None:
    last = InstanceRecord(*AGENT, "n0", "a", "r2", "b", "Running", True, True, 0, "", 0.0, 0.0)
    status = of("? new", replace(STATE, instances=(last,)))
    assert counts(status) == (2, 2, 1, 2, 1, 1, 0, 1)


def test_misscheduled_k128() -> None:
    nodes = (node("n0", "a:NoSchedule"), node("n1", "a:NoSchedule"), node("n2"))
    result = plan(world(hosts("new - new"), STATE, nodes=nodes), NOW)
    assert counts(result.statuses[AGENT]) == (1, 1, 1, 1, 1, 0, 1, 0)
    assert "taint a:NoSchedule" in result.statuses[AGENT].holders["n0"]


def test_another_fleets_host_is_desired_but_not_unknown() -> None:
    said = {"n0": seen(owner="fleet-2")}
    status = plan(world(said, STATE), NOW).statuses[AGENT]
    assert counts(status) == (1, 0, 0, 0, 0, 1, 0, 0)
    assert status.holders == {"n0": "not ours: owned by fleet fleet-2"}


@pytest.mark.parametrize(
    ("words", "rollout", "progressing", "available", "degraded"),
    [
        pytest.param(
            "new new new",
            record("r2"),
            "False RolloutComplete",
            "True MinimumAvailable",
            "False AsExpected",
            id="complete",
        ),
        pytest.param(
            "old new new",
            STATE.rollout,
            "True RollingUpdate",
            "True MinimumAvailable",
            "False AsExpected",
            id="progressing",
        ),
        pytest.param(
            "? ? new",
            STATE.rollout,
            "False RolloutStalled",
            "True MinimumAvailable",
            "Unknown NodesUnknown",
            id="stalled",
        ),
        pytest.param(
            "? ? ?",
            STATE.rollout,
            "False RolloutStalled",
            "Unknown NodesUnknown",
            "Unknown NodesUnknown",
            id="silence-is-no-outage",
        ),
        pytest.param(
            "old! old! old!",
            STATE.rollout,
            "True RollingUpdate",
            "False MinimumUnavailable",
            "True NotAvailable",
            id="outage",
        ),
        pytest.param(
            "old new new*",
            record("r2", RolloutState.FAILED, reason="no progress"),
            "False ProgressDeadlineExceeded",
            "True MinimumAvailable",
            "True RolloutFailed",
            id="failed",
        ),
        pytest.param(
            "old new new",
            record("r2", RolloutState.PAUSED),
            "Unknown RolloutPaused",
            "True MinimumAvailable",
            "False AsExpected",
            id="paused",
        ),
    ],
)
def test_conditions(
    words: str, rollout: RolloutRecord | None, progressing: str, available: str, degraded: str
) -> None:
    paused = rollout is not None and rollout.state is RolloutState.PAUSED
    status = of(words, replace(STATE, rollout=rollout, paused=paused))
    found = [f"{condition.status} {condition.reason}" for condition in status.conditions]
    assert [condition.type for condition in status.conditions] == [
        "Progressing",
        "Available",
        "Degraded",
    ]
    assert found == [progressing, available, degraded]


def test_holders_say_why() -> None:
    status = of(
        "new old - ? new! new%",
        replace(STATE, failures={"n0": "long past", "n2": "pull: no such image"}),
    )
    assert status.holders == {
        "n1": "still on revision r1",
        "n2": "pull: no such image",
        "n3": "unreachable: connection timed out",
        "n4": status.holders["n4"],
        "n5": status.holders["n5"],
    }
    assert "failed" in status.holders["n4"]
    assert "disabled" in status.holders["n5"]


def test_on_delete_holds_up_nobody_whose_copy_is_good() -> None:
    state = replace(STATE, daemonset=daemonset(updateStrategy={"type": "OnDelete"}))
    status = of("old new old!", state)
    assert list(status.holders) == ["n2"]
    assert "failed" in status.holders["n2"]


def test_held_node_is_named() -> None:
    nodes = (node("n0", held=True), node("n1"))
    status = plan(world(hosts("old new"), STATE, nodes=nodes), NOW).statuses[AGENT]
    assert status.holders == {"n0": "on hold"}
    assert status.conditions[0].reason == "RolloutComplete"
