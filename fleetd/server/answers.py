"""The answer to a call: lines of JSON as they come, for a caller who may be slow or have left.

What has to arrive is kept until it is taken, up to a bound; what only shows how far things are is
left out while much waits. Whoever tells never waits: it is the engine that tells.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Send

from fleetd import __version__
from fleetd.client.wire import VERSION_HEADER, WIRE, WIRE_HEADER

MUCH = 1 << 20
"""So many bytes may wait before progress is left out, and before a stream of lines pauses."""
MOST = 64 << 20
"""So many bytes may wait at all."""
_AT_ONCE = 256 << 10


class Answer:
    """One answer; `tell` and `mention` while it lasts, then `end` once."""

    def __init__(self, send: Send) -> None:
        """Take the way to the caller; nothing is sent yet."""
        self._send = send
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = False
        self.left = False
        """Whether the caller has gone, so that nobody needs to be told anything."""
        self.overrun = False
        """Whether more came than the caller took, so that some of it is lost."""
        self.on_overrun: Callable[[], object] = _nothing

    @property
    def much(self) -> bool:
        """Whether so much waits that whoever can should wait for `room`."""
        return self._size > MUCH

    def mention(self, line: Mapping[str, Any]) -> None:
        """Tell a line that may be left out."""
        if not self.much:
            self.tell(line)

    def tell(self, line: Mapping[str, Any]) -> None:
        """Tell a line that has to arrive."""
        if self.left or self._ended or self.overrun:
            return
        self._keep(line)
        if self._size > MOST:
            self.overrun = True
            self.on_overrun()

    def _keep(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._waiting.append(data)
        self._size += len(data)
        if self.much:
            self._room.clear()
        self._news.set()

    def end(self, line: Mapping[str, Any]) -> None:
        """Tell the last line: a result, or why there is none."""
        if not (self.left or self._ended):
            self._keep(line)
        self._ended = True
        self._news.set()

    def leave(self) -> None:
        """The caller has gone."""
        self.left = True
        self._waiting.clear()
        self._size = 0
        self._room.set()
        self._news.set()

    async def room(self) -> None:
        """Wait until not much waits to be taken."""
        await self._room.wait()

    async def begin(self, status: int = 200) -> None:
        """Send the head: the caller knows then that it was heard, and by whom."""
        headers = {
            WIRE_HEADER: str(WIRE),
            VERSION_HEADER: __version__,
            "content-type": "application/x-ndjson",
            "cache-control": "no-store",
        }
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
        )

    async def deliver(self) -> None:
        """Send lines as they come, until the last one is sent or the caller has left."""
        while not self.left and not (self._ended and not self._waiting):
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._send(
                    {"type": "http.response.body", "body": self._taken(), "more_body": True}
                )
                if not self.much:
                    self._room.set()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _taken(self) -> bytes:
        """Some of what waits, as one piece."""
        piece = bytearray()
        while self._waiting and len(piece) < _AT_ONCE:
            piece += self._waiting.popleft()
        self._size -= len(piece)
        return bytes(piece)


def _nothing() -> None:
    """Nobody asked to be told."""
