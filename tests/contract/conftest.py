"""The stages on which the Transport contract is played: in process, simulated SSH, a real sshd."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fleetd.adapters.ssh import SshTransport
from fleetd.core.facts import Runtime
from fleetd.core.node import Ssh
from fleetd.host import wire
from fleetd.host.requests import Exec, Follow, Load
from fleetd.ports import Output
from fleetd.testing.fleet import FakeFleet, address
from fleetd.testing.hosts import SimHost
from fleetd.testing.ssh import addresses, serve
from tests.contract.forms import play
from tests.contract.sshd import NAME, Sshd, sshd
from tests.contract.stories import Play

STAGES = ["in-process", "simulated-ssh", pytest.param("sshd", marks=pytest.mark.needs("sshd"))]


@dataclass(slots=True)
class Stage:
    """A transport with one host behind it, and what to send for the host to do something."""

    transport: FakeFleet | SshTransport
    ssh: Ssh
    stdin_of: Callable[[tuple[str, ...]], bytes]
    digest_of: Callable[[bytes], bytes]
    """The stdin that has the host take so many bytes after it, and tell their sha256, or fail."""
    follow_stdin: bytes
    """What has the host tell something at once, and then go on until its stdin ends."""
    telling: Callable[[], bool]
    """Whether it still does so, by its own account."""

    async def run(self, *words: str, timeout_s: float = 20, limit: int = 1 << 20) -> Output:
        """Have the host run a command."""
        return await self.transport.run(
            NAME, self.ssh, self.stdin_of(words), timeout_s=timeout_s, limit=limit
        )

    async def upload(self, data: bytes, chunks: AsyncIterator[bytes]) -> Output:
        """Have the host take the chunks, for which it is told to expect `data`."""
        return await self.transport.upload(
            NAME, self.ssh, self.digest_of(data), chunks, timeout_s=20
        )


def typed(words: tuple[str, ...]) -> bytes:
    """For simulated hosts, which read the typed request."""
    return wire.encode(Exec(words), "0123456789abcdef")


def scripted(words: tuple[str, ...]) -> bytes:
    """For a real shell: a script of our own, as the carrier takes it."""
    script = {
        "echo": "printf '%s\\n' '" + " ".join(words[1:]) + "'",
        "yes": f"yes | head -c {2 * int(words[1]) if words[0] == 'yes' else 0}",
        "exit": f"exit {words[-1]}",
        "sleep": f"sleep {words[-1]}",
        "reboot": "kill -9 $PPID",
    }[words[0]].encode("utf-8", "surrogateescape")
    return b"%d\n%s" % (len(script), script)


def typed_digest(data: bytes) -> bytes:
    """A simulated host takes an archive whole, or not at all."""
    digest = hashlib.sha256(data).hexdigest()
    images = (("sha256:1", digest),)
    load = Load("fleet", 1, Runtime.PODMAN, images, len(data), digest)
    return wire.encode(load, "0123456789abcdef")


def scripted_digest(data: bytes) -> bytes:
    """A real shell takes so many bytes, and is content with nothing else."""
    digest = hashlib.sha256(data).hexdigest()
    script = f'sum=$(head -c {len(data)} | sha256sum); test "${{sum%% *}}" = {digest}'.encode()
    return b"%d\n%s" % (len(script), script)


def typed_follow() -> bytes:
    """A simulated host tells that it begins, and that its journal tells."""
    return wire.encode(Follow(), "0123456789abcdef")


def scripted_follow(alive: Path) -> bytes:
    """A real shell says something, and leaves a mark for as long as its stdin is open."""
    script = f"touch {alive}; echo telling; cat >/dev/null; rm {alive}".encode()
    return b"%d\n%s" % (len(script), script)


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    opening = {"in-process": _in_process, "simulated-ssh": _simulated, "sshd": _real}
    async with opening[request.param](tmp_path) as opened:
        yield opened
        await opened.transport.close()


@asynccontextmanager
async def _in_process(home: Path) -> AsyncIterator[Stage]:
    fleet = FakeFleet([NAME])
    telling = fleet.hosts[NAME].journal.is_followed
    yield Stage(fleet, Ssh(address(NAME)), typed, typed_digest, typed_follow(), telling)


@asynccontextmanager
async def _simulated(home: Path) -> AsyncIterator[Stage]:
    (at,) = addresses(1)
    host = SimHost(NAME, time.monotonic)
    async with serve({at: host}, home) as served:
        transport = SshTransport(lambda _name: None)
        follow = (typed_follow(), host.journal.is_followed)
        yield Stage(transport, served.ssh(at), typed, typed_digest, *follow)


@asynccontextmanager
async def _real(home: Path) -> AsyncIterator[Stage]:
    async with sshd(home / "sshd") as server:
        transport, alive = SshTransport(lambda _name: None), home / "telling"
        follow = (scripted_follow(alive), alive.exists)
        yield Stage(transport, server.trust(), scripted, scripted_digest, *follow)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Sshd]:
    """A real sshd, which is not trusted yet."""
    async with sshd(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[SshTransport]:
    opened = SshTransport(lambda _name: None)
    yield opened
    await opened.close()


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition; fail when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture(params=["in-process", "verbs", "service"])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """In this process, through a socket to the same, and to a whole service with its loop."""
    return partial(play, request.param, tmp_path)


@pytest.fixture(params=["in-process", "verbs"])
def tell_alone(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Where nothing is done to hosts but what is asked for."""
    return partial(play, request.param, tmp_path)
