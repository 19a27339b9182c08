"""The copies that are plainly in order, which nearly all are, told at a glance.

`copies` looks closely, and is the one that says what a copy is; what is said here is what it would
say. Apart from it, so that the close look need not be written for speed.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from math import inf

from fleetd.core.copies import SETTLE_S, VENDOR_UNITS, Copy
from fleetd.core.facts import LedgerCopy, Role, UnitState
from fleetd.core.hostview import HostView, parse_unit_name
from fleetd.core.members import Member, MemberState
from fleetd.core.meta import Key
from fleetd.core.records import Phase

_ENABLED = frozenset({"enabled", "static", ""})


def glance(
    view: HostView, ds: Key, min_ready: float, replaces: Collection[str] = ()
) -> Copy | None:
    """The one copy of a DaemonSet that is there, available and undamaged; None: look closely."""
    entries = view.ledger.get(ds)
    if entries is None or len(entries) > 1 or replaces or view.deviations or ds in view.strays:
        return None
    (entry,) = entries
    if not entry.complete or entry.replaced:
        return None
    mains: tuple[tuple[str, int], ...] = ()
    restarts = 0
    age = passing = inf
    for name, role in entry.units.items():
        unit = view.units.get(name)
        if unit is None or not _is_in_order(unit, role):
            return None
        if role is Role.TARGET:
            continue  # it only groups
        if role is Role.MAIN and _is_started(view, entry, unit):
            mains += ((name, unit.restarts),)
            restarts += unit.restarts
            active = unit.active_for_s or 0.0
            age = min(age, active)
            if unit.passing_for_s is not None and unit.passing_for_s < passing:
                passing = unit.passing_for_s
        elif role is not Role.PROBE or not _passes(view, entry, unit):
            return None
    if not mains or age < min_ready or passing < min_ready or (restarts and age < SETTLE_S):
        return None
    if not _has_containers(view, entry):
        return None
    return Copy(
        entry.ds,
        entry.slot,
        entry.revision,
        running_revision=entry.revision,
        bundle=entry.bundle,
        phase=Phase.RUNNING,
        ready=True,
        available=True,
        active=True,
        active_for_s=age,
        restarts=restarts,
        members=_members(tuple(mains)),
    )


def _is_in_order(unit: UnitState, role: Role) -> bool:
    return (
        unit.active == "active"
        and unit.load == "loaded"
        and (unit.file_state in _ENABLED or (role is Role.TARGET and unit.file_state == "disabled"))
        and not unit.need_reload
        and unit.probe is not False
        and not unit.probe_message
        and (not unit.drop_ins or all(path.startswith(VENDOR_UNITS) for path in unit.drop_ins))
    )


def _is_started(view: HostView, entry: LedgerCopy, unit: UnitState) -> bool:
    """Whether it runs what the ledger names; and no probe looks at it that the ledger knows not."""
    if unit.sub != "running" or unit.stamp_invocation != unit.invocation:
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
def _members(units: tuple[tuple[str, int], ...]) -> tuple[Member, ...]:
    named = [(unit.split(".")[2], count) for unit, count in units if parse_unit_name(unit)]
    return tuple(
        Member(name, MemberState.RUNNING, ready=True, restarts=count)
        for name, count in named
        if not name.startswith("_")
    )
