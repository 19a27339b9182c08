from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from fleetd.api.streams import Copy, copies_of, logs, run
from fleetd.core.facts import Runtime, Slot
from fleetd.core.node import Node, Ssh
from fleetd.errors import FleetdError, NotFound
from fleetd.host.replies import begin_mark
from fleetd.host.requests import Exec, Logs
from fleetd.host.wire import decode
from fleetd.ports import Output, Take
from fleetd.testing import loop
from tests.sim.harness import AGENT, Sim, agent

NODE = Node("h01", Ssh("h01.fake"))
UNIT = "fleetd-default.agent.main.a.service"
COPY = Copy(NODE, AGENT, Slot.A, (UNIT,), "c", Runtime.PODMAN)


class Pieces:
    """Streams that hand these pieces on; `{mark}` stands for the line that begins the output."""

    def __init__(self, pieces: Sequence[bytes], output: Output | None = None) -> None:
        self.pieces = pieces
        self.output = output or Output(0)

    async def stream(
        self,
        name: str,
        ssh: Ssh,
        stdin: bytes,
        on_stdout: Take,
        on_stderr: Take,
    ) -> Output:
        nonce, _ = decode(stdin)
        for piece in self.pieces:
            taking = on_stdout(piece.replace(b"{mark}", begin_mark(nonce).encode()))
            if taking is not None:
                await taking
        on_stderr(b"warning\n")
        return self.output

    async def upload(
        self, name: str, ssh: Ssh, stdin: bytes, chunks: AsyncIterator[bytes], *, timeout_s: float
    ) -> Output:
        raise AssertionError("nothing is sent here")


def unheard(data: bytes, stderr: bool) -> None:
    """Nobody listens."""


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


class Cut(Pieces):
    """The same, in pieces of a size whatever is in them."""

    def __init__(self, text: bytes, size: int) -> None:
        super().__init__([text])
        self.size = size

    async def stream(self, name: str, ssh: Ssh, stdin: bytes, *sinks: Any) -> Output:
        nonce, _ = decode(stdin)
        text = self.pieces[0].replace(b"{mark}", begin_mark(nonce).encode())
        self.pieces = cut(text, self.size)
        return await super().stream(name, ssh, stdin, *sinks)


async def lines_of(streams: Any, *copies: Copy) -> list[tuple[str, str]]:
    asked = logs(streams, copies or (COPY,), lambda copy: Logs(copy.units))
    return [item async for item in asked]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_lines_are_whole_however_they_come(size: int) -> None:
    text = b"Last login: today\n{mark}\nfirst\n\nsecond \xc3\xbc\nno end"

    async def story() -> None:
        assert await lines_of(Cut(text, size)) == [
            ("h01", line) for line in ("first", "", "second ü", "no end")
        ]

    loop.run(story(), seed=1)


def test_lines_hold_nothing_that_a_terminal_obeys() -> None:
    async def story() -> None:
        found = await lines_of(Pieces([b"{mark}\n\x1b[2Jred\r\n\xff\n"]))
        assert found == [("h01", "[2Jred"), ("h01", "\ufffd")]

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("streams", "why"),
    [
        pytest.param(Pieces([b"{mark}\n"], Output(None, error="cut off")), "cut off", id="lost"),
        pytest.param(Pieces([b"sudo: no\n"]), "did not run the request", id="never-began"),
    ],
)
def test_the_end_of_a_host_that_fails_is_told(streams: Pieces, why: str) -> None:
    async def story() -> None:
        ((name, line),) = await lines_of(streams)
        assert name == "h01"
        assert line.startswith("(no more: ")
        assert why in line

    loop.run(story(), seed=1)


@pytest.mark.parametrize("size", [1, 5, 4096])
def test_what_a_command_says_is_handed_on_untouched(size: int) -> None:
    said: list[tuple[bytes, bool]] = []

    async def story() -> None:
        status = await run(
            Cut(b"noise {mark}\n\x1b[2J\xff\0", size),
            NODE,
            Exec(("x",)),
            lambda data, stderr: said.append((data, stderr)),
        )
        assert status == 0

    loop.run(story(), seed=1)
    assert b"".join(data for data, stderr in said if not stderr) == b"\x1b[2J\xff\0"
    assert [data for data, stderr in said if stderr] == [b"warning\n"]


@pytest.mark.parametrize(
    "streams",
    [
        pytest.param(Pieces([b"{mark}\nhalf"], Output(None, error="cut off")), id="cut"),
        pytest.param(Pieces([b"sudo: no\n"], Output(1)), id="never-began"),
    ],
)
def test_a_command_whose_end_was_not_seen_has_no_status(streams: Pieces) -> None:
    async def story() -> None:
        with pytest.raises(FleetdError, match=r"h01: .* may or may not have run"):
            await run(streams, NODE, Exec(("x",)), unheard)

    loop.run(story(), seed=1)


def test_the_status_of_a_command_is_its_own() -> None:
    async def story() -> None:
        streams = Pieces([b"{mark}\n"], Output(7))
        assert await run(streams, NODE, Exec(("x",)), unheard) == 7

    loop.run(story(), seed=1)


def test_copies_are_found_by_set_or_by_pod() -> None:
    async def story() -> None:
        sim = Sim.of(2)
        sim.put(agent("v1"))
        await sim.converge()
        session = sim.session()
        of_set = copies_of(session, "ds/agent", "default")
        assert [(copy.node.name, copy.units) for copy in of_set] == [
            ("h01", (UNIT,)),
            ("h02", (UNIT,)),
        ]
        assert copies_of(session, "ds/agent", "default", node="h02") == of_set[1:]
        assert copies_of(session, "agent-h01", "default") == of_set[:1]
        for target, namespace, node in (
            ("ds/other", "default", ""),
            ("ds/agent", "kube-system", ""),
            ("ds/agent", "default", "h09"),
            ("agent", "default", ""),
        ):
            with pytest.raises(NotFound, match="no copy of"):
                copies_of(session, target, namespace, node=node)

    loop.run(story(), seed=1)


def test_one_container_of_a_pod_is_read_or_entered() -> None:
    async def story() -> None:
        sim = Sim.of(1)
        sim.put(agent("v1"))
        await sim.converge()
        session = sim.session()
        side = {"name": "side", "image": "example/side:v1"}
        first = {"name": "first", "image": "example/first:v1"}
        main = {"name": "main", "image": "example/agent:v1"}
        sim.put(agent("v2", pod={"containers": [main, side], "initContainers": [first]}))
        (whole,) = copies_of(session, "agent-h01", "default")
        units = [f"fleetd-default.agent.{name}.a.service" for name in ("first", "main", "side")]
        assert list(whole.units) == units
        assert whole.container == "fleetd-default.agent.main.a"
        (one,) = copies_of(session, "agent-h01", "default", container="side")
        assert (one.units, one.container) == ((units[2],), "fleetd-default.agent.side.a")
        (one,) = copies_of(session, "agent-h01", "default", container="first")
        assert one.units == (units[0],)
        with pytest.raises(NotFound, match="no container web; it has first, main, side"):
            copies_of(session, "ds/agent", "default", container="web")

    loop.run(story(), seed=1)
