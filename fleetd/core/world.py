"""What a plan is made from: the desired, the observed and the remembered, as one frozen value.

Separate from `plan`, since placement, rollout and status read the same value and `plan` joins them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import Known, Observation, Unknown
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.records import InstanceRecord, RolloutRecord, SlotRecord


@dataclass(frozen=True, slots=True)
class SetState:
    """One DaemonSet with what the state remembers of it.

    `revision` is the target (see `revision_of`). `slots` are all its slots, open and released, at
    least those of the present rollout and every open one. `instances` are the copies last seen.
    `resumed` is when somebody last said to go on (0: never), which a failed rollout heeds.
    `failures` maps a node to what its last action failed with, for reasons that people read; it
    decides nothing.
    """

    daemonset: DaemonSet
    revision: str
    rollout: RolloutRecord | None = None
    slots: tuple[SlotRecord, ...] = ()
    instances: tuple[InstanceRecord, ...] = ()
    paused: bool = False
    resumed: float = 0.0
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Namespace and name of the DaemonSet."""
        return self.daemonset.key


@dataclass(frozen=True, slots=True)
class World:
    """Everything that one pass decides on.

    `nodes` holds those of the inventory and those that `left`. A node without an entry in `seen` is
    as unknown as one that did not answer. `looked` is when what is in `seen` was said, in UTC
    seconds; what has no entry was said just now. `removals` are DaemonSets deleted for good,
    `remembered` the copies of these last seen. `fleet` is the fleet's id. `confirm_removals` is how
    many removals a person agreed to, None when nobody was asked.
    """

    nodes: tuple[Node, ...]
    sets: tuple[SetState, ...]
    seen: Mapping[str, Known[Observation] | Unknown]
    fleet: str
    removals: frozenset[Key] = frozenset()
    remembered: tuple[InstanceRecord, ...] = ()
    confirm_removals: int | None = None
    looked: Mapping[str, float] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    """Nodes that are being looked at, or have an order under way: what was seen there is out of
    date, so that it frees no budget, and nothing new is begun there."""
