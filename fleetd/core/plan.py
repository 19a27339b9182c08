"""One pass decided: `plan(world, now)` sorts every (node, DaemonSet) into one bucket, with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetd.core.actions import Action, Decision, Remove, Repair, Start, Update
from fleetd.core.meta import Key
from fleetd.core.records import EventRecord, InstanceRecord, RolloutRecord, SlotRecord
from fleetd.core.status import Status


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass is to do, and what it has to write down.

    `decisions` has one entry per (node, DaemonSet), by node and DaemonSet. `slots` and `rollouts` hold only
    the records that changed; they are to be durable before the first action. `instances` are changed copies
    as seen, `gone` those no longer there (to be dropped). `wake_at` is when time alone changes the answer.
    """

    decisions: tuple[Decision, ...]
    rollouts: tuple[RolloutRecord, ...]
    slots: tuple[SlotRecord, ...]
    statuses: Mapping[Key, Status]
    instances: tuple[InstanceRecord, ...]
    gone: tuple[InstanceRecord, ...]
    events: tuple[EventRecord, ...]
    settled: bool
    wake_at: float | None

    @property
    def actions(self) -> tuple[Action, ...]:
        """The decisions that do something."""
        return tuple(
            entry for entry in self.decisions if isinstance(entry, Start | Update | Repair | Remove)
        )
