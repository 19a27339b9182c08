"""How much of a DaemonSet may be down or doubled at once, and who is: the rules and the slots.

A slot is leave to stop a copy, or to start one of another revision beside it, recorded before the
first side effect. It is given back when one available copy was observed; until then its node counts
as unavailable, or as surging, whatever is (not) known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from fleetd.core.actions import Reason, Wait
from fleetd.core.daemonset import DaemonSet
from fleetd.core.meta import Key
from fleetd.core.placement import Place, Places
from fleetd.core.records import RolloutRecord, SlotKind, SlotRecord
from fleetd.core.surge import clash

DEADLINE = "fleetd/progress-deadline-seconds"
MAX_UNREACHABLE = "fleetd/max-unreachable"
UNREACHABLE = "fleetd/unreachable"


@dataclass(frozen=True, slots=True)
class Rules:
    """The knobs of a rollout, resolved for the number of desired nodes."""

    max_unavailable: int
    surge: int
    """How many nodes may have a second copy; 0 where copies would clash."""
    max_unreachable: int
    deadline_s: float
    unknown_counts: bool
    on_delete: bool
    replaces: bool = False
    """Whether a first copy takes the place of a unit of the host, which serves until then."""


def rules_of(daemonset: DaemonSet, desired: int) -> Rules:
    """Resolve a DaemonSet's strategy and annotations (K 81-85).

    Both knobs may be above zero, which Kubernetes refuses (K 156): nodes that surge and nodes that
    are updated in place then go side by side.
    """
    strategy = daemonset.spec.update_strategy
    notes = daemonset.metadata.annotations
    rolling = strategy.rolling_update
    unavailable = resolve(rolling.max_unavailable, desired)
    on_delete = strategy.type == "OnDelete"
    surge = resolve(rolling.max_surge, desired)
    if on_delete or (surge and clash(daemonset)):
        surge = 0
    if unavailable == 0 and desired and surge == 0:
        unavailable = 1  # K 84
    deadline = notes.get(DEADLINE, "")
    unreachable = notes.get(MAX_UNREACHABLE, "20%")
    return Rules(
        max_unavailable=unavailable,
        surge=surge,
        max_unreachable=resolve(unreachable, desired),
        deadline_s=float(deadline) if deadline.isdigit() else 600.0,
        unknown_counts=notes.get(UNREACHABLE) == "count",
        on_delete=on_delete,
        replaces=bool(daemonset.replaces),
    )


def resolve(knob: int | str, total: int) -> int:
    """A whole number as it is, a percentage of `total` rounded up (K 82, 83)."""
    text = str(knob)
    number = text.removesuffix("%")
    if not number.isdigit():
        return 0
    return ceil(total * int(number) / 100) if text.endswith("%") else int(number)


def touched(slots: Iterable[SlotRecord], record: RolloutRecord) -> bool:
    """Whether a node with these slots was touched by a rollout, or is still out on an older one."""
    return any(
        not slot.released or (slot.revision == record.revision and slot.taken >= record.started)
        for slot in slots
    )


def close_slots(
    slots: Iterable[SlotRecord], places: Places, *, pending: str, now: float
) -> list[SlotRecord]:
    """The open slots that what was seen closes, with their outcome.

    `pending` is the revision that updates are still being made to, "" when none are: a slot for it
    stays with a node that runs well on another revision, since its update was cut short and comes
    again.
    """
    closed = []
    for slot in slots:
        if slot.released:
            continue
        outcome = _outcome(slot, places, pending)
        if outcome:
            closed.append(replace(slot, released=now, outcome=outcome))
    return closed


def _outcome(slot: SlotRecord, places: Places, pending: str) -> str:
    """What became of an open slot, "" while that is not known."""
    if (fine := places.fine.get(slot.node)) is not None:
        return _outcome_of_copy(slot, fine.revision, pending)
    place = places.other.get(slot.node)
    if place is None:
        return "gone"
    if not place.known or place.node.held or place.busy:
        return ""
    if slot.kind == SlotKind.DELETE:
        return "" if place.copies else "gone"
    if not place.desired:
        return "gone"
    copy = place.copy
    if copy is None or not copy.available or len(place.copies) > 1:
        return ""
    return _outcome_of_copy(slot, copy.revision, pending)


def _outcome_of_copy(slot: SlotRecord, revision: str, pending: str) -> str:
    """What became of it where one available copy of a revision is."""
    if revision == slot.revision:
        return "available"
    return "" if slot.revision == pending else "unused"


@dataclass(frozen=True, slots=True)
class Usage:
    """The nodes that use up the budgets, over all revisions and all causes (K 90-92, 100, P 103).

    `down` are those that are down as far as anybody knows; `pending` run well but hold a slot,
    since the action that they were to be stopped for was cut short. `surging` have, or may have, a
    second copy that is not available yet; `to_surge` hold a slot for one that is not there.
    """

    down: set[str]
    pending: set[str]
    surging: set[str]
    to_surge: set[str]

    def waits(self, node: str) -> bool:
        """Whether something was begun here that is to be brought to its end."""
        return node in self.pending or node in self.to_surge or node in self.surging


def usage(
    places: Places,
    slots: Mapping[str, list[SlotRecord]],
    record: RolloutRecord,
    rules: Rules,
) -> Usage:
    """Who uses up the budgets now."""
    used = Usage(set(), set(), set(), set())
    for node in slots.keys() & places.fine.keys():  # the rest of these has no part in it
        _add_open(used, node, slots[node], rules, busy=False)
    for place in places.other.values():
        if not place.counts:
            continue
        of_node = slots.get(place.name, ())
        if not place.known:
            if rules.unknown_counts or touched(of_node, record):
                used.down.add(place.name)
            if any(_is_open(slot, SlotKind.SURGE) for slot in of_node):
                used.surging.add(place.name)
            continue
        if not place.available and not _is_to_be_replaced(place, of_node, rules):
            used.down.add(place.name)
        if rules.surge and len(place.copies) > 1:
            if not has_replacement(place, record.revision):
                used.surging.add(place.name)
        elif place.available and of_node:
            _add_open(used, place.name, of_node, rules, busy=place.busy)
    return used


def _add_open(
    used: Usage, node: str, slots: Iterable[SlotRecord], rules: Rules, *, busy: bool
) -> None:
    """Count a node that runs well, if it holds a slot.

    Where an order may be under way (`busy`), what was seen was before it.
    """
    kinds = {slot.kind for slot in slots if not slot.released}
    if rules.surge and SlotKind.SURGE in kinds:
        (used.surging if busy else used.to_surge).add(node)
    elif kinds:
        (used.down if busy else used.pending).add(node)


def _is_to_be_replaced(place: Place, slots: Iterable[SlotRecord], rules: Rules) -> bool:
    """Whether what the host has of its own still serves there: it costs a slot to stop that."""
    return rules.replaces and not place.copies and all(slot.released for slot in slots)


def has_replacement(place: Place, revision: str) -> bool:
    """Whether a copy of this revision is available here, so that others may go (K 101)."""
    return any(copy.available and copy.revision == revision for copy in place.copies)


def _is_open(slot: SlotRecord, kind: SlotKind) -> bool:
    return slot.kind == kind and not slot.released


class Account:
    """The budgets of one DaemonSet in one pass, spent decision by decision.

    `changed` collects the slots taken or handed on. A node that is down already costs nothing more.
    A slot still to be used was affordable when it was taken; it is used only if it still is.
    """

    def __init__(
        self,
        ds: Key,
        used: Usage,
        rules: Rules,
        slots: Mapping[str, list[SlotRecord]],
        now: float,
    ) -> None:
        """Take what `usage` found, how much is allowed, all slots by node, the time."""
        self.changed: list[SlotRecord] = []
        self._ds = ds
        self._used = used
        self._rules = rules
        self._slots = slots
        self._now = now
        self._spent = ""

    def on_trial(self) -> Account:
        """An account in the same standing, whose spending counts for nobody."""
        used = self._used
        copied = Usage(set(used.down), set(used.pending), set(used.surging), set(used.to_surge))
        return Account(self._ds, copied, self._rules, self._slots, self._now)

    def afford(self, node: str, *, mend: bool = False) -> bool:
        """Whether a copy may be stopped here now.

        To `mend`, one may be stopped in any case: with maxUnavailable 0 nothing that has to be
        restarted could ever be repaired.
        """
        used = self._used
        limit = max(1, self._rules.max_unavailable) if mend else self._rules.max_unavailable
        if node in used.down:
            return True
        if node in used.pending:
            return len(used.down) < limit
        return len(used.down) + len(used.pending) < limit

    def afford_surge(self, node: str) -> bool:
        """Whether a second copy may be started here now."""
        used = self._used
        if node in used.to_surge:
            return len(used.surging) < self._rules.surge
        return len(used.surging) + len(used.to_surge) < self._rules.surge

    def take(self, node: str, revision: str, kind: SlotKind) -> None:
        """Take a slot for a node, and close what it holds for another revision."""
        used = self._used
        if kind is SlotKind.SURGE:
            used.to_surge.discard(node)
            used.surging.add(node)
        else:
            mends = kind is SlotKind.REPAIR
            assert self.afford(node, mend=mends), f"{self._ds}: no budget for {node}"
            used.down.add(node)
            used.pending.discard(node)
            used.to_surge.discard(node)
        held = [
            slot
            for slot in self._slots.get(node, ())
            if not slot.released and slot.kind != SlotKind.DELETE
        ]
        self.changed += (
            replace(slot, released=self._now, outcome="superseded")
            for slot in held
            if slot.revision != revision
        )
        if not any((slot.revision, slot.kind) == (revision, kind) for slot in held):
            self.changed.append(SlotRecord(*self._ds, node, revision, kind, self._now))

    def wait(self, node: str) -> Wait:
        """The decision where nothing can be taken any more, as for the rest of the pass."""
        if not self._spent:
            used, rules = self._used, self._rules
            spent = []
            if rules.surge:
                names = _some(used.surging | used.to_surge)
                spent.append(f"maxSurge is {rules.surge}, surging: {names}")
            if rules.max_unavailable or not rules.surge:
                names = _some(used.down | used.pending)
                spent.append(f"maxUnavailable is {rules.max_unavailable}, down: {names}")
            self._spent = "; ".join(spent)
        return Wait(node, self._ds, Reason.NO_SLOT, self._spent)


def _some(nodes: set[str]) -> str:
    names = sorted(nodes)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "none") + more
