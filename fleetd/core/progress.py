"""Where the rollout of a revision stands: the state machine of its record.

    PROGRESSING -> COMPLETE   every node that counts and can be reached is available on the revision
    PROGRESSING -> FAILED     no node became available on it for the progress deadline, and that is
                              not because hosts went silent while they were being updated
    PROGRESSING -> PAUSED     somebody paused it
    PAUSED, FAILED -> PROGRESSING   somebody resumed it
    any         -> PROGRESSING      by a new revision, of which a restart makes one

A record that is PROGRESSING and has a reason is stalled: what it waits for is out of reach, so its
deadline stands still. OnDelete never fails, since it is people who replace its copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleetd.core.budget import Rules, touched
from fleetd.core.placement import Place, Places
from fleetd.core.records import RolloutRecord, RolloutState, SlotRecord
from fleetd.core.world import SetState

NAMED = 5
"""How many nodes a reason names before it only counts."""

Slots = Mapping[str, Sequence[SlotRecord]]


@dataclass(frozen=True, slots=True)
class Progress:
    """The record as it is now. `unfinished` maps the nodes that keep it from being complete to why.

    `over_limit` says that too many nodes are unreachable for updates to go on ("" when they are
    not).
    """

    record: RolloutRecord
    unfinished: Mapping[str, str]
    over_limit: str

    @property
    def stalled(self) -> bool:
        """Whether only the world outside can bring it further."""
        return self.record.state is RolloutState.PROGRESSING and bool(self.record.reason)


def current_record(state: SetState, now: float) -> RolloutRecord:
    """The record of the target revision: the one there is, or a new one on a new revision."""
    record = state.rollout
    paused = state.paused
    if record is not None and record.revision == state.revision:
        return _as_asked(record, state, now)
    baseline = ""
    if record is not None:
        complete = record.state is RolloutState.COMPLETE
        baseline = record.revision if complete else record.baseline
    return RolloutRecord(
        *state.key,
        revision=state.revision,
        state=RolloutState.PAUSED if paused else RolloutState.PROGRESSING,
        baseline=baseline,
        reason="paused" if paused else "",
        started=now,
        last_progress=now,
    )


def _as_asked(record: RolloutRecord, state: SetState, now: float) -> RolloutRecord:
    """The record as people want it: paused, or going on. A failed one is tried again when resumed.

    Its deadline starts anew, so that the same word is not heeded twice.
    """
    if state.paused:
        if record.state is RolloutState.PROGRESSING:
            return replace(record, state=RolloutState.PAUSED, reason="paused")
        return record
    again = record.state is RolloutState.FAILED and state.resumed > record.last_progress
    if record.state is not RolloutState.PAUSED and not again:
        return record
    since = max(now, state.resumed)
    return replace(record, state=RolloutState.PROGRESSING, reason="", last_progress=since)


def advance(
    state: SetState,
    record: RolloutRecord,
    places: Places,
    slots: Slots,
    rules: Rules,
    now: float,
) -> Progress:
    """Move the record on by what was seen."""
    other = places.other.values()
    unfinished = dict(_unfinished(state, other, slots, rules))
    over_limit = _over_limit(other, slots, record, rules)
    if record.state is RolloutState.PROGRESSING:
        finished = places.count(lambda place: _finished(place, state.revision))
        if finished > record.finished:
            record = replace(record, finished=finished, last_progress=now)
        stall = over_limit or _out_of_reach(record, other, unfinished, slots, rules, now)
        concerned = places.count(lambda place: place.desired)
        if not unfinished and not over_limit and (record.finished or not concerned):
            record = replace(record, state=RolloutState.COMPLETE, reason="")
        else:
            record = _step(record, unfinished, stall, rules, now)
    return Progress(record, unfinished, over_limit)


def joiner_revision(record: RolloutRecord, rules: Rules) -> str:
    """What a node without a copy gets: the last complete revision until the new one is proved.

    Under OnDelete the current one (K 67, 85), and so if no revision ever completed.
    """
    unproved = record.state in {RolloutState.FAILED, RolloutState.PAUSED} or (
        record.state is RolloutState.PROGRESSING and record.finished == 0
    )
    if unproved and record.baseline and not rules.on_delete:
        return record.baseline
    return record.revision


def name_some(nodes: Mapping[str, str]) -> str:
    """`a (why), b (why) and 3 more`."""
    texts = [f"{node} ({why})" if why else node for node, why in sorted(nodes.items())]
    more = len(texts) - NAMED
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")


def why_not_available(state: SetState, place: Place) -> str:
    """Why a desired node has no available copy of the target revision."""
    copy = place.copy
    if not place.known:
        return f"{'unreachable' if place.unknown else 'not ours'}: {place.sight.why}"
    if len(place.copies) > 1:
        return _why_several(place)
    if copy is not None and copy.available and copy.revision == state.revision:
        return ""
    if failure := state.failures.get(place.name):
        return failure
    if copy is None:
        return "no copy yet"
    if copy.available:
        return f"still on revision {copy.revision}"
    return copy.message or f"not available ({copy.phase})"


def _why_several(place: Place) -> str:
    copies = [f"revision {copy.revision or 'unknown'} in slot {copy.slot}" for copy in place.copies]
    text = f"has {' and '.join(copies)}"
    waiting = [copy for copy in place.copies if not copy.available and copy.message]
    return f"{text}: {waiting[0].message}" if waiting else text


def _step(
    record: RolloutRecord, unfinished: Mapping[str, str], stall: str, rules: Rules, now: float
) -> RolloutRecord:
    if stall:
        # The first reason stays, so that a stalled rollout does not write a record in each pass.
        return record if record.reason else replace(record, reason=stall)
    if record.reason:
        return replace(record, reason="", last_progress=now)
    if _late(record, rules, now) and not rules.on_delete:
        reason = f"no progress for {rules.deadline_s:.0f} s: {name_some(unfinished)}"
        return replace(record, state=RolloutState.FAILED, reason=reason)
    return record


def _late(record: RolloutRecord, rules: Rules, now: float) -> bool:
    return now - record.last_progress > rules.deadline_s


def _out_of_reach(
    record: RolloutRecord,
    places: Iterable[Place],
    unfinished: Mapping[str, str],
    slots: Slots,
    rules: Rules,
    now: float,
) -> str:
    """Why the rollout waits for the world outside, "" when it does not.

    Hosts that fell silent while they were out say nothing for or against the revision: they are
    waited for, until the deadline actively. If any other copy is down, the deadline is its own.
    """
    if not unfinished:
        return "none of its nodes can be reached"
    silent = {}
    for place in places:
        if place.name not in unfinished:
            continue
        if place.unknown:
            silent[place.name] = unfinished[place.name]
        elif not place.available or any(not slot.released for slot in slots.get(place.name, ())):
            return ""
    if not silent or not (record.reason or _late(record, rules, now)):
        return ""
    return f"no progress for {rules.deadline_s:.0f} s: {name_some(silent)}"


def _finished(place: Place, revision: str) -> bool:
    if not place.desired:
        return False
    if place.known:
        copy = place.copy
        alone = len(place.copies) == 1
        return alone and copy is not None and copy.available and copy.revision == revision
    last = place.remembered
    return last is not None and last.available and last.revision == revision


def _unfinished(
    state: SetState, places: Iterable[Place], slots: Slots, rules: Rules
) -> Iterator[tuple[str, str]]:
    """Nodes that are not done: reachable ones, and unknown ones whose copy we may have stopped."""
    for place in places:
        if not place.counts:
            continue
        if place.known:
            pending = not _finished(place, state.revision)
        else:
            out = any(not slot.released for slot in slots.get(place.name, ()))
            pending = out or rules.unknown_counts
        if pending:
            yield place.name, why_not_available(state, place)


def _over_limit(places: Iterable[Place], slots: Slots, record: RolloutRecord, rules: Rules) -> str:
    if rules.unknown_counts:
        return ""
    silent = {
        place.name: ""
        for place in places
        if place.counts and place.unknown and not touched(slots.get(place.name, ()), record)
    }
    if len(silent) <= rules.max_unreachable:
        return ""
    return (
        f"{len(silent)} nodes are unreachable, fleetd/max-unreachable allows "
        f"{rules.max_unreachable}: {name_some(silent)}"
    )
