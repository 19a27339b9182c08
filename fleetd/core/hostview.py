"""One readable observation, indexed, so that each DaemonSet finds its own on a host at once.

Apart from `copies`, since it is made once per visit and judged once per DaemonSet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from fleetd.core.facts import (
    ContainerSeen,
    Deviation,
    Known,
    LedgerCopy,
    Observation,
    Slot,
    UnitState,
    Unknown,
)
from fleetd.core.meta import Key


@dataclass(frozen=True, slots=True)
class HostView:
    """One readable observation, indexed. `strays` are units and containers of ours in no ledger."""

    ledger: Mapping[Key, tuple[LedgerCopy, ...]]
    units: Mapping[str, UnitState]
    deviations: Mapping[str, Deviation]
    containers: Mapping[str, ContainerSeen] | None
    strays: Mapping[Key, tuple[tuple[Slot, str, bool], ...]]


def read(observation: Observation) -> HostView | Unknown:
    """Index an observation; Unknown when a part that decisions rest on could not be read."""
    ledger, units, files = observation.ledger, observation.units, observation.files
    if isinstance(ledger, Unknown):
        return Unknown(f"ledger: {ledger.why}")
    if isinstance(units, Unknown):
        return Unknown(f"units: {units.why}")
    if isinstance(files, Unknown):
        return Unknown(f"files: {files.why}")
    by_ds: defaultdict[Key, tuple[LedgerCopy, ...]] = defaultdict(tuple)
    for copy in sorted(ledger.value, key=attrgetter("slot")):
        by_ds[copy.ds] += (copy,)
    engine = observation.engine
    containers = engine.value if isinstance(engine, Known) else None
    return HostView(
        ledger=dict(by_ds),
        units={unit.id: unit for unit in units.value},
        deviations={entry.path: entry.kind for entry in files.value},
        containers=None if containers is None else {entry.name: entry for entry in containers},
        strays=_strays(ledger.value, units.value, containers or ()),
    )


@lru_cache(maxsize=8192)
def parse_unit_name(unit: str) -> tuple[Key, Slot] | None:
    """DaemonSet and slot of a unit `fleetd-<ns>.<name>.<container>.<slot>[.probe].service`."""
    parts = unit.split(".")
    if not unit.startswith("fleetd-") or len(parts) < 5 or parts[3] not in {"a", "b"}:
        return None
    return Key(parts[0].removeprefix("fleetd-"), parts[1].replace("_", ".")), Slot(parts[3])


def _strays(
    ledger: tuple[LedgerCopy, ...],
    units: tuple[UnitState, ...],
    containers: tuple[ContainerSeen, ...],
) -> dict[Key, tuple[tuple[Slot, str, bool], ...]]:
    ours: set[str] = set()
    for copy in ledger:
        ours.update(copy.units, copy.containers)
    found: defaultdict[Key, tuple[tuple[Slot, str, bool], ...]] = defaultdict(tuple)
    for unit in units:
        if unit.id in ours or unit.load != "loaded":
            continue
        if name := parse_unit_name(unit.id):
            found[name[0]] += ((name[1], unit.id, unit.active == "active"),)
    for container in containers:
        if container.ours and container.ds and container.name not in ours:
            stray = (container.slot or Slot.A, container.name, container.running)
            found[container.ds] += (stray,)
    return {key: tuple(sorted(strays)) for key, strays in found.items()}
