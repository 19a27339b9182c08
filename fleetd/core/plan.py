"""One pass decided: `plan(world, now)` puts every (node, DaemonSet) in one bucket, with a reason.

Pure and level-triggered: the same world gives the same plan, whatever the order of its parts, and a
pass that was cut is simply planned again. The plan asserts what must never be wrong in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from fleetd.core.actions import (
    ACTIONS,
    Action,
    Decision,
    Held,
    Keep,
    Reason,
    Remove,
    Skipped,
    Start,
    UnknownHost,
    Update,
    Wait,
)
from fleetd.core.budget import rules_of
from fleetd.core.copies import judge_view
from fleetd.core.facts import Known
from fleetd.core.guard import at_stake, guard
from fleetd.core.instances import remember
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.placement import Places, Sight, sort
from fleetd.core.records import (
    EventRecord,
    InstanceRecord,
    RolloutRecord,
    RolloutState,
    SlotRecord,
)
from fleetd.core.rollout import Rolled, roll
from fleetd.core.status import Status, status_of
from fleetd.core.survey import Sights, survey
from fleetd.core.world import SetState, World


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass is to do, and what it has to write down.

    `decisions` has one entry per (node, DaemonSet), by node and DaemonSet. `slots` and `rollouts`
    hold only the records that changed; they are to be durable before the first action. `instances`
    are changed copies as seen, `gone` those no longer there (to be dropped). `wake_at` is when time
    alone changes the answer.

    `settled`: there is no action, no copy is starting, and no rollout is progressing, except one
    that waits for unreachable nodes only. What waits for people or the world outside (unknown,
    held or guarded places, failed or paused rollouts) does not unsettle it: its status tells.
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
        return tuple(entry for entry in self.decisions if isinstance(entry, ACTIONS))


@dataclass(frozen=True, slots=True)
class _Turn:
    """What became of one DaemonSet in the pass."""

    state: SetState
    places: Places
    rolled: Rolled
    decisions: tuple[Decision, ...]


def plan(world: World, now: float, memory: Sights | None = None) -> Plan:
    """Decide one pass. `now` is UTC in seconds since the epoch.

    Who plans often passes the same `memory` each time, so that only what is new is judged.
    """
    memory = Sights() if memory is None else memory
    nodes, sights = memory.take(world, now)
    states = sorted(world.sets, key=lambda state: state.key)
    places = survey(states, nodes, sights, now, world.busy, memory)
    turns = [_turn(state, places[state.key], now) for state in states]
    decisions = [entry for turn in turns for entry in turn.decisions]
    decisions += _leftovers(world, sights)
    stake = at_stake(len(nodes), {turn.state.key: turn.places for turn in turns})
    decisions, refusals = guard(decisions, stake, confirmed=world.confirm_removals)
    decisions = [_put_off(entry) if entry.node in world.busy else entry for entry in decisions]
    decisions.sort(key=attrgetter("ds"))
    decisions.sort(key=attrgetter("node"))
    due = [entry for entry in decisions if not isinstance(entry, Keep)]
    remembered = [remember(turn.state, turn.places, now) for turn in turns]
    result = Plan(
        decisions=tuple(decisions),
        rollouts=tuple(
            turn.rolled.progress.record
            for turn in turns
            if turn.rolled.progress.record != turn.state.rollout
        ),
        slots=tuple(slot for turn in turns for slot in turn.rolled.slots),
        statuses={
            turn.state.key: status_of(
                turn.state, turn.places, turn.rolled.progress, turn.rolled.rules
            )
            for turn in turns
        },
        instances=tuple(record for changed, _ in remembered for record in changed),
        gone=(*(record for _, gone in remembered for record in gone), *_forgotten(world, sights)),
        events=tuple(_events(turns, refusals, now)),
        settled=_settled(due, turns),
        wake_at=_wake_at(nodes, due, turns),
    )
    _check(result, due, world)
    return result


def _turn(state: SetState, places: Places, now: float) -> _Turn:
    rules = rules_of(state.daemonset, places.count(lambda place: place.desired))
    surging = state.revision if rules.surge else ""
    other = places.other.values()
    decided = [sort(place, state.key, surging=surging) for place in other]
    undecided = [place for place, entry in zip(other, decided, strict=True) if entry is None]
    rolled = roll(state, places, undecided, rules, now)
    final = (*(entry for entry in decided if entry is not None), *rolled.decisions)
    return _Turn(state, places, rolled, final)


def _put_off(entry: Decision) -> Decision:
    """What is due on a busy node waits until it was looked at again."""
    if not isinstance(entry, ACTIONS):
        return entry
    return Wait(entry.node, entry.ds, Reason.BUSY, f"due after that: {entry.reason}")


def _leftovers(world: World, sights: Mapping[str, Sight]) -> Iterator[Decision]:
    """Copies of DaemonSets that are not among the sets: deleted ones go, others are reported."""
    known = {state.key for state in world.sets}
    deleted = world.removals - known
    held = {node.name for node in world.nodes if node.held}
    last_seen: defaultdict[str, set[Key]] = defaultdict(set)
    for record in world.remembered:
        last_seen[record.node].add(Key(record.namespace, record.name))
    for name, sight in sights.items():
        if sight.view is None:
            if sight.reason is not None and sight.reason is not Reason.OTHER_FLEET:
                for key in sorted(last_seen[name] & deleted):
                    yield UnknownHost(name, key, sight.reason, sight.why)
            continue
        strays = sight.view.strays.keys() & deleted
        for key in sorted({*sight.view.ledger, *strays} - known):
            if key not in deleted:
                yield Skipped(name, key, Reason.ORPHAN, "no DaemonSet of this name is known")
            elif name in held:
                yield Held(name, key)
            else:
                yield Remove(name, key, None, Reason.DELETED)


def _forgotten(world: World, sights: Mapping[str, Sight]) -> Iterator[InstanceRecord]:
    """Records of deleted DaemonSets' copies that are no longer there."""
    for record in sorted(world.remembered, key=lambda record: (record.node, record.name)):
        sight = sights.get(record.node)
        key = Key(record.namespace, record.name)
        if sight is not None and sight.view is not None and not judge_view(sight.view, key, 0.0):
            yield record


