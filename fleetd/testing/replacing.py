"""What a simulated host does to units of its own that a copy replaces, and how it gives them back.

The twin of `put_away` and `bring_back` in the shell: it says the same in the same words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fleetd.core.facts import Former, LedgerCopy, Slot
from fleetd.core.meta import Key
from fleetd.testing.units import SimUnit

Ledger = Mapping[tuple[Key, Slot], LedgerCopy]
Units = Mapping[str, SimUnit]


def refusal(names: Iterable[str], ds: Key, ledger: Ledger) -> tuple[str, str] | None:
    """The step that refuses to replace them and why, where one belongs to another DaemonSet."""
    for name in names:
        for (owner, _), copy in ledger.items():
            if owner != ds and (name in copy.units or name in copy.replaced):
                return "check", f"{name} cannot be replaced: it belongs to DaemonSet {owner}"
    return None


def formers(
    names: Iterable[str], place: tuple[Key, Slot], ledger: Ledger, units: Units, now: float
) -> dict[str, Former]:
    """How they were before any copy of this DaemonSet; what earlier orders named is kept."""
    known = dict(ledger[place].replaced) if place in ledger else {}
    beside = [copy.replaced for (ds, _), copy in ledger.items() if ds == place[0]]
    for name in names:
        unit = units.get(name)
        here = Former(unit.file_state, unit.state(now).active) if unit else Former("", "inactive")
        told = [replaced[name] for replaced in beside if name in replaced]
        known.setdefault(name, told[0] if told else here)
    return known


def in_the_way(names: Collection[str], units: Units) -> list[str]:
    """Those that run, or would at the next boot."""
    there = [(name, units[name]) for name in names if name in units]
    return [name for name, unit in there if unit.enabled or unit.started_at is not None]


def put_away(names: Collection[str], units: Units) -> tuple[str, ...]:
    """Stop and disable them; what was done, in the host's words."""
    away = in_the_way(names, units)
    for name in away:
        units[name].enabled = False
        units[name].stop()
    return tuple(f"{name} was stopped and disabled: this copy takes its place" for name in away)


def bring_back(
    copy: LedgerCopy, others: Iterable[LedgerCopy], units: Units, now: float
) -> tuple[str, ...]:
    """Give back what no other copy replaces, too; what was done, in the host's words."""
    kept = {name for other in others for name in other.replaced}
    notes = []
    for name, former in copy.replaced.items():
        unit = units.get(name)
        if name in kept or unit is None:
            continue
        unit.enabled = unit.enabled or former.file_state == "enabled"
        if former.active == "active" and unit.started_at is None:
            unit.start(now)
        notes.append(f"{name} is as it was before: {former.file_state}, {former.active}")
    return tuple(notes)
