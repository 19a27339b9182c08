"""The composition root: the only place where adapters meet the rest.

A mutating run takes the lock of its state directory, raises the term, and is then the one writer; a
reading run opens the state read-only and may run beside it.
"""

from __future__ import annotations

import asyncio
import grp
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fleetd.cli.settings import ServiceSettings, Settings
from fleetd.client import Client, Reads
from fleetd.core.node import Inventory, Ssh

if TYPE_CHECKING:  # only for annotations: what a run does not need is not loaded
    from fleetd.adapters.store import SqliteStore
    from fleetd.api.fleet import Fleet
    from fleetd.client.remote import Remote
    from fleetd.ports import EventSink
    from fleetd.server.coordinator import Outside, Pace

THREADS = 64
"""asyncssh and name resolution share the loop's executor; the default of six starves them (P 7)."""
DEMO_HOSTS = 20


@contextmanager
def open_reads(settings: Settings) -> Iterator[Reads]:
    """The state of these settings, for reading: by its service where one runs.

    Nothing else is opened, and little imported.

    Raises:
        StateBroken: the state cannot be opened.
        Refused: there is a service, and we may not connect to it.
    """
    if remote := _service(settings):
        yield remote
        return
    from fleetd.adapters.store import SqliteStore
    from fleetd.api import reading
    from fleetd.client.reader import Reader

    store = SqliteStore(_state(settings), readonly=True)

    def inventory() -> Inventory:
        from fleetd.documents.inventory import read_inventory

        return read_inventory(settings.inventory or reading.sources(store))

    try:
        yield Reader(store, inventory)
    finally:
        store.close()


@asynccontextmanager
async def open_client(settings: Settings, *, mutating: bool) -> AsyncIterator[Client]:
    """A client over the state and inventory of these settings: its service where one runs.

    Raises:
        StateHeld: another fleetd writes to this state.
        StateBroken: the state cannot be opened.
        Refused: there is a service, and we may not connect to it.
    """
    if remote := _service(settings):
        yield remote
        return
    import socket

    from fleetd.adapters.clock import SystemClock
    from fleetd.adapters.sinks import LogSink, Silence
    from fleetd.adapters.ssh import SshTransport
    from fleetd.client.local import Local

    with ExitStack() as stack:
        _prepare_loop(stack)
        jumps: dict[str, Ssh] = {}
        transport = SshTransport(jumps.get)
        client = Local(
            state=_State(settings, stack, mutating=mutating),
            transport=transport,
            streams=transport,
            keys=transport,
            clock=SystemClock(),
            sink=LogSink() if settings.debug else Silence(),
            sources=settings.inventory,
            who=f"{_user()}@{socket.gethostname()}",
            stdin=sys.stdin.buffer,
            fresh_id=_fresh_id,
            fresh_key=_fresh_key,
            jumps=jumps,
        )
        try:
            yield client
        finally:
            await transport.close()


def collect_rarely() -> None:
    """Have Python look for cycles in its garbage less often than it would.

    What is held of a large fleet are millions of plain values with hardly a cycle among them, and
    half of the time of a first decision went into looking through them again and again.
    """
    import gc

    gc.set_threshold(100_000, 20, 100)


def _prepare_loop(stack: ExitStack) -> None:
    """Make the process ready for many hosts at once."""
    from concurrent.futures import ThreadPoolExecutor

    collect_rarely()
    threads = stack.enter_context(ThreadPoolExecutor(THREADS, "fleetd"))
    asyncio.get_running_loop().set_default_executor(threads)


def _service(settings: Settings) -> Remote | None:
    """The service of these settings, where one listens."""
    place = Path(settings.socket)
    if os.access(place.parent, os.X_OK):
        if not os.path.lexists(place):
            return None
    elif place.parent == Path(settings.state):
        return None  # a state that is closed to us says so itself
    from fleetd.client.remote import Caller, Remote
    from fleetd.client.wire import listens

    if not listens(settings.socket):
        return None
    caller = Caller(
        state=os.path.realpath(settings.state) if settings.named else "",
        inventory=settings.inventory,
        person=os.environ.get("SUDO_USER", ""),
    )
    return Remote(settings.socket, caller, sys.stdin.buffer)


class _State:
    """The state of one run, opened at its first use and closed with the run.

    A mutating run then takes the lock, makes what is missing, and raises the term.
    """

    def __init__(self, settings: Settings, stack: ExitStack, *, mutating: bool) -> None:
        self._settings = settings
        self._stack = stack
        self._mutating = mutating

    @cached_property
    def store(self) -> SqliteStore:
        """The store behind the lock. Raises StateHeld and StateBroken."""
        from fleetd.adapters.store import SqliteStore

        if self._mutating:
            from fleetd.adapters.lock import hold

            self._stack.enter_context(hold(Path(self._settings.state), _command()))
        store = SqliteStore(_state(self._settings), readonly=not self._mutating)
        self._stack.callback(store.close)
        return store

    @cached_property
    def fleet(self) -> Fleet | None:
        """Who we are, with the term of this run."""
        from fleetd.api.fleet import known_fleet, open_fleet, raise_term

        if not self._mutating:
            return known_fleet(self.store)
        fleet = open_fleet(self.store, _fresh_id(), _fresh_key())
        return raise_term(self.store, fleet)


