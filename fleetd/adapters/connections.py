"""Held SSH connections: one per host, made at most once at a time, tried again with patience.

Each connection is checked against the known_hosts file, strictly. Handshakes are bounded over all
and per jump host; a jump host has one connection that all its hosts share (P 18). After an
authentication or handshake failure a host is left alone for a while, since servers punish the
source address (P 17). Building the options is cheap only with keys and host keys already parsed,
so both are cached (P 4, 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
from asyncssh import (
    SSHClientConnection,
    SSHClientConnectionOptions,
    SSHTCPChannel,
    SSHTCPSession,
)
from asyncssh.session import SSHTCPSessionFactory

from fleetd.adapters.known_hosts import CA, REVOKED, Entry, KnownHostsFiles, file_of
from fleetd.adapters.troubles import Trouble, Unreachable, explain, plain, unknown_key
from fleetd.core.node import Ssh
from fleetd.ports import EventSink

REACH_TIMEOUT_S = 10
"""For TCP alone: long enough for three lost packets."""
CONNECT_TIMEOUT_S = 30
LOGIN_TIMEOUT_S = 60
SILENCE_S = 45
"""A network that carries nothing for so long is noticed by the kernel, at no cost to us."""
QUESTION_S = 60
"""A frozen sshd still answers TCP: so often it is asked over SSH, and has as long to answer."""
REKEY_S = 24 * 3600
"""No sooner than OpenSSH would, but for bytes: thousands of held connections say very little."""
HANDSHAKES = 64
HANDSHAKES_PER_JUMP = 5
KEX = "-diffie-hellman-*"
"""All but finite fields: group exchange alone costs half a second of CPU (P 1, 3)."""
LOCKED_KEY_HINT = " (a key with a passphrase needs ssh-agent, and its .pub file beside it)"
DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
LONG_S = 20.0
"""A pause that people may want to know the end of."""
CHANNELS = 6
"""Below sshd's MaxSessions of 10 (P 15)."""

# asyncssh tells every command line at INFO (P 28).
logging.getLogger("asyncssh").setLevel(logging.WARNING)


@dataclass(slots=True)
class Held:
    """A connection and the right to open channels on it."""

    connection: SSHClientConnection
    channels: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHANNELS))
    fresh: bool = True
    """Made for the caller that holds it now; an older one may be dead without knowing it."""
    running: int = 0
    """How many runs use it at this moment."""


@dataclass(slots=True)
class _Patience:
    """How often in a row a host failed, and when it may be tried again.

    `message` is what to say meanwhile, the same all the time, so that nobody takes it for news.
    `trusted` is what was pinned then: who pins another key has mended it, and need not wait.
    """

    failures: int = 0
    not_before: float = 0.0
    message: str = ""
    trusted: tuple[Entry, ...] = ()

    def failed(self, trouble: Trouble, message: str, now: float) -> None:
        self.failures += 1
        self.message = message
        if trouble is Trouble.REFUSED:
            pause = min(20.0 * 2 ** (self.failures - 1), 600.0)
        elif trouble is Trouble.CLOSED:
            pause = min(2.0 ** (self.failures - 1), 60.0)
        elif trouble is Trouble.NETWORK and self.failures > 1:
            pause = min(2.0 ** (self.failures - 2), 15.0)
        else:
            pause = 0.0
        pause *= 1 + secrets.randbelow(256) / 1024
        self.not_before = now + pause
        if pause >= LONG_S:
            until = datetime.fromtimestamp(time.time() + pause, UTC)
            self.message += f" (not tried again before {until:%H:%M:%S} UTC)"


class _Client(asyncssh.SSHClient):
    """Hears of the end of a connection."""

    def __init__(self, on_lost: Callable[[str], None]) -> None:
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(plain(exc) if exc else "closed")


