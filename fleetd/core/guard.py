"""No mass removal by accident: an emptied inventory or a wrong taint takes nothing away by itself.

While more than max(1, 5 %) of the nodes have left and are not rid of their copies, or of a
DaemonSet's copies are not eligible any more, none of these is removed until somebody confirms how
many. Copies on hosts out of sight count, as they were seen last: an emptied inventory does not get
past because its hosts come back one by one. Deletions are explicit, and pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleetd.core.actions import Decision, Reason, Remove, Wait
from fleetd.core.meta import Key
from fleetd.core.placement import Places

SHARE = 0.05


@dataclass(frozen=True, slots=True)
class AtStake:
    """Whose copies the inventory, labels and taints would take away, seen now or remembered.

    `nodes` is how many nodes there are, `left` those that left and have copies; `copies` is how
    many copies each DaemonSet has, `losing` the nodes on which it is not eligible any more.
    """

    nodes: int
    left: frozenset[str]
    copies: Mapping[Key, int]
    losing: Mapping[Key, frozenset[str]]


def at_stake(nodes: int, places: Mapping[Key, Places]) -> AtStake:
    """Count, over the places of each DaemonSet. Hosts on hold lose nothing."""
    there = {  # of the fine places none is at stake
        key: [
            place
            for place in places[key].other.values()
            if not place.node.held and (place.copies or (place.unknown and place.remembered))
        ]
        for key in places
    }
    return AtStake(
        nodes=nodes,
        left=frozenset(place.name for at in there.values() for place in at if place.node.left),
        copies={key: len(places[key].fine) + len(at) for key, at in there.items()},
        losing={
            key: frozenset(
                place.name
                for place in at
                if not place.node.left and place.eligibility.stay is False
            )
            for key, at in there.items()
        },
    )


def guard(
    decisions: Iterable[Decision], stake: AtStake, *, confirmed: int | None
) -> tuple[list[Decision], list[str]]:
    """The decisions with unconfirmed removals made to wait, and a sentence for each refusal."""
    decisions = list(decisions)
    due = {
        (entry.reason, None if entry.reason is Reason.LEFT else entry.ds)
        for entry in decisions
        if isinstance(entry, Remove)
    }
    stopped: dict[tuple[Reason, Key | None], str] = {}
    if (Reason.LEFT, None) in due and _too_many(len(stake.left), stake.nodes, confirmed):
        text = f"{len(stake.left)} of {stake.nodes} nodes have left the inventory"
        stopped[Reason.LEFT, None] = f"{text}; {_remedy(len(stake.left))}"
    for key, names in stake.losing.items():
        place = (Reason.NOT_ELIGIBLE, key)
        if place in due and _too_many(len(names), stake.copies[key], confirmed):
            text = f"{len(names)} of {stake.copies[key]} copies of {key} are not eligible any more"
            stopped[place] = f"{text}; {_remedy(len(names))}"

    def checked(entry: Decision) -> Decision:
        if not isinstance(entry, Remove):
            return entry
        scope = None if entry.reason is Reason.LEFT else entry.ds
        detail = stopped.get((entry.reason, scope))
        return Wait(entry.node, entry.ds, Reason.REMOVAL_GUARD, detail) if detail else entry

    if not stopped:
        return decisions, []
    return [checked(entry) for entry in decisions], sorted(stopped.values())


def _too_many(count: int, total: int, confirmed: int | None) -> bool:
    return count > max(1, SHARE * total) and count > (confirmed or 0)


def _remedy(count: int) -> str:
    return f"to remove their copies say --confirm-removals={count}"
