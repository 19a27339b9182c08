"""Copies that a timer or a socket starts: judged by their trigger and their last run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.core.copies import Copy, DamageKind, judge
from fleetd.core.facts import (
    Known,
    LedgerCopy,
    Observation,
    Role,
    Runtime,
    Slot,
    UnitState,
    Unknown,
)
from fleetd.core.records import Phase
from tests.unit.core.worlds import AGENT, observation

SERVICE = "fleetd-default.agent.main.a.service"
TIMER = "fleetd-default.agent.main.a.timer"
WAITING = UnitState(
    TIMER, "loaded", "active", "waiting", invocation="t", active_for_s=60.0, file_state="enabled"
)
IDLE = UnitState(SERVICE, "loaded", invocation="s", file_state="static")
RUNS = replace(
    IDLE,
    active="active",
    sub="running",
    active_for_s=2.0,
    stamp_revision="r1",
    stamp_invocation="s",
)


def seen(timer: UnitState, service: UnitState) -> Observation:
    roles = {SERVICE: Role.TRIGGERED, TIMER: Role.TRIGGER}
    entry = LedgerCopy(AGENT, Slot.A, "r1", "b1", Runtime.SYSTEMD, roles)
    return replace(observation(), ledger=Known((entry,)), units=Known((timer, service)))


def judged(timer: UnitState = WAITING, service: UnitState = IDLE) -> Copy:
    found = judge(seen(timer, service), AGENT, 10.0)
    assert not isinstance(found, Unknown)
    (copy,) = found
    return copy


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(replace(IDLE, invocation=""), id="never-ran"),
        pytest.param(IDLE, id="between-runs"),
        pytest.param(RUNS, id="runs"),
        pytest.param(replace(IDLE, active="activating", sub="start"), id="a-oneshot-at-work"),
        pytest.param(replace(IDLE, active="deactivating", sub="stop"), id="ending"),
    ],
)
def test_a_copy_is_well_while_its_trigger_waits(service: UnitState) -> None:
    copy = judged(service=service)
    assert (copy.available, copy.damage, copy.phase) == (True, (), Phase.RUNNING)
    assert (copy.running_revision, copy.message) == ("r1", "")


def test_a_run_that_failed_makes_it_unready_and_is_nothing_to_repair() -> None:
    copy = judged(service=replace(IDLE, active="failed", sub="failed", result="exit-code"))
    assert (copy.ready, copy.damage, copy.phase) == (False, (), Phase.FAILED)
    assert SERVICE in copy.message


def test_a_run_of_another_revision_is_not_this_copy() -> None:
    copy = judged(service=replace(RUNS, stamp_revision="r0"))
    assert not copy.ready
    assert [damage.kind for damage in copy.damage] == [DamageKind.STALE]


@pytest.mark.parametrize(
    ("timer", "kind"),
    [
        pytest.param(
            replace(WAITING, active="inactive", sub="dead", active_for_s=None),
            DamageKind.STOPPED,
            id="stopped",
        ),
        pytest.param(
            replace(WAITING, active="failed", sub="failed", active_for_s=None),
            DamageKind.FAILED,
            id="failed",
        ),
        pytest.param(replace(WAITING, file_state="disabled"), DamageKind.DISABLED, id="disabled"),
    ],
)
def test_a_trigger_that_waits_no_more_is_drift(timer: UnitState, kind: DamageKind) -> None:
    assert [damage.kind for damage in judged(timer).damage] == [kind]


def test_the_age_of_a_copy_is_that_of_its_trigger() -> None:
    copy = judged(replace(WAITING, active_for_s=4.0), RUNS)
    assert (copy.ready, copy.available, copy.ready_in_s) == (True, False, 6.0)
