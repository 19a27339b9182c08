"""The narrow doors between the engine and the world. Adapters and fakes stand behind them.

Each fake in `fleetd.testing` is held to the same contract tests as the adapter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fleetd.core.node import Ssh
from fleetd.core.records import Record

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Output:
    """What one remote call brought: `status` is None when its end was not seen (P 10).

    `error` says what went wrong on the way ("" when nothing); `sent` is False when certainly not
    one byte of the request reached the host, so that nothing can have happened there.
    """

    status: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    error: str = ""
    sent: bool = True


class Transport(Protocol):
    """Runs the constant carrier line on hosts. Never raises for what a host or the network does."""

    async def run(
        self, name: str, ssh: Ssh, stdin: bytes, *, timeout_s: float, limit: int = 4 << 20
    ) -> Output:
        """Send `stdin` to the carrier line; at most `limit` bytes of output are taken."""
        ...

    async def close(self) -> None:
        """Drop all connections."""
        ...


Take = Callable[[bytes], Awaitable[None] | None]
"""Takes output as it comes; where it returns something, no more is read until that is done."""


class Streams(Protocol):
    """Runs the carrier line and hands the output on as it comes; never raises for a host."""

    async def stream(
        self, name: str, ssh: Ssh, stdin: bytes, on_stdout: Take, on_stderr: Take
    ) -> Output:
        """Run to the end, or until cancelled; the output's own stdout and stderr stay empty.

        Who takes it slowly is sent no more than the far end and the line can hold.
        """
        ...

    async def upload(
        self, name: str, ssh: Ssh, stdin: bytes, chunks: AsyncIterator[bytes], *, timeout_s: float
    ) -> Output:
        """Send `stdin` and then the chunks, each taken when the one before it has left.

        A host that ends early is sent no more.
        """
        ...


class Follows(Protocol):
    """Runs the carrier line on a held connection, without end; never raises for a host."""

    async def follow(
        self, name: str, ssh: Ssh, stdin: bytes, on_stdout: Callable[[bytes], None]
    ) -> Output:
        """Send `stdin`, keep it open, and hand output on as it comes, until the far end ends.

        Cancelled, stdin ends there, which is how the far end knows. The visits of the same host go
        on beside it; the connection is cut for it by nobody. The output's own stdout stays empty,
        its stderr holds the first that was said.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scanned:
    """The key that a host showed, as `type base64` with its SHA256 fingerprint; or `error`."""

    key: str = ""
    fingerprint: str = ""
    error: str = ""


class HostKeys(Protocol):
    """Looks at host keys and pins them; nothing else may widen the trust."""

    async def scan(self, name: str, ssh: Ssh) -> Scanned:
        """The host key that answers there, by a real handshake; trusts nothing, never raises."""
        ...

    def pin(self, name: str, ssh: Ssh, key: str) -> bool:
        """Trust that key for the host; False when it was trusted already.

        Raises Refused where the known_hosts file pins another key.
        """
        ...


class Put:
    """A change: write this record over the row of its identity."""

    __slots__ = ("record",)

    def __init__(self, record: Record) -> None:
        """Take the record to write."""
        self.record = record


class Drop:
    """A change: delete the rows of a type whose columns have these values (no columns: all)."""

    __slots__ = ("kind", "where")

    def __init__(self, kind: type[Record], /, **where: Any) -> None:
        """Take the type and the columns that must be equal."""
        self.kind = kind
        self.where: Mapping[str, Any] = where


Change = Put | Drop


class AtLeast:
    """A value of `Store.read`: the column is this or more. Equal to what it lets pass."""

    __slots__ = ("least",)

    def __init__(self, least: float) -> None:
        """Take the lowest value."""
        self.least = least

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and other >= self.least

    __hash__ = None  # type: ignore[assignment]  # it equals values that differ


class Store(Protocol):
    """The state. Synchronous: a transaction takes milliseconds, and is durable on return."""

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        """All records of a type whose columns equal `where`, ordered by identity.

        A column may also be bounded, by `AtLeast`.
        """
        ...

    def commit(self, changes: Iterable[Change]) -> None:
        """Write all changes as one durable transaction; none of them when it fails."""
        ...

    def next_version(self) -> int:
        """A number above every earlier one: for resourceVersion."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


class Clock(Protocol):
    """Time, and waiting."""

    def now(self) -> float:
        """UTC, in seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class EventSink(Protocol):
    """Where a pass tells what it does, while it does it (progress, logs)."""

    def emit(self, event: str, **fields: Any) -> None:
        """Take one event: a snake_case name and plain values, no secrets."""
        ...
