"""uvicorn inside our own loop: a bound socket in, an application served until it is told to end.

uvicorn alone would take the signals, set up logging, and tick ten times a second; the service has
its own life cycle (and has to idle at nothing), so these are switched off here. What is added: a
stream without end learns that the server ends from `scope["state"]["ending"]`, an `asyncio.Event`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from fleetd.server.connection import Connection

IDLE_S = 75
"""How long a connection is kept between two requests."""
GRACE_S = 3
"""How long requests may take to finish when the server ends."""
CONNECTIONS = 1000
"""More at once are answered with 503."""


class _Server(uvicorn.Server):
    """uvicorn without signals and without ticks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state["ending"] = self.ending
        await super().startup(sockets)

    async def main_loop(self) -> None:
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


async def serve(
    app: ASGIApp, sock: socket.socket, *, protocol: type[Connection] = Connection
) -> None:
    """Serve on a bound socket until cancelled; then take no more, and let what is open end.

    The socket is taken over, and closed. Whatever has not ended `GRACE_S` after the end began is
    cut. The file of a Unix socket stays: it is its maker's.
    """
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(running)
    finally:
        server.ending.set()
        await running
