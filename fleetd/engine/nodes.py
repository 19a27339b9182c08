"""What a look at the hosts says of the nodes: renames, twins, and what is worth remembering.

A node's identity is its machine-id: a new name with a known machine-id is a rename, not a leaver
and a joiner; one machine-id under two names is refused under both.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from fleetd.core.facts import HostFacts, Known, Observation, Part, Unknown
from fleetd.core.node import Node, Taint
from fleetd.core.records import InstanceRecord, NodeRecord, SlotRecord, TaintRecord
from fleetd.ports import Change, Drop, Put, Store
from fleetd.workload.errors import RenderError
from fleetd.workload.profile import engine_of


def _boot(seen: Observation) -> str:
    """The boot that the facts of an observation are of."""
    return seen.clock.value.boot_id if isinstance(seen.clock, Known) else ""


def _engine(node: Node, facts: HostFacts) -> str:
    """The engine that a host's containers stay with; "" where it has none yet."""
    try:
        return engine_of(node, facts).value
    except RenderError:
        return ""


@dataclass(frozen=True, slots=True)
class Identified:
    """What machine-ids settled: nodes and observations to go on with, changes to keep."""

    nodes: tuple[Node, ...]
    seen: Mapping[str, Part[Observation]]
    changes: tuple[Change, ...]
    notes: tuple[tuple[str, str], ...]
    """(node, sentence) for what a person should hear of."""


def identify(
    nodes: Iterable[Node], seen: Mapping[str, Part[Observation]], store: Store
) -> Identified:
    """Tell renames from leavers, and refuse one machine under two names."""
    nodes = tuple(nodes)
    by_machine: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        machine = _machine(seen.get(node.name))
        if machine:
            by_machine[machine].append(node)
    result = dict(seen)
    changes: list[Change] = []
    notes: list[tuple[str, str]] = []
    gone: set[str] = set()
    for machine, twins in by_machine.items():
        present = [node for node in twins if not node.left]
        if len(present) > 1:
            names = " and ".join(node.name for node in present)
            for node in present:
                why = f"{names} are one machine ({machine}); take one out of the inventory"
                result[node.name] = Unknown(why)
                notes.append((node.name, why))
        elif present:
            old = {node.name for node in nodes if node.left and node.uid == machine}
            for name in sorted(old):
                gone.add(name)
                result.pop(name, None)
                changes += _rename(store, name, present[0].name)
                notes.append((present[0].name, f"renamed: was {name}, the same machine"))
    return Identified(
        tuple(node for node in nodes if node.name not in gone),
        result,
        tuple(changes),
        tuple(notes),
    )


def _machine(part: Part[Observation] | None) -> str:
    if isinstance(part, Known) and isinstance(part.value.clock, Known):
        return part.value.clock.value.machine_id
    return ""


def _rename(store: Store, old: str, new: str) -> list[Change]:
    """Move all that the state knows of a node to its new name."""
    changes: list[Change] = [Drop(NodeRecord, name=old)]
    changes += [Put(replace(row, name=new, left=0.0)) for row in store.read(NodeRecord, name=old)]
    changes += [Drop(kind, node=old) for kind in (InstanceRecord, SlotRecord, TaintRecord)]
    changes += [Put(replace(row, node=new)) for row in store.read(InstanceRecord, node=old)]
    changes += [Put(replace(row, node=new)) for row in store.read(SlotRecord, node=old)]
    changes += [Put(replace(row, node=new)) for row in store.read(TaintRecord, node=old)]
    return changes


def time_taints(
    nodes: Iterable[Node], store: Store, now: float
) -> tuple[tuple[Node, ...], tuple[Change, ...]]:
    """The nodes with the time at which each of their NoExecute taints appeared, and the changes.

    A taint that was met before keeps its time for as long as it is there, whoever looks.
    """
    known = {(row.node, row.key, row.value): row for row in store.read(TaintRecord)}
    timed: list[Node] = []
    changes: list[Change] = []
    for node in nodes:
        since: dict[Taint, float] = {}
        for taint in node.taints:
            if taint.effect == "NoExecute":
                row = known.pop((node.name, taint.key, taint.value), None)
                if row is None:
                    row = TaintRecord(node.name, taint.key, taint.value, now)
                    changes.append(Put(row))
                since[taint] = row.added
        timed.append(replace(node, since=since) if since else node)
    changes += [Drop(TaintRecord, node=node, key=key, value=value) for node, key, value in known]
    return tuple(timed), tuple(changes)


def remember(
    node: Node, part: Part[Observation], record: NodeRecord | None, now: float
) -> NodeRecord | None:
    """The node's record after this look, or None when nothing worth a write has changed.

    The time of the last look alone is not worth a write more often than once a minute.
    """
    before = record or NodeRecord(name=node.name)
    after = before
    if isinstance(part, Unknown):
        after = replace(after, unreachable=part.why)
    else:
        after = replace(after, unreachable="", seen=now, joined=after.joined or now)
        if not node.left:
            after = replace(after, ssh_json=json.dumps(asdict(node.ssh), sort_keys=True))
        if isinstance(part.value.clock, Known):
            clock = part.value.clock.value
            after = replace(after, machine_id=clock.machine_id)
        if isinstance(part.value.facts, Known):
            facts = part.value.facts.value
            after = replace(
                after,
                facts_json=json.dumps(asdict(facts), sort_keys=True),
                boot_id=_boot(part.value),
                runtime=after.runtime or _engine(node, facts),
            )
    if not node.left:
        after = replace(after, left=0.0)
    elif not after.left:
        after = replace(after, left=now)
    if replace(after, seen=before.seen) == before and record and after.seen - before.seen < 60:
        return None
    return after
