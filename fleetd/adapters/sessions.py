"""One exec on a held connection: feed stdin, take output up to a limit, tell how it ended.

Written on asyncssh's session callbacks, not its streams: bytes stay bytes (P 11), nothing is read
beyond the limit (P 23), and an end without an exit status stays visible as None (P 10).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncssh
from asyncssh import SSHClientConnection

from fleetd.adapters.troubles import plain
from fleetd.ports import Output, Take

KEPT_OF_STDERR = 4096
"""Of a stream that does not end, in bytes."""


class _Session(asyncssh.SSHClientSession[bytes]):
    """Hands output to two takers; `done` holds the exit status once the channel is closed."""

    def __init__(self, on_stdout: Take, on_stderr: Take) -> None:
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.taking: asyncio.Future[None] | None = None
        """What is being taken, before which nothing more is read."""
        self._status: int | None = None
        self.why = ""
        self.done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        """Set while what was written has left, but for a little."""
        self.writable.set()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        stderr = datatype == asyncssh.EXTENDED_DATA_STDERR
        taking = (self._on_stderr if stderr else self._on_stdout)(data)
        if taking is not None and self._channel is not None:
            self._channel.pause_reading()
            self.taking = asyncio.ensure_future(taking)
            self.taking.add_done_callback(self._taken)

    def _taken(self, taking: asyncio.Future[None]) -> None:
        if not taking.cancelled() and self._channel is not None:
            self._channel.resume_reading()

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: FBT001
        self.why = f"the remote shell was killed by SIG{plain(signal)}"

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._status is None and not self.why:
            self.why = f"the connection was lost ({plain(exc)})" if exc else "no exit status came"
        if not self.done.done():
            self.done.set_result(self._status)
        self.writable.set()


class Exec:
    """One run of a command line.

    `sent` tells whether any byte of stdin may have left; `over`, that nothing of it lives on at
    the far end. Unless it is over, the connection must be dropped (P 13).
    """

    def __init__(self, connection: SSHClientConnection, line: str) -> None:
        """Take the connection to open a channel on, and the command line."""
        self._connection = connection
        self._line = line
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.sent = False
        self.over = False

    async def run(
        self,
        stdin: bytes,
        timeout_s: float,
        limit: int,
        chunks: AsyncIterator[bytes] | None = None,
    ) -> Output:
        """Run within `timeout_s`, opening included (P 12); keep at most `limit` bytes of output.

        The chunks follow `stdin`, each when the one before has left.

        Raises TimeoutError; whatever else happens is told in the output.
        """
        kept: tuple[list[bytes], list[bytes]] = ([], [])
        room = limit

        def sink(into: list[bytes]) -> Take:
            def take(data: bytes) -> None:
                nonlocal room
                into.append(data[:room])
                room -= len(data)
                if room < 0 and self._channel is not None:
                    self._channel.abort()

            return take

        async with asyncio.timeout(timeout_s):
            status, why = await self._run(stdin, sink(kept[0]), sink(kept[1]), chunks)
        if room < 0:
            self.over = False
            status, why = None, f"more than {limit} bytes of output; cut off there"
        return Output(status, b"".join(kept[0]), b"".join(kept[1]), why, sent=self.sent)

    async def stream(self, stdin: bytes, on_stdout: Take, on_stderr: Take) -> Output:
        """Run without limits, handing output on as it comes."""
        status, why = await self._run(stdin, on_stdout, on_stderr)
        return Output(status, error=why, sent=self.sent)

    async def follow(self, stdin: bytes, on_stdout: Take) -> Output:
        """Run with stdin held open. Cancelled, stdin ends, and with it what runs there."""
        said = bytearray()

        def take(data: bytes) -> None:
            said.extend(data[: KEPT_OF_STDERR - len(said)])

        running = self._run(stdin, on_stdout, take, hold=True)
        del stdin  # the stream goes on for days
        try:
            status, why = await running
        finally:
            if not self.over and self._channel is not None:
                # sshd closes the pipes of a session whose channel is closed.
                self._channel.close()
        return Output(status, stderr=bytes(said), error=why, sent=self.sent)

    async def _run(
        self,
        stdin: bytes,
        on_stdout: Take,
        on_stderr: Take,
        chunks: AsyncIterator[bytes] | None = None,
        *,
        hold: bool = False,
    ) -> tuple[int | None, str]:
        session = _Session(on_stdout, on_stderr)
        try:
            self._channel, _ = await self._connection.create_session(
                lambda: session, self._line, encoding=None, request_pty=False
            )
        except (asyncssh.Error, OSError) as error:
            self.over = True
            return None, f"no session could be opened ({plain(error)})"
        self.sent = True
        try:
            self._channel.write(stdin)
            del stdin
            if chunks is not None:
                await self._feed(self._channel, session, chunks)
            if not hold:
                self._channel.write_eof()
        except (OSError, asyncssh.Error) as error:
            # The host may have closed already, and said why: its output and status tell more.
            session.why = f"the connection was lost ({plain(error)})"
        try:
            status = await session.done
            if session.taking is not None:
                await session.taking
        finally:
            if session.taking is not None:
                session.taking.cancel()
        self.over = True
        return status, session.why

    async def _feed(
        self,
        channel: asyncssh.SSHClientChannel[bytes],
        session: _Session,
        chunks: AsyncIterator[bytes],
    ) -> None:
        """Write the chunks at the pace of the far end, until it has ended."""
        async for chunk in chunks:
            channel.write(chunk)
            await session.writable.wait()
            if session.done.done():
                return
