"""`python -m fleetd.testing --hosts 50 --dir DIR`: simulated hosts behind real SSH.

Writes `inventory.yaml`, `identity` and `known_hosts` into DIR, prints `ready`, and serves until
its stdin closes, so that it never outlives whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from fleetd.testing.hosts import SimHost
from fleetd.testing.images import Registry
from fleetd.testing.ssh import Served, addresses, serve
from fleetd.testing.units import NEVER_STARTS, Behaviour


def fault(text: str) -> tuple[str, Behaviour]:
    """Read `TEXT=never`, `TEXT=dies:SECONDS` or `TEXT=unready`: how a bundle with TEXT fares."""
    mark, _, what = text.rpartition("=")
    kind, _, number = what.partition(":")
    match kind:
        case "never":
            return mark, NEVER_STARTS
        case "dies":
            return mark, Behaviour(dies_after_s=float(number))
        case "unready":
            return mark, Behaviour(ready_after_s=float("inf"))
        case _:
            raise argparse.ArgumentTypeError(f"{text!r}: not never, dies:SECONDS or unready")


def inventory(served: Served) -> str:
    """The inventory file of a served fleet: a third of the hosts are databases, the rest web."""
    out = [
        "defaults:",
        "  ssh:",
        "    user: fleet",
        f"    port: {served.port}",
        f"    identityFile: {served.identity_file}",
        f"    knownHostsFile: {served.known_hosts_file}",
        "hosts:",
    ]
    for number, (at, host) in enumerate(served.hosts.items()):
        role = "db" if number % 3 == 2 else "web"
        rack = f"r{number // 10 + 1}"
        out.append(f"  {host.name}: {{address: {at}, labels: {{role: {role}, rack: {rack}}}}}")
    return "\n".join([*out, ""])


async def _serve(count: int, directory: Path, faults: dict[str, Behaviour], pull_s: float) -> None:
    registry = Registry(pull_s=pull_s)
    width = len(str(count))
    hosts = {
        at: SimHost(f"sim-{number:0{width}}", time.monotonic, faults=faults, registry=registry)
        for number, at in enumerate(addresses(count), start=1)
    }
    async with serve(hosts, directory) as served:
        (directory / "inventory.yaml").write_text(inventory(served))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until stdin closes."""
    parser = argparse.ArgumentParser(prog="python -m fleetd.testing", description=main.__doc__)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--fault", type=fault, action="append", default=[], metavar="TEXT=KIND")
    parser.add_argument("--pull-seconds", type=float, default=2.0)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(args.hosts, args.dir, dict(args.fault), args.pull_seconds))


if __name__ == "__main__":
    main()
