"""The farewell to hosts that left the inventory: when no copy is left on one, every trace goes.

A host that left and cannot be reached stays in the state until it answers, or until a person purges
it. Forgetting many hosts at once is guarded like removing many copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleetd.core.facts import Known, Observation, Part
from fleetd.core.node import Node
from fleetd.core.records import (
    AuditRecord,
    InstanceRecord,
    NodeRecord,
    SlotRecord,
    TaintRecord,
)
from fleetd.engine.executor import Executor
from fleetd.host.replies import Ok, Reply, reason
from fleetd.host.requests import Purge
from fleetd.ports import Drop, Put, Store


async def farewell(
    store: Store,
    executor: Executor,
    nodes: Sequence[Node],
    seen: Mapping[str, Part[Observation]],
    *,
    at_most: int,
) -> dict[str, Reply]:
    """Purge and forget the hosts that left and carry nothing of ours any more; what they answered.

    A host is forgotten when its answer is Ok.
    """
    return {
        node.name: await bid(store, executor, node, seen[node.name])
        for node in done_with(nodes, seen, executor.fence.fleet, at_most=at_most)
    }


def done_with(
    nodes: Iterable[Node],
    seen: Mapping[str, Part[Observation]],
    fleet: str,
    *,
    at_most: int,
) -> tuple[Node, ...]:
    """The hosts that left and carry nothing of ours any more.

    None where there are more than `at_most`: an emptied inventory is no farewell.
    """
    done = tuple(node for node in nodes if node.left and _empty(seen.get(node.name), fleet))
    return done if len(done) <= at_most else ()


async def bid(store: Store, executor: Executor, node: Node, part: Part[Observation]) -> Reply:
    """Take every trace off one host, and forget it when its answer is Ok."""
    fence = executor.fence
    reply: Reply = Ok()
    owned = _owned(part, fence.fleet)
    if owned:
        reply = await executor.visits.send(node, Purge(fence.fleet, fence.term))
    done = isinstance(reply, Ok)
    audit = AuditRecord(
        at=executor.images.clock.now(),
        who=fence.who,
        verb="purge" if owned else "forget",
        subject=f"Node {node.name}",
        detail="it left the inventory" if isinstance(reply, Ok) else reason(reply),
        node=node.name,
        outcome="done" if done else type(reply).__name__.lower(),
    )
    store.commit([*(forget(node.name) if done else ()), Put(audit)])
    return reply


def forget(name: str) -> list[Drop]:
    """All that the state holds of a node."""
    return [
        Drop(NodeRecord, name=name),
        Drop(InstanceRecord, node=name),
        Drop(SlotRecord, node=name),
        Drop(TaintRecord, node=name),
    ]


def _empty(part: Part[Observation] | None, fleet: str) -> bool:
    if not isinstance(part, Known):
        return False
    owner, ledger = part.value.owner, part.value.ledger
    if not isinstance(owner, Known) or not isinstance(ledger, Known):
        return False
    if owner.value is not None and owner.value.fleet != fleet:
        return True
    return ledger.value == ()


def _owned(part: Part[Observation], fleet: str) -> bool:
    return (
        isinstance(part, Known)
        and isinstance(part.value.owner, Known)
        and part.value.owner.value is not None
        and part.value.owner.value.fleet == fleet
    )
