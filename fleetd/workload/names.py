"""Names on a host: units, containers, directories. They never depend on the revision (P 50, 64).

A name that changed with the revision would leave the old copy to a stop command that does not know
it. Names are told apart by namespace, name, container and slot; what is too long for the host is
cut, with a hash of the whole. The container of a unit is the unit's name without `.service`.
"""

from __future__ import annotations

from fleetd.core.facts import Slot
from fleetd.core.meta import Key
from fleetd.host.paths import RUN_DIR, STATE_DIR, UNIT_DIR, copy_dir, cut, stem

__all__ = [
    "HOLDER",
    "MAIN",
    "RUN_DIR",
    "STATE_DIR",
    "UNIT_DIR",
    "container_name",
    "copy_dir",
    "drop_in",
    "probe_name",
    "result_path",
    "stamp_path",
    "target_name",
    "trigger_name",
    "unit_name",
]

HOLDER = "_holder"
"""The container part of the name of a pod's holder; no container may be called so."""

MAIN = "main"
"""The container part of the name of a systemd workload's own unit."""


def unit_name(ds: Key, container: str, slot: Slot) -> str:
    """The unit of one container (or `main`) of a copy."""
    return f"{_stem(ds, container, slot)}.service"


def trigger_name(ds: Key, slot: Slot, kind: str) -> str:
    """The timer or socket that starts a workload's own unit: systemd pairs them by name."""
    return f"{_stem(ds, MAIN, slot)}.{kind}"


def probe_name(ds: Key, container: str, slot: Slot) -> str:
    """The unit that probes this container."""
    return f"{_stem(ds, container, slot)}.probe.service"


def container_name(ds: Key, container: str, slot: Slot) -> str:
    """What the engine calls the container."""
    return _stem(ds, container, slot)


def target_name(ds: Key) -> str:
    """The target that stands for all units of the DaemonSet on a host."""
    return f"{cut(f'fleetd-{stem(ds)}')}.target"


def drop_in(ds: Key, unit: str) -> str:
    """The path of our drop-in for a unit that the host has already."""
    return f"{UNIT_DIR}/{unit}.d/50-{cut(f'fleetd-{stem(ds)}')}.conf"


def stamp_path(unit: str) -> str:
    """Where each start of a unit leaves its revision and invocation."""
    return f"{RUN_DIR}/stamp/{unit}"


def result_path(unit: str) -> str:
    """Where the probe of a MAIN unit leaves its result."""
    return f"{RUN_DIR}/probe/{unit}"


def _stem(ds: Key, container: str, slot: Slot) -> str:
    return cut(f"fleetd-{stem(ds)}.{container}.{slot}")
