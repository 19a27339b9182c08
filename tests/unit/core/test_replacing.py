"""Units of the host in whose place copies run: what is seen of them, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.core.actions import Mode, Start
from fleetd.core.copies import Copy, DamageKind, judge_view
from fleetd.core.facts import Former, Known, Observation, UnitState, Unknown
from fleetd.core.hostview import read
from fleetd.core.plan import Plan, plan
from fleetd.core.records import RolloutState
from fleetd.core.validation import validate
from fleetd.core.world import SetState
from tests.unit.core.worlds import (
    AGENT,
    NOW,
    Box,
    daemonset,
    hosts,
    observation,
    record,
    rolling,
    slot,
    verdicts,
    world,
)

OLD = "old-agent.service"
AWAY = UnitState(OLD, "loaded", file_state="disabled")
WAS = {OLD: Former("enabled", "active")}
GO, FULL, OK, SOON = "start:Missing", "wait:NoSlot", "keep:UpToDate", "wait:Starting"


def taking_over(unavailable: int | str = 1, slots: str = "") -> SetState:
    return SetState(
        daemonset(updateStrategy=rolling(unavailable), annotations={"fleetd/replaces": OLD}),
        revision="r2",
        rollout=record("r2", RolloutState.PROGRESSING),
        slots=tuple(slot(name) for name in slots.split()),
    )


def decided(words: str, state: SetState) -> Plan:
    """As `decide`, on hosts where each copy has replaced the old unit."""
    return plan(world({name: _over(said) for name, said in hosts(words).items()}, state), NOW)


def _over(said: Known[Observation] | Unknown) -> Known[Observation] | Unknown:
    if isinstance(said, Unknown) or isinstance(said.value.ledger, Unknown):
        return said
    entries = (replace(entry, replaced=WAS) for entry in said.value.ledger.value)
    return Known(replace(said.value, ledger=Known(tuple(entries))))


def with_old(unit: UnitState = AWAY, *, replaced: bool = True) -> Observation:
    what = observation(Box())
    assert isinstance(what.ledger, Known)
    assert isinstance(what.units, Known)
    (entry,) = what.ledger.value
    if replaced:
        entry = replace(entry, replaced=WAS)
    return replace(
        what, ledger=Known((entry,)), units=Known((*what.units.value, replace(unit, id=OLD)))
    )


def judged(what: Observation, *replaces: str) -> Copy:
    view = read(what)
    assert not isinstance(view, Unknown)
    (copy,) = judge_view(view, AGENT, 10.0, replaces)
    return copy


def test_a_copy_tells_in_whose_place_it_runs() -> None:
    copy = judged(with_old(), OLD)
    assert copy.replaced == (f"{OLD} (was enabled, active)",)
    assert (copy.available, copy.damage) == (True, ())


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(replace(AWAY, active="active"), id="started"),
        pytest.param(replace(AWAY, active="activating"), id="starting"),
        pytest.param(replace(AWAY, file_state="enabled"), id="enabled"),
        pytest.param(replace(AWAY, file_state="enabled-runtime"), id="enabled-until-reboot"),
    ],
)
def test_a_replaced_unit_that_is_back_is_drift_that_stops_no_copy(unit: UnitState) -> None:
    copy = judged(with_old(unit), OLD)
    assert [(d.kind, d.subject, d.mode) for d in copy.damage] == [
        (DamageKind.REPLACED, OLD, Mode.START)
    ]
    assert copy.available


def test_a_unit_that_is_named_later_is_replaced_later() -> None:
    (damage,) = judged(with_old(replaced=False), OLD).damage
    assert damage.kind is DamageKind.REPLACED


def test_a_unit_that_is_no_longer_named_is_left_alone_but_remembered() -> None:
    copy = judged(with_old(replace(AWAY, active="active")))
    assert copy.damage == ()
    assert copy.replaced


def test_a_replaced_unit_that_was_uninstalled_is_no_drift() -> None:
    what = with_old()
    assert isinstance(what.units, Known)
    assert judged(replace(what, units=Known(what.units.value[:1])), OLD).damage == ()


@pytest.mark.parametrize(
    ("unavailable", "said", "slots", "expected"),
    [
        pytest.param(1, "- - -", "", f"{GO} {FULL} {FULL}", id="one-host-at-a-time"),
        pytest.param("50%", "- - - -", "", f"{GO} {GO} {FULL} {FULL}", id="a-share-at-a-time"),
        pytest.param(1, "new - -", "n0", f"{OK} {GO} {FULL}", id="the-next-when-one-is-done"),
        pytest.param(1, "new~ - -", "n0", f"{SOON} {FULL} {FULL}", id="not-while-one-is-young"),
        pytest.param(1, "new* - -", "n0", f"{SOON} {FULL} {FULL}", id="not-while-one-fails"),
        pytest.param(1, "- - -", "n1", f"{FULL} {GO} {FULL}", id="one-that-was-begun-goes-on"),
        pytest.param(2, "- ? -", "n1", f"{GO} unknownhost:Unreachable {FULL}", id="silent-counts"),
    ],
)
def test_a_host_whose_unit_is_replaced_counts_as_down(
    unavailable: int | str, said: str, slots: str, expected: str
) -> None:
    assert verdicts(decided(said, taking_over(unavailable, slots))) == expected


def test_nothing_is_replaced_without_a_slot_that_is_durable_first() -> None:
    result = decided("- -", taking_over())
    (start,) = [entry for entry in result.decisions if isinstance(entry, Start)]
    assert start.detail == f"takes the place of {OLD}"
    assert [(taken.node, taken.revision, taken.released) for taken in result.slots] == [
        ("n0", "r2", 0.0)
    ]


def test_what_replaces_nothing_starts_everywhere_at_once() -> None:
    state = SetState(daemonset(), revision="r2", rollout=record("r2", RolloutState.PROGRESSING))
    assert verdicts(decided("- - -", state)) == f"{GO} {GO} {GO}"


def test_a_host_that_joins_later_takes_a_slot_as_well() -> None:
    state = replace(taking_over(), rollout=record("r2"))
    result = decided("new -", state)
    assert verdicts(result) == f"{OK} {GO}"
    assert [taken.node for taken in result.slots] == ["n1"]


PATH = "metadata.annotations[fleetd/replaces]"


@pytest.mark.parametrize(
    ("names", "units"),
    [
        ("a.service", ("a.service",)),
        ("a.service, b.timer b.timer\n c.socket", ("a.service", "b.timer", "c.socket")),
        ("[a.service, b.path]", ("a.service", "b.path")),
    ],
)
def test_units_are_named_in_a_list(names: str, units: tuple[str, ...]) -> None:
    made = daemonset(annotations={"fleetd/replaces": names})
    assert made.replaces == units
    assert [finding.path for finding in validate(made)] == []


@pytest.mark.parametrize(
    "names",
    ["", "old-agent", "a.mount", "fleetd-default.other.main.a.service", "../a.service"],
)
def test_what_cannot_be_replaced_is_refused(names: str) -> None:
    made = daemonset(annotations={"fleetd/replaces": names})
    assert {finding.path for finding in validate(made)} == {PATH}


@pytest.mark.parametrize("none", [0, "0%"])
def test_an_old_unit_cannot_be_replaced_while_nothing_may_be_down(none: int | str) -> None:
    made = daemonset(annotations={"fleetd/replaces": OLD}, updateStrategy=rolling(none, surge=1))
    paths = [finding.path for finding in validate(made)]
    assert "spec.updateStrategy.rollingUpdate.maxUnavailable" in paths
