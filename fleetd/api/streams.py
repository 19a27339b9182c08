"""Logs and exec: output from hosts, handed on as it comes.

What a host sends is cleaned of control characters in logs, since it lands on a person's terminal;
exec hands bytes on untouched, as ssh does, for the caller to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

from fleetd.api.reports import Write
from fleetd.api.session import Session
from fleetd.core.daemonset import DaemonSet, SystemdSpec
from fleetd.core.facts import Runtime, Slot
from fleetd.core.key import Key, pod_name
from fleetd.core.node import Node
from fleetd.core.nodes import nodes_of
from fleetd.core.records import BundleRecord, InstanceRecord, NodeRecord, ObjectRecord
from fleetd.errors import FleetdError, NotFound
from fleetd.host.lines import clean
from fleetd.host.replies import begin_mark
from fleetd.host.requests import Exec, Logs
from fleetd.host.wire import encode
from fleetd.ports import Streams, Take
from fleetd.workload.names import container_name, unit_name

MAIN = "main"
"""The container part of a systemd workload's unit name."""


STDOUT, STDERR = False, True
MANY = 10_000
"""So many lines may wait for whoever reads them before hosts are read no further."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy to read from: its node, its slot, and its units there."""

    node: Node
    ds: Key
    slot: Slot
    units: tuple[str, ...]
    container: str
    runtime: Runtime


def copies_of(
    session: Session, target: str, namespace: str, *, node: str = "", container: str = ""
) -> tuple[Copy, ...]:
    """The copies that `ds/NAME` or the name of a pod stands for, one node's only when given.

    With `container` they are of that container alone, which may be an init container.

    Raises:
        NotFound: there is none, or no such container in it.
    """
    kind, slash, name = target.rpartition("/")
    nodes = {entry.name: entry for entry in all_nodes(session)}
    found = []
    for row in session.store.read(InstanceRecord, namespace=namespace):
        pod = pod_name(Key(row.namespace, row.name), row.node, row.slot)
        wanted = row.name == name if slash and kind.startswith(("ds", "daemonset")) else pod == name
        if wanted and row.node in nodes and (not node or row.node == node):
            found.append(_copy(session, row, nodes[row.node], container))
    if not found:
        where = f" on node {node}" if node else ""
        raise NotFound(f"no copy of {target} in namespace {namespace}{where} is known")
    return tuple(found)


def all_nodes(session: Session) -> tuple[Node, ...]:
    """The nodes of the inventory, with what the state knows of them."""
    return nodes_of(session.inventory, session.store.read(NodeRecord))


def _copy(session: Session, row: InstanceRecord, node: Node, container: str) -> Copy:
    ds, slot = Key(row.namespace, row.name), Slot(row.slot)
    objects = session.store.read(
        ObjectRecord, kind="DaemonSet", namespace=ds.namespace, name=ds.name
    )
    if not objects:
        raise NotFound(f"DaemonSet {ds} is not known")
    spec = DaemonSet.model_validate_json(objects[0].document_json).spec.template.spec
    if isinstance(spec, SystemdSpec):
        _check(ds, container, [MAIN])
        unit = spec.systemd.existing_unit or unit_name(ds, MAIN, slot)
        return Copy(node, ds, slot, (unit,), "", Runtime.SYSTEMD)
    names = [each.name for each in (*spec.init_containers, *spec.containers)]
    _check(ds, container, names)
    bundles = session.store.read(
        BundleRecord, namespace=ds.namespace, name=ds.name, digest=row.bundle
    )
    docker = any(bundle.profile.startswith(Runtime.DOCKER) for bundle in bundles)
    return Copy(
        node,
        ds,
        slot,
        tuple(unit_name(ds, name, slot) for name in names if container in ("", name)),
        container_name(ds, container or spec.containers[0].name, slot),
        Runtime.DOCKER if docker else Runtime.PODMAN,
    )


def _check(ds: Key, container: str, names: Sequence[str]) -> None:
    if container and container not in names:
        raise NotFound(f"DaemonSet {ds} has no container {container}; it has {', '.join(names)}")


async def logs(
    streams: Streams, copies: Sequence[Copy], request: Callable[[Copy], Logs]
) -> AsyncIterator[tuple[str, str]]:
    """Lines of all these copies as they come, as (node, line); ends when every host has ended."""
    lines: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
    room = asyncio.Event()

    async def read(copy: Copy) -> None:
        reader = _Reader(token_hex(8), lambda line: lines.put_nowait((copy.node.name, line)))

        def take(data: bytes) -> Awaitable[None] | None:
            reader.take(data)
            return _until(room) if lines.qsize() > MANY else None

        output = await streams.stream(
            copy.node.name,
            copy.node.ssh,
            encode(request(copy), reader.nonce),
            take,
            _nothing,
        )
        reader.end()
        if output.error or not reader.began or output.status:
            told = "the host did not run the request"
            if reader.began:
                told = f"journalctl ended with status {output.status}"
            why = output.error or told
            await lines.put((copy.node.name, f"(no more: {why})"))

    async def read_all() -> None:
        await asyncio.gather(*(read(copy) for copy in copies))
        await lines.put(None)

    reading = asyncio.create_task(read_all(), name="logs")
    try:
        while (item := await lines.get()) is not None:
            yield item
            if lines.qsize() <= MANY:
                room.set()
                room.clear()
        await reading
    finally:
        reading.cancel()


async def run(streams: Streams, node: Node, request: Exec, write: Write) -> int:
    """Run a command there; its exit status.

    Raises:
        FleetdError: the host could not be asked, or the end of the command was not seen.
    """
    nonce = token_hex(8)
    head = _Head(nonce, lambda data: write(data, STDOUT))
    output = await streams.stream(
        node.name, node.ssh, encode(request, nonce), head.take, lambda data: write(data, STDERR)
    )
    if output.status is None or not head.began:
        raise FleetdError(
            f"{node.name}: {output.error or 'the end of the command was not seen'}; "
            "it may or may not have run"
        )
    return output.status


async def _until(room: asyncio.Event) -> None:
    await room.wait()


def _nothing(_: bytes) -> None:
    """A host's stderr says nothing that a journal reader needs."""


@dataclass(slots=True)
class _Head:
    """Drops everything up to the line that the script prints first."""

    nonce: str
    write: Take
    began: bool = False
    held: bytes = b""

    def take(self, data: bytes) -> Awaitable[None] | None:
        if self.began:
            return self.write(data)
        self.held += data
        mark = begin_mark(self.nonce).encode() + b"\n"
        at = self.held.find(mark)
        if at >= 0:
            self.began = True
            rest, self.held = self.held[at + len(mark) :], b""
            return self.write(rest) if rest else None
        if len(self.held) > 1 << 20:
            self.held = self.held[-len(mark) :]
        return None


@dataclass(slots=True)
class _Reader:
    """Cuts a raw stream into clean lines."""

    nonce: str
    line: Callable[[str], None]
    rest: bytes = b""
    head: _Head = field(init=False)

    def __post_init__(self) -> None:
        self.head = _Head(self.nonce, self._more)

    @property
    def began(self) -> bool:
        return self.head.began

    def take(self, data: bytes) -> None:
        self.head.take(data)

    def _more(self, data: bytes) -> None:
        *whole, self.rest = (self.rest + data).split(b"\n")
        for line in whole:
            self.line(clean(line.decode("utf-8", "replace")))

    def end(self) -> None:
        if self.rest:
            self._more(b"\n")
