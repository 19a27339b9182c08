"""No mass removal by accident: an emptied inventory or a wrong taint takes nothing away by itself.

A pass in which more than max(1, 5 %) of the nodes left, or of a DaemonSet's copies are not eligible
any more, removes none of these until somebody confirms how many. Deletions are explicit, and pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from fleetd.core.actions import Decision, Reason, Remove, Wait
from fleetd.core.meta import Key

SHARE = 0.05


def guard(
    decisions: Iterable[Decision],
    *,
    nodes: int,
    copies: Counter[Key],
    confirmed: int | None,
) -> tuple[list[Decision], list[str]]:
    """The decisions with unconfirmed removals made to wait, and a sentence for each refusal.

    `nodes` is how many nodes there are, those that left included; `copies` how many copies each
    DaemonSet has that were seen.
    """
    decisions = list(decisions)
    leaving: set[str] = set()
    losing: defaultdict[Key, set[str]] = defaultdict(set)
    for entry in decisions:
        if isinstance(entry, Remove) and entry.reason is Reason.LEFT:
            leaving.add(entry.node)
        elif isinstance(entry, Remove) and entry.reason is Reason.NOT_ELIGIBLE:
            losing[entry.ds].add(entry.node)
    stopped: dict[tuple[Reason, Key | None], str] = {}
    if _too_many(len(leaving), nodes, confirmed):
        text = f"{len(leaving)} of {nodes} nodes have left the inventory"
        stopped[Reason.LEFT, None] = f"{text}; {_remedy(len(leaving))}"
    for key, names in losing.items():
        if _too_many(len(names), copies[key], confirmed):
            text = f"{len(names)} of {copies[key]} copies of {key} are not eligible any more"
            stopped[Reason.NOT_ELIGIBLE, key] = f"{text}; {_remedy(len(names))}"

    def checked(entry: Decision) -> Decision:
        if not isinstance(entry, Remove):
            return entry
        scope = None if entry.reason is Reason.LEFT else entry.ds
        detail = stopped.get((entry.reason, scope))
        return Wait(entry.node, entry.ds, Reason.REMOVAL_GUARD, detail) if detail else entry

    return [checked(entry) for entry in decisions], sorted(stopped.values())


def _too_many(count: int, total: int, confirmed: int | None) -> bool:
    return count > max(1, SHARE * total) and count > (confirmed or 0)


def _remedy(count: int) -> str:
    return f"to remove their copies say --confirm-removals={count}"
