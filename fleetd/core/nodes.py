"""Nodes out of the inventory, the state, and what hosts have told of themselves.

A host that is no longer in the inventory stays a node, marked as left, until its copies are gone.
Apart from the engine, so that who only reads the state need not load it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from fleetd.core.facts import HostFacts
from fleetd.core.node import (
    OBSERVED_LABELS,
    RUNTIME_LABEL,
    UNSCHEDULABLE,
    Host,
    Inventory,
    Node,
    Ssh,
    Taint,
)
from fleetd.core.records import NodeRecord


def nodes_of(inventory: Inventory, records: Iterable[NodeRecord]) -> tuple[Node, ...]:
    """All nodes by name: the inventory's hosts, and those that left but are not done with."""
    known = {record.name: record for record in records}
    nodes = [_present(host, known.get(host.name)) for host in inventory.hosts]
    names = {host.name for host in inventory.hosts}
    nodes += [_left(record) for record in known.values() if record.name not in names]
    return tuple(sorted(nodes, key=lambda node: node.name))


def facts_of(record: NodeRecord) -> HostFacts | None:
    """What the host last told of itself."""
    return HostFacts(**json.loads(record.facts_json)) if record.facts_json else None


def observed_labels(facts: HostFacts) -> dict[str, str]:
    """The labels that come from looking at the host."""
    return dict(zip(OBSERVED_LABELS, (facts.hostname, facts.os, facts.arch), strict=True))


def _present(host: Host, record: NodeRecord | None) -> Node:
    if record is None:
        return Node(
            host.name, host.ssh, dict(host.labels), _unobserved(host.labels, None), host.taints
        )
    facts = facts_of(record)
    # The inventory wins over what a host says of itself: no host talks itself into an agent.
    labels = {**(observed_labels(facts) if facts else {}), **host.labels}
    if record.runtime:
        labels.setdefault(RUNTIME_LABEL, record.runtime)
    for key, value in json.loads(record.labels_json).items():
        if value is None:
            labels.pop(key, None)
        else:
            labels[key] = value
    return Node(
        name=host.name,
        ssh=host.ssh,
        labels=labels,
        unknown_labels=_unobserved(labels, facts),
        taints=_taints(host, record),
        uid=record.machine_id,
        cordoned=record.cordoned,
        held=record.held,
    )


def _unobserved(labels: Mapping[str, str], facts: HostFacts | None) -> frozenset[str]:
    return frozenset() if facts else frozenset(OBSERVED_LABELS) - labels.keys()


def _taints(host: Host, record: NodeRecord) -> tuple[Taint, ...]:
    """The inventory's taints under the overlay: key and effect name one, a null value hides it."""
    taints = {(taint.key, taint.effect): taint for taint in host.taints}
    for item in json.loads(record.taints_json):
        place = (item["key"], item["effect"])
        if item["value"] is None:
            taints.pop(place, None)
        else:
            taints[place] = Taint(item["key"], item["value"], item["effect"])
    if record.cordoned:
        taints[UNSCHEDULABLE.key, UNSCHEDULABLE.effect] = UNSCHEDULABLE
    return tuple(sorted(taints.values()))


def _left(record: NodeRecord) -> Node:
    ssh = Ssh(**json.loads(record.ssh_json)) if record.ssh_json else Ssh(address="")
    return Node(record.name, ssh, uid=record.machine_id, held=record.held, left=True)
