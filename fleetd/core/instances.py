"""What is remembered of the copies seen, so that `get` and an unknown host have an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fleetd.core.copies import Copy
from fleetd.core.members import to_plain
from fleetd.core.placement import Place
from fleetd.core.records import InstanceRecord
from fleetd.core.world import SetState

JITTER_S = 5.0
"""A start that seems to have moved by less has not moved: it is now minus an age, rounded twice."""


def remember(
    state: SetState, places: Sequence[Place], now: float
) -> tuple[tuple[InstanceRecord, ...], tuple[InstanceRecord, ...]]:
    """Records of the copies that changed, and those of copies that are no longer there.

    A copy that is as it was is not written again, so `seen` is the time of its last change. Nothing
    is forgotten about a host that did not answer.
    """
    before = {(record.node, record.slot): record for record in state.instances}
    changed = []
    answered = set()
    present = set()
    for place in places:
        if not place.known:
            continue
        answered.add(place.name)
        for copy in place.copies:
            identity = (place.name, str(copy.slot))
            present.add(identity)
            record = _record(place.name, copy, before.get(identity), now)
            if record != before.get(identity):
                changed.append(record)
    gone = _gone(before.items(), answered, present)
    return tuple(changed), gone


def _gone(
    before: Iterable[tuple[tuple[str, str], InstanceRecord]],
    answered: set[str],
    present: set[tuple[str, str]],
) -> tuple[InstanceRecord, ...]:
    return tuple(
        record
        for identity, record in sorted(before, key=lambda entry: entry[0])
        if identity[0] in answered and identity not in present
    )


def _record(node: str, copy: Copy, before: InstanceRecord | None, now: float) -> InstanceRecord:
    started = now - copy.active_for_s if copy.active else 0.0
    if before is not None and abs(started - before.started) < JITTER_S:
        started = before.started
    revision = copy.running_revision or copy.revision
    same = before is not None and before.revision == revision
    created = before.created if before is not None and same else 0.0
    record = InstanceRecord(
        *copy.ds,
        node=node,
        slot=str(copy.slot),
        revision=revision,
        bundle=copy.bundle,
        phase=str(copy.phase),
        ready=copy.ready,
        available=copy.available,
        restarts=copy.restarts,
        message=copy.message,
        started=started,
        seen=now if before is None else before.seen,
        created=created or (min(started, now) if started else now),
        members_json=json.dumps(to_plain(copy.members)),
    )
    if before is None or record == before:
        return before or record
    return replace(record, seen=now)
