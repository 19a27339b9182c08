"""A fleet in process: a Transport over simulated hosts, with the faults of networks and hosts.

Every run takes a little seeded time, so that replies come in any order. Under `testing.loop` a
thousand visits take no real time at all. The contract tests that hold for the SSH adapter hold
here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

from fleetd.core.node import Host, Ssh
from fleetd.ports import Output, Take
from fleetd.testing.commands import PowerCut
from fleetd.testing.hosts import SimHost
from fleetd.testing.images import Registry
from fleetd.testing.units import Behaviour


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong between us and a host. The request is carried out unless it is unreachable."""

    unreachable: bool = False
    slow_s: float = 0.0
    """The reply comes that much later."""
    keep: int | None = None
    """Only so many bytes of the reply arrive, and no exit status."""
    lie: Callable[[bytes], bytes] | None = None
    """What the host says instead of its reply."""
    times: int | None = None
    """For so many visits; None: until healed."""


KEEPALIVE_S = 45.0
"""After so long a silence a connection counts as lost."""

PIECE = 32 << 10
"""So many bytes come at once, as over SSH."""
LOST_AFTER = Fault(keep=0)
"""The host acts, and the answer is lost."""


def garbage(reply: bytes) -> bytes:
    """Bytes that are no text and no reply."""
    return bytes(range(256)) * 4 + reply[: len(reply) // 2]


def flood(reply: bytes) -> bytes:
    """More than anybody should take."""
    return reply + b"A" * (5 << 20)


def stale(reply: bytes) -> bytes:
    """A reply to another question: its nonce is not ours."""
    return reply.replace(b"FLEETD1 ", b"FLEETD1 0", 1)


@dataclass(frozen=True, slots=True)
class Call:
    """One run that reached for a host."""

    name: str
    time: float
    stdin: bytes


class _Ears:
    """Who follows a host: what is told arrives at once, or when the network is whole again."""

    def __init__(self, fault: Callable[[], Fault], take: Callable[[bytes], None]) -> None:
        self._fault = fault
        self._take = take
        self._under_way: list[bytes] = []
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def tell(self, data: bytes) -> None:
        self._under_way.append(data)
        self.arrive()

    def arrive(self) -> None:
        """Hand on what is under way, unless the host is out of reach."""
        if not self._fault().unreachable:
            arrived, self._under_way = self._under_way, []
            for data in arrived:
                self._take(data)

    def cut(self) -> None:
        if not self.lost.done():
            self.lost.set_result("the connection was lost (simulated)")

    def give_up(self) -> None:
        """Lost, if it still cannot be reached."""
        if self._fault().unreachable:
            self.cut()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, call)


