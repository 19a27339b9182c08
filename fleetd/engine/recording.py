"""What a pass writes down: before it acts, and after.

Events are for people who look for what happened lately: the same one again is one row with a count,
and what differs by a number only becomes one row as well. The audit is for those who have to know
who did what: a row for each action that was begun, whatever came of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from typing import Any

from fleetd.core.actions import Action, Remove
from fleetd.core.meta import Key
from fleetd.core.plan import Plan
from fleetd.core.records import (
    FLEETD,
    IDENTITY,
    AuditRecord,
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
EVENTS_KEPT = 10_000
"""So many events stay, the latest; a host or two may tell thousands before anybody looks."""
SIMILAR = 10
"""So many messages of one kind about one thing are told apart."""
COMBINED = "(combined from similar events): "
"""Kubernetes' words for an event that stands for several messages."""
MESSAGE_LIMIT = 1024
"""Kubernetes' bound of an event's message; a host may say far more."""


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


def record_steps(store: Store, steps: Iterable[Step], now: float, *, who: str = FLEETD) -> None:
    """Write what became of actions into the audit, and what failed into the events.

    `who` asked for this run. What was done to units that are a host's own is an event as well,
    since nothing else remembers it. Durable when it returns.
    """
    fresh: list[EventRecord] = []
    audit: list[Change] = []
    for step in steps:
        about = step.action.ds, step.action.node
        if step.outcome in (Outcome.FAILED, Outcome.REFUSED):
            reason = f"Failed{type(step.action).__name__}"
            event = EventRecord.once(*about, reason, step.message, now, warning=True)
            fresh.append(event)
        reason = "GaveBack" if isinstance(step.action, Remove) else "TookOver"
        fresh += (EventRecord.once(*about, reason, note, now, warning=False) for note in step.notes)
        if step.outcome is not Outcome.NOT_TRIED:
            audit.append(Put(_audit(step, now, who)))
    changes = [*events(store, fresh), *audit]
    if changes:
        store.commit(changes)


def _audit(step: Step, now: float, who: str) -> AuditRecord:
    action = step.action
    return AuditRecord(
        at=now,
        who=who,
        verb=type(action).__name__.lower(),
        subject=f"DaemonSet {action.ds}",
        detail="; ".join(filter(None, (_cause(action), step.message)))[:MESSAGE_LIMIT],
        node=action.node,
        revision=getattr(action, "revision", ""),
        outcome=step.outcome.value,
    )


def _cause(action: Action) -> str:
    return f"{action.reason.value}: {action.detail}" if action.detail else action.reason.value


def events(store: Store, fresh: Iterable[EventRecord]) -> list[Change]:
    """The same event again is one row with a higher count; many alike become one, too.

    A message may hold what is never the same twice: a time, a process. Above `SIMILAR` messages of
    one reason about one thing, the further ones share a row that shows the latest (as Kubernetes'
    own event recorder does).
    """
    kept: dict[tuple[str, ...], dict[str, EventRecord]] = {}
    told: dict[tuple[str, ...], dict[str, EventRecord]] = {}
    for event in fresh:
        about = {column: getattr(event, column) for column in IDENTITY[EventRecord][:-1]}
        place = tuple(about.values())
        if place not in told:
            kept[place] = {row.message: row for row in store.read(EventRecord, **about)}
            told[place] = dict(kept[place])
        _tell(told[place], event)
    changes: list[Change] = []
    for place, rows in told.items():
        changes += (_drop(row) for text, row in kept[place].items() if text not in rows)
        changes += (Put(row) for text, row in rows.items() if kept[place].get(text) != row)
    return changes


def _tell(rows: dict[str, EventRecord], event: EventRecord) -> None:
    """Add an event to those of its reason about the same thing, by message."""
    message = event.message[:MESSAGE_LIMIT]
    if message not in rows and len(rows) >= SIMILAR:
        message = f"{COMBINED}{message}"[:MESSAGE_LIMIT]
        shared = next((text for text in rows if text.startswith(COMBINED)), message)
        if shared in rows:
            rows[message] = rows.pop(shared)
    before = rows.get(message)
    count, first = (before.count, before.first) if before else (0, event.first)
    rows[message] = replace(event, message=message, count=count + event.count, first=first)


def trim_events(store: Store, kept: int = EVENTS_KEPT) -> int:
    """Drop the events that were seen last longest ago, above the number to keep; how many."""
    rows = sorted(store.read(EventRecord), key=lambda row: row.last)
    surplus = rows[: max(0, len(rows) - kept)]
    if surplus:
        store.commit(_drop(row) for row in surplus)
    return len(surplus)


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


def _drop(row: InstanceRecord | EventRecord) -> Drop:
    kind = type(row)
    return Drop(kind, **{column: getattr(row, column) for column in IDENTITY[kind]})
