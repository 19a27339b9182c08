"""What a pass is, and the steps of it that one-shot runs and the service's loop have in common.

A `Reconciler` waits for every host of a pass, a `Loop` for none; what either writes down of a look,
decides and tells is the same, and is here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from fleetd.core.actions import Action
from fleetd.core.budget import rules_of
from fleetd.core.facts import Observation, Part
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.plan import Plan
from fleetd.core.records import NodeRecord
from fleetd.core.world import World
from fleetd.engine.executor import Step, describe
from fleetd.engine.nodes import Identified, identify, meet, time_taints
from fleetd.host.requests import Observe
from fleetd.ports import EventSink, Store

TRIES = 3
"""An action that failed this often in one run is given up by that run."""
REPEATS = 5
"""And so is one that was done this often and was due again each time."""

Place = tuple[str, Key, str, str]
"""What a try is counted by: node, DaemonSet, kind of action, revision."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass: what was decided, what became of it, and on what view of the fleet."""

    plan: Plan
    steps: tuple[Step, ...]
    nodes: tuple[Node, ...]
    seen: Mapping[str, Part[Observation]]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of passes. `ended` says why it stopped: settled, time, stuck, or once."""

    last: Pass
    steps: tuple[Step, ...]
    ended: str


def place_of(action: Action) -> Place:
    """What the tries of this action are counted by."""
    return (action.node, action.ds, type(action).__name__, getattr(action, "revision", ""))


def is_hopeless(failed: int, done: int) -> bool:
    """Whether a run gives an action up that failed, and was done, so often in it."""
    return failed >= TRIES or done >= REPEATS


def question(fleet: str, record: NodeRecord | None) -> Observe:
    """What a look at a host asks. Facts are of a boot: it may come up with another kernel."""
    boot = record.boot_id if record is not None and record.facts_json else ""
    return Observe(fleet, engine=True, facts=True, boot=boot)


def write_looks(
    store: Store,
    sink: EventSink,
    nodes: Iterable[Node],
    seen: Mapping[str, Part[Observation]],
    now: float,
    news: Collection[str] | None = None,
) -> Mapping[str, NodeRecord]:
    """Write down what looks at these nodes showed; the records of all nodes after that.

    `news` are those that were looked at since the last time; None: all of them.
    It goes over the records as they are now: a look takes seconds, and somebody may have said
    something of a node meanwhile.
    """
    met = meet(nodes, seen, store, now, news)
    if met.changes:
        store.commit(met.changes)
    for name, why in met.quarantined:
        sink.emit("quarantined", node=name, why=why)
    return met.records


def tell_apart(
    store: Store, nodes: Iterable[Node], seen: Mapping[str, Part[Observation]], now: float
) -> Identified:
    """The nodes by their identity, with the times of their taints; durable when it returns."""
    identified = identify(nodes, seen, store)
    timed, times = time_taints(identified.nodes, store, now)
    if identified.changes or times:
        store.commit((*identified.changes, *times))
    return replace(identified, nodes=timed)


def within(decided: Plan, scope: Collection[Key] | None) -> Plan:
    """What a plan says of these DaemonSets (None: of all)."""
    if scope is None:
        return decided
    return replace(
        decided,
        decisions=tuple(entry for entry in decided.decisions if entry.ds in scope),
        statuses={key: status for key, status in decided.statuses.items() if key in scope},
    )


def decision_fields(decided: Plan, world: World) -> dict[str, object]:
    """The fields of the event `decided`."""
    budgets = {
        state.key: rules_of(state.daemonset, decided.statuses[state.key].desired)
        for state in world.sets
        if state.key in decided.statuses
    }
    return {
        "actions": [describe(action) for action in decided.actions],
        "statuses": {
            str(key): {
                "desired": status.desired,
                "updated": status.updated,
                "available": status.available,
                "unavailable": status.unavailable,
                "unknown": status.unknown,
                "budget": budgets[key].max_unavailable,
            }
            for key, status in decided.statuses.items()
        },
    }
