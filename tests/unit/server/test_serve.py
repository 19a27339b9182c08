from __future__ import annotations

import asyncio
import select
import signal
import socket
from pathlib import Path
from typing import Any

import h11
import pytest

from fleetd.server import bodies
from fleetd.server.connection import Connection
from fleetd.server.http import build
from fleetd.server.serve import serve
from tests.unit.api.desk import Desk as Documents, config
from tests.unit.server.service import ANN, Caller, Desk, Wire, as_peer, seen_as, serving

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def hasty(peer: Any = ANN) -> type[Connection]:
    class Hasty(seen_as(peer)):  # type: ignore[misc]
        head_s = 0.05
        stall_s = 0.05

    return Hasty


async def closed(wire: Wire) -> bytes:
    """What comes until the other side closes."""
    async with asyncio.timeout(10):
        try:
            return await wire.reader.read()
        except ConnectionResetError:
            return b""


async def hung_up(sock: socket.socket) -> None:
    """Wait until the other side has closed, whatever is still to be read."""
    poll = select.poll()
    poll.register(sock, 0)
    while not poll.poll(0):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"", b"GET /api HT"], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    desk: Desk, tmp_path: Path, sent: bytes
) -> None:
    async with (
        serving(build(desk.service()), tmp_path / "s", hasty()) as caller,
        caller.connect() as wire,
    ):
        wire.writer.write(sent)
        assert await closed(wire) == b""


async def test_a_second_head_that_does_not_come_is_not_waited_for(
    desk: Desk, tmp_path: Path
) -> None:
    async with (
        serving(build(desk.service()), tmp_path / "s", hasty()) as caller,
        caller.connect() as wire,
    ):
        wire.writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /liv")
        told = await closed(wire)
        assert told.startswith(b"HTTP/1.1 200")
        assert told.count(b"HTTP/1.1") == 1


async def test_a_connection_is_used_again(desk: Desk, ann: Caller) -> None:
    async with ann.connect() as wire:
        for _ in range(3):
            head = [("host", "x")]
            await wire.send(h11.Request(method="GET", target="/livez", headers=head))
            await wire.send(h11.EndOfMessage())
            assert (await wire.answer()).status == 200
            wire.conn.start_next_cycle()


async def test_the_rest_of_a_refused_body_is_not_waited_for(desk: Desk, tmp_path: Path) -> None:
    async with (
        serving(build(desk.service()), tmp_path / "s", hasty()) as caller,
        caller.connect() as wire,
    ):
        wire.writer.write(
            b"POST /api/v1/nodes HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf"
        )
        assert (await closed(wire)).startswith(b"HTTP/1.1 405")


async def test_who_does_not_read_is_cut_off_and_holds_up_nobody(desk: Desk, tmp_path: Path) -> None:
    made = Documents(store=desk.store)
    made.apply(*(config(f"c{number}", a="x" * 200_000) for number in range(8)))
    async with serving(build(desk.service()), tmp_path / "s", hasty()) as caller:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
            deaf.connect(str(caller.path))
            deaf.send(f"GET {CONFIGMAPS}?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            async with caller.watch(f"{CONFIGMAPS}?watch=1") as events:
                for _ in range(8):
                    await anext(events)
                # It was sent no more than what buffers take, and then the end.
                deaf.setblocking(False)
                taken = 0
                async with asyncio.timeout(10):
                    loop = asyncio.get_running_loop()
                    await asyncio.sleep(0.3)
                    while data := await loop.sock_recv(deaf, 1 << 20):
                        taken += len(data)
                assert 0 < taken < 8 * 200_000
                made.apply(config("c0", a="y"))
                assert (await anext(events))["type"] == "MODIFIED"


async def test_a_reader_that_falls_behind_is_told_so(desk: Desk, tmp_path: Path) -> None:
    made = Documents(store=desk.store)
    made.apply(config("c", a="0"))
    async with as_peer(desk, ANN, tmp_path / "s") as caller:
        since = (await caller.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fleetd.server.hub.KEPT_BYTES", 1_000_000)
            async with caller.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}") as events:
                for number in range(20):
                    made.apply(config("c", a=str(number) + "x" * 200_000))
                    await caller.get(CONFIGMAPS)
                told = [event async for event in events]
    assert told[-1]["type"] == "ERROR"
    assert (told[-1]["object"]["reason"], told[-1]["object"]["code"]) == ("Expired", 410)
    assert len(told) < 20


@pytest.mark.parametrize("how", ["told", "sent"])
async def test_a_body_that_is_too_large(ann: Caller, how: str) -> None:
    size = bodies.MAX_BODY + 1
    async with ann.connect() as wire:
        head = [("host", "x"), ("content-type", "application/json")]
        length = ("content-length", str(size))
        coded = ("transfer-encoding", "chunked")
        head.append(length if how == "told" else coded)
        await wire.send(h11.Request(method="POST", target=CONFIGMAPS, headers=head))
        if how == "sent":
            for _ in range(4):
                await wire.send(h11.Data(data=b"x" * (1 << 20)))
        answer = await wire.answer()
    assert (answer.status, answer.json["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_body_that_does_not_come(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.05)
    async with ann.connect() as wire:
        head = [("host", "x"), ("content-type", "application/json"), ("content-length", "100")]
        await wire.send(h11.Request(method="POST", target=CONFIGMAPS, headers=head))
        await wire.send(h11.Data(data=b"{"))
        answer = await wire.answer()
    assert (answer.status, answer.json["reason"]) == (408, "Timeout")


async def test_a_body_that_is_cut_changes_nothing(desk: Desk, ann: Caller) -> None:
    before = desk.store.commits
    async with ann.connect() as wire:
        head = [("host", "x"), ("content-type", "application/json"), ("content-length", "100")]
        await wire.send(h11.Request(method="POST", target=CONFIGMAPS, headers=head))
        await wire.send(h11.Data(data=b'{"metadata": {"name": "x"}}'))
        wire.writer.write_eof()
    assert (await ann.get(CONFIGMAPS)).json["items"] == []
    assert desk.store.commits == before


async def test_the_end_of_the_server_ends_watches_in_order(desk: Desk, tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(tmp_path / "s"))
    sock.listen()
    app = build(desk.service())
    running = asyncio.create_task(serve(app, sock, protocol=seen_as(ANN)))
    caller = Caller(tmp_path / "s")
    async with caller.watch("/api/v1/nodes?watch=1&allowWatchBookmarks=1") as events:
        assert [(await anext(events))["type"] for _ in "ab"] == ["ADDED", "ADDED"]
        running.cancel()
        assert [event["type"] async for event in events] == ["BOOKMARK"]
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ConnectionRefusedError):
        await caller.get("/livez")


async def test_signals_stay_with_the_service(desk: Desk, tmp_path: Path) -> None:
    kept = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(each) for each in kept]
    async with as_peer(desk, ANN, tmp_path / "s") as caller:
        assert (await caller.get("/livez")).status == 200
        assert [signal.getsignal(each) for each in kept] == before


async def test_what_went_wrong_inside_is_not_told(
    desk: Desk, ann: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    made = Documents(store=desk.store)
    made.apply(config("c", a="0"))
    row = made.record("c", "ConfigMap")
    object.__setattr__(row, "document_json", "hush")  # what cannot be: the state is garbled
    answer = await ann.get(f"{CONFIGMAPS}/c")
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert b"hush" not in answer.body
    assert b"Expecting" not in answer.body
    assert "JSONDecodeError" in caplog.text
