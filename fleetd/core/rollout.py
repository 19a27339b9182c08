"""The rollout of one DaemonSet: who is started, updated or repaired now, and who waits for what.

Kubernetes' algorithm (K 81-110), made deterministic: broken copies first, then by node name. The
budget counts whatever is down for whatever reason; an action on a node that is down already costs
nothing (K 92), one that stops a good copy costs one (K 93), and a missing copy is simply started.

With maxSurge, a copy of the target revision is started in the other slot, and the old one goes when
that is available or when the old one is not ready (K 57, 98-103). Where both knobs allow something,
a node surges while it may, and is updated in place otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fleetd.core.actions import Decision, Keep, Mode, Reason, Remove, Repair, Start, Update, Wait
from fleetd.core.budget import Account, Rules, close_slots, usage
from fleetd.core.copies import Copy, DamageKind
from fleetd.core.facts import Slot
from fleetd.core.placement import Place, Places
from fleetd.core.progress import Progress, advance, current_record, joiner_revision
from fleetd.core.records import Phase, RolloutState, SlotKind, SlotRecord
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
    state: SetState,
    places: Places,
    undecided: Iterable[Place],
    rules: Rules,
    now: float,
) -> Rolled:
    """Decide for the fine and the `undecided` places of one DaemonSet, in the order of names.

    `now` is UTC seconds; how long a copy has been running is its host's to say.
    """
    record = current_record(state, now)
    closed = close_slots(
        state.slots,
        places,
        pending=state.revision if _updates(state, record.state, rules) else "",
        now=now,
    )
    slots = _by_node(state.slots, closed)
    progress = advance(state, record, places, slots, rules, now)
    used = usage(places, slots, progress.record, rules)
    broken_first = sorted(
        undecided,
        key=lambda place: (place.name not in used.down, not used.waits(place.name), place.name),
    )
    account = Account(state.key, used, rules, slots, now)
    spare = _spare(places.other.values()) if rules.surge else 0
    turn = _Turn(state, progress, rules, account, spare, now)
    key, as_wanted = state.key, Reason.UP_TO_DATE
    decisions = (
        *(turn.decide(place) for place in broken_first),
        *(Keep(node, key, as_wanted) for node in places.fine),
    )
    changed = {(slot.node, slot.revision): slot for slot in (*closed, *account.changed)}
    return Rolled(progress, rules, decisions, tuple(slot for _, slot in sorted(changed.items())))


class _Turn:
    """One DaemonSet's turn in a pass: spends the budget as it decides, place by place."""

    def __init__(
        self,
        state: SetState,
        progress: Progress,
        rules: Rules,
        account: Account,
        spare: int,
        now: float,
    ) -> None:
        self._state = state
        self._key = state.key
        self._record = progress.record
        self._over_limit = progress.over_limit
        self._rules = rules
        self._account = account
        self._spare = spare
        self._now = now
        self._updating = _updates(state, progress.record.state, rules) and not self._over_limit
        self._joiners = joiner_revision(progress.record, rules)

    def decide(self, place: Place) -> Decision:
        """The one decision for a node that should have a copy, or has one that may stay.

        For a busy one that is what would be decided now: it spends nothing.
        """
        if not place.busy:
            return self._decide(place)
        account, spare = self._account, self._spare
        self._account = account.on_trial()
        entry = self._decide(place)
        self._account, self._spare = account, spare
        return entry

    def _decide(self, place: Place) -> Decision:
        if len(place.copies) > 1:
            return self._pair(place)
        if not place.desired:
            return self._misscheduled(place)
        copy = place.copy
        if copy is None or not copy.ledgered:
            return self._start(place.name, copy)
        outdated = copy.revision != self._state.revision
        if outdated and self._updating and not _only_young(copy):
            due = self._surge if self._rules.surge else self._update
            return due(place.name, copy)
        if copy.damage:
            return self._repair(place.name, copy)
        if not copy.available and not self._hopeless(copy):
            until = place.sight.at + copy.ready_in_s if copy.ready_in_s is not None else 0.0
            return Wait(place.name, self._key, Reason.STARTING, copy.message, until)
        if outdated:
            return self._held_back(place.name, copy)
        if copy.available:
            return Keep(place.name, self._key, Reason.UP_TO_DATE)
        if self._record.state is RolloutState.FAILED:
            return Wait(place.name, self._key, Reason.ROLLOUT_FAILED, copy.message)
        return Keep(place.name, self._key, Reason.NOT_AVAILABLE, copy.message)

    def _start(self, node: str, stray: Copy | None) -> Decision:
        if stray is None:
            detail = ""
            if self._rules.replaces:
                if not self._account.afford(node):
                    return self._account.wait(node)
                self._account.take(node, self._joiners, SlotKind.UPDATE)
                detail = f"takes the place of {', '.join(self._state.daemonset.replaces)}"
            return Start(node, self._key, Slot.A, self._joiners, Reason.MISSING, detail)
        # Its slot is the one to start in: the units there are replaced, never doubled.
        return Start(node, self._key, stray.slot, self._joiners, Reason.EXTRA_COPY, stray.message)

    def _surge(self, node: str, copy: Copy) -> Decision:
        """Start the new copy beside the old one: at once where that is no good (K 99, 100)."""
        if copy.available and not self._account.afford_surge(node):
            return self._update(node, copy)
        self._account.take(node, self._state.revision, SlotKind.SURGE)
        beside = f"beside revision {copy.revision} in slot {copy.slot}"
        return Start(
            node,
            self._key,
            Slot.B if copy.slot is Slot.A else Slot.A,
            self._state.revision,
            Reason.SURGE,
            beside if copy.available else f"{beside}, which is not available: {copy.message}",
        )

    def _pair(self, place: Place) -> Decision:
        """An old copy and a new one: the old goes when it is of no use any more (K 57, 101)."""
        target = self._state.revision
        new, old = sorted(place.copies, key=lambda copy: copy.revision != target)
        if new.available:
            detail = f"slot {new.slot} with revision {target} is available"
            return Remove(place.name, self._key, old.slot, Reason.REPLACED, detail)
        if not old.ready and not _coming_up(old):
            detail = f"not ready: {old.message}"
            return Remove(place.name, self._key, old.slot, Reason.REPLACED, detail)
        if old.damage and not self._updating:
            # The new one may never come up: the old one is what there is.
            return self._repair(place.name, old)
        if new.damage:
            return self._mend(place.name, new)
        if self._hopeless(new):
            return Keep(place.name, self._key, Reason.NOT_AVAILABLE, new.message)
        until = place.sight.at + new.ready_in_s if new.ready_in_s is not None else 0.0
        return Wait(place.name, self._key, Reason.STARTING, new.message, until)

    def _misscheduled(self, place: Place) -> Decision:
        """A copy that may stay where none would be started: an outdated one is not made again.

        It goes within maxUnavailable (K 88), with maxSurge while more copies than desired are
        available (K 102); and at once when it is no good.
        """
        copy = place.copies[0]
        why = place.eligibility.reason
        keep = Keep(place.name, self._key, Reason.MISSCHEDULED, why)
        if copy.revision == self._state.revision or not self._updating or _only_young(copy):
            return keep
        if copy.available:
            if self._rules.surge:
                if self._spare <= 0:
                    return keep
                self._spare -= 1
            elif not self._account.afford(place.name):
                return keep
            else:
                self._account.take(place.name, self._state.revision, SlotKind.UPDATE)
        return Remove(place.name, self._key, None, Reason.MISSCHEDULED, why)

    def _update(self, node: str, copy: Copy) -> Decision:
        target = self._state.revision
        if self._account.afford(node):
            self._account.take(node, target, SlotKind.UPDATE)
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
            if not self._account.afford(node, mend=True):
                return self._account.wait(node)
            self._account.take(node, copy.revision, SlotKind.REPAIR)
        return self._mend(node, copy)

    def _mend(self, node: str, copy: Copy) -> Decision:
        """Repair a copy, which costs nothing (any more)."""
        detail = "; ".join(str(entry) for entry in copy.damage)
        reason = _repair_reason(copy)
        if reason is Reason.EXTRA_COPY:
            # What shares the slot cannot be taken out alone: the slot is cleared, then filled.
            return Remove(node, self._key, copy.slot, reason, detail)
        return Repair(node, self._key, copy.slot, copy.revision, _mode(copy), reason, detail)

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


def _spare(places: Iterable[Place]) -> int:
    """How many more copies are available than desired, those on nodes that want none included.

    A fine place has one, and wants one.
    """
    available = sum(place.available and not place.busy for place in places)
    return available - sum(place.desired for place in places)


def _coming_up(copy: Copy) -> bool:
    """Whether a copy that is not ready may be so soon, by all that is seen: after a reboot, say."""
    if copy.damage or copy.restarts:
        return False
    return copy.phase is Phase.STARTING or _only_young(copy)


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
