"""Transport over SSH: the product's only way to a host.

What a host or the network does is never an exception here: it ends up in `Output`, with a
sentence that says what to do. asyncssh is loaded at the first connection and not before, so that
commands which need no host start fast.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import resource
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from fleetd.adapters import known_hosts
from fleetd.adapters.sinks import Silence
from fleetd.core.node import Ssh
from fleetd.host.carrier import LINE
from fleetd.ports import EventSink, Output, Scanned, Take

if TYPE_CHECKING:
    from fleetd.adapters.connections import Connections, Held

FILES = 65536
UPLOAD_LIMIT = 1 << 20
"""What an upload's reply may be long, in bytes."""


def raise_file_limit() -> None:
    """Allow as many open files as we may: each connection is one, 1024 the usual limit (P 9)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Late(Exception):
    """A run that took too long, which is not tried again on another connection."""

    def __init__(self, output: Output) -> None:
        super().__init__(output.error)
        self.output = output


class SshTransport:
    """Runs the carrier line over held connections: every port of ports that reaches a host.

    `resolve` gives the SSH settings of a jump host by its name; `sink` is told when a held
    connection is made and lost. The loop's default executor should have at least 64 threads:
    asyncssh and name resolution share it (P 7).
    """

    def __init__(self, resolve: Callable[[str], Ssh | None], sink: EventSink | None = None) -> None:
        """Take the way to find jump hosts; nothing is opened yet."""
        self._resolve = resolve
        self._sink = sink or Silence()
        self._pool: Connections | None = None

    async def run(
        self, name: str, ssh: Ssh, stdin: bytes, *, timeout_s: float, limit: int = 4 << 20
    ) -> Output:
        from fleetd.adapters.troubles import Unreachable  # noqa: PLC0415  (loads asyncssh)

        pool = self._connections()
        try:
            held = await pool.get(name, ssh)
            output = await self._exec(held, stdin, timeout_s, limit)
            if output.sent or held.fresh or held.running:
                return output
            # The held connection had died; the request never left, so it may go once more.
            pool.drop(held)
            return await self._exec(await pool.get(name, ssh), stdin, timeout_s, limit)
        except Unreachable as error:
            return Output(None, error=str(error), sent=False)
        except _Late as late:
            return late.output

    async def _exec(self, held: Held, stdin: bytes, timeout_s: float, limit: int) -> Output:
        from fleetd.adapters.sessions import Exec  # noqa: PLC0415  (loads asyncssh)

        async with held.channels:
            run = Exec(held.connection, LINE)
            held.running += 1
            try:
                return await run.run(stdin, timeout_s, limit)
            except TimeoutError:
                why = f"no end within {timeout_s:g} s; the connection was cut"
                raise _Late(Output(None, error=why, sent=run.sent)) from None
            finally:
                held.running -= 1
                if not run.over:
                    self._connections().drop(held)

    async def stream(
        self,
        name: str,
        ssh: Ssh,
        stdin: bytes,
        on_stdout: Take,
        on_stderr: Take,
    ) -> Output:
        from fleetd.adapters.sessions import Exec  # noqa: PLC0415  (loads asyncssh)
        from fleetd.adapters.troubles import Unreachable  # noqa: PLC0415

        try:
            # Its own connection: cut when the reader goes away, and nobody else's work with it.
            connection = await self._connections().open(name, ssh)
        except Unreachable as error:
            return Output(None, error=str(error), sent=False)
        try:
            return await Exec(connection, LINE).stream(stdin, on_stdout, on_stderr)
        finally:
            connection.abort()

    async def follow(
        self, name: str, ssh: Ssh, stdin: bytes, on_stdout: Callable[[bytes], None]
    ) -> Output:
        from fleetd.adapters.sessions import Exec  # noqa: PLC0415  (loads asyncssh)
        from fleetd.adapters.troubles import Unreachable  # noqa: PLC0415

        pool = self._connections()
        try:
            held = await pool.get(name, ssh)
        except Unreachable as error:
            return Output(None, error=str(error), sent=False)
        # Beside the visits' channels, not among them: 7 are still below MaxSessions.
        run = Exec(held.connection, LINE)
        try:
            following = run.follow(stdin, on_stdout)
            del stdin  # sent once, and then as much as all else that a stream weighs
            return await following
        finally:
            if not run.sent and not held.running:
                # It had died, or a session that nobody waits for may yet open.
                pool.drop(held)

    async def upload(
        self, name: str, ssh: Ssh, stdin: bytes, chunks: AsyncIterator[bytes], *, timeout_s: float
    ) -> Output:
        from fleetd.adapters.sessions import Exec  # noqa: PLC0415  (loads asyncssh)
        from fleetd.adapters.troubles import Unreachable  # noqa: PLC0415

        try:
            # Its own connection: a long upload holds up nobody's visit.
            connection = await self._connections().open(name, ssh)
        except Unreachable as error:
            return Output(None, error=str(error), sent=False)
        run = Exec(connection, LINE)
        try:
            return await run.run(stdin, timeout_s, UPLOAD_LIMIT, chunks)
        except TimeoutError:
            why = f"no end within {timeout_s:g} s; the connection was cut"
            return Output(None, error=why, sent=run.sent)
        finally:
            connection.abort()

    async def scan(self, name: str, ssh: Ssh) -> Scanned:
        from fleetd.adapters.troubles import Unreachable  # noqa: PLC0415  (loads asyncssh)

        try:
            key = await self._connections().host_key(name, ssh)
        except Unreachable as error:
            return Scanned(error=str(error))
        digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
        return Scanned(key, f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}")

    def pin(self, name: str, ssh: Ssh, key: str) -> bool:
        file = known_hosts.file_of(ssh.known_hosts_file)
        return known_hosts.pin(file, name, ssh.address, ssh.port, key)

    def leave(self, ways: Mapping[str, Ssh]) -> None:
        """Let go of connections to these hosts that lead another way than this.

        What runs on them is cut, as by a lost connection.
        """
        if self._pool is not None:
            self._pool.leave(ways)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def _connections(self) -> Connections:
        if self._pool is None:
            from fleetd.adapters.connections import Connections  # noqa: PLC0415  (loads asyncssh)

            raise_file_limit()
            self._pool = Connections(self._resolve, self._sink)
        return self._pool
