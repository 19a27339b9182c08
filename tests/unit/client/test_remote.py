"""The client of a service that ends, hangs, or is another one than we know."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fleetd.client import Client, LogQuery, Query, RunOptions
from fleetd.client.remote import Caller, Remote
from fleetd.core.key import Key
from fleetd.errors import (
    FleetdError,
    InvalidInput,
    InventoryUnknown,
    NotConverged,
    NotFound,
    Problem,
    Refused,
    StateHeld,
)
from fleetd.server.verbs import told

HEAD = (
    b"HTTP/1.1 200 OK\r\nfleetd-wire: 1\r\nfleetd-version: 0.1\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
KEY = Key("default", "agent")


def line(said: object) -> bytes:
    data = json.dumps(said).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def answering(place: Path, answer: bytes) -> AsyncIterator[Remote]:
    """Something that answers each call with these bytes, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    path = str(place / "s")
    async with await asyncio.start_unix_server(serve, path):
        yield Remote(path, Caller(), io.BytesIO())


def unwatched(event: str, fields: object) -> None:
    """Nobody looks."""


Ask = Callable[[Client], Awaitable[Any]]
ASKS: dict[str, tuple[Ask, str]] = {
    "get": (lambda client: client.get("pods", Query()), "ask again"),
    "exec": (
        lambda client: client.exec("h1", "default", ["x"], lambda _data, _err: None),
        "the command may or may not have run",
    ),
    "pause": (lambda client: client.pause(KEY), "may or may not have been done"),
    "reconcile": (
        lambda client: client.reconcile(RunOptions(), unwatched),
        "may or may not have been done",
    ),
}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEAD[:40], id="half-a-head"),
        pytest.param(HEAD, id="a-head"),
        pytest.param(HEAD + line({"progress": ["decided", {}]}), id="progress"),
        pytest.param(HEAD + line({"result": "x" * 100})[:50], id="half-a-result"),
        pytest.param(HEAD + b"0\r\n\r\n", id="an-end-without-a-result"),
        pytest.param(HEAD + line({"gone": "the service was stopped"}), id="a-farewell"),
    ],
)
@pytest.mark.parametrize("verb", ASKS)
async def test_an_end_that_was_not_seen_is_no_success(
    tmp_path: Path, verb: str, answer: bytes
) -> None:
    ask, expected = ASKS[verb]
    async with answering(tmp_path, answer) as remote:
        with pytest.raises(FleetdError, match=expected) as caught:
            await ask(remote)
    assert caught.value.exit_code == 1


async def test_what_was_taken_in_before_the_end_is_told(tmp_path: Path) -> None:
    applied = line({"progress": ["applied", {"changes": []}]})
    async with answering(tmp_path, HEAD + applied) as remote:
        with pytest.raises(NotConverged, match="is in the state, and the service goes on with it"):
            await remote.restart("default", "agent", RunOptions(), unwatched)


async def test_logs_that_were_cut_are_not_at_their_end(tmp_path: Path) -> None:
    async with answering(tmp_path, HEAD + line({"line": ["h1", "first"]})) as remote:
        lines = remote.logs(LogQuery("ds/agent"))
        assert await anext(lines) == ("h1", "first")
        with pytest.raises(FleetdError, match=r"the service at .* has ended"):
            await anext(lines)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(HEAD.replace(b"fleetd-wire: 1", b"fleetd-wire: 2"), id="newer"),
        pytest.param(HEAD.replace(b"fleetd-wire: 1\r\n", b""), id="no-fleetd-at-all"),
    ],
)
async def test_a_service_of_another_wire_is_not_asked(tmp_path: Path, head: bytes) -> None:
    async with answering(tmp_path, head + line({"result": []})) as remote:
        with pytest.raises(Refused, match="do not understand each other") as caught:
            await remote.get("pods", Query())
    assert "`systemctl restart fleetd` after an upgrade" in str(caught.value)


ERRORS = [
    InvalidInput(
        [Problem("a.yaml", 7, "spec.x", "is wrong", "write y"), Problem("b", 0, "", "no")]
    ),
    InvalidInput("one sentence"),
    InventoryUnknown("the program failed"),
    NotFound("daemonset x is not known"),
    Refused("not now"),
    StateHeld("held by another"),
    NotConverged("h1: no"),
    FleetdError("anything"),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
async def test_an_error_is_the_one_that_this_process_would_have_raised(
    tmp_path: Path, error: FleetdError
) -> None:
    async with answering(tmp_path, HEAD + line({"error": told(error)})) as remote:
        with pytest.raises(FleetdError) as caught:
            await remote.pause(KEY)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert caught.value.exit_code == error.exit_code
    if isinstance(error, InvalidInput):
        assert isinstance(caught.value, InvalidInput)
        assert caught.value.problems == error.problems


async def test_an_error_that_we_do_not_know_keeps_its_exit_code(tmp_path: Path) -> None:
    error = {"class": "Newer", "message": "of a newer kind", "exit": 5, "problems": []}
    async with answering(tmp_path, HEAD + line({"error": error})) as remote:
        with pytest.raises(FleetdError, match="of a newer kind") as caught:
            await remote.pause(KEY)
    assert caught.value.exit_code == 5


async def test_a_document_that_cannot_be_read_is_told_before_anything_is_asked(
    tmp_path: Path,
) -> None:
    remote = Remote(str(tmp_path / "nobody"), Caller(), io.BytesIO())
    with pytest.raises(InvalidInput, match="No such file"):
        await remote.diff([str(tmp_path / "gone.yaml")])
