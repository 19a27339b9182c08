"""Hosts as such: enrol their keys, adopt what they run after the state was lost, purge them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fleetd.api.fleet import FLEET_ID, FLEET_KEY, TERM
from fleetd.api.reports import Progress, Report
from fleetd.api.session import Session
from fleetd.api.streams import all_nodes
from fleetd.core.facts import Known, LedgerCopy
from fleetd.core.node import Node
from fleetd.core.records import AuditRecord, InstanceRecord, ObjectRecord, Setting
from fleetd.engine.leaving import forget
from fleetd.engine.nodes import remember
from fleetd.engine.visits import Visits, observation_of
from fleetd.errors import NotFound, Refused
from fleetd.host.replies import Ok, Refused as HostRefused, Reply
from fleetd.host.requests import Adopt, Purge
from fleetd.ports import Change, HostKeys, Put


async def enroll(
    keys: HostKeys, nodes: Sequence[Node], *, accept: bool, progress: Progress
) -> tuple[tuple[str, str], ...]:
    """Look at the host keys of these hosts: (host, what happened). With `accept`, pin new ones.

    A host behind a jump host needs the jump host's key first, so those go first.
    """
    jumps = {node.ssh.jump for node in nodes}
    done: list[tuple[str, str]] = []
    for group in (
        [node for node in nodes if node.name in jumps],
        [node for node in nodes if node.name not in jumps],
    ):
        room = asyncio.Semaphore(32)

        async def look(node: Node, room: asyncio.Semaphore = room) -> tuple[str, str]:
            async with room:
                result = await _enrol(keys, node, accept=accept)
            progress("enrolled", {"node": node.name, "result": result})
            return node.name, result

        done += await asyncio.gather(*(look(node) for node in group))
    return tuple(sorted(done))


async def _enrol(keys: HostKeys, node: Node, *, accept: bool) -> str:
    scanned = await keys.scan(node.name, node.ssh)
    if scanned.error:
        return f"failed: {scanned.error}"
    if not accept:
        return f"offers {scanned.fingerprint}"
    try:
        new = keys.pin(node.name, node.ssh, scanned.key)
    except Refused as error:
        return f"failed: {error}"
    return f"{'pinned' if new else 'known'} {scanned.fingerprint}"


def named(session: Session, hosts: Sequence[str], *, every: bool = False) -> list[Node]:
    """The nodes of these names, or every one of the inventory. Raises NotFound."""
    nodes = {node.name: node for node in all_nodes(session)}
    if every:
        return [node for node in nodes.values() if not node.left]
    missing = [name for name in hosts if name not in nodes]
    if missing:
        raise NotFound(f"not in the inventory: {', '.join(missing)}")
    return [nodes[name] for name in hosts]


async def adopt(session: Session, progress: Progress) -> Report:
    """Rebuild a lost state from the hosts: the fleet's id and key, a higher term, the copies.

    Nothing is changed on any host. Until their DaemonSets are applied again, the copies are
    orphans: they are kept and reported.

    Raises:
        Refused: the state is not empty, or the hosts are of several fleets, or of none.
    """
    objects, copies = session.store.read(ObjectRecord), session.store.read(InstanceRecord)
    if objects or copies:
        raise Refused("adopt rebuilds a lost state, and this one is not empty")
    visits = Visits(session.transport)
    nodes = [node for node in all_nodes(session) if not node.left]
    replies = dict(
        zip(
            [node.name for node in nodes],
            await asyncio.gather(*(visits.send(node, Adopt()) for node in nodes)),
            strict=True,
        )
    )
    owners = {name: owner for name, reply in replies.items() if (owner := _owner(reply))}
    fleets = {fleet for fleet, _, _ in owners.values()}
    if not fleets:
        raise Refused("none of the hosts that answered belongs to a fleet: nothing to adopt")
    if len(fleets) > 1:
        told = "; ".join(f"{name}: {owner[0]}" for name, owner in sorted(owners.items()))
        raise Refused(f"the hosts belong to several fleets; narrow the inventory: {told}")
    term = max(term for _, term, _ in owners.values()) + 1
    fleet, _, key = next(iter(owners.values()))
    now = session.clock.now()
    changes: list[Change] = [
        Put(Setting(FLEET_ID, fleet)),
        Put(Setting(FLEET_KEY, key)),
        Put(Setting(TERM, str(term))),
        Put(AuditRecord(now, session.who, "adopt", f"Fleet {fleet}", f"{len(owners)} hosts")),
    ]
    found = 0
    for node in nodes:
        seen = observation_of(replies[node.name])
        record = remember(node, seen, None, now)
        if record is not None:
            changes.append(Put(record))
        if isinstance(seen, Known) and isinstance(seen.value.ledger, Known):
            there = [_instance(node, copy, now) for copy in seen.value.ledger.value]
            found += len(there)
            changes += [Put(copy) for copy in there]
        progress("adopted", {"node": node.name, "owner": node.name in owners})
    session.store.commit(changes)
    return Report(
        problems=tuple(
            f"{name}: {_why_not(reply)}"
            for name, reply in sorted(replies.items())
            if name not in owners
        ),
        notes=(
            f"fleet {fleet}: {len(owners)} of {len(nodes)} hosts, {found} copies",
            "apply the same files again: nothing restarts, and the copies are no orphans any more",
        ),
        converged=len(owners) == len(nodes),
    )


def _owner(reply: Reply) -> tuple[str, int, str] | None:
    """(fleet, term, key) of a host that belongs to a fleet."""
    if not isinstance(reply, Ok) or not reply.owner_key or reply.observation is None:
        return None
    owner = reply.observation.owner
    if not isinstance(owner, Known) or owner.value is None:
        return None
    return owner.value.fleet, owner.value.term, reply.owner_key


def _why_not(reply: Reply) -> str:
    seen = observation_of(reply)
    return "belongs to no fleet" if isinstance(seen, Known) else seen.why


def _instance(node: Node, copy: LedgerCopy, now: float) -> InstanceRecord:
    return InstanceRecord(
        namespace=copy.ds.namespace,
        name=copy.ds.name,
        node=node.name,
        slot=copy.slot.value,
        revision=copy.revision,
        bundle=copy.bundle,
        phase="Unknown",
        ready=False,
        available=False,
        restarts=0,
        message="adopted",
        started=0.0,
        seen=now,
    )


async def purge(session: Session, name: str, progress: Progress) -> Report:
    """Take every trace of the fleet off a host; forget it when it has left the inventory.

    A host that left and does not answer is forgotten all the same: that is what purge is for.
    """
    (node,) = named(session, [name])
    reply = await Visits(session.transport).send(node, Purge(session.fleet.id, session.fleet.term))
    done = isinstance(reply, Ok)
    seen = observation_of(reply)
    why = reply.message if isinstance(reply, HostRefused) else getattr(seen, "why", "not purged")
    audit = AuditRecord(
        at=session.clock.now(),
        who=session.who,
        verb="purge",
        subject=f"Node {name}",
        detail="" if done else why,
        node=name,
        outcome="done" if done else type(reply).__name__.lower(),
    )
    changes: list[Change] = [Put(audit)]
    if done or node.left:
        changes += forget(name)
    session.store.commit(changes)
    progress("purged", {"node": name, "done": done})
    if done:
        return Report(notes=(f"{name}: purged",))
    return Report(problems=(f"{name}: {why}",), converged=False)
