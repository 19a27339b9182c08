"""The rollout of one DaemonSet: who is started, updated or repaired now, and who waits for what.

Kubernetes' algorithm (K 81-110), made deterministic: broken copies first, then by node name. The
budget counts whatever is down for whatever reason; an action on a node that is down already costs
nothing (K 92), one that stops a good copy costs one (K 93), and a missing copy is simply started.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetd.core.actions import Decision, Keep, Mode, Reason, Remove, Repair, Start, Update, Wait
from fleetd.core.budget import Account, Rules, close_slots, rules_of, unavailable
from fleetd.core.copies import Copy, DamageKind
from fleetd.core.facts import Slot
from fleetd.core.placement import Place
from fleetd.core.progress import Progress, advance, current_record, joiner_revision
from fleetd.core.records import Phase, RolloutState, SlotRecord
from fleetd.core.world import SetState

CRASH_LOOP = 5
"""So many restarts, and a copy is no longer called starting."""

YOUNG_S = 30.0
"""So long a probe may take to pass after a start before the copy is called broken."""

HOPELESS_S = 120.0
"""So long active without being ready, and a copy is no longer called starting."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What the rollout decides: its progress, the decisions, and the slots that changed."""

    progress: Progress
    rules: Rules
    decisions: tuple[Decision, ...]
    slots: tuple[SlotRecord, ...]


def roll(
    state: SetState, places: Sequence[Place], undecided: Iterable[Place], now: float
) -> Rolled:
    """Decide for the `undecided` among the places of one DaemonSet, both in the order of names.

    `now` is UTC seconds; how long a copy has been running is its host's to say.
    """
    rules = rules_of(state.daemonset, sum(place.desired for place in places))
    record = current_record(state, now)
    closed = close_slots(
        state.slots,
        {place.name: place for place in places},
        pending=state.revision if _updates(state, record.state, rules) else "",
        now=now,
    )
    slots = _by_node(state.slots, closed)
    progress = advance(state, record, places, slots, rules, now)
    down, pending = unavailable(places, slots, progress.record, rules)
    broken_first = sorted(
        undecided,
        key=lambda place: (place.name not in down, place.name not in pending, place.name),
    )
    account = Account(state.key, (down, pending), rules.max_unavailable, slots, now)
    turn = _Turn(state, progress, rules, account, now)
    decisions = tuple(turn.decide(place) for place in broken_first)
    changed = {(slot.node, slot.revision): slot for slot in (*closed, *account.changed)}
    return Rolled(progress, rules, decisions, tuple(slot for _, slot in sorted(changed.items())))


