"""What a look at the hosts says of the nodes: renames, twins, and what is worth remembering.

A node's identity is its machine-id: a new name with a known machine-id is a rename, not a leaver
and a joiner; one machine-id under two names is refused under both; and another machine under a
known name is a new one, of which nothing is known yet.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from fleetd.core.facts import HostFacts, Known, Observation, Part, Unknown
from fleetd.core.key import Key
from fleetd.core.node import Node, Taint
from fleetd.core.records import (
    EventRecord,
    InstanceRecord,
    NodeRecord,
    SlotRecord,
    TaintRecord,
)
from fleetd.engine.recording import events
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
    refused = _twins(nodes, seen)
    result = {**seen, **refused}
    present = {
        machine: node
        for node in nodes
        if not node.left and (machine := _machine(result.get(node.name)))
    }
    changes: list[Change] = []
    notes = [(name, part.why) for name, part in refused.items()]
    gone: set[str] = set()
    for node in sorted(nodes, key=lambda node: node.name):
        now = present.get(node.uid) if node.left else None
        if now is not None:
            gone.add(node.name)
            result.pop(node.name, None)
            changes += _rename(store, node.name, now.name)
            notes.append((now.name, f"renamed: was {node.name}, the same machine"))
    return Identified(
        tuple(node for node in nodes if node.name not in gone),
        result,
        tuple(changes),
        tuple(notes),
    )


def _twins(nodes: Iterable[Node], seen: Mapping[str, Part[Observation]]) -> dict[str, Unknown]:
    """The nodes of the inventory that are one machine under several names, and what to do."""
    names: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        machine = _machine(seen.get(node.name))
        if machine and not node.left:
            names[machine].append(node.name)
    return {
        name: Unknown(
            f"{' and '.join(several)} are one machine ({machine}); take one out of the inventory"
        )
        for machine, several in names.items()
        if len(several) > 1
        for name in several
    }


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


@dataclass(frozen=True, slots=True)
class Met:
    """What a look is worth keeping of: the records as they are now, and the changes to get there.

    `quarantined`: (node, sentence) for each that has just begun to show another host key.
    """

    records: Mapping[str, NodeRecord]
    changes: tuple[Change, ...]
    quarantined: tuple[tuple[str, str], ...]


def meet(
    nodes: Iterable[Node],
    seen: Mapping[str, Part[Observation]],
    store: Store,
    now: float,
    news: Collection[str] | None = None,
) -> Met:
    """Write down what the hosts have told of themselves, over the records as they are now.

    `news` are those that were looked at since the last time; None: all of them.
    Twins are not written down as one another: what was known of them stays.
    """
    nodes = tuple(nodes)
    records = {row.name: row for row in store.read(NodeRecord)}
    fresh = dict(records)
    refused = _twins(nodes, seen)
    changes: list[Change] = []
    told: list[EventRecord] = []
    quarantined: list[tuple[str, str]] = []
    for node in nodes:
        before = records.get(node.name)
        part = refused.get(node.name) or seen.get(node.name, Unknown("not looked at yet"))
        if news is not None and node.name not in news and _stays(node, part, before):
            continue
        after = remember(node, part, before, now)
        if after is None:
            continue
        fresh[node.name] = after
        changes.append(Put(after))
        if before is not None and _is_another(before, after):
            changes += [Drop(InstanceRecord, node=node.name), Drop(SlotRecord, node=node.name)]
            told.append(_event(node, "MachineReplaced", _replaced(before, after), now))
        if after.quarantined and not (before and before.quarantined):
            quarantined.append((node.name, after.unreachable))
            told.append(_event(node, "HostKeyChanged", after.unreachable, now))
    changes += events(store, told)
    return Met(fresh, tuple(changes), tuple(quarantined))


def _stays(node: Node, part: Part[Observation], before: NodeRecord | None) -> bool:
    """Whether a node that was not looked at has neither left, nor come back, nor got a twin."""
    return (
        before is not None
        and node.left == bool(before.left)
        and isinstance(part, Unknown) == bool(before.unreachable)
    )


def _is_another(before: NodeRecord, after: NodeRecord) -> bool:
    return bool(before.machine_id) and before.machine_id != after.machine_id


def _replaced(before: NodeRecord, after: NodeRecord) -> str:
    return (
        f"another machine answers ({after.machine_id}, was {before.machine_id}): it is new to us,"
        " and what was known of the old one is forgotten"
    )


def _event(node: Node, reason: str, message: str, now: float) -> EventRecord:
    return EventRecord.once(Key("", ""), node.name, reason, message, now, warning=True)


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
        machine = _machine(part)
        if machine and after.machine_id not in ("", machine):
            # Whatever ran on the old machine, and with what, says nothing of this one.
            after = replace(after, facts_json="", boot_id="", runtime="", joined=now)
        if machine:
            after = replace(after, machine_id=machine)
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
