"""What a pass decides on, put together from the store."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import Observation, Part
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.records import (
    InstanceRecord,
    ObjectRecord,
    PauseRecord,
    RemovalRecord,
    RevisionRecord,
    RolloutRecord,
    SlotRecord,
)
from fleetd.core.world import SetState, World
from fleetd.ports import Store

Rows = TypeVar("Rows", RevisionRecord, InstanceRecord, SlotRecord)


@dataclass(slots=True)
class Worlds:
    """Puts worlds together; remembers parsed documents between the passes of one run."""

    store: Store
    fleet: str
    parsed: dict[tuple[Key, int], DaemonSet] = field(default_factory=dict)

    def world(
        self,
        nodes: tuple[Node, ...],
        seen: Mapping[str, Part[Observation]],
        scope: Collection[Key] | None,
        failures: Mapping[Key, Mapping[str, str]],
        confirm_removals: int | None,
    ) -> World:
        """The world of one pass, with the DaemonSets of `scope` only (None: all of them)."""
        instances = _grouped(self.store.read(InstanceRecord))
        removals = frozenset(Key(row.namespace, row.name) for row in self.store.read(RemovalRecord))
        removals |= {
            Key(row.namespace, row.name)
            for row in self.store.read(ObjectRecord, kind="DaemonSet")
            if row.deleting
        }
        sets = self.sets(scope, failures, instances)
        return World(
            nodes=nodes,
            sets=sets,
            seen=seen,
            fleet=self.fleet,
            removals=removals if scope is None else removals.intersection(scope),
            remembered=tuple(row for key in sorted(removals) for row in instances.get(key, ())),
            confirm_removals=confirm_removals,
        )

    def sets(
        self,
        scope: Collection[Key] | None,
        failures: Mapping[Key, Mapping[str, str]],
        instances: Mapping[Key, tuple[InstanceRecord, ...]],
    ) -> tuple[SetState, ...]:
        """The DaemonSets of the store that are not being deleted, with what is remembered."""
        revisions = _grouped(self.store.read(RevisionRecord))
        slots = _grouped(self.store.read(SlotRecord))
        rollouts = {Key(row.namespace, row.name): row for row in self.store.read(RolloutRecord)}
        pauses = {Key(row.namespace, row.name): row for row in self.store.read(PauseRecord)}
        states = []
        for row in self.store.read(ObjectRecord, kind="DaemonSet"):
            key = Key(row.namespace, row.name)
            if row.deleting or (scope is not None and key not in scope):
                continue
            said = pauses.get(key)
            states.append(
                SetState(
                    daemonset=self._daemonset(key, row),
                    revision=current_revision(revisions[key]).revision,
                    rollout=rollouts.get(key),
                    slots=slots.get(key, ()),
                    instances=instances.get(key, ()),
                    paused=said is not None and said.paused,
                    resumed=said.at if said is not None and not said.paused else 0.0,
                    failures=failures.get(key, {}),
                )
            )
        return tuple(states)

    def _daemonset(self, key: Key, row: ObjectRecord) -> DaemonSet:
        place = (key, row.resource_version)
        if place not in self.parsed:
            self.parsed[place] = DaemonSet.model_validate(json.loads(row.document_json))
        return self.parsed[place]


def current_revision(revisions: Collection[RevisionRecord]) -> RevisionRecord:
    """The revision in force: the one with the highest number (K 115, 116)."""
    return max(revisions, key=lambda row: row.number)


def _grouped(rows: tuple[Rows, ...]) -> dict[Key, tuple[Rows, ...]]:
    groups: dict[Key, list[Rows]] = defaultdict(list)
    for row in rows:
        groups[Key(row.namespace, row.name)].append(row)
    return {key: tuple(group) for key, group in groups.items()}
