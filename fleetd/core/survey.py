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
        self.news: set[str] = set()
        """The nodes that are not as they were at the last survey, or said something since."""
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
        seen = {
            node.name: self._sight(
                node.name, world.seen.get(node.name), world.looked.get(node.name, now)
            )
            for node in nodes
        }
        self.news.update(
            node.name
            for node in nodes
            if seen[node.name] is not self._seen.get(node.name)
            or node != self._nodes.get(node.name)
        )
        self._nodes = {node.name: node for node in nodes}
        self._seen = seen
        self._kept = {state.key: self._keep(state) for state in world.sets}
        return nodes, {name: sight for name, (_, sight) in seen.items()}

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
    """What was made of one DaemonSet: the judge of its nodes, its fine places, other copies.

    `fine` is that of the last `Places`.
    """

    def __init__(self, state: SetState) -> None:
        """Begin with a DaemonSet in its target revision."""
        self.gate = gate_of(state.daemonset)
        self.rest = min_ready_s(state.daemonset)
        self.replaces = state.daemonset.replaces
        self.fine: Mapping[str, InstanceRecord] = {}
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
    states: Iterable[SetState],
    nodes: Iterable[Node],
    sights: Mapping[str, Sight],
    now: float,
    busy: Collection[str],
    memory: Sights,
) -> dict[Key, Places]:
    """The places of each DaemonSet, in the order of `nodes`; for `busy` see `World.busy`.

    `memory` is one that has taken the same world; it is brought up to date.
    """
    turns = [_Surveyor(state, memory.kept(state.key), now, busy) for state in states]
    # Host by host, not set by set: what lies together in memory is read together.
    for node in nodes:
        sight, new = sights[node.name], node.name in memory.news
        for turn in turns:
            turn.look(node, sight, new=new)
    memory.news.clear()
    return {turn.ds: turn.places() for turn in turns}


def look_closely(state: SetState, node: Node, sight: Sight, now: float) -> Place:
    """The place of one node, with all that can be said of it."""
    return _Surveyor(state, Kept(state), now, ()).look_closely(node, sight)


class _Surveyor:
    """Looks at all nodes for one DaemonSet, in any order."""

    def __init__(self, state: SetState, kept: Kept, now: float, busy: Collection[str]) -> None:
        self.ds = state.key
        self._state = state
        self._kept = kept
        self._now = now
        self._busy = busy
        self._asked = {
            slot.node for slot in state.slots if slot.kind == SlotKind.DELETE and not slot.released
        }
        self._instances = _Instances(state.instances)
        self._spoken_of = self._instances.doubled.union(self._asked, busy)
        self._fine: dict[str, InstanceRecord] = {}
        self._other: dict[str, Place] = {}

    def look(self, node: Node, sight: Sight, *, new: bool) -> None:
        """Take in one node; it is `new` where anything of it may differ from the last survey."""
        name = node.name
        known = self._instances.eldest.get(name)
        if known is not None and name not in self._spoken_of:
            before = None if new else self._kept.fine.get(name)
            if before is known or before == known or self._is_fine(node, sight, known):
                self._fine[name] = known
                return
        self._other[name] = self.look_closely(node, sight)

    def look_closely(self, node: Node, sight: Sight) -> Place:
        """The place of one node."""
        name = node.name
        copies, eldest = self._copies(name, sight)
        return Place(
            node,
            self._kept.gate.judge(node, self._now),
            sight,
            copies,
            self._instances.eldest.get(name),
            eldest,
            name in self._asked,
            name in self._busy,
        )

    def places(self) -> Places:
        """The places of the nodes looked at; the memory holds on to these, and to no more."""
        kept = self._kept
        kept.fine = self._fine
        kept.judged = {node: kept.judged[node] for node in self._other if node in kept.judged}
        return Places(self._fine, self._other)

    def _is_fine(self, node: Node, sight: Sight, known: InstanceRecord) -> bool:
        """Whether a node about which nobody said anything is a fine place, whatever the time."""
        if node.held or known.revision != self._state.revision:
            return False
        kept = self._kept
        eligibility = kept.gate.judge(node, self._now)
        if not eligibility.run or eligibility.until is not None:
            return False
        return glance(sight, self.ds, known, kept.rest, kept.replaces)

    def _copies(self, node: str, sight: Sight) -> tuple[tuple[Copy, ...], Copy | None]:
        """The copies on a node, the one to keep first; the eldest where there are several."""
        if sight.view is None:
            return (), None
        kept = self._kept
        view, copies = kept.judged.get(node, (None, ()))
        if view is not sight.view:
            copies = judge_view(sight.view, self.ds, kept.rest, kept.replaces)
            kept.judged[node] = sight.view, copies
        if len(copies) < 2:
            return copies, None
        return _by_preference(copies, self._state.revision), _eldest(node, copies, self._state)


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
