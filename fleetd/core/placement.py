"""Where each copy of one DaemonSet stands: every (node, DaemonSet) sorted, before any budget.

What a rollout has to decide (a copy to start, to update, to repair or to leave) is left open here;
everything else is final: hands off, unknown, another fleet's, not eligible, one copy too many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetd.core.actions import (
    Decision,
    Held,
    Keep,
    Reason,
    Remove,
    Skipped,
    UnknownHost,
    Wait,
)
from fleetd.core.copies import Copy
from fleetd.core.eligibility import Eligibility
from fleetd.core.facts import Observation, Part, Unknown
from fleetd.core.hostview import HostView, read
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.records import InstanceRecord


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be said of a host in this pass: its view, or the reason why there is none.

    `at` is when it was said, in UTC seconds.
    """

    view: HostView | None
    at: float
    reason: Reason | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """One node as one DaemonSet sees it. `copies`: the first is the one to keep.

    `eldest` is the one met first, where there are several (K 129); `asked` says that somebody asked
    for the copies to go; `busy`, that what was seen may be out of date (see `World.busy`).
    """

    node: Node
    eligibility: Eligibility
    sight: Sight
    copies: tuple[Copy, ...] = ()
    remembered: InstanceRecord | None = None
    eldest: Copy | None = None
    asked: bool = False
    busy: bool = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def desired(self) -> bool:
        """Whether a copy should run here (K 126)."""
        return self.eligibility.run is True

    @property
    def known(self) -> bool:
        """Whether the host answered, readably, as one of ours."""
        return self.sight.view is not None

    @property
    def unknown(self) -> bool:
        """Whether nothing can be said. A host of another fleet is neither known nor unknown."""
        return self.sight.view is None and self.sight.reason is not Reason.OTHER_FLEET

    @property
    def counts(self) -> bool:
        """Whether the budget counts it: desired, not on hold, not another fleet's."""
        return self.desired and not self.node.held and (self.known or self.unknown)

    @property
    def copy(self) -> Copy | None:
        """The copy to keep, or None."""
        return self.copies[0] if self.copies else None

    @property
    def counted(self) -> Copy | None:
        """The copy that the status counts: the oldest (K 129, 130)."""
        return self.eldest or self.copy

    @property
    def available(self) -> bool:
        """Whether a copy was observed available."""
        return bool(self.copies) and self.copies[0].available


@dataclass(frozen=True, slots=True)
class Places:
    """The places of one DaemonSet by node, each in order of names, in two parts.

    In the `fine` ones one copy of the target revision is to run, and does, available and undamaged,
    just as the state has it already: in the record that stands here. Nobody holds the node, asked
    for the copy to go, or is busy there, and no time alone changes that. So there is nothing to
    decide for them but to keep the copy, and nothing to tell of them but how many they are. Nearly
    all places are fine, which is why they are apart.
    """

    fine: Mapping[str, InstanceRecord]
    other: Mapping[str, Place]

    def count(self, which: Callable[[Place], bool | None]) -> int:
        """How many places are fine, or are others for which this holds."""
        return len(self.fine) + sum(1 for place in self.other.values() if which(place))


def sight_of(seen: Part[Observation] | None, fleet: str, at: float) -> Sight:
    """Judge whether a visit, made `at` this time, is good enough to decide on.

    A part that cannot be read makes the whole host unknown: half a view is how copies get doubled.
    """
    if seen is None:
        return Sight(None, at, Reason.UNREACHABLE, "not visited")
    if isinstance(seen, Unknown):
        why = Reason.QUARANTINED if seen.quarantined else Reason.UNREACHABLE
        return Sight(None, at, why, seen.why)
    owner = seen.value.owner
    if isinstance(owner, Unknown):
        return Sight(None, at, Reason.UNREADABLE, f"owner: {owner.why}")
    if owner.value is not None and owner.value.fleet != fleet:
        return Sight(None, at, Reason.OTHER_FLEET, f"owned by fleet {owner.value.fleet}")
    view = read(seen.value)
    if isinstance(view, Unknown):
        return Sight(None, at, Reason.UNREADABLE, view.why)
    return Sight(view, at)


def is_pair(place: Place, revision: str) -> bool:
    """Whether there is one copy of this revision and one of another: what a surge makes (K 56)."""
    if len(place.copies) != 2 or not all(copy.ledgered for copy in place.copies):
        return False
    return sum(copy.revision == revision for copy in place.copies) == 1


def sort(place: Place, ds: Key, *, surging: str = "") -> Decision | None:
    """The bucket of a place, or None where the rollout decides.

    `surging` is the revision that copies of other revisions may stand beside, "" where none may.
    """
    if place.node.held:
        concerns = place.desired or place.copies or place.remembered
        return Held(place.name, ds) if concerns else _skip(place, ds)
    if place.sight.view is None:
        return _out_of_sight(place, ds)
    if not place.copies:
        return _vacant(place, ds)
    return _occupied(place, ds, surging)


def _skip(place: Place, ds: Key) -> Skipped:
    reason = Reason.LEFT if place.node.left else Reason.NOT_ELIGIBLE
    return Skipped(place.name, ds, reason, place.eligibility.reason)


def _out_of_sight(place: Place, ds: Key) -> Decision:
    reason = place.sight.reason or Reason.UNREACHABLE
    if reason is Reason.OTHER_FLEET:
        return Skipped(place.name, ds, reason, place.sight.why)
    if place.eligibility.run is False and place.remembered is None:
        return _skip(place, ds)
    return UnknownHost(place.name, ds, reason, place.sight.why)


def _vacant(place: Place, ds: Key) -> Decision | None:
    if place.eligibility.run is None:
        return Wait(place.name, ds, Reason.LABEL_UNKNOWN, place.eligibility.reason)
    return None if place.eligibility.run else _skip(place, ds)


def _occupied(place: Place, ds: Key, surging: str) -> Decision | None:
    eligibility = place.eligibility
    if place.node.left:
        return Remove(place.name, ds, None, Reason.LEFT, eligibility.reason)
    if eligibility.stay is False:
        return Remove(place.name, ds, None, Reason.NOT_ELIGIBLE, eligibility.reason)
    if place.asked:
        return Remove(place.name, ds, None, Reason.POD_DELETED, "somebody asked for it")
    if len(place.copies) > 1 and not (surging and is_pair(place, surging)):
        extra = place.copies[-1]
        detail = f"slot {extra.slot} beside slot {place.copies[0].slot}"
        return Remove(place.name, ds, extra.slot, Reason.EXTRA_COPY, detail)
    if eligibility.run is None:
        return Keep(place.name, ds, Reason.LABEL_UNKNOWN, eligibility.reason)
    return None
