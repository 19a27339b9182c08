"""What differs from host to host within one bundle: a few plain values in one small file per copy.

Bundles name them; every host has its own. They are plain enough to be read by sh and by systemd
without any quoting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import Slot
from fleetd.core.key import Key, pod_name, pod_uid
from fleetd.core.node import Node
from fleetd.workload.errors import RenderError
from fleetd.workload.names import copy_dir

FIELDS: Mapping[str, str] = {
    "spec.nodeName": "FLEETD_NODE_NAME",
    "status.hostIP": "FLEETD_HOST_IP",
    "status.hostIPs": "FLEETD_HOST_IP",
    "status.podIP": "FLEETD_POD_IP",
    "status.podIPs": "FLEETD_POD_IP",
    "metadata.name": "FLEETD_POD_NAME",
    "metadata.namespace": "FLEETD_NAMESPACE",
    "metadata.uid": "FLEETD_POD_UID",
}
"""The fields that a fieldRef may ask for, and the value that answers.

All stand in the host's file but FLEETD_POD_IP, which a launcher that needs it finds out.
"""

HOST_ADDRESS = (
    "case $FLEETD_HOST_IP in",
    "  *:*) ;;",
    "  *[!0-9.]*)",
    "    for found in $(getent ahostsv4 \"$FLEETD_HOST_IP\" 2>/dev/null | cut -d ' ' -f 1) \\",
    "      $(hostname -I 2>/dev/null); do",
    "      case $found in 127.*) ;; *) FLEETD_HOST_IP=$found && break ;; esac",
    "    done ;;",
    "esac",
)
"""Lines of a shell for who asks for the host's address, where the inventory has its name.

The host resolves it, but for the loopback that many hosts have for their own name; else it is the
first address that the host has. (Without either the name stays.)
"""

_SAFE = re.compile(r"[A-Za-z0-9._:/@+-]*\Z")


def host_values(ds: DaemonSet, node: Node, fleet: str, slot: Slot = Slot.A) -> Mapping[str, str]:
    """The values of one copy on one host.

    Name and uid are functions of fleet, DaemonSet, node and slot: a copy that is made anew in its
    slot bears them again.

    Raises:
        RenderError: a value is not plain (only a host's address can be so).
    """
    ns, name = ds.key
    values = {
        "FLEETD_NODE_NAME": node.name,
        "FLEETD_HOST_IP": node.ssh.address,
        "FLEETD_POD_NAME": pod_name(ds.key, node.name, slot),
        "FLEETD_NAMESPACE": ns,
        "FLEETD_POD_UID": pod_uid(fleet, ds.key, node.name, slot),
        "FLEETD_NAME": name,
        "FLEETD_FLEET": fleet,
    }
    for key, value in values.items():
        if not _SAFE.match(value):
            raise RenderError(key, f"{value!r} has characters that no host value may have")
    return values


def values_path(ds: Key, slot: Slot) -> str:
    """The file that holds them on the host."""
    return f"{copy_dir(ds, slot)}/host.env"
