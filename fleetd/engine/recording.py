"""What a pass writes down: before it acts, and after."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from typing import Any

from fleetd.core.actions import Remove
from fleetd.core.meta import Key
from fleetd.core.plan import Plan
from fleetd.core.records import (
    IDENTITY,
    EventRecord,
    InstanceRecord,
    ObjectRecord,
    StatusRecord,
)
from fleetd.core.status import Status
from fleetd.core.views import timestamp
from fleetd.engine.executor import Outcome, Step
from fleetd.ports import Change, Drop, Put, Store

SINCE = "lastTransitionTime"


def record_plan(store: Store, plan: Plan, scope: Collection[Key] | None, now: float) -> None:
    """Write slots, rollouts, copies, status and events; durable when it returns."""

    def ours(namespace: str, name: str) -> bool:
        return scope is None or Key(namespace, name) in scope

    changes: list[Change] = []
    changes += [Put(row) for row in plan.slots if ours(row.namespace, row.name)]
    changes += [Put(row) for row in plan.rollouts if ours(row.namespace, row.name)]
    changes += [Put(row) for row in plan.instances if ours(row.namespace, row.name)]
    changes += [_drop(row) for row in plan.gone if ours(row.namespace, row.name)]
    for key, status in plan.statuses.items():
        changes += _status(store, key, status, now)
    changes += events(store, (row for row in plan.events if ours(row.namespace, row.name)))
    if changes:
        store.commit(changes)


def record_steps(store: Store, steps: Iterable[Step], now: float) -> None:
    """Turn what failed into events; what was done shows in the next look.

    What was done to units that are a host's own is told as well, since nothing else remembers it.
    """
    fresh = []
    for step in steps:
        about = step.action.ds, step.action.node
        if step.outcome in (Outcome.FAILED, Outcome.REFUSED):
            reason = f"Failed{type(step.action).__name__}"
            event = EventRecord.once(*about, reason, step.message, now, warning=True)
            fresh.append(event)
        reason = "GaveBack" if isinstance(step.action, Remove) else "TookOver"
        fresh += (EventRecord.once(*about, reason, note, now, warning=False) for note in step.notes)
    changes = events(store, fresh)
    if changes:
        store.commit(changes)


def events(store: Store, fresh: Iterable[EventRecord]) -> list[Change]:
    """The same event again is one row with a higher count."""
    changes: list[Change] = []
    for event in fresh:
        known = store.read(
            EventRecord, **{column: getattr(event, column) for column in IDENTITY[EventRecord]}
        )
        count = known[0].count + event.count if known else event.count
        first = known[0].first if known else event.first
        changes.append(Put(replace(event, count=count, first=first)))
    return changes


def _status(store: Store, key: Key, status: Status, now: float) -> list[Change]:
    rows = store.read(StatusRecord, namespace=key.namespace, name=key.name)
    document = asdict(status)
    document["conditions"] = _timed(document["conditions"], rows[0] if rows else None, now)
    text = json.dumps(document, sort_keys=True)
    changes: list[Change] = []
    if not rows or rows[0].status_json != text:
        changes.append(Put(StatusRecord(key.namespace, key.name, text, now)))
    # The generation counts as observed once a pass has acted upon it (K 133).
    objects = store.read(ObjectRecord, kind="DaemonSet", namespace=key.namespace, name=key.name)
    changes += [
        Put(replace(row, observed_generation=row.generation))
        for row in objects
        if row.observed_generation != row.generation
    ]
    return changes


def _timed(
    conditions: Iterable[dict[str, Any]], before: StatusRecord | None, now: float
) -> list[dict[str, Any]]:
    """The conditions with the time of their last change from one status to another."""
    known = json.loads(before.status_json).get("conditions", ()) if before else ()
    since = {(each["type"], each["status"]): each[SINCE] for each in known if SINCE in each}
    return [
        {**each, SINCE: since.get((each["type"], each["status"])) or timestamp(now)}
        for each in conditions
    ]


def _drop(row: InstanceRecord) -> Drop:
    return Drop(
        InstanceRecord,
        **{column: getattr(row, column) for column in IDENTITY[InstanceRecord]},
    )
