"""Names on a host: units, containers, directories. They never depend on the revision (P 50, 64).

A name that changed with the revision would leave the old copy to a stop command that does not know
it. Names are told apart by namespace, name, container and slot; what is too long for the host is
cut, with a hash of the whole. The container of a unit is the unit's name without `.service`.
"""

from __future__ import annotations

import hashlib

from fleetd.core.facts import Slot
from fleetd.core.meta import Key

UNIT_DIR = "/etc/systemd/system"
STATE_DIR = "/var/lib/fleetd-node"
RUN_DIR = "/run/fleetd-node"
MAIN = "main"
"""The container part of the name of a systemd workload's own unit."""

_LIMIT = 200


def unit_name(ds: Key, container: str, slot: Slot) -> str:
    """The unit of one container (or `main`) of a copy."""
    return f"{_stem(ds, container, slot)}.service"


def probe_name(ds: Key, container: str, slot: Slot) -> str:
    """The unit that probes this container."""
    return f"{_stem(ds, container, slot)}.probe.service"


def container_name(ds: Key, container: str, slot: Slot) -> str:
    """What the engine calls the container."""
    return _stem(ds, container, slot)


def target_name(ds: Key) -> str:
    """The target that stands for all units of the DaemonSet on a host."""
    return f"{_cut(f'fleetd-{_plain(ds)}')}.target"


def drop_in(ds: Key, unit: str) -> str:
    """The path of our drop-in for a unit that the host has already."""
    return f"{UNIT_DIR}/{unit}.d/50-{_cut(f'fleetd-{_plain(ds)}')}.conf"


def copy_dir(ds: Key, slot: Slot) -> str:
    """The directory of a copy: root's alone, and gone with the copy."""
    return f"{STATE_DIR}/w/{_cut(_plain(ds))}/{slot}"


def stamp_path(unit: str) -> str:
    """Where each start of a unit leaves its revision and invocation."""
    return f"{RUN_DIR}/stamp/{unit}"


def result_path(unit: str) -> str:
    """Where the probe of a MAIN unit leaves its result."""
    return f"{RUN_DIR}/probe/{unit}"


def _plain(ds: Key) -> str:
    # A namespace has no dots, so that the first dot always ends it and no two keys meet in one
    # name.
    return f"{ds.namespace}.{ds.name.replace('.', '_')}"


def _stem(ds: Key, container: str, slot: Slot) -> str:
    return _cut(f"fleetd-{_plain(ds)}.{container}.{slot}")


def _cut(name: str) -> str:
    if len(name) <= _LIMIT:
        return name
    return f"{name[: _LIMIT - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
