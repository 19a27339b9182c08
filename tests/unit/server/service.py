"""A service without hosts: a state in memory behind the real application, on a real Unix socket."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import h11
from starlette.types import ASGIApp

from fleetd.api.fleet import Fleet, known_fleet, open_fleet
from fleetd.client.local import Local
from fleetd.core.node import Host, Inventory, Ssh
from fleetd.core.records import AuditRecord
from fleetd.ports import Change
from fleetd.server.connection import Connection
from fleetd.server.http import build
from fleetd.server.peers import Peer, Right
from fleetd.server.serve import serve
from fleetd.server.service import Service
from fleetd.testing.store import FakeStore

ANN = Peer(1001, 1001, frozenset({1001}), "ann", Right.OPERATE)
BOB = Peer(1002, 1002, frozenset({1002}), "bob", Right.READ)
EVE = Peer(1003, 1003, frozenset({1003}), "eve", Right.NONE)


class HeardStore(FakeStore):
    """A state in memory that tells its listeners, as the service's does."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[tuple[Change, ...]], None]] = []

    def commit(self, changes: Iterable[Change]) -> None:
        whole = tuple(changes)
        super().commit(whole)
        for listener in tuple(self.listeners):
            listener(whole)

    def listen(self, callback: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)


class Clockwork:
    """A clock that stands."""

    def now(self) -> float:
        return 1700000000.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Desk:
    """The parts of a service that tests alter and look at."""

    store: HeardStore = field(default_factory=HeardStore)
    hosts: tuple[Host, ...] = (Host("a", Ssh("192.0.2.1")), Host("b", Ssh("192.0.2.2")))
    checks: dict[str, str] = field(default_factory=dict)
    uids: Any = field(default_factory=lambda: count(1))
    woken: list[str] = field(default_factory=list)
    inventory: Inventory = field(init=False)

    def __post_init__(self) -> None:
        self.inventory = Inventory(self.hosts, ("hosts.yaml",))
        open_fleet(self.store, "f" * 32, b"k" * 32)

    @property
    def fleet(self) -> Fleet | None:
        return known_fleet(self.store)

    def wake_all(self, why: str) -> None:
        self.woken.append(why)

    def client(self, peer: Peer) -> Local:
        class Nothing:
            def __getattr__(self, name: str) -> Any:
                raise AssertionError(f"nothing here may use {name}")

        nothing: Any = Nothing()
        return Local(
            state=self,
            transport=nothing,
            streams=nothing,
            keys=nothing,
            clock=Clockwork(),
            sink=nothing,
            sources=(),
            who=peer.user,
            stdin=io.BytesIO(),
            fresh_id=lambda: f"uid-{next(self.uids)}",
            fresh_key=lambda: b"k" * 32,
            read=lambda: self.inventory,
        )

    def service(self) -> Service:
        return Service(
            loop=self,
            store=self.store,
            inventory=lambda: self.inventory,
            client=self.client,
            scrape=lambda: lambda: b"fleetd_up 1\n",
            ready=lambda: dict(self.checks),
        )

    def audited(self) -> list[tuple[str, str, str]]:
        return [(row.who, row.verb, row.subject) for row in self.store.read(AuditRecord)]


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.conn = h11.Connection(h11.CLIENT)

    async def send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.conn.send(event) or b"")
        await self.writer.drain()

    async def next(self) -> Any:
        """The next event; waits for bytes as it has to."""
        while (event := self.conn.next_event()) is h11.NEED_DATA:
            self.conn.receive_data(await self.reader.read(65536))
        return event

    async def answer(self) -> Answer:
        head = await self.next()
        body = b""
        while isinstance(event := await self.next(), h11.Data):
            body += event.data
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Answer(head.status_code, headers, body)

    async def lines(self) -> AsyncIterator[Any]:
        """The documents of a stream, one a line, until it ends."""
        held = b""
        while isinstance(event := await self.next(), h11.Data):
            held += event.data
            *whole, held = held.split(b"\n")
            for line in whole:
                yield json.loads(line)
        assert held == b""


@dataclass
class Caller:
    """A client of the socket."""

    path: Path

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        kind: str = "application/json",
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own; a text is sent as it is, all else as JSON."""
        data = b"" if body is None else body.encode() if isinstance(body, str) else b""
        data = data or (b"" if body is None else json.dumps(body).encode())
        heads = [("host", "fleetd"), ("content-length", str(len(data)))]
        heads += [("content-type", kind)] if data else []
        heads += [(name.replace("_", "-"), value) for name, value in headers.items()]
        async with self.connect() as wire:
            await wire.send(h11.Request(method=method, target=target, headers=heads))
            await wire.send(*([h11.Data(data=data)] if data else []), h11.EndOfMessage())
            return await wire.answer()

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.ask("GET", target, **headers)

    @asynccontextmanager
    async def watch(self, target: str) -> AsyncIterator[AsyncIterator[Any]]:
        """The events of a watch, whose answer has begun."""
        async with self.connect() as wire:
            head = [("host", "fleetd")]
            await wire.send(h11.Request(method="GET", target=target, headers=head))
            await wire.send(h11.EndOfMessage())
            begun = await wire.next()
            assert begun.status_code == 200, begun
            yield wire.lines()


def seen_as(peer: Peer | None) -> type[Connection]:
    """A connection whose other end is this peer; None: nobody has looked."""

    class Seen(Connection):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            known: dict[str, Any] = self.app_state
            self.app_state = {**known, **({"peer": peer} if peer else {})}

    return Seen


@asynccontextmanager
async def serving(
    app: ASGIApp, path: Path, protocol: type[Connection] = Connection
) -> AsyncIterator[Caller]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen()
    running = asyncio.create_task(serve(app, sock, protocol=protocol))
    try:
        yield Caller(path)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        path.unlink()


@asynccontextmanager
async def as_peer(desk: Desk, peer: Peer | None, path: Path) -> AsyncIterator[Caller]:
    async with serving(build(desk.service()), path, seen_as(peer)) as caller:
        yield caller


def text(document: str) -> str:
    return textwrap.dedent(document)
