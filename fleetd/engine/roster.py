"""The nodes, made again only where the inventory or the state says something new of one.

A decision over ten thousand hosts of which one has changed makes one node; the others stay the very
same objects, so that what was judged of them may stay, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetd.core.node import Host, Inventory, Node
from fleetd.core.nodes import nodes_of
from fleetd.core.records import NodeRecord


@dataclass(frozen=True, slots=True)
class _Entry:
    host: Host | None
    record: NodeRecord | None
    node: Node


@dataclass(slots=True)
class Roster:
    """Remembers what `core.nodes.nodes_of` made."""

    entries: dict[str, _Entry] = field(default_factory=dict)

    def nodes(self, inventory: Inventory, records: Mapping[str, NodeRecord]) -> tuple[Node, ...]:
        """As `nodes_of`: all nodes by name, those that left included."""
        hosts = {host.name: host for host in inventory.hosts}
        before, self.entries = self.entries, {}
        for name in sorted(hosts.keys() | records.keys()):
            host, record = hosts.get(name), records.get(name)
            entry = before.get(name)
            if entry is None or entry.host is not host or entry.record is not record:
                entry = _made(host, record, entry)
            self.entries[name] = entry
        return tuple(entry.node for entry in self.entries.values())


def _made(host: Host | None, record: NodeRecord | None, before: _Entry | None) -> _Entry:
    alone = Inventory((host,) if host else (), ())
    (node,) = nodes_of(alone, (record,) if record else ())
    # Most of what a record tells, such as when it was written, is not in the node.
    return _Entry(host, record, before.node if before and before.node == node else node)
