"""Nodes: hosts as the inventory describes them, with what the state and the host add.

`Host` is what the inventory says; `Node` is what decisions are made on: labels and taints after the
overlay of the state (`fleetd label`, `taint`, `cordon`, `hold`) and the labels that fleetd
observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


@dataclass(frozen=True, slots=True, order=True)
class Taint:
    """A taint: written `key=value:effect` or `key:effect`."""

    key: str
    value: str
    effect: Effect

    def __str__(self) -> str:
        return (
            f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"
        )


@dataclass(frozen=True, slots=True)
class Ssh:
    """How to reach a host. Paths are absolute; `jump` is the name of another host, or empty."""

    address: str
    port: int = 22
    user: str = "root"
    identity_file: str = ""
    known_hosts_file: str = ""
    jump: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the inventory."""

    name: str
    ssh: Ssh
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts, in the order of their names, and the sources that were read."""

    hosts: tuple[Host, ...]
    sources: tuple[str, ...]


UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
DRAINED = Taint("fleetd/drained", "", "NoExecute")
"""What `drain --evict-daemonsets` puts on a node. A toleration must name it: agents that tolerate
every taint, as most do, are the very ones to take away (see `selectors.tolerates`)."""

RUNTIME_LABEL = "fleetd/runtime"
"""Which engine a host's containers run on: `podman` or `docker`."""
STREAMS_LABEL = "fleetd/streams"
"""`off`: a service polls this host, and does not follow its journal."""

OBSERVED_LABELS = ("kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch")


@dataclass(frozen=True, slots=True)
class Node:
    """A host as decisions see it.

    `labels` holds what is known; a label in `unknown_labels` has never been observed, so that an
    expression on it has no answer yet. `taints` include the cordon's. `held` is hands-off.
    `left` is true for a host that is no longer in the inventory. `since` tells for NoExecute taints
    when they appeared, in UTC seconds.
    """

    name: str
    ssh: Ssh
    labels: Mapping[str, str] = field(default_factory=dict)
    unknown_labels: frozenset[str] = frozenset()
    taints: tuple[Taint, ...] = ()
    uid: str = ""
    cordoned: bool = False
    held: bool = False
    left: bool = False
    since: Mapping[Taint, float] = field(default_factory=dict)
