"""The yardstick: a plain asyncssh loop that runs one command line on every host.

A program of its own that knows nothing of fleetd, written as fast as such a loop can be: keys and
known hosts are parsed once, host keys are checked strictly, all hosts run side by side. Its only
argument is a JSON file with hosts, port, user, identity, known_hosts, command, stdin (a file) and
at_once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncssh


async def main(job: dict[str, Any], stdin: bytes) -> int:
    room = asyncio.Semaphore(job["at_once"])
    options = asyncssh.SSHClientConnectionOptions(
        config=None,
        username=job["user"],
        client_keys=asyncssh.load_keypairs(job["identity"]),
        agent_path=None,
        preferred_auth=["publickey"],
        connect_timeout=30,
        login_timeout=60,
    )
    known_hosts = asyncssh.read_known_hosts(job["known_hosts"])

    async def visit(address: str) -> int:
        async with (
            room,
            asyncssh.connect(
                address, job["port"], config=None, options=options, known_hosts=known_hosts
            ) as connection,
        ):
            done = await connection.run(job["command"], input=stdin, encoding=None)
            return 0 if done.exit_status == 0 else 1

    return sum(await asyncio.gather(*(visit(address) for address in job["hosts"])))


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    failures = asyncio.run(main(told, Path(told["stdin"]).read_bytes()))
    sys.exit(f"{failures} hosts failed" if failures else 0)
