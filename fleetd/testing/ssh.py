"""Simulated hosts behind real SSH: one process, one listener on loopback, an address per host.

Everything between fleetd and a host's shell is real: TCP, handshake, host keys, channels. Loopback
addresses 127.x.y.z need no set-up on Linux.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import asyncssh

from fleetd.core.node import Ssh
from fleetd.host import carrier, scripts
from fleetd.testing.commands import PowerCut
from fleetd.testing.hosts import SimHost

USER = "fleet"
LARGEST_REQUEST = 64 << 20
FOLLOW = b"%d\n%b" % (len(scripts.script("follow")), scripts.script("follow"))
"""How a request begins that is answered before stdin has ended."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running fleet: its hosts by address, and how to log in."""

    hosts: Mapping[str, SimHost]
    port: int
    identity_file: str
    known_hosts_file: str

    def ssh(self, at: str) -> Ssh:
        """The SSH settings for the host at that address."""
        return Ssh(at, self.port, USER, self.identity_file, self.known_hosts_file)


class _Server(asyncssh.SSHServer):
    """Lets one key in, and only to hosts that are up."""

    def __init__(self, hosts: Mapping[str, SimHost], public_key: bytes) -> None:
        self._hosts = hosts
        self._public_key = public_key

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        if not self._hosts[conn.get_extra_info("sockname")[0]].up:
            conn.abort()

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key.public_data == self._public_key

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return _Session(self._hosts)


class _Session(asyncssh.SSHServerSession[bytes]):
    """One exec of the carrier line: all of stdin in, the host's answer out."""

    def __init__(self, hosts: Mapping[str, SimHost]) -> None:
        self._hosts = hosts
        self._stdin = bytearray()
        self._end: Callable[[], None] | None = None
        """What ends a stream, once one is followed here."""
        self._channel: asyncssh.SSHServerChannel[bytes]

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        return command == carrier.LINE

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._stdin += data
        if self._end is None and self._stdin.startswith(FOLLOW):
            self._follow()
        if len(self._stdin) > LARGEST_REQUEST:
            self._channel.abort()

    def _follow(self) -> None:
        """Begin to tell, if the request is here whole; of stdin only its end still counts."""
        with contextlib.suppress(ValueError):
            self._end = self._host.follow(bytes(self._stdin), self)
            self._stdin.clear()

    def tell(self, data: bytes) -> None:
        if not self._channel.is_closing():
            self._channel.write(data)

    def cut(self) -> None:
        self._cut()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, call)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end()

    @property
    def _host(self) -> SimHost:
        return self._hosts[self._channel.get_extra_info("sockname")[0]]

    def eof_received(self) -> bool:
        if self._end is not None:
            self._end()
            self._channel.exit(0)
            return True
        host = self._host
        if not host.up:
            self._cut()
            return True
        try:
            output, takes_s = host.answer(bytes(self._stdin))
        except PowerCut:
            self._cut()
            return True
        self._stdin.clear()
        asyncio.get_running_loop().call_later(takes_s, self._reply, output.stdout, output.status)
        return True

    def _reply(self, stdout: bytes, status: int | None) -> None:
        if not self._channel.is_closing():
            self._channel.write(stdout)
            self._channel.exit(status or 0)

    def _cut(self) -> None:
        connection: asyncssh.SSHServerConnection = self._channel.get_extra_info("connection")
        connection.abort()


def addresses(count: int) -> list[str]:
    """Loopback addresses for so many hosts, beginning with 127.77.0.1."""
    return [f"127.77.{number // 250}.{number % 250 + 1}" for number in range(count)]


@asynccontextmanager
async def serve(hosts: Mapping[str, SimHost], directory: Path) -> AsyncIterator[Served]:
    """Serve hosts by address; a fresh identity file and known_hosts are put into `directory`."""
    _raise_file_limit()
    identity = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    port = _free_port(next(iter(hosts)))
    identity_file, known_hosts_file = directory / "identity", directory / "known_hosts"
    identity.write_private_key(identity_file)
    identity_file.chmod(0o600)
    pinned = host_key.export_public_key().decode().strip()
    known_hosts_file.write_text("".join(f"[{at}]:{port} {pinned}\n" for at in hosts))
    listener = await asyncssh.listen(
        cast("str", list(hosts)),  # asyncio takes several addresses, asyncssh's types know one
        port,
        server_factory=lambda: _Server(hosts, identity.public_data),
        server_host_keys=[host_key],
        encoding=None,
        agent_forwarding=False,
        allow_scp=False,
        backlog=1024,
        config=None,
    )
    try:
        yield Served(hosts, port, str(identity_file), str(known_hosts_file))
    finally:
        listener.close()
        await listener.wait_closed()


def _free_port(at: str) -> int:
    with socket.socket() as probe:
        probe.bind((at, 0))
        port: int = probe.getsockname()[1]
        return port


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
