"""The forms of the client over one simulated fleet: in this process, and through a service."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from fleetd.api.fleet import Fleet, known_fleet, open_fleet
from fleetd.client import Client
from fleetd.client.local import Local
from fleetd.client.remote import Caller, Remote
from fleetd.core.node import Inventory, Ssh
from fleetd.engine.audience import Audience
from fleetd.engine.memory import Memory
from fleetd.ports import Scanned
from fleetd.server.coordinator import Coordinator, Doors, Outside, Pace, State
from fleetd.server.peers import Peer, Rights, listen_on, protocol_for
from fleetd.server.serve import serve
from fleetd.server.verbs import Verbs
from fleetd.testing.fleet import FakeFleet, address
from fleetd.testing.loop import LoopClock
from fleetd.testing.store import FakeStore

HOSTS = ("h1", "h2", "h3")
SPEED = 10
Story = Callable[[Client, "World"], Awaitable[None]]
EVERYBODY = Rights(frozenset(), os.geteuid())
"""Whoever runs the tests may do all."""


class _Selector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """Real sockets, and clocks that run so many times faster."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return super().time() * SPEED


class Quiet:
    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))


class Keys:
    """Host keys as hosts show them; `pinned` as we trust them."""

    def __init__(self) -> None:
        self.pinned: dict[str, str] = {}

    async def scan(self, name: str, ssh: Ssh) -> Scanned:
        return Scanned(f"ssh-ed25519 {name}", f"SHA256:{name}")

    def pin(self, name: str, ssh: Ssh, key: str) -> bool:
        new = self.pinned.get(name) != key
        self.pinned[name] = key
        return new


@dataclass
class World:
    """A state and a fleet; `stdin` is what the caller's process reads there."""

    place: Path
    fleet: FakeFleet = field(default_factory=lambda: FakeFleet(HOSTS))
    store: FakeStore = field(default_factory=FakeStore)
    sink: Quiet = field(default_factory=Quiet)
    keys: Keys = field(default_factory=Keys)
    uids: Any = field(default_factory=lambda: count(1))
    stdin: bytes = b""

    @property
    def known(self) -> Fleet | None:
        return known_fleet(self.store)

    def local(self, who: str, stdin: bytes = b"") -> Local:
        return Local(
            state=_State(self),
            transport=self.fleet,
            streams=self.fleet,
            keys=self.keys,
            clock=LoopClock(),
            sink=self.sink,
            sources=(),
            who=who,
            stdin=io.BytesIO(stdin),
            fresh_id=self.fresh_id,
            fresh_key=lambda: b"k" * 32,
            read=lambda: Inventory(self.fleet.inventory(), ("hosts.yaml",)),
        )

    def fresh_id(self) -> str:
        return f"00000000-0000-0000-0000-{next(self.uids):012}"

    def write(self, name: str, text: str) -> str:
        path = self.place / name
        path.write_text(text)
        return str(path)


@dataclass
class _State:
    world: World

    @property
    def store(self) -> FakeStore:
        return self.world.store

    @property
    def fleet(self) -> Fleet:
        return open_fleet(self.world.store, "f1ee7", b"k" * 32)


@dataclass
class Running:
    """A service that answers at a socket."""

    path: Path
    serving: asyncio.Task[None]

    def remote(self, caller: Caller | None = None, stdin: bytes = b"") -> Remote:
        return Remote(str(self.path), caller or Caller(), io.BytesIO(stdin))


@asynccontextmanager
async def service(
    world: World,
    rights: Rights = EVERYBODY,
    client: Callable[[Peer], Local] | None = None,
    operators: str = "fleetd-operators",
) -> AsyncIterator[Running]:
    """A real server on a real socket, with the verbs alone."""
    state = world.place / "state"
    state.mkdir(exist_ok=True)
    verbs = Verbs(client or (lambda peer: world.local(peer.user)), state, operators)
    path = state / "fleetd.sock"
    socket = listen_on(str(path), "")
    app = Starlette(routes=verbs.routes())
    serving = asyncio.create_task(serve(app, socket, protocol=protocol_for(rights)))
    try:
        yield Running(path, serving)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        socket.close()


class Hosts(FakeFleet):
    """The simulated fleet as the service wants it: with keys, and connections to let go of."""

    def __init__(self, fleet: FakeFleet, keys: Keys) -> None:
        self.__dict__ = {**fleet.__dict__}
        self.keys = keys

    async def scan(self, name: str, ssh: Ssh) -> Scanned:
        return await self.keys.scan(name, ssh)

    def pin(self, name: str, ssh: Ssh, key: str) -> bool:
        return self.keys.pin(name, ssh, key)

    def leave(self, ways: Mapping[str, Ssh]) -> None:
        """Nothing is held."""


class Supervisor:
    watchdog_s = 0.0

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()

    def ready(self) -> None:
        self.is_ready.set()

    def status(self, text: str) -> None:
        """Nobody reads it."""

    def reloading(self) -> None:
        """Nor this."""

    stopping = alive = reloading

    def extend(self, seconds: float) -> None:
        """Nobody is in a hurry."""


@asynccontextmanager
async def coordinator(world: World) -> AsyncIterator[Running]:
    """The whole service, with its loop, over the simulated fleet."""
    state = world.place / "state"
    state.mkdir()
    hosts = "".join(f"  {name}: {{address: {address(name)}}}\n" for name in world.fleet.hosts)
    sources = (world.write("hosts.yaml", f"hosts:\n{hosts}"),)
    store = Memory(world.store)
    supervisor = Supervisor()

    async def watch(_: tuple[str, ...], __: float) -> AsyncIterator[str]:
        await asyncio.get_running_loop().create_future()
        yield ""

    outside = Outside(
        state=State(store, open_fleet(store, "f1ee7", b"k" * 32)),
        hosts=Hosts(world.fleet, world.keys),
        clock=LoopClock(),
        sink=Audience(world.sink),
        supervisor=supervisor,
        jumps={},
        watch=watch,
        scrape=lambda: bytes,
        fresh_id=world.fresh_id,
        fresh_key=lambda: b"k" * 32,
    )
    path = state / "fleetd.sock"
    pace = Pace(sources, 60.0, 900.0, 30.0, events_kept=1000)
    doors = Doors(listen_on(str(path), ""), EVERYBODY, None)
    made = Coordinator(outside, doors, pace, lambda: pace, state, "fleetd-operators")
    running = asyncio.create_task(made.run())
    await supervisor.is_ready.wait()
    try:
        yield Running(path, running)
    finally:
        made.life.end()
        await running


def play(form: str, place: Path, story: Story, stdin: bytes = b"") -> None:
    """Have a story told by the client in one of its forms."""

    async def told() -> None:
        world = World(place)
        if form == "in-process":
            await story(world.local("ann", stdin), world)
            return
        serving = service if form == "verbs" else coordinator
        async with serving(world) as running:
            await story(running.remote(stdin=stdin), world)

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        runner.run(told())