class FakeFleet:
    """Transport, Streams and Follows over SimHosts, found by address; `calls`: what was asked."""

    def __init__(
        self,
        names: Iterable[str] = (),
        *,
        seed: int = 0,
        faults: Mapping[str, Behaviour] | None = None,
        registry: Registry | None = None,
    ) -> None:
        """Make a host per name, at `address(name)`. Takes its time from the running loop."""
        self.registry = registry if registry is not None else Registry()
        self.behaviours = dict(faults or {})
        self.hosts: dict[str, SimHost] = {}
        self.calls: list[Call] = []
        self._at: dict[str, SimHost] = {}
        self._faults: dict[str, Fault] = {}
        self._random = random.Random(seed)
        self._ears: dict[str, list[_Ears]] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> SimHost:
        """One more host."""
        host = SimHost(
            name,
            asyncio.get_running_loop().time,
            faults=self.behaviours,
            registry=self.registry,
        )
        self.hosts[name] = host
        self._at[address(name)] = host
        return host

    def inventory(self) -> tuple[Host, ...]:
        """The hosts as an inventory has them."""
        return tuple(Host(name, Ssh(address(name))) for name in sorted(self.hosts))

    def fault(self, name: str, fault: Fault) -> None:
        """From now on this is wrong with the host."""
        self._faults[address(name)] = fault
        for ears in self._ears.get(address(name), ()):
            if fault.unreachable:
                ears.later(KEEPALIVE_S, ears.give_up)

    def heal(self, name: str | None = None) -> None:
        """Nothing is wrong any more, with this host or with any."""
        if name is None:
            self._faults.clear()
        else:
            self._faults.pop(address(name), None)
        for at in list(self._ears):
            for ears in self._ears[at]:
                ears.arrive()

    async def run(
        self, name: str, ssh: Ssh, stdin: bytes, *, timeout_s: float, limit: int = 4 << 20
    ) -> Output:
        self.calls.append(Call(name, asyncio.get_running_loop().time(), stdin))
        fault = self._fault(ssh.address)
        await asyncio.sleep(self._random.uniform(0.001, 0.1))
        host = self._at.get(ssh.address)
        if host is None or not host.up or fault.unreachable:
            return Output(None, error=f"{name}: no answer in time (simulated)", sent=False)
        try:
            output, takes_s = host.answer(stdin)
        except PowerCut:
            return Output(None, error="the connection was lost (simulated power cut)")
        boots = host.uptime_s
        takes_s += fault.slow_s
        if takes_s > timeout_s:
            await asyncio.sleep(timeout_s)
            return Output(None, error=f"no end within {timeout_s:g} s; the connection was cut")
        await asyncio.sleep(takes_s)
        if host.uptime_s < boots:
            return Output(None, error="the connection was lost (simulated reboot)")
        return _arrived(output, fault, limit)

    async def stream(
        self,
        name: str,
        ssh: Ssh,
        stdin: bytes,
        on_stdout: Take,
        on_stderr: Take,
    ) -> Output:
        output = await self.run(name, ssh, stdin, timeout_s=float("inf"), limit=1 << 40)
        for take, data in ((on_stdout, output.stdout), (on_stderr, output.stderr)):
            for start in range(0, len(data), PIECE):
                if (taking := take(data[start : start + PIECE])) is not None:
                    await taking
        return Output(output.status, error=output.error, sent=output.sent)

    async def follow(
        self, name: str, ssh: Ssh, stdin: bytes, on_stdout: Callable[[bytes], None]
    ) -> Output:
        await asyncio.sleep(self._random.uniform(0.001, 0.1))
        host, at = self._at.get(ssh.address), ssh.address
        if host is None or not host.up or self._faults.get(at, Fault()).unreachable:
            return Output(None, error=f"{name}: no answer in time (simulated)", sent=False)
        ears = _Ears(lambda: self._faults.get(at, Fault()), on_stdout)
        self._ears.setdefault(at, []).append(ears)
        end = host.follow(stdin, ears)
        try:
            return Output(None, error=await ears.lost)
        finally:
            end()
            self._ears[at].remove(ears)

    async def upload(
        self, name: str, ssh: Ssh, stdin: bytes, chunks: AsyncIterator[bytes], *, timeout_s: float
    ) -> Output:
        whole = b"".join([stdin, *[chunk async for chunk in chunks]])
        return await self.run(name, ssh, whole, timeout_s=timeout_s)

    async def close(self) -> None:
        """Nothing is held."""

    def _fault(self, at: str) -> Fault:
        fault = self._faults.get(at, Fault())
        if fault.times is not None:
            left = fault.times - 1
            if left > 0:
                self._faults[at] = _fewer(fault, left)
            else:
                del self._faults[at]
        return fault


def address(name: str) -> str:
    """Where the fake host of that name is reached."""
    return f"{name}.fake"


def _fewer(fault: Fault, times: int) -> Fault:
    return Fault(fault.unreachable, fault.slow_s, fault.keep, fault.lie, times)


def _arrived(output: Output, fault: Fault, limit: int) -> Output:
    """What of a reply arrives here."""
    stdout = fault.lie(output.stdout) if fault.lie else output.stdout
    if fault.keep is not None:
        lost = "the connection was lost (simulated)"
        return Output(None, stdout[: fault.keep], error=lost)
    if len(stdout) > limit:
        return Output(
            None, stdout[:limit], error=f"more than {limit} bytes of output; cut off there"
        )
    return Output(output.status, stdout, output.stderr)
