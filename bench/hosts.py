"""`python -m bench.hosts --dir DIR --hosts 500 --part 1`: simulated hosts that can be broken.

Serves them until stdin closes, and breaks so many as each line of stdin says: their copies are
stopped by hand. Prints a line `stopped NAME TIME` for each, and `running NAME TIME` once it runs
again; TIME is the machine's monotonic clock. A process of its own, and several for a large fleet,
so that what is measured of the coordinator is its alone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from random import Random

from fleetd.core.facts import Role
from fleetd.testing.__main__ import inventory
from fleetd.testing.hosts import SimHost
from fleetd.testing.images import Registry
from fleetd.testing.ssh import addresses, serve

LOOK_S = 0.002


async def _serve(count: int, part: int, directory: Path) -> None:
    registry = Registry(pull_s=0.0)
    hosts = {
        at: SimHost(f"p{part}-{number:05}", time.monotonic, registry=registry)
        for number, at in enumerate(addresses(count), start=1)
    }
    chance = Random(part)
    breaking: set[asyncio.Task[None]] = set()
    async with serve(hosts, directory) as served:
        (directory / "inventory.yaml").write_text(inventory(served))
        _say("ready")
        while line := await asyncio.to_thread(sys.stdin.readline):
            for host in chance.sample(list(hosts.values()), int(line)):
                task = asyncio.create_task(_break(host))
                breaking.add(task)
                task.add_done_callback(breaking.discard)


async def _break(host: SimHost) -> None:
    """Stop the copy of a host, and tell when it runs again."""
    (unit,) = (
        name
        for copy in host.ledger.values()
        for name, role in copy.units.items()
        if role is Role.MAIN
    )
    host.stop(unit)
    _say(f"stopped {host.name} {time.monotonic()}")
    while not host.unit(unit).running(host.uptime_s):  # noqa: ASYNC110 - a host calls nobody
        await asyncio.sleep(LOOK_S)
    _say(f"running {host.name} {time.monotonic()}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until stdin closes."""
    parser = argparse.ArgumentParser(prog="python -m bench.hosts", description=__doc__)
    parser.add_argument("--hosts", type=int, required=True)
    parser.add_argument("--part", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(args.hosts, args.part, args.dir))


if __name__ == "__main__":
    main()
