"""The composition root: the only place where adapters meet the rest.

A mutating run takes the lock of its state directory, raises the term, and is then the one writer; a
reading run opens the state read-only and may run beside it.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from fleetd.adapters.clock import SystemClock
from fleetd.adapters.lock import hold
from fleetd.adapters.sinks import LogSink, Silence
from fleetd.adapters.ssh import SshTransport, raise_file_limit
from fleetd.adapters.store import SqliteStore
from fleetd.api.fleet import known_fleet, open_fleet, raise_term
from fleetd.cli import demo as demo_show
from fleetd.cli.settings import Settings
from fleetd.client import Client
from fleetd.client.local import Local
from fleetd.core.node import Ssh

THREADS = 64
"""asyncssh and name resolution share the loop's executor; the default of six starves them (P 7)."""
DEMO_HOSTS = 20


@asynccontextmanager
async def open_client(settings: Settings, *, mutating: bool) -> AsyncIterator[Client]:
    """A client over the state and inventory of these settings.

    Raises:
        StateHeld: another fleetd writes to this state.
        StateBroken: the state cannot be opened.
    """
    raise_file_limit()
    directory = Path(settings.state)
    with ExitStack() as stack:
        if mutating:
            stack.enter_context(hold(directory, " ".join(sys.argv)))
        store = SqliteStore(directory / "state.db", readonly=not mutating)
        stack.callback(store.close)
        fleet = known_fleet(store)
        if mutating:
            fleet = raise_term(store, open_fleet(store, _fresh_id(), secrets.token_bytes(32)))
        threads = stack.enter_context(ThreadPoolExecutor(THREADS, "fleetd"))
        asyncio.get_running_loop().set_default_executor(threads)
        jumps: dict[str, Ssh] = {}
        transport = SshTransport(jumps.get)
        client = Local(
            store=store,
            transport=transport,
            streams=transport,
            keys=transport,
            clock=SystemClock(),
            sink=LogSink() if settings.debug else Silence(),
            sources=settings.inventory,
            who=f"{_user()}@{socket.gethostname()}",
            stdin=sys.stdin.buffer,
            fresh_id=_fresh_id,
            fresh_key=lambda: secrets.token_bytes(32),
            fleet=fleet,
            jumps=jumps,
        )
        try:
            yield client
        finally:
            await transport.close()


def demo() -> int:
    """Run the demo; its exit code."""
    demo_show.demo(DEMO_HOSTS)
    return 0


def _fresh_id() -> str:
    return str(uuid.uuid4())


def _user() -> str:
    """Who asks, for the audit: the person behind sudo where there is one."""
    environment: Mapping[str, str] = os.environ
    try:
        return environment.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