class _Leg:
    """A jump host's connection as the way to one host.

    No half-open channel stays on the shared connection when the caller gives up.
    """

    def __init__(self, connection: SSHClientConnection) -> None:
        self._connection = connection
        self.logger = connection.logger

    async def create_connection(
        self, session_factory: SSHTCPSessionFactory[bytes], remote_host: str, remote_port: int
    ) -> tuple[SSHTCPChannel[bytes], SSHTCPSession[bytes]]:
        opening = asyncio.ensure_future(
            self._connection.create_connection(session_factory, remote_host, remote_port)
        )
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise

    def close(self) -> None:
        """Nothing: the pool owns the connection."""

    async def wait_closed(self) -> None:
        """Nothing to wait for."""


def _close_late(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].abort()


Key = tuple[str, Ssh]
Trusted = tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]
T = TypeVar("T")


class Connections:
    """The pool. `resolve` gives the SSH settings of a jump host, None for no such host."""

    def __init__(self, resolve: Callable[[str], Ssh | None], sink: EventSink) -> None:
        """Take the way to find jump hosts, and who is told of held connections."""
        self._resolve = resolve
        self._sink = sink
        self._known: set[str] = set()
        """Hosts that were connected before."""
        self._held: dict[Key, Held] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._patience: dict[Key, _Patience] = {}
        self._turns = asyncio.Semaphore(HANDSHAKES)
        self._jump_turns: dict[str, asyncio.Semaphore] = {}
        self._options: dict[tuple[str, str, int], SSHClientConnectionOptions] = {}
        self._known_hosts = KnownHostsFiles()

    async def get(self, name: str, ssh: Ssh) -> Held:
        """The held connection of a host, made now when there is none. Raises Unreachable."""
        key = (name, ssh)
        async with self._locks.setdefault(key, asyncio.Lock()):
            held = self._held.get(key)
            if held is not None and not held.connection.is_closed():
                held.fresh = False
                return held
            began = asyncio.get_running_loop().time()
            held = Held(await self.open(name, ssh, lambda why: self._lost(name, why)))
            self._held[key] = held
            seconds = asyncio.get_running_loop().time() - began
            self._sink.emit("connected", node=name, seconds=seconds, again=name in self._known)
            self._known.add(name)
            return held

    def _lost(self, name: str, why: str) -> None:
        self._sink.emit("disconnected", node=name, why=why)

    async def open(
        self, name: str, ssh: Ssh, on_lost: Callable[[str], None] | None = None
    ) -> SSHClientConnection:
        """A new connection, which is the caller's to close. Raises Unreachable.

        `on_lost` is told why it ended, when it does.
        """
        patience = self._patience.setdefault((name, ssh), _Patience())
        wait = patience.not_before - asyncio.get_running_loop().time()
        if wait > 0 and patience.trusted == self._entries(name, ssh):
            raise Unreachable(patience.message, Trouble.SETTINGS)
        try:
            connection = await self._attempt(
                name, ssh, lambda leg: self._dial(name, ssh, leg, on_lost)
            )
        except Unreachable as error:
            patience.failed(error.trouble, str(error), asyncio.get_running_loop().time())
            patience.trusted = self._entries(name, ssh)
            raise
        self._patience.pop((name, ssh), None)
        return connection

    async def host_key(self, name: str, ssh: Ssh) -> str:
        """The host key that answers at the address, as `type base64`, by a real handshake.

        Trusts nothing. A pinned host is asked for the kind of key that is pinned. Raises
        Unreachable.
        """
        pinned = [entry.key.split()[0] for entry in self._entries(name, ssh) if not entry.marker]
        kinds = pinned or ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]
        algorithms = [
            algorithm
            for kind in dict.fromkeys(kinds)
            for algorithm in (("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,))
        ]

        async def scan(leg: _Leg | None) -> asyncssh.SSHKey | None:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await asyncssh.get_server_host_key(
                    ssh.address,
                    ssh.port,
                    tunnel=leg or (),
                    config=None,
                    kex_algs=KEX,
                    server_host_key_algs=algorithms,
                )

        key = await self._attempt(name, ssh, scan)
        if key is None:
            raise Unreachable("it showed no host key", Trouble.REFUSED)
        return " ".join(key.export_public_key().decode().split()[:2])

    def drop(self, held: Held) -> None:
        """Cut a connection: after a timeout its sessions would live on at the far end (P 13)."""
        for key, other in list(self._held.items()):
            if other is held:
                del self._held[key]
        held.connection.abort()

    def leave(self, ways: Mapping[str, Ssh]) -> None:
        """Let go of what leads elsewhere, and of idle connections to hosts that are not there.

        Such a host is dialled again when something is left to do there.
        """
        for key, held in list(self._held.items()):
            name, ssh = key
            if ways.get(name) != ssh and (name in ways or not held.running):
                del self._held[key]
                held.connection.abort()
        for key in [key for key in self._patience if ways.get(key[0]) != key[1]]:
            del self._patience[key]
        for key, lock in list(self._locks.items()):
            if ways.get(key[0]) != key[1] and not lock.locked():
                del self._locks[key]

    async def close(self) -> None:
        """Close all, and wait a moment for it."""
        connections = [held.connection for held in self._held.values()]
        self._held.clear()
        for connection in connections:
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                for connection in connections:
                    await connection.wait_closed()

    async def _attempt(self, name: str, ssh: Ssh, dial: Callable[[_Leg | None], Awaitable[T]]) -> T:
        """Wait for a turn, dial, and translate what goes wrong into Unreachable."""
        async with contextlib.AsyncExitStack() as turns:
            leg = None
            if ssh.jump:
                leg = _Leg(await self._jump(name, ssh))
                turn = self._jump_turns.setdefault(ssh.jump, asyncio.Semaphore(HANDSHAKES_PER_JUMP))
                await turns.enter_async_context(turn)
            await turns.enter_async_context(self._turns)
            try:
                return await dial(leg)
            except (OSError, asyncssh.Error, ValueError) as error:
                raise explain(error, name, ssh, file_of(ssh.known_hosts_file)) from error

    async def _jump(self, name: str, ssh: Ssh) -> SSHClientConnection:
        """The one connection of the jump host that `ssh` names."""
        seen, at = {name}, ssh.jump
        while at:
            settings = self._resolve(at)
            if settings is None or at in seen:
                what = "leads back to itself" if settings else "is not a host of the inventory"
                raise Unreachable(f"its jump host {at} {what}", Trouble.SETTINGS)
            seen.add(at)
            at = settings.jump
        settings = self._resolve(ssh.jump)
        assert settings is not None
        try:
            return (await self.get(ssh.jump, settings)).connection
        except Unreachable as error:
            raise Unreachable(f"its jump host {ssh.jump}: {error}", Trouble.NETWORK) from error

    async def _dial(
        self, name: str, ssh: Ssh, leg: _Leg | None, on_lost: Callable[[str], None] | None
    ) -> SSHClientConnection:
        trusted = _trusted(self._entries(name, ssh))
        if not trusted[0] and not trusted[1]:
            raise unknown_key(name, file_of(ssh.known_hosts_file))
        options = self._options_for(ssh)
        sock = None if leg else await _reach(ssh)
        try:
            # Not asyncssh's own timeout: it stands on wait_for, which may swallow a cancellation.
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await asyncssh.connect(
                    ssh.address,
                    ssh.port,
                    sock=sock,
                    tunnel=leg or (),
                    config=None,
                    options=options,
                    known_hosts=lambda _host, _address, _port: trusted,
                    host_key_alias=name,
                    client_factory=(lambda: _Client(on_lost)) if on_lost else None,
                )
        except BaseException:
            if sock is not None:
                sock.close()  # a cancelled connect may not have taken it yet
            raise

    def _entries(self, name: str, ssh: Ssh) -> tuple[Entry, ...]:
        file = file_of(ssh.known_hosts_file)
        try:
            return self._known_hosts.find(file, name, ssh.address, ssh.port)
        except OSError as error:
            raise Unreachable(f"cannot read {file}: {error.strerror}", Trouble.SETTINGS) from error

    def _options_for(self, ssh: Ssh) -> SSHClientConnectionOptions:
        """What connections of one user with one key share; anew when the key file changes."""
        try:
            changed = Path(ssh.identity_file).stat().st_mtime_ns if ssh.identity_file else 0
            key = (ssh.user, ssh.identity_file, changed)
            if key not in self._options:
                self._options[key] = SSHClientConnectionOptions(
                    config=None,
                    username=ssh.user,
                    kex_algs=KEX,
                    encryption_algs="^aes128-gcm@openssh.com",
                    compression_algs=["none"],
                    preferred_auth=["publickey"],
                    gss_host=None,
                    x509_trusted_certs=None,
                    login_timeout=LOGIN_TIMEOUT_S,
                    keepalive_interval=QUESTION_S,
                    keepalive_count_max=1,
                    rekey_seconds=REKEY_S,
                    agent_forwarding=False,
                    encoding=None,
                    **_credentials(ssh.identity_file),
                )
            return self._options[key]
        except (OSError, ValueError) as error:
            reason = (
                error.strerror if isinstance(error, OSError) else f"{plain(error)}{LOCKED_KEY_HINT}"
            )
            raise Unreachable(
                f"cannot use the identity file {ssh.identity_file}: {reason}",
                Trouble.SETTINGS,
            ) from error


async def _reach(ssh: Ssh) -> socket.socket:
    """A TCP connection to the first of the host's addresses that takes one.

    It has a shorter deadline than the handshake: a host that is off is told apart soon, and a slow
    login is still waited for (P 22). Raises OSError, TimeoutError among them.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(REACH_TIMEOUT_S):
        found = await loop.getaddrinfo(ssh.address, ssh.port, type=socket.SOCK_STREAM)
        trouble: OSError = OSError(f"{ssh.address} has no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(0)  # the loop waits, not the call
                _expect_answers(sock)
                await loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                trouble = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
    raise trouble


def _expect_answers(sock: socket.socket) -> None:
    """Have the kernel give up a connection over which nothing comes back any more."""
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, SILENCE_S // 3)
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, SILENCE_S // 9)
    sock.setsockopt(tcp, socket.TCP_KEEPCNT, 6)
    sock.setsockopt(tcp, socket.TCP_USER_TIMEOUT, SILENCE_S * 1000)  # of what was sent, too


def _trusted(entries: Iterable[Entry]) -> Trusted:
    """The keys as asyncssh wants them: of hosts, of authorities, revoked."""
    trusted: Trusted = ([], [], [])
    for entry in entries:
        # A kind of key that asyncssh does not know cannot be negotiated either.
        with contextlib.suppress(asyncssh.KeyImportError):
            key = asyncssh.import_public_key(entry.key)
            trusted[("", CA, REVOKED).index(entry.marker)].append(key)
    return trusted


def _credentials(identity_file: str) -> dict[str, Any]:
    """The keys to log in with: the identity file's, else the agent's and the user's default ones.

    A key with a passphrase is the agent's to use; only that one is offered then (P 26).
    """
    if not identity_file:
        found = [pair for file in DEFAULT_KEYS for pair in _keypairs(file)]
        return {"client_keys": found or ()}
    try:
        return {"client_keys": asyncssh.load_keypairs(identity_file), "agent_path": None}
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        public = f"{identity_file}.pub"
        if not os.environ.get("SSH_AUTH_SOCK") or not Path(public).exists():
            raise
        return {"client_keys": (), "agent_identities": [public]}


def _keypairs(file: str) -> Sequence[Any]:
    try:
        return asyncssh.load_keypairs(str(Path(file).expanduser()))
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        return ()
