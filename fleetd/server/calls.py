"""A call as it arrives: one line of JSON, held to the types of the verb, and perhaps an archive.

Nothing of it is believed. The line is bounded; an archive goes to a file without a name beside the
state, which is gone when it is closed, whatever ends first.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from starlette.types import Receive, Scope

from fleetd.client.codec import Form, unpack
from fleetd.client.remote import Caller
from fleetd.documents import crossing
from fleetd.documents.load import Documents
from fleetd.errors import FleetdError, InvalidInput

LONGEST_LINE = 64 << 20
"""In bytes; documents with their local files are the long ones."""
KEPT_FREE = 256 << 20
"""So many bytes stay free on the disk of the state, whatever is sent to us."""
NO_DOCUMENTS = Documents((), {}, ())


class Left(Exception):
    """The caller left before the call was whole."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a caller asks for: arguments by name, documents, and whom it meant to ask."""

    arguments: dict[str, Any]
    documents: Documents
    caller: Caller


class Body:
    """The body of a request: first its line, then what follows it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Take the request; nothing is read yet."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        self._length = int(lengths[0]) if lengths else None
        self._receive = receive
        self._rest = b""
        self._more = True

    async def line(self) -> bytes:
        """The first line. Raises InvalidInput for one that is too long, and Left."""
        parts = []
        size = 0
        while self._more:
            piece = await self._piece()
            line, newline, rest = piece.partition(b"\n")
            parts.append(line)
            size += len(line)
            if size > LONGEST_LINE:
                raise InvalidInput(
                    f"the documents and their files are larger than {LONGEST_LINE >> 20} MiB "
                    "together; apply them in parts"
                )
            if newline:
                self._rest = rest
                break
        return b"".join(parts)

    async def spool(self, directory: Path) -> BinaryIO:
        """What follows the line, in a file without a name, open for reading.

        Raises:
            FleetdError: there is no room for it, or it cannot be written.
            Left: the caller left before it was whole.
        """
        free = (await asyncio.to_thread(shutil.disk_usage, directory)).free
        if (self._length or 0) > free - KEPT_FREE:
            raise FleetdError(
                f"there is no room for the archive: {directory} has {free >> 20} MiB free, and "
                f"{KEPT_FREE >> 20} MiB of them are kept for the state"
            )
        file: BinaryIO | None = None
        try:
            file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - the caller closes it
            while self._rest or self._more:
                await asyncio.to_thread(file.write, self._rest)
                self._rest = await self._piece() if self._more else b""
            await asyncio.to_thread(file.flush)
        except OSError as error:
            if file is not None:
                file.close()
            raise FleetdError(
                f"the archive cannot be kept in {directory}: {error.strerror}"
            ) from error
        except BaseException:
            if file is not None:
                file.close()
            raise
        return file

    async def _piece(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise Left
        self._more = message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


def read_call(form: Form, line: bytes) -> Call:
    """The call that a line stands for, its documents held to all the rules.

    Raises InvalidInput.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the call is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise InvalidInput("the call is no JSON object")
    caller = unpack(Caller, told.get("from", {}), "from")
    assert isinstance(caller, Caller)
    arguments = form.unpack(told.get("arguments", {}))
    documents = NO_DOCUMENTS
    if told.get("documents") is not None:
        documents = crossing.unpack(told["documents"])
    elif arguments.get("specs") or "edited" in arguments:
        raise InvalidInput(f"{form.name} needs documents; files are not read here for anybody")
    return Call(arguments, documents, caller)


def path_of(file: BinaryIO) -> str:
    """A path of a file that has no name, for as long as it is open."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"
