"""Cuts applies to a host at many byte offsets, and tells what each left: one JSON line per cut.

A program of its own, since it must run on the fleet's network. Arguments: the host's address, the
login's user and key file, its known_hosts file, and how many cuts.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fleetd.adapters.ssh import SshTransport
from fleetd.core.actions import Mode
from fleetd.core.bundle import Bundle, BundleFile, BundleUnit, Inline
from fleetd.core.facts import Known, Observation, Role, Runtime
from fleetd.core.meta import Key
from fleetd.core.node import Ssh
from fleetd.host import replies, wire
from fleetd.host.requests import Apply, Exec, Observe, Request
from tests.contract.cut_proxy import CutProxy, cut_proxy

NAME = "cut"
UNIT = "fleetd-default.cut.main.a.service"
CONFIG = "/etc/cut.conf"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
SIZE = 40_000


@dataclass
class Told:
    """What one cut left behind."""

    offset: int
    reply: str
    done: bool
    """Whether the host is wholly at the revision that was asked for."""
    torn: list[str]
    """Files that are no revision's."""


def config_of(number: int) -> str:
    return (f"revision {number} " * SIZE)[: SIZE - 1] + "\n"


def unit_of(number: int) -> str:
    stamp = f"mkdir -p /run/fleetd-node/stamp; echo r{number} $INVOCATION_ID"
    return (
        "[Service]\n"
        f"ExecStartPre=/bin/sh -c '{stamp} >/run/fleetd-node/stamp/{UNIT}'\n"
        "ExecStart=/bin/sleep infinity\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def bundle_of(number: int) -> Bundle:
    return Bundle(
        *(Key("default", "cut"), "a", f"r{number}", Runtime.SYSTEMD),
        files=(
            BundleFile(CONFIG, 0o644, Inline(config_of(number))),
            BundleFile(UNIT_FILE, 0o644, Inline(unit_of(number))),
        ),
        units=(BundleUnit(UNIT, Role.MAIN),),
        stop_s=5,
    )


class Target:
    """The host, reached directly and through the proxy."""

    def __init__(self, ssh: Ssh, proxied: Ssh) -> None:
        self.ssh = ssh
        self.proxied = proxied
        self.transport = SshTransport(lambda _name: None)

    async def ask(self, request: Request) -> replies.Reply:
        nonce = secrets.token_hex(8)
        stdin = wire.encode(request, nonce)
        output = await self.transport.run(NAME, self.ssh, stdin, timeout_s=60)
        return replies.parse(output, nonce, request)

    async def apply_through(self, number: int) -> replies.Reply:
        """Apply on a new connection through the proxy, so that offsets mean the same each time."""
        transport = SshTransport(lambda _name: None)
        request = Apply("cuts", "key", 1, bundle_of(number), {}, Mode.START)
        nonce = secrets.token_hex(8)
        stdin = wire.encode(request, nonce)
        output = await transport.run(NAME, self.proxied, stdin, timeout_s=60)
        await transport.close()
        return replies.parse(output, nonce, request)

    async def shell(self, *argv: str) -> str:
        """What a command on the host says."""
        nonce = secrets.token_hex(8)
        stdin = wire.encode(Exec(argv), nonce)
        output = await self.transport.run(NAME, self.ssh, stdin, timeout_s=60)
        assert output.status == 0, output
        return (replies.after_begin(output.stdout, nonce) or b"").decode()

    async def settled(self) -> Observation:
        """What is there once nothing is at work any more: a cut order may still run to its end."""
        async with asyncio.timeout(60):
            while await self.shell("ls", "-A", "/var/lib/fleetd-node/stage"):
                await asyncio.sleep(0.05)
        reply = await self.ask(Observe("cuts", engine=False))
        assert isinstance(reply, replies.Ok), reply
        assert reply.observation is not None
        return reply.observation


def offsets(total: int, count: int) -> list[int]:
    """Half of them all over the conversation, half over its end, where the host begins to act."""
    half = count // 2
    spread = [1 + number * total // half for number in range(half)]
    return [*spread, *(total - 15 * number for number in range(count - half))]


async def cut(target: Target, proxy: CutProxy, number: int, offset: int) -> Told:
    proxy.cut_after = offset
    reply = await target.apply_through(number)
    proxy.cut_after = None
    seen = await target.settled()
    wanted = bundle_of(number)
    assert isinstance(seen.ledger, Known), seen
    done = [(copy.bundle, copy.complete) for copy in seen.ledger.value] == [(wanted.digest(), True)]
    torn = []
    for path, whole in ((CONFIG, config_of), (UNIT_FILE, unit_of)):
        text = await target.shell("cat", path)
        if text not in {whole(other) for other in range(number + 1)}:
            torn.append(path)
    return Told(offset, type(reply).__name__, done, torn)


async def main(address: str, user: str, key: str, known_hosts: str, count: str) -> None:
    with TemporaryDirectory() as home:
        line = next(line for line in Path(known_hosts).read_text().splitlines() if address in line)
        pinned = Path(home, "known_hosts")
        pinned.write_text(f"{NAME} {line.split(' ', 1)[1]}\n")
        direct = Ssh(address, 22, user, key, str(pinned))
        async with cut_proxy(22, address) as proxy:
            target = Target(direct, Ssh("127.0.0.1", proxy.port, user, key, str(pinned)))
            whole = await target.apply_through(0)
            assert isinstance(whole, replies.Ok), whole
            total = proxy.passed
            for number, offset in enumerate(offsets(total, int(count)), start=1):
                told = await cut(target, proxy, number, offset)
                sys.stdout.write(f"{json.dumps(asdict(told))}\n")
            last = await target.ask(Apply("cuts", "key", 1, bundle_of(0), {}, Mode.START))
            assert isinstance(last, replies.Ok), last
            seen = await target.settled()
            assert seen.files == Known(()), seen
            await target.transport.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
