from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from fleetd import __version__
from fleetd.server.health import public
from fleetd.server.serve import serve
from tests.unit.server.service import Answer, Caller, Desk, Wire

import h11  # isort: skip


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
async def test_all_is_well(bob: Caller, path: str) -> None:
    answer = await bob.get(path)
    assert (answer.status, answer.body) == (200, b"ok")


async def test_each_check_by_name(desk: Desk, bob: Caller) -> None:
    desk.checks = {"state": "", "inventory": "not read yet"}
    answer = await bob.get("/readyz?verbose")
    assert answer.status == 503
    assert answer.body.decode().splitlines() == [
        "[+]ping ok",
        "[+]state ok",
        "[-]inventory failed: not read yet",
        "readyz check failed",
    ]
    assert (await bob.get("/healthz")).status == 503
    assert (await bob.get("/livez")).status == 200
    desk.checks = {"state": "", "inventory": ""}
    answer = await bob.get("/readyz?verbose")
    assert (answer.status, answer.body.decode().splitlines()[-1]) == (200, "readyz check passed")


async def test_version(bob: Caller) -> None:
    answer = await bob.get("/version")
    assert answer.json["gitVersion"] == f"v{__version__}"


async def test_metrics(bob: Caller) -> None:
    answer = await bob.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.body == b"fleetd_up 1\n"


class Outside:
    """A client from anywhere."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def ask(self, method: str, target: str) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        wire = Wire(reader, writer)
        head = [("host", "x"), ("content-length", "0")]
        await wire.send(h11.Request(method=method, target=target, headers=head))
        await wire.send(h11.EndOfMessage())
        answer = await wire.answer()
        writer.close()
        return answer


@pytest.fixture
async def outside(desk: Desk) -> AsyncIterator[Outside]:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    running = asyncio.create_task(serve(public(desk.service()), sock))
    yield Outside(port)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/livez", "/readyz", "/readyz?verbose"])
async def test_what_is_served_outside(outside: Outside, path: str) -> None:
    assert (await outside.ask("GET", path)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/api", "/apis", "/version", "/api/v1/nodes", "/apis/apps/v1/daemonsets"),
        *("/apis/fleetd/v1/verbs/get", "/metrics/x", "//api/v1/nodes", "/metrics/../api"),
    ],
)
async def test_nothing_else_is_served_outside(outside: Outside, path: str) -> None:
    for method in ("GET", "POST"):
        assert (await outside.ask(method, path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_outside_is_for_reading(outside: Outside, method: str) -> None:
    for path in ("/metrics", "/healthz", "/livez", "/readyz"):
        assert (await outside.ask(method, path)).status == 405


def test_the_application_for_outside_has_these_routes_alone(desk: Desk) -> None:
    paths = sorted(getattr(route, "path", "?") for route in public(desk.service()).routes)
    assert paths == ["/healthz", "/livez", "/metrics", "/readyz"]