class _Turn:
    """One DaemonSet's turn in a pass: spends the budget as it decides, place by place."""

    def __init__(
        self, state: SetState, progress: Progress, rules: Rules, account: Account, now: float
    ) -> None:
        self._state = state
        self._key = state.key
        self._record = progress.record
        self._over_limit = progress.over_limit
        self._rules = rules
        self._account = account
        self._now = now
        self._updating = _updates(state, progress.record.state, rules) and not self._over_limit
        self._joiners = joiner_revision(progress.record, rules)

    def decide(self, place: Place) -> Decision:
        """The one decision for a desired node that holds one copy at most."""
        copy = place.copy
        if copy is None:
            return Start(place.name, self._key, Slot.A, self._joiners, Reason.MISSING)
        if not copy.ledgered:
            # Its slot is the one to start in: the units there are replaced, never doubled.
            return Start(
                place.name, self._key, copy.slot, self._joiners, Reason.EXTRA_COPY, copy.message
            )
        outdated = copy.revision != self._state.revision
        if outdated and self._updating and not _only_young(copy):
            return self._update(place.name, copy)
        if copy.damage:
            return self._repair(place.name, copy)
        if not copy.available and not self._hopeless(copy):
            until = self._now + copy.ready_in_s if copy.ready_in_s is not None else 0.0
            return Wait(place.name, self._key, Reason.STARTING, copy.message, until)
        if outdated:
            return self._held_back(place.name, copy)
        if copy.available:
            return Keep(place.name, self._key, Reason.UP_TO_DATE)
        if self._record.state is RolloutState.FAILED:
            return Wait(place.name, self._key, Reason.ROLLOUT_FAILED, copy.message)
        return Keep(place.name, self._key, Reason.NOT_AVAILABLE, copy.message)

    def _update(self, node: str, copy: Copy) -> Decision:
        target = self._state.revision
        if self._account.afford(node):
            self._account.take(node, target, "update")
            detail = "" if copy.available else f"not available: {copy.message}"
            return Update(
                node,
                self._key,
                copy.slot,
                copy.revision,
                target,
                Reason.REVISION_CHANGED,
                detail,
            )
        if copy.damage and _mode(copy) is not Mode.RESTART:
            return self._repair(node, copy)
        return self._account.wait(node)

    def _repair(self, node: str, copy: Copy) -> Decision:
        mode = _mode(copy)
        doubled = _repair_reason(copy) is Reason.EXTRA_COPY
        if copy.active and (doubled or mode is Mode.RESTART):
            if not self._account.afford(node):
                return self._account.wait(node)
            self._account.take(node, copy.revision, "repair")
        detail = "; ".join(str(entry) for entry in copy.damage)
        if doubled:
            # What shares the slot cannot be taken out alone: the slot is cleared, then filled.
            return Remove(node, self._key, copy.slot, Reason.EXTRA_COPY, detail)
        return Repair(node, self._key, copy.slot, copy.revision, mode, _repair_reason(copy), detail)

    def _held_back(self, node: str, copy: Copy) -> Decision:
        """A good copy of another revision, while updates do not go on."""
        if self._rules.on_delete:
            return Keep(node, self._key, Reason.ON_DELETE, f"revision {copy.revision}")
        if self._record.state is RolloutState.FAILED:
            return Wait(node, self._key, Reason.ROLLOUT_FAILED, self._record.reason)
        if self._state.paused or self._record.state is RolloutState.PAUSED:
            return Wait(node, self._key, Reason.ROLLOUT_PAUSED)
        if self._over_limit:
            return Wait(node, self._key, Reason.UNREACHABLE_LIMIT, self._over_limit)
        return Wait(node, self._key, Reason.STARTING, copy.message)

    def _hopeless(self, copy: Copy) -> bool:
        """Whether to stop waiting for a copy: a live rollout has its deadline for that."""
        state = self._record.state
        if state is RolloutState.PROGRESSING and not self._rules.on_delete:
            return False
        if state is RolloutState.FAILED and not _only_young(copy):
            return True
        return copy.restarts >= CRASH_LOOP or (not copy.ready and copy.active_for_s >= HOPELESS_S)


def _updates(state: SetState, rollout: RolloutState, rules: Rules) -> bool:
    """Whether copies are updated at all; those that were away are so after completion, too."""
    if rules.on_delete or state.paused:
        return False
    return rollout in {RolloutState.PROGRESSING, RolloutState.COMPLETE}


def _only_young(copy: Copy) -> bool:
    """Nothing is wrong with it, but its time is not over yet.

    Kubernetes takes such a copy for a broken one, and so updates the whole fleet at once after a
    power cut. Here it gets the time until it is available, or turns out to be broken after all.
    """
    if copy.available or copy.damage or copy.restarts or copy.phase is not Phase.RUNNING:
        return False
    return copy.ready or copy.active_for_s < YOUNG_S


def _mode(copy: Copy) -> Mode:
    modes = {entry.mode for entry in copy.damage}
    return next(mode for mode in (Mode.RESTART, Mode.START, Mode.RELOAD) if mode in modes)


def _repair_reason(copy: Copy) -> Reason:
    kinds = {entry.kind for entry in copy.damage}
    if DamageKind.CUT in kinds:
        return Reason.CUT
    return Reason.EXTRA_COPY if kinds == {DamageKind.EXTRA} else Reason.DRIFT


def _by_node(
    slots: Iterable[SlotRecord], closed: Iterable[SlotRecord]
) -> dict[str, list[SlotRecord]]:
    """All slots by node, with those closed just now in place of their open selves."""
    latest = {(slot.node, slot.revision): slot for slot in (*slots, *closed)}
    result: defaultdict[str, list[SlotRecord]] = defaultdict(list)
    for _, slot in sorted(latest.items()):
        result[slot.node].append(slot)
    return dict(result)
