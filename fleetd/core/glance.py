"""The copies that are plainly in order, which nearly all are, told at a glance.

`copies` looks closely, and is the one that says what a copy is. A glance only says whether it would
say just what the state has already. Apart from it, so that the close look need not be written for
speed.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from math import inf

from fleetd.core.copies import SETTLE_S, VENDOR_UNITS
from fleetd.core.facts import LedgerCopy, Role, UnitState
from fleetd.core.hostview import HostView, parse_unit_name
from fleetd.core.instances import JITTER_S
from fleetd.core.members import Member, MemberState, to_json
from fleetd.core.meta import Key
from fleetd.core.placement import Sight
from fleetd.core.records import InstanceRecord, Phase

_ENABLED = frozenset({"enabled", "static", ""})
# To look a member up in its enum takes longer than what is asked of it here.
_MAIN, _PROBE, _TARGET = Role.MAIN, Role.PROBE, Role.TARGET
_RUNNING = Phase.RUNNING


def glance(
    sight: Sight,
    ds: Key,
    told: InstanceRecord,
    min_ready: float,
    replaces: Collection[str] = (),
) -> bool:
    """Whether one copy is there, available, undamaged and as `told`; if not, look closely."""
    view = sight.view
    if view is None or replaces or view.deviations or (view.strays and ds in view.strays):
        return False
    entries = view.ledger.get(ds, ())
    if len(entries) != 1 or not _is_of(told, entries[0]):
        return False
    entry = entries[0]
    mains: tuple[tuple[str, int], ...] = ()
    restarts = 0
    age = inf
    for name, role in entry.units.items():
        unit = view.units.get(name)
        if unit is None or not _is_in_order(unit, role):
            return False
        if role is _TARGET:
            continue  # it only groups
        if role is _MAIN and _is_ready(view, entry, unit, min_ready):
            mains += ((name, unit.restarts),)
            restarts += unit.restarts
            age = min(age, unit.active_for_s or 0.0)
        elif role is not _PROBE or not _passes(view, entry, unit):
            return False
    return (
        bool(mains)
        and age >= min_ready
        and (not restarts or age >= SETTLE_S)
        and restarts == told.restarts
        and abs(sight.at - age - told.started) < JITTER_S
        and told.members_json == _members_json(mains)
        and _has_containers(view, entry)
    )


def _is_of(told: InstanceRecord, entry: LedgerCopy) -> bool:
    """Whether the record tells of an available copy, and the ledger has this copy complete."""
    return (
        entry.complete
        and not entry.replaced
        and told.available
        and told.ready
        and told.phase == _RUNNING
        and not told.message
        and told.created > 0
        and told.slot == entry.slot
        and told.revision == entry.revision
        and told.bundle == entry.bundle
    )


def _is_in_order(unit: UnitState, role: Role) -> bool:
    return (
        unit.active == "active"
        and unit.load == "loaded"
        and (unit.file_state in _ENABLED or (role is _TARGET and unit.file_state == "disabled"))
        and not unit.need_reload
        and unit.probe is not False
        and not unit.probe_message
        and (not unit.drop_ins or all(path.startswith(VENDOR_UNITS) for path in unit.drop_ins))
    )


def _is_ready(view: HostView, entry: LedgerCopy, unit: UnitState, min_ready: float) -> bool:
    """Whether it runs what the ledger names, and has passed its probe for so long, if it says so.

    No probe may look at it that the ledger does not know.
    """
    if unit.sub != "running" or unit.stamp_invocation != unit.invocation:
        return False
    if unit.passing_for_s is not None and unit.passing_for_s < min_ready:
        return False
    prober = _prober(unit.id)
    known = prober not in view.units or prober in entry.units
    return known and unit.stamp_revision == entry.revision


def _passes(view: HostView, entry: LedgerCopy, probe: UnitState) -> bool:
    """Whether a probe has a result; a failure would not be in order."""
    probed = probe.id.replace(".probe.", ".")
    if probed not in entry.units or probed not in view.units:
        return False
    return probe.probe is not None or view.units[probed].probe is not None


def _has_containers(view: HostView, entry: LedgerCopy) -> bool:
    """Whether they run, as far as the engine was asked."""
    if view.containers is None:
        return True
    for name in entry.containers:
        container = view.containers.get(name)
        if container is None or not container.ours or not container.running:
            return False
    return True


@lru_cache(maxsize=8192)
def _prober(unit: str) -> str:
    return f"{unit.removesuffix('.service')}.probe.service"


@lru_cache(maxsize=8192)
def _members_json(units: tuple[tuple[str, int], ...]) -> str:
    named = [(unit.split(".")[2], count) for unit, count in units if parse_unit_name(unit)]
    return to_json(
        tuple(
            Member(name, MemberState.RUNNING, ready=True, restarts=count)
            for name, count in named
            if not name.startswith("_")
        )
    )
