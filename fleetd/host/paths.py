"""Where fleetd lives on a host, as far as requests must name it.

The shell has the same places at its top (`lib.sh`); renderers name them in unit texts. A copy's
directory holds its per-host values (`host.env`) and what its bundle puts there; it goes with the
copy.
"""

from __future__ import annotations

import hashlib

from fleetd.core.meta import Key

STATE_DIR = "/var/lib/fleetd-node"
_LONGEST = 200


def stem(ds: Key) -> str:
    """What names of things of this DaemonSet begin with, after `fleetd-`; not cut."""
    return f"{ds.namespace}.{ds.name.replace('.', '_')}"


def copy_dir(ds: Key, slot: str) -> str:
    """The directory of a copy: too long a name is cut, with a hash of the whole."""
    name = stem(ds)
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{STATE_DIR}/w/{name}/{slot}"
