"""What every Follows promises, on each stage; and what the SSH adapter promises beyond."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleetd.adapters.ssh import SshTransport
from fleetd.ports import Output
from tests.contract.conftest import Stage, scripted, scripted_follow, until
from tests.contract.sshd import NAME, Sshd


@asynccontextmanager
async def followed(stage: Stage) -> AsyncIterator[tuple[asyncio.Task[Output], list[bytes]]]:
    """A stream that tells, with what it has told."""
    told: list[bytes] = []
    following = asyncio.create_task(
        stage.transport.follow(NAME, stage.ssh, stage.follow_stdin, told.append)
    )
    try:
        await until(lambda: bool(told) and stage.telling())
        yield following, told
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_output_comes_while_the_far_end_goes_on(stage: Stage) -> None:
    async with followed(stage) as (following, _):
        assert not following.done()


async def test_the_far_end_ends_when_nobody_listens_any_more(stage: Stage) -> None:
    async with followed(stage):
        pass
    await until(lambda: not stage.telling())
    assert (await stage.run("echo", "still here")).status == 0


async def test_visits_go_on_beside_a_stream(stage: Stage) -> None:
    async with followed(stage) as (following, _):
        outputs = await asyncio.gather(*(stage.run("echo", str(number)) for number in range(15)))
        assert [output.status for output in outputs] == [0] * 15
        assert not following.done()
        assert stage.telling()


async def test_a_host_that_dies_ends_the_stream_without_a_status(stage: Stage) -> None:
    async with followed(stage) as (following, _):
        await stage.run("reboot")
        async with asyncio.timeout(10):
            output = await following
        assert (output.status, output.sent) == (None, True)
        assert "lost" in output.error


async def test_a_host_that_nobody_can_reach_is_told_so(stage: Stage) -> None:
    stage.ssh = type(stage.ssh)("127.0.0.1", 1, "root", "", stage.ssh.known_hosts_file)
    output = await stage.transport.follow(NAME, stage.ssh, stage.follow_stdin, lambda _data: None)
    assert (output.status, output.sent) == (None, False)
    assert output.error


async def test_streams_that_were_left_use_up_no_sessions(stage: Stage) -> None:
    for _ in range(12):
        async with followed(stage):
            pass
    async with followed(stage):
        assert (await stage.run("echo", "still here")).status == 0


# The SSH adapter.


@dataclass
class Told:
    """What a sink was told."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.events]


@pytest.mark.needs("sshd")
async def test_a_stream_takes_no_connection_of_its_own(server: Sshd, tmp_path: Path) -> None:
    told = Told()
    transport = SshTransport(lambda _name: None, told)
    ssh, alive = server.trust(), tmp_path / "telling"
    stdin = scripted_follow(alive)
    following = asyncio.create_task(transport.follow(NAME, ssh, stdin, lambda _data: None))
    await until(alive.exists)
    assert (await transport.run(NAME, ssh, scripted(("echo", "x")), timeout_s=20)).status == 0
    assert server.logins == 1
    assert told.names == ["connected"]
    assert told.events[0][1] | {"seconds": 0} == {"node": NAME, "seconds": 0, "again": False}
    server.signal(signal.SIGKILL)
    assert (await following).status is None
    await until(lambda: "disconnected" in told.names)
    await transport.close()


@pytest.mark.needs("sshd")
async def test_a_stream_that_is_opened_in_vain_leaves_no_session_behind(
    server: Sshd, transport: SshTransport, tmp_path: Path
) -> None:
    """Cancelled while the channel opens, nobody would ever end its stdin."""
    ssh = server.trust()
    assert (await transport.run(NAME, ssh, scripted(("echo", "x")), timeout_s=20)).status == 0
    for _ in range(12):
        stdin = scripted_follow(tmp_path / "telling")
        opening = asyncio.create_task(transport.follow(NAME, ssh, stdin, lambda _data: None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
    assert (await transport.run(NAME, ssh, scripted(("echo", "x")), timeout_s=20)).status == 0
    await until(lambda: not (tmp_path / "telling").exists())


@pytest.mark.needs("sshd")
async def test_what_the_far_end_says_in_error_is_kept_in_part(
    server: Sshd, transport: SshTransport
) -> None:
    script = b"yes complaint | head -c 100000 >&2; exit 3"
    stdin = b"%d\n%s" % (len(script), script)
    output = await transport.follow(NAME, server.trust(), stdin, lambda _data: None)
    assert output.status == 3
    assert output.stderr.startswith(b"complaint\n")
    assert len(output.stderr) == 4096
