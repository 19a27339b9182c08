"""How much of a DaemonSet may be down at once, and who is: the rules and the slots.

A slot is leave to stop a copy, recorded before the first side effect. It is given back when the
copy was observed available; until then its node counts as unavailable, whatever is (not) known of
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from fleetd.core.actions import Reason, Wait
from fleetd.core.daemonset import DaemonSet
from fleetd.core.meta import Key
from fleetd.core.placement import Place
from fleetd.core.records import RolloutRecord, SlotRecord

DEADLINE = "fleetd/progress-deadline-seconds"
MAX_UNREACHABLE = "fleetd/max-unreachable"
UNREACHABLE = "fleetd/unreachable"


@dataclass(frozen=True, slots=True)
class Rules:
    """The knobs of a rollout, resolved for the number of desired nodes."""

    max_unavailable: int
    max_unreachable: int
    deadline_s: float
    unknown_counts: bool
    on_delete: bool


def rules_of(daemonset: DaemonSet, desired: int) -> Rules:
    """Resolve a DaemonSet's strategy and annotations (K 81-85)."""
    strategy = daemonset.spec.update_strategy
    notes = daemonset.metadata.annotations
    rolling = strategy.rolling_update
    unavailable = resolve(rolling.max_unavailable, desired)
    if unavailable == 0 and desired and resolve(rolling.max_surge, desired) == 0:
        unavailable = 1  # K 84
    deadline = notes.get(DEADLINE, "")
    unreachable = notes.get(MAX_UNREACHABLE, "20%")
    return Rules(
        max_unavailable=unavailable,
        max_unreachable=resolve(unreachable, desired),
        deadline_s=float(deadline) if deadline.isdigit() else 600.0,
        unknown_counts=notes.get(UNREACHABLE) == "count",
        on_delete=strategy.type == "OnDelete",
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
    slots: Iterable[SlotRecord], places: Mapping[str, Place], *, pending: str, now: float
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
        place = places.get(slot.node)
        outcome = "gone" if place is None else _outcome(slot, place, pending)
        if outcome:
            closed.append(replace(slot, released=now, outcome=outcome))
    return closed


def _outcome(slot: SlotRecord, place: Place, pending: str) -> str:
    if not place.known or place.node.held:
        return ""
    if not place.desired:
        return "gone"
    copy = place.copy
    if copy is None or not copy.available:
        return ""
    if copy.revision == slot.revision:
        return "available"
    return "" if slot.revision == pending else "unused"


def unavailable(
    places: Iterable[Place],
    slots: Mapping[str, list[SlotRecord]],
    record: RolloutRecord,
    rules: Rules,
) -> tuple[set[str], set[str]]:
    """The nodes that use up the budget, over all revisions and all causes (K 90-92, P 103).

    Two sets: those that are down as far as anybody knows, and those that run well but hold a slot,
    since the action that they were to be stopped for was cut short.
    """
    down = set()
    pending = set()
    for place in places:
        if not place.counts:
            continue
        of_node = slots.get(place.name, [])
        if place.known:
            if not place.available:
                down.add(place.name)
            elif any(not slot.released for slot in of_node):
                pending.add(place.name)
        elif rules.unknown_counts or touched(of_node, record):
            down.add(place.name)
    return down, pending


class Account:
    """The budget of one DaemonSet in one pass, spent decision by decision.

    `changed` collects the slots taken or handed on. A node that is down already costs nothing more.
    A slot still to be used was affordable when it was taken; it is used only if it still is.
    """

    def __init__(
        self,
        ds: Key,
        down: tuple[set[str], set[str]],
        limit: int,
        slots: Mapping[str, list[SlotRecord]],
        now: float,
    ) -> None:
        """Take what `unavailable` found, how many may be down, all slots by node, the time."""
        self.changed: list[SlotRecord] = []
        self._ds = ds
        self._down, self._pending = down
        self._limit = limit
        self._slots = slots
        self._now = now
        self._spent = ""

    def afford(self, node: str) -> bool:
        """Whether a copy may be stopped here now."""
        if node in self._down:
            return True
        if node in self._pending:
            return len(self._down) < self._limit
        return len(self._down) + len(self._pending) < self._limit

    def take(self, node: str, revision: str, kind: str) -> None:
        """Take a slot for a node, and close what it holds for another revision."""
        assert self.afford(node), f"{self._ds}: no budget for {node}"
        self._down.add(node)
        self._pending.discard(node)
        held = [slot for slot in self._slots.get(node, ()) if not slot.released]
        self.changed += (
            replace(slot, released=self._now, outcome="superseded")
            for slot in held
            if slot.revision != revision
        )
        if not any(slot.revision == revision for slot in held):
            self.changed.append(SlotRecord(*self._ds, node, revision, kind, self._now))

    def wait(self, node: str) -> Wait:
        """The decision where nothing can be taken any more, as for the rest of the pass."""
        if not self._spent:
            names = sorted(self._down | self._pending)
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            down = ", ".join(names[:5]) + more
            self._spent = f"maxUnavailable is {self._limit}, down: {down or 'none'}"
        return Wait(node, self._ds, Reason.NO_SLOT, self._spent)
