"""Where each copy stands, found out: every (node, DaemonSet) becomes a place.

A service plans many times a minute, while hardly a host has anything new to say. So who plans may
keep `Sights`: what was made of the observations before. That is an argument of the plan like any
other, and no plan differs for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import inf
from operator import attrgetter

from fleetd.core.copies import Copy, judge_view, min_ready_s
from fleetd.core.daemonset import DaemonSet
from fleetd.core.eligibility import Gate
from fleetd.core.facts import Observation, Part, Slot
from fleetd.core.glance import glance
from fleetd.core.hostview import HostView
from fleetd.core.instances import tells
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.placement import Place, Places, Sight, sight_of
from fleetd.core.pod import PodSpec
from fleetd.core.records import InstanceRecord, SlotKind
from fleetd.core.world import SetState, World


class Sights:
    """What was made of a fleet's observations so far, for who plans again and again.

    It changes no plan, only how soon it is made: an observation, a node or a DaemonSet that is the
    same object as in the last world is not judged again. It holds what the last world held, and no
    more.
    """

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._fleet = ""
        self._nodes: dict[str, Node] = {}
        self._seen: dict[str, tuple[Part[Observation] | None, Sight]] = {}
        self._kept: dict[Key, Kept] = {}

    def take(self, world: World, now: float) -> tuple[list[Node], dict[str, Sight]]:
        """The nodes of a world in order of their names, and what can be said of each."""
        if world.fleet != self._fleet:
            self._fleet = world.fleet
            self._seen = {}
        nodes = sorted(world.nodes, key=attrgetter("name"))
        for at, node in enumerate(nodes):
            before = self._nodes.get(node.name)
            if before is not None and before == node:
                nodes[at] = before
        self._nodes = {node.name: node for node in nodes}
        self._seen = {
            name: self._sight(name, world.seen.get(name), world.looked.get(name, now))
            for name in self._nodes
        }
        self._kept = {state.key: self._keep(state) for state in world.sets}
        return nodes, {name: sight for name, (_, sight) in self._seen.items()}

    def kept(self, ds: Key) -> Kept:
        """What was made of a DaemonSet of the world taken last."""
        return self._kept[ds]

    def _sight(
        self, name: str, part: Part[Observation] | None, at: float
    ) -> tuple[Part[Observation] | None, Sight]:
        before = self._seen.get(name)
        if before is None or before[0] is not part:
            return part, sight_of(part, self._fleet, at)
        return before if before[1].at == at else (part, replace(before[1], at=at))

    def _keep(self, state: SetState) -> Kept:
        before = self._kept.get(state.key)
        return before if before is not None and before.is_of(state) else Kept(state)


class Kept:
    """What was made of one DaemonSet: the judge of its nodes, its fine places, other copies."""

    def __init__(self, state: SetState) -> None:
        """Begin with a DaemonSet in its target revision."""
        self.ds = state.key
        self.gate = gate_of(state.daemonset)
        self.rest = min_ready_s(state.daemonset)
        self.replaces = state.daemonset.replaces
        self.fine: Mapping[str, Place] = {}
        self.judged: dict[str, tuple[HostView, tuple[Copy, ...]]] = {}
        self._daemonset = state.daemonset
        self._revision = state.revision

    def is_of(self, state: SetState) -> bool:
        """Whether it was made of the same DaemonSet in the same revision."""
        return self._daemonset is state.daemonset and self._revision == state.revision


def gate_of(daemonset: DaemonSet) -> Gate:
    """The judge of nodes for a DaemonSet."""
    spec = daemonset.spec.template.spec
    return Gate(spec, host_network=isinstance(spec, PodSpec) and spec.host_network)


def survey(
    state: SetState,
    nodes: Iterable[Node],
    sights: Mapping[str, Sight],
    now: float,
    busy: Collection[str] = (),
    kept: Kept | None = None,
) -> Places:
    """All places of one DaemonSet, in the order of `nodes`; for `busy` see `World.busy`.

    `kept` is what was made of the same DaemonSet before; it is brought up to date.
    """
    kept = Kept(state) if kept is None else kept
    asked = {
        slot.node for slot in state.slots if slot.kind == SlotKind.DELETE and not slot.released
    }
    instances = _Instances(state.instances)
    fine: dict[str, Place] = {}
    other: dict[str, Place] = {}
    for node in nodes:
        name = node.name
        sight = sights[name]
        known = instances.eldest.get(name)
        quiet = name not in asked and name not in busy and name not in instances.doubled
        if quiet and known is not None:
            before = kept.fine.get(name)
            if before is None or not before.still(node, sight, known):
                before = _fine(state, node, sight, known, kept, now)
            if before is not None:
                fine[name] = before
                continue
        copies, eldest = _copies(state, name, sight, kept)
        other[name] = Place(
            node,
            kept.gate.judge(node, now),
            sight,
            copies,
            known,
            eldest,
            name in asked,
            name in busy,
        )
    kept.fine = fine
    kept.judged = {node: kept.judged[node] for node in other if node in kept.judged}
    return Places(fine, other)


def _fine(
    state: SetState, node: Node, sight: Sight, known: InstanceRecord, kept: Kept, now: float
) -> Place | None:
    """The place of a node about which nobody said anything, if it is a fine one."""
    if sight.view is None or node.held:
        return None
    eligibility = kept.gate.judge(node, now)
    copy = glance(sight.view, kept.ds, kept.rest, kept.replaces) if eligibility.run else None
    if copy is None or copy.revision != state.revision or not tells(known, copy, sight.at):
        return None
    return Place(node, eligibility, sight, (copy,), known)


def _copies(
    state: SetState, node: str, sight: Sight, kept: Kept
) -> tuple[tuple[Copy, ...], Copy | None]:
    """The copies on a node, the one to keep first, and the eldest where there are several."""
    if sight.view is None:
        return (), None
    view, copies = kept.judged.get(node, (None, ()))
    if view is not sight.view:
        copies = judge_view(sight.view, kept.ds, kept.rest, kept.replaces)
        kept.judged[node] = sight.view, copies
    if len(copies) < 2:
        return copies, None
    return _by_preference(copies, state.revision), _eldest(node, copies, state)


class _Instances:
    """The copies last seen: the oldest of each node, and the nodes that had more than one."""

    def __init__(self, instances: Collection[InstanceRecord]) -> None:
        self.eldest = {record.node: record for record in instances}
        self.doubled: set[str] = set()
        if len(self.eldest) == len(instances):
            return
        self.eldest.clear()
        for record in instances:
            other = self.eldest.setdefault(record.node, record)
            if other is not record:
                self.doubled.add(record.node)
                self.eldest[record.node] = min(other, record, key=_age)


def _age(record: InstanceRecord) -> tuple[float, str]:
    return record.created, record.slot


def _by_preference(copies: tuple[Copy, ...], revision: str) -> tuple[Copy, ...]:
    """The copy to keep first: what goes is never better than what stays, so it costs nothing."""
    return tuple(
        sorted(
            copies,
            key=lambda copy: (
                not copy.available,
                not copy.ready,
                not copy.ledgered,
                copy.revision != revision,
                copy.slot,
            ),
        )
    )


def _eldest(node: str, copies: tuple[Copy, ...], state: SetState) -> Copy:
    """The copy met first; of two never met before, the one that is not of the target revision."""
    created = {record.slot: record.created for record in state.instances if record.node == node}

    def age(copy: Copy) -> tuple[float, bool, Slot]:
        return created.get(copy.slot, inf), copy.revision == state.revision, copy.slot

    return min(copies, key=age)
