from __future__ import annotations

import pytest

from fleetd.core.facts import UnitState
from fleetd.core.members import Member, MemberState, from_plain, member, to_plain

UP = UnitState("u.service", active="active", sub="running", restarts=2)
RAN = UnitState("u.service", active="active", sub="exited")
FELL = UnitState("u.service", active="failed", sub="failed", exec_status=7)
AGAIN = UnitState("u.service", active="activating", sub="auto-restart", restarts=3, exec_status=1)
BUSY = UnitState("u.service", active="activating", sub="start")
IDLE = UnitState("u.service")


@pytest.mark.parametrize(
    ("unit", "probe", "initial", "expected"),
    [
        pytest.param(UP, True, False, (MemberState.RUNNING, True, 2, 0), id="up"),
        pytest.param(UP, False, False, (MemberState.RUNNING, False, 2, 0), id="probe-fails"),
        pytest.param(UP, None, False, (MemberState.RUNNING, False, 2, 0), id="not-probed-yet"),
        pytest.param(FELL, True, False, (MemberState.FAILED, False, 0, 7), id="failed"),
        pytest.param(AGAIN, True, False, (MemberState.WAITING, False, 3, 1), id="crash-loop"),
        pytest.param(IDLE, True, False, (MemberState.WAITING, False, 0, 0), id="not-begun"),
        pytest.param(RAN, True, True, (MemberState.DONE, True, 0, 0), id="init-done"),
        pytest.param(BUSY, True, True, (MemberState.RUNNING, False, 0, 0), id="init-at-work"),
        pytest.param(FELL, True, True, (MemberState.FAILED, False, 0, 7), id="init-failed"),
    ],
)
def test_a_container_is_judged_by_its_unit(
    unit: UnitState,
    probe: bool | None,
    initial: bool,
    expected: tuple[MemberState, bool, int, int],
) -> None:
    assert member("c", unit, probe=probe, initial=initial) == Member("c", *expected)


def test_members_come_back_as_they_were_kept() -> None:
    one = Member("main", MemberState.FAILED, restarts=3, status=1)
    assert from_plain(tuple(row) for row in to_plain([one])) == {"main": one}  # type: ignore[misc]