_TOLD = {
    RolloutState.PROGRESSING: "RolloutStarted",
    RolloutState.COMPLETE: "RolloutComplete",
    RolloutState.FAILED: "RolloutFailed",
    RolloutState.PAUSED: "RolloutPaused",
}


def _events(turns: Sequence[_Turn], refusals: Sequence[str], now: float) -> Iterator[EventRecord]:
    """What a rollout came to in this pass, what died, and removals that were not done."""
    for turn in turns:
        before, after = turn.state.rollout, turn.rolled.progress.record
        if before is None or (before.revision, before.state) != (after.revision, after.state):
            message = f"revision {after.revision}" + (f": {after.reason}" if after.reason else "")
            failed = after.state is RolloutState.FAILED
            reason = "RolloutResumed" if _resumed(before, after) else _TOLD[after.state]
            yield EventRecord.once(turn.state.key, "", reason, message, now, warning=failed)
        yield from _restarts(turn, now)
    for refusal in refusals:
        yield EventRecord.once(
            Key("", "removals"), "", str(Reason.REMOVAL_GUARD), refusal, now, warning=True
        )


def _restarts(turn: _Turn, now: float) -> Iterator[EventRecord]:
    """Copies that systemd has started again since the last look, each once however often."""
    other = turn.places.other
    before = {(r.node, r.slot): r for r in turn.state.instances if r.node in other}
    for place in other.values():
        for copy in place.copies if place.known else ():
            known = before.get((place.name, str(copy.slot)))
            if known is not None and copy.restarts > known.restarts:
                message = f"started again by systemd: {copy.restarted or 'it had ended'}"
                event = EventRecord.once(
                    turn.state.key, "", "Restarted", message, now, warning=True
                )
                yield replace(event, node=place.name)


def _resumed(before: RolloutRecord | None, after: RolloutRecord) -> bool:
    again = before is not None and before.revision == after.revision
    return again and after.state is RolloutState.PROGRESSING


def _settled(decisions: Sequence[Decision], turns: Sequence[_Turn]) -> bool:
    for entry in decisions:
        if isinstance(entry, ACTIONS):
            return False
        if isinstance(entry, Wait) and entry.reason in {Reason.STARTING, Reason.BUSY}:
            return False
    return not any(_is_moving(turn) for turn in turns)


def _is_moving(turn: _Turn) -> bool:
    progress = turn.rolled.progress
    progressing = progress.record.state is RolloutState.PROGRESSING
    return progressing and not progress.stalled and not turn.rolled.rules.on_delete


def _wake_at(
    nodes: Sequence[Node], decisions: Sequence[Decision], turns: Sequence[_Turn]
) -> float | None:
    times = [entry.until for entry in decisions if isinstance(entry, Wait) and entry.until]
    times += [
        turn.rolled.progress.record.last_progress + turn.rolled.rules.deadline_s
        for turn in turns
        if _is_moving(turn)
    ]
    if any(node.since for node in nodes):
        times += [
            place.eligibility.until
            for turn in turns
            for place in turn.places.other.values()
            if place.eligibility.until is not None and place.copies
        ]
    return min(times, default=None)


def _check(result: Plan, due: Sequence[Decision], world: World) -> None:
    """Assert what must hold in every plan: a bug found here has not touched a host yet.

    `due` are the decisions that are more than to keep a copy.
    """
    decided: defaultdict[Key, set[str]] = defaultdict(set)
    for entry in result.decisions:
        decided[entry.ds].add(entry.node)
    pairs = sum(len(nodes) for nodes in decided.values())
    assert pairs == len(result.decisions), "a pair is in two buckets"
    expected = len(world.nodes) * len(world.sets)
    assert sum(len(decided[ds]) for ds in result.statuses) == expected, "a pair has no bucket"
    taken = {
        (slot.namespace, slot.name, slot.node, slot.revision)
        for slot in result.slots
        if not slot.released
    }
    open_before = {
        (slot.namespace, slot.name, slot.node, slot.revision)
        for state in world.sets
        for slot in state.slots
        if not slot.released
    }
    for entry in due:
        if isinstance(entry, Update) or entry.reason is Reason.SURGE:
            assert isinstance(entry, Start | Update), f"{entry.node}: nothing else surges"
            slot = (*entry.ds, entry.node, entry.revision)
            assert slot in taken or slot in open_before, f"no slot for the update of {entry.node}"
        if isinstance(entry, ACTIONS):
            assert isinstance(world.seen.get(entry.node), Known), f"{entry.node} is unknown"
