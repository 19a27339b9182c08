"""A TCP proxy that aborts a connection after so many client bytes: byte-exact cuts (P 106)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class CutProxy:
    """What it listens on, and when it cuts: `cut_after` client bytes (None: never)."""

    port: int
    cut_after: int | None = None
    passed: int = 0
    """Client bytes of the latest connection that went through."""
    cuts: int = 0


@asynccontextmanager
async def cut_proxy(port: int, host: str = "127.0.0.1") -> AsyncIterator[CutProxy]:
    """Stand before `host:port`."""
    proxy = CutProxy(0)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        writers.update((writer, far_writer))
        proxy.passed = 0
        back = asyncio.create_task(_pump_back(far_reader, writer))
        with contextlib.suppress(ConnectionError):
            await _pump(proxy, reader, far_writer)
        for end in (writer, far_writer):
            end.transport.abort()
        await back

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def _pump(
    proxy: CutProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while data := await reader.read(65536):
        if proxy.cut_after is not None and proxy.passed + len(data) >= proxy.cut_after:
            writer.write(data[: proxy.cut_after - proxy.passed])
            await writer.drain()
            proxy.passed = proxy.cut_after
            proxy.cuts += 1
            return
        proxy.passed += len(data)
        writer.write(data)
        await writer.drain()


async def _pump_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
