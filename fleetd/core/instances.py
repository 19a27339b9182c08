"""What is remembered of the copies seen, so that `get` and an unknown host have an answer."""

from __future__ import annotations

from operator import itemgetter

from fleetd.core.copies import Copy
from fleetd.core.members import to_json
from fleetd.core.placement import Place, Places
from fleetd.core.records import InstanceRecord
from fleetd.core.world import SetState

JITTER_S = 5.0
"""A start that seems to have moved by less has not moved: it is now minus an age, rounded twice."""


def remember(
    state: SetState, places: Places, now: float
) -> tuple[tuple[InstanceRecord, ...], tuple[InstanceRecord, ...]]:
    """Records of the copies that changed, and those of copies that are no longer there.

    A copy that is as it was is not written again, so `seen` is the time of its last change. Nothing
    is forgotten about a host that did not answer.
    """
    concerned = [record for record in state.instances if record.node in places.other]
    before = {(record.node, record.slot): record for record in concerned}
    changed = []
    present = set()
    for place in places.other.values():
        for copy in place.copies:
            identity = (place.name, str(copy.slot))
            present.add(identity)
            known = before.get(identity)
            if known is None or not tells(known, copy, place.sight.at):
                changed.append(_record(place, copy, known, now))
    gone = [
        record
        for identity, record in sorted(before.items(), key=itemgetter(0))
        if identity not in present and places.other[record.node].known
    ]
    return tuple(changed), tuple(gone)


def tells(record: InstanceRecord, copy: Copy, at: float) -> bool:
    """Whether a record is just what there is to be remembered of a copy of its slot, seen `at`."""
    started = at - copy.active_for_s if copy.active else 0.0
    return (
        record.slot == copy.slot
        and record.revision == (copy.running_revision or copy.revision)
        and record.bundle == copy.bundle
        and record.phase == copy.phase
        and record.ready == copy.ready
        and record.available == copy.available
        and record.restarts == copy.restarts
        and record.message == copy.message
        and abs(started - record.started) < JITTER_S
        and record.created > 0
        and record.members_json == to_json(copy.members)
    )


def _record(place: Place, copy: Copy, before: InstanceRecord | None, now: float) -> InstanceRecord:
    started = place.sight.at - copy.active_for_s if copy.active else 0.0
    if before is not None and abs(started - before.started) < JITTER_S:
        started = before.started
    revision = copy.running_revision or copy.revision
    same = before is not None and before.revision == revision
    created = before.created if before is not None and same else 0.0
    return InstanceRecord(
        *copy.ds,
        node=place.name,
        slot=str(copy.slot),
        revision=revision,
        bundle=copy.bundle,
        phase=str(copy.phase),
        ready=copy.ready,
        available=copy.available,
        restarts=copy.restarts,
        message=copy.message,
        started=started,
        seen=now,
        created=created or (min(started, now) if started else now),
        members_json=to_json(copy.members),
    )
