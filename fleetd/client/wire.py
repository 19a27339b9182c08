"""One call over the service's socket, in HTTP/1.1: a line of JSON there, lines of JSON back.

    POST /apis/fleetd/v1/verbs/{verb}     {"arguments": {...}, "documents": {...}, "from": {...}}
    {"progress": [event, fields]}  {"line": [node, text]}  {"data": [base64, is_stderr]}
    and at the end {"result": ...}, {"error": {"class", "message", "exit", "problems"}} or {"gone"}

A file may follow the line. An answer without that end is none: what came of the call is then not
known. Knows nothing of verbs.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h11

from fleetd import __version__
from fleetd.errors import FleetdError, Refused

WIRE = 1
"""Rises with every change that an older client or service would misread."""
WIRE_HEADER = "fleetd-wire"
VERSION_HEADER = "fleetd-version"
ROOT = "/apis/fleetd/v1"
CHUNK = 256 << 10
_PATIENCE_S = 60.0
"""How long a service may be silent before it begins to answer: then it hangs."""
_FULL_S = 10.0
"""How long we queue at a socket whose service has no time to take us in."""


class Gone(FleetdError):
    """The service ended before the call did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer: what the service is, and the lines as they come."""

    version: str
    lines: AsyncIterator[dict[str, Any]]


def connect(path: str) -> socket.socket | None:
    """A connection to the service at a socket; None where nobody listens.

    Raises Refused where we may not connect.
    """
    place = Path(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A short name for the directory: an address has room for 107 bytes.
        directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            made.setblocking(False)  # noqa: FBT003 - the stdlib's own signature
            made.connect(f"/proc/self/fd/{directory}/{place.name}")
        finally:
            os.close(directory)
    except OSError as error:
        made.close()
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED}:
            return None
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise Refused(_not_allowed(place)) from error
        if error.errno == errno.EAGAIN:
            raise _Full from error
        raise Refused(f"the service at {path} cannot be reached: {error.strerror}") from error
    return made


class _Full(Exception):
    """So many wait at the socket that there is no room for one more."""


def listens(path: str) -> bool:
    """Whether a service is there. Raises Refused where we may not connect."""
    try:
        made = connect(path)
    except _Full:
        return True
    if made is not None:
        made.close()
    return made is not None


async def reach(path: str) -> socket.socket | None:
    """As `connect`, with some patience for a service that has much to do."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _FULL_S
    while True:
        try:
            return connect(path)
        except _Full:
            if loop.time() > until:
                raise FleetdError(
                    f"the service at {path} takes no more calls; see `systemctl status fleetd`"
                ) from None
            await asyncio.sleep(0.05)


def _not_allowed(place: Path) -> str:
    """Why we may not connect: what is closed to us, and which group would open it."""
    import grp  # noqa: PLC0415 - only here
    import pwd  # noqa: PLC0415

    told = f"the service's socket {place} is not for you"
    for part in (place, *place.parents):
        try:
            found = part.stat()
        except OSError:
            continue
        opened = found.st_mode & (stat.S_IWGRP if part == place else stat.S_IXGRP)
        try:
            if not opened:
                owner = pwd.getpwuid(found.st_uid).pw_name
                return f"{told}: {part} is for {owner} alone"
            group = grp.getgrgid(found.st_gid).gr_name
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            break
        how = f"`usermod -aG {group} {user}`, then log in anew"
        return f"{told}: {part} is for the group {group}. {how}"
    return told


class Calling:
    """A call under way: an asynchronous context that gives its answer, and ends with it.

    `archive` follows the line, read as it is sent. Leaving the context hangs up.
    """

    def __init__(self, path: str, verb: str, line: bytes, archive: BinaryIO | None = None) -> None:
        """Take the socket, the verb, and what to send; nothing is sent yet."""
        self._path = path
        self._request = (verb, line, archive)
        self._writer: asyncio.StreamWriter | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Answer:
        """Send the request, and wait for the answer to begin.

        Raises:
            Refused: the service speaks another wire than we do, or we may not connect.
            Gone: there is no service any more.
        """
        made = await reach(self._path)
        if made is None:
            raise Gone(f"no service answers at {self._path} any more")
        reader, self._writer = await asyncio.open_unix_connection(sock=made)
        exchange = _Exchange(self._path, reader, self._writer)
        self._sending = asyncio.create_task(exchange.send(*self._request), name="sending")
        try:
            return Answer(await exchange.head(), exchange.lines())
        except BaseException:
            await self._hang_up()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Hang up."""
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)


@dataclass(slots=True)
class _Exchange:
    path: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service wants the body. One that refuses does not: it closes, and what was
    written then would cost us its answer."""

    async def send(self, verb: str, line: bytes, archive: BinaryIO | None) -> None:
        """Send the request. A service that answers before its end is sent no more."""
        length = len(line) + (os.fstat(archive.fileno()).st_size if archive else 0)
        request = h11.Request(
            method="POST",
            target=f"{ROOT}/verbs/{verb}",
            headers=[
                ("host", "fleetd"),
                (WIRE_HEADER, str(WIRE)),
                (VERSION_HEADER, __version__),
                ("content-type", "application/json"),
                ("content-length", str(length)),
                ("expect", "100-continue"),
            ],
        )
        with contextlib.suppress(ConnectionError):
            await self._put(request)
            await self.wanted.wait()
            await self._put(h11.Data(line))
            left = length - len(line)
            while archive is not None and left:
                chunk = archive.read(min(CHUNK, left))
                if not chunk:
                    # It is shorter than it was: the service is to see that it is not whole.
                    self.writer.close()
                    return
                left -= len(chunk)
                await self._put(h11.Data(chunk))
            await self._put(h11.EndOfMessage())

    async def _put(self, event: h11.Event) -> None:
        self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()

    async def head(self) -> str:
        """Wait for the answer to begin: the service's version."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                event = await self._event()
                while isinstance(event, h11.InformationalResponse):
                    self.wanted.set()
                    event = await self._event()
        except TimeoutError:
            raise FleetdError(
                f"the service at {self.path} does not answer; see `systemctl status fleetd`"
            ) from None
        if not isinstance(event, h11.Response):
            raise Gone(f"the service at {self.path} has ended")
        told = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        version, wire = told.get(VERSION_HEADER, "?"), told.get(WIRE_HEADER, "")
        if wire != str(WIRE):
            raise Refused(
                f"the service at {self.path} is fleetd {version}, this command is fleetd "
                f"{__version__}, and they do not understand each other: use one version of both, "
                "and `systemctl restart fleetd` after an upgrade"
            )
        return version

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """The lines of the answer, each a map; raises Gone after the last one."""
        rest = bytearray()
        while True:
            event = await self._event()
            if not isinstance(event, h11.Data):
                raise Gone(f"the service at {self.path} has ended")
            rest += event.data
            if b"\n" in event.data:
                *whole, last = rest.split(b"\n")
                rest = bytearray(last)
                for text in whole:
                    yield json.loads(text)

    async def _event(self) -> object:
        """The next event; ConnectionClosed when the service has gone."""
        try:
            while (event := self.http.next_event()) is h11.NEED_DATA:
                self.http.receive_data(await self.reader.read(CHUNK))
        except (ConnectionError, h11.RemoteProtocolError):
            return h11.ConnectionClosed()
        return event
