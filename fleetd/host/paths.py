"""Where fleetd lives on a host, as far as requests must name it.

The shell has the same places at its top (`lib.sh`); renderers name them in unit texts. A copy's
directory holds its per-host values (`host.env`) and what its bundle puts there; it goes with the
copy.
"""

from __future__ import annotations

import hashlib

from fleetd.core.meta import Key

STATE_DIR = "/var/lib/fleetd-node"
RUN_DIR = "/run/fleetd-node"
UNIT_DIR = "/etc/systemd/system"
LONGEST = 200
"""Longer names of units are cut; systemd takes 255 bytes, and drop-ins and links need some."""


def stem(ds: Key) -> str:
    """What names of things of this DaemonSet begin with, after `fleetd-`; not cut.

    A namespace has no dots, so the first dot always ends it and no two keys meet in one name.
    """
    return f"{ds.namespace}.{ds.name.replace('.', '_')}"


def copy_dir(ds: Key, slot: str) -> str:
    """The directory of a copy: root's alone, and gone with the copy."""
    return f"{STATE_DIR}/w/{cut(stem(ds))}/{slot}"


def cut(name: str) -> str:
    """The name, or where it is too long its beginning with a hash of the whole."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
