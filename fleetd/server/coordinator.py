"""The coordinator: all parts of a running service, joined over what the world gives it.

Every request works through a client of its own, over one state, one inventory in force and one
loop; so what people ask for and what the service does by itself are the same code, with one writer.
Apart from the composition root so that it can be run over simulated hosts in virtual time.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from fleetd import __version__
from fleetd.api import reading, running
from fleetd.api.fleet import Fleet
from fleetd.api.reports import RunOptions
from fleetd.api.session import Session
from fleetd.client.local import Local
from fleetd.core.facts import Unknown
from fleetd.core.node import Inventory, Ssh
from fleetd.documents.inventory import read_inventory
from fleetd.engine.audience import Audience
from fleetd.engine.following import Following
from fleetd.engine.held import Pace as Looks
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.engine.recording import trim_events
from fleetd.errors import FleetdError, InvalidInput, Refused
from fleetd.ports import Clock, Follows, HostKeys, Streams, Transport
from fleetd.server import health, http
from fleetd.server.life import Life, Part, Supervisor
from fleetd.server.peers import Peer, Rights, protocol_for
from fleetd.server.serve import serve
from fleetd.server.service import Service
from fleetd.server.sources import Sources
from fleetd.server.verbs import Verbs

TRIM_S = 60.0
"""How often events are counted."""


class Hosts(Transport, Streams, Follows, HostKeys, Protocol):
    """The way to hosts, in all its forms."""

    def leave(self, ways: Mapping[str, Ssh]) -> None:
        """Let go of connections that lead elsewhere than these ways."""
        ...


@dataclass(frozen=True, slots=True)
class State:
    """The state and the fleet in it: this process is its one writer."""

    store: Memory
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class Outside:
    """What the world gives the service."""

    state: State
    hosts: Hosts
    clock: Clock
    sink: Audience
    """The log, and whoever else listens: `hosts` tells it of connections."""
    supervisor: Supervisor
    jumps: dict[str, Ssh]
    """Filled from the inventory: how `hosts` finds a jump host by its name."""
    watch: Callable[[tuple[str, ...], float], AsyncIterator[str]]
    """Tells when sources have to be read again, given them and the interval of programs."""
    scrape: Callable[[], Callable[[], bytes]]
    """See `Service.scrape`."""
    fresh_id: Callable[[], str]
    fresh_key: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Doors:
    """Where people and programs come in: the listening sockets, which are taken over."""

    api: socket.socket
    rights: Rights
    metrics: socket.socket | None


@dataclass(frozen=True, slots=True)
class Pace:
    """What may change while the service runs. `sources` may be empty: then the state's count.

    `full_look_s` is for hosts with a live stream, `poll_s` for others, `inventory_s` for programs.
    """

    sources: tuple[str, ...]
    inventory_s: float
    full_look_s: float
    poll_s: float
    events_kept: int


@dataclass(slots=True)
class Coordinator:
    """One service. `read_again` gives new settings; it raises InvalidInput when they are wrong."""

    outside: Outside
    doors: Doors
    pace: Pace
    read_again: Callable[[], Pace]
    directory: Path
    """The state's; what callers send is kept there for a moment."""
    operators: str
    """The group of those who may change things, for people; "" for none."""
    streams: bool = True
    """Whether hosts are watched through their journal."""
    wrong: str = ""
    """What is wrong with the settings; "" when nothing is."""
    remembered: tuple[str, ...] = field(init=False)
    """The sources that the state was last used with."""
    sources: Sources = field(init=False)
    loop: Loop = field(init=False)
    following: Following = field(init=False)
    life: Life = field(init=False)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when other sources are to be watched."""

    def __post_init__(self) -> None:
        """Join the parts; nothing runs yet."""
        out = self.outside
        self.remembered = reading.sources(out.state.store)
        self.sources = Sources(
            self._read, self._take, clock=out.clock, sink=out.sink, store=out.state.store
        )
        nobody = self._session(Inventory((), ()))
        chance = Random()  # noqa: S311 - it spreads what would come at once
        self.loop = nobody.open_loop(out.state.store, chance, self._looks())
        self.following = Following(
            out.hosts, self.loop, out.clock, out.sink, chance, enabled=self.streams
        )
        out.sink.watchers.append(self._hear)
        self.life = Life(
            supervisor=out.supervisor,
            clock=out.clock,
            sink=out.sink,
            say=self.say,
            read_again=self.reload,
            drain=self.loop.drain,
        )

    async def run(self) -> None:
        """Begin, and run until told to end (`life`).

        Raises:
            InvalidInput: the inventory is wrong; that it is not known yet is borne.
            Refused: it comes from other sources than the state knows.
        """
        sink = self.outside.sink
        sink.emit("service_started", version=__version__)
        why = "it was told to"
        try:
            if await self.life.begin(self.sources.begin()):
                await self.life.run(self._parts())
        except Exception as error:
            why = "; ".join(causes(error))
            raise
        finally:
            sink.emit("service_ended", why=why)

    def _parts(self) -> list[Part]:
        parts: list[Part] = [
            ("loop", self._work),
            ("streams", self.following.run),
            ("inventory", self._watch),
            ("retry", self.sources.retry),
            ("socket", self._answer),
            ("events", self._trim),
        ]
        if self.doors.metrics is not None:
            parts.append(("metrics", self._answer_metrics))
        return parts

    def say(self) -> str:
        """The service in one line, for people."""
        known, trouble = self.sources.known, self.sources.trouble
        if known is None:
            return f"waits for the inventory: {trouble}"
        parts = [f"{len(known.hosts)} hosts", *self._unsettled()]
        if trouble:
            parts.append(f"the inventory is as it was before: {trouble}")
        if self.wrong:
            parts.append(f"the settings are as they were before: {self.wrong}")
        return "; ".join(parts)

    def _unsettled(self) -> Iterator[str]:
        """What is not as asked, by the last decision."""
        silent = sum(isinstance(part, Unknown) for part in self.loop.seen.values())
        if silent:
            yield f"{silent} of them do not answer"
        statuses = self.loop.last.plan.statuses if self.loop.last else {}
        held = [str(key) for key, status in statuses.items() if status.holders]
        if held:
            yield f"not as asked yet: {', '.join(sorted(held))}"

    def ready(self) -> Mapping[str, str]:
        """What is missing, by the name of the check; "" where nothing is."""
        unknown = self.sources.trouble if self.sources.known is None else ""
        return {
            "inventory": unknown,
            "pass": "" if self.loop.last else "nothing has been decided yet",
            "life": "the service is ending" if self.life.ending else "",
        }

    async def reload(self) -> None:
        """Read settings and inventory again; what is wrong is told, and changes nothing."""
        try:
            pace = self.read_again()
        except InvalidInput as error:
            self.wrong = str(error)
            self.outside.sink.emit("settings_failed", why=self.wrong)
            return
        self.wrong = ""
        if pace != self.pace:
            self.pace = pace
            self.loop.held.pace = self._looks()
            self._moved.set()
        await self.sources.again()

    # -- requests ----------------------------------------------------------------------------

    def service(self) -> Service:
        """What HTTP needs of us."""
        return Service(
            loop=self.loop,
            store=self.outside.state.store,
            inventory=self.sources.inventory,
            client=self.client,
            scrape=self.outside.scrape,
            ready=self.ready,
        )

    def client(self, peer: Peer) -> Local:
        """The client of one request. Raises Refused once the end has begun."""
        if self.life.ending:
            raise Refused("the service is ending; ask again when it is back")
        out = self.outside
        return Local(
            state=out.state,
            transport=out.hosts,
            streams=out.hosts,
            keys=out.hosts,
            clock=out.clock,
            sink=out.sink,
            sources=self.pace.sources or reading.sources(out.state.store),
            who=f"{peer.user}@{socket.gethostname()}",
            stdin=io.BytesIO(),
            fresh_id=out.fresh_id,
            fresh_key=out.fresh_key,
            jumps=out.jumps,
            read=self.sources.inventory,
            loop=self.loop,
        )

    async def _answer(self) -> None:
        verbs = Verbs(self.client, self.directory, self.operators)
        app = http.build(self.service(), verbs=verbs.routes())
        await serve(app, self.doors.api, protocol=protocol_for(self.doors.rights))

    async def _answer_metrics(self) -> None:
        assert self.doors.metrics is not None
        await serve(health.public(self.service()), self.doors.metrics)

    # -- the inventory -----------------------------------------------------------------------

    def _read(self) -> Inventory:
        """Read the sources, on a thread of its own: the state is none of its business."""
        return read_inventory(self.pace.sources or self.remembered)

    def _take(self, inventory: Inventory) -> None:
        ways = {host.name: host.ssh for host in inventory.hosts}
        self.outside.jumps.update(ways)  # one that left may be the way to others that left
        self.outside.hosts.leave(ways)
        running.check_sources(self._session(inventory), RunOptions())
        self.remembered = inventory.sources
        self.loop.take_inventory(inventory)
        self.following.take_inventory(inventory)
        self.outside.supervisor.status(self.say())

    async def _watch(self) -> None:
        while True:
            self._moved.clear()
            watching = asyncio.ensure_future(self._follow())
            moved = asyncio.ensure_future(self._moved.wait())
            try:
                await asyncio.wait((watching, moved), return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    return watching.result()
            finally:
                watching.cancel()
                moved.cancel()
                await asyncio.gather(watching, moved, return_exceptions=True)

    async def _follow(self) -> None:
        known = self.pace.sources or self.remembered
        async for _ in self.outside.watch(known, self.pace.inventory_s):
            await self.sources.again()

    # -- the work ----------------------------------------------------------------------------

    def _session(self, inventory: Inventory) -> Session:
        out, state = self.outside, self.outside.state
        return Session(
            state.store, out.hosts, out.clock, out.sink, inventory, state.fleet, "fleetd"
        )

    async def _work(self) -> None:
        """The loop, once there is an inventory: before that, everybody would seem to have left."""
        await self.sources.arrived.wait()
        await self.loop.run()

    async def _trim(self) -> None:
        """Let go of the oldest events, now and then."""
        while True:
            trim_events(self.outside.state.store, self.pace.events_kept)
            await self.outside.clock.sleep(TRIM_S)

    def _looks(self) -> Looks:
        return Looks(self.pace.full_look_s, self.pace.poll_s)

    def _hear(self, event: str, fields: Mapping[str, Any]) -> None:
        """A host that was just reached can be followed again."""
        if event == "connected":
            self.following.hurry(str(fields["node"]))


def causes(error: BaseException) -> list[str]:
    """What a service ended of, one sentence for each cause."""
    if isinstance(error, BaseExceptionGroup):
        return list(dict.fromkeys(text for one in error.exceptions for text in causes(one)))
    text = str(error) if isinstance(error, FleetdError) else f"{type(error).__name__}: {error}"
    return [" ".join(text.split())]


def listen_tcp(address: str) -> socket.socket:
    """Listen on `HOST:PORT`. Raises InvalidInput where that cannot be had."""
    host, _, port = address.rpartition(":")
    try:
        (family, *_, place), *_ = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise InvalidInput(f"cannot serve metrics on {address}: {error}") from error
