"""What a pass decides on, put together from the store.

It is read DaemonSet by DaemonSet: a store that keeps what it read hands the very same rows out
again for those of which nothing has changed.
"""

from __future__ import annotations

import json
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
    parsed: dict[Key, tuple[int, DaemonSet]] = field(default_factory=dict)
    """The documents as they were read last, with their versions."""

    def world(
        self,
        nodes: tuple[Node, ...],
        seen: Mapping[str, Part[Observation]],
        scope: Collection[Key] | None,
        failures: Mapping[Key, Mapping[str, str]],
        confirm_removals: int | None,
    ) -> World:
        """The world of one pass, with the DaemonSets of `scope` only (None: all of them)."""
        removals = frozenset(Key(row.namespace, row.name) for row in self.store.read(RemovalRecord))
        removals |= {
            Key(row.namespace, row.name)
            for row in self.store.read(ObjectRecord, kind="DaemonSet")
            if row.deleting
        }
        return World(
            nodes=nodes,
            sets=self.sets(scope, failures),
            seen=seen,
            fleet=self.fleet,
            removals=removals if scope is None else removals.intersection(scope),
            remembered=tuple(
                row for key in sorted(removals) for row in self._rows(InstanceRecord, key)
            ),
            confirm_removals=confirm_removals,
        )

    def sets(
        self,
        scope: Collection[Key] | None,
        failures: Mapping[Key, Mapping[str, str]],
    ) -> tuple[SetState, ...]:
        """The DaemonSets of the store that are not being deleted, with what is remembered."""
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
                    revision=current_revision(self._rows(RevisionRecord, key)).revision,
                    rollout=rollouts.get(key),
                    slots=self._rows(SlotRecord, key),
                    instances=self._rows(InstanceRecord, key),
                    paused=said is not None and said.paused,
                    resumed=said.at if said is not None and not said.paused else 0.0,
                    failures=failures.get(key, {}),
                )
            )
        return tuple(states)

    def _daemonset(self, key: Key, row: ObjectRecord) -> DaemonSet:
        version, known = self.parsed.get(key, (0, None))
        if known is None or version != row.resource_version:
            known = DaemonSet.model_validate(json.loads(row.document_json))
            self.parsed[key] = (row.resource_version, known)
        return known

    def _rows(self, kind: type[Rows], key: Key) -> tuple[Rows, ...]:
        return self.store.read(kind, namespace=key.namespace, name=key.name)


def current_revision(revisions: Collection[RevisionRecord]) -> RevisionRecord:
    """The revision in force: the one with the highest number (K 115, 116)."""
    return max(revisions, key=lambda row: row.number)