def serve(read: Callable[[], Settings]) -> int:
    """Run the service until it is told to end; its exit code.

    `read` gives the settings, at the start and at each reload.

    Raises:
        InvalidInput: settings or inventory are wrong at the start.
        StateHeld: another fleetd writes to this state.
        StateBroken: the state cannot be opened.
    """
    try:
        asyncio.run(_serve(read))
    except ExceptionGroup as failed:
        from fleetd.cli.text import say
        from fleetd.server.coordinator import causes

        traceback.print_exception(failed)
        for cause in causes(failed):
            say(f"fleetd: a part of the service failed, and all ends: {cause}")
        return 1
    return 0


async def _serve(read: Callable[[], Settings]) -> None:
    from fleetd.adapters.sinks import LogSink
    from fleetd.server.coordinator import Coordinator, Doors, listen_tcp
    from fleetd.server.peers import listen_on, rights_of

    with ExitStack() as stack:
        settings = read()
        _prepare_loop(stack)
        log = LogSink(form=settings.service.log_format, debug=settings.debug)
        outside = _outside(settings, stack, log)
        service = settings.service
        readers, operators = _groups(service)
        place = Path(settings.socket).parent
        if not place.exists() and place.parent == Path("/run"):
            with suppress(PermissionError):  # whoever listens there tells what is missing
                place.mkdir()  # as RuntimeDirectory= does where systemd starts us
                place.chmod(0o755)
        doors = Doors(
            stack.enter_context(listen_on(settings.socket, readers)),
            rights_of(operators),
            stack.enter_context(listen_tcp(service.metrics_address))
            if service.metrics_address
            else None,
        )

        def read_again() -> Pace:
            fresh = read()
            changed = _fixed(settings, fresh)
            if changed:
                log.emit("restart_needed", settings=changed)
            return _pace(fresh)

        coordinator = Coordinator(
            outside,
            doors,
            _pace(settings),
            read_again,
            directory=Path(settings.state),
            operators=operators,
            streams=service.streams,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, coordinator.life.end)
        loop.add_signal_handler(signal.SIGHUP, coordinator.life.reload)
        try:
            await coordinator.run()
        finally:
            await outside.hosts.close()


def _outside(settings: Settings, stack: ExitStack, log: EventSink) -> Outside:
    """The adapters of a service. Raises StateHeld and StateBroken."""
    import fleetd.adapters.sessions  # noqa: F401 - loads asyncssh now, and not in the loop
    from fleetd.adapters.clock import SystemClock
    from fleetd.adapters.metrics import Metrics
    from fleetd.adapters.notify import Supervisor
    from fleetd.adapters.sinks import Several
    from fleetd.adapters.ssh import SshTransport
    from fleetd.adapters.watching import Watching
    from fleetd.engine.audience import Audience
    from fleetd.engine.memory import Memory
    from fleetd.server.coordinator import Outside, State

    state = _State(settings, stack, mutating=True)
    assert state.fleet is not None  # a writer makes what is missing
    store, clock = Memory(state.store), SystemClock()
    jumps: dict[str, Ssh] = {}
    metrics = Metrics(store, clock)
    sink = Audience(Several(log, metrics))
    return Outside(
        state=State(store, state.fleet),
        hosts=SshTransport(jumps.get, sink),
        clock=clock,
        sink=sink,
        supervisor=Supervisor(os.environ),
        jumps=jumps,
        watch=lambda sources, interval_s: Watching(sources, interval_s).causes(),
        scrape=metrics.scrape,
        fresh_id=_fresh_id,
        fresh_key=_fresh_key,
    )


def _pace(settings: Settings) -> Pace:
    """What of the settings may change while the service runs."""
    from fleetd.server.coordinator import Pace

    said = settings.service
    return Pace(
        settings.inventory, said.inventory_s, said.full_look_s, said.poll_s, said.events_kept
    )


def _fixed(before: Settings, after: Settings) -> list[str]:
    """The settings that were changed and take a restart."""
    live = {"inventory_s", "full_look_s", "poll_s", "events_kept"}
    changed = [
        name for name in ("state", "socket") if getattr(before, name) != getattr(after, name)
    ]
    return changed + [
        f"service.{one.name}"
        for one in fields(before.service)
        if one.name not in live
        and getattr(before.service, one.name) != getattr(after.service, one.name)
    ]


def _groups(service: ServiceSettings) -> tuple[str, str]:
    """The groups of readers and operators: unsaid, the usual ones where the machine has them.

    The socket can be given only to a group that we are in.
    """
    readers, operators = service.socket_group, service.operator_group
    if readers is None:
        ours = {os.getegid(), *os.getgroups()}
        usual = _group_id("fleetd")
        readers = "fleetd" if usual in ours or (usual is not None and os.geteuid() == 0) else ""
    if operators is None:
        operators = "fleetd-operators" if _group_id("fleetd-operators") is not None else ""
    return readers, operators


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def demo() -> int:
    """Run the demo; its exit code."""
    from fleetd.cli import demo as demo_show

    demo_show.demo(DEMO_HOSTS)
    return 0


def _state(settings: Settings) -> Path:
    return Path(settings.state) / "state.db"


def _command() -> str:
    """What this run was asked to do, for whoever waits for its lock."""
    return " ".join(("fleetd", *sys.argv[1:]))


def _fresh_id() -> str:
    import uuid

    return str(uuid.uuid4())


def _fresh_key() -> bytes:
    import secrets

    return secrets.token_bytes(32)


def _user() -> str:
    """Who asks, for the audit: the person behind sudo where there is one."""
    import getpass

    environment: Mapping[str, str] = os.environ
    try:
        return environment.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
