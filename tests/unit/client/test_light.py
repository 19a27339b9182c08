"""What verbs that only look load when a service answers: the less, the sooner they start."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from fleetd.client import RunOptions
from fleetd.testing.fleet import FakeFleet
from tests.contract.forms import World, service
from tests.contract.stories import agent, unwatched

HEAVY = {
    *("asyncssh", "pydantic", "uvicorn", "starlette", "sqlite3", "structlog", "rich", "watchfiles"),
    *("prometheus_client", "fleetd.client.local", "fleetd.adapters.store", "fleetd.engine"),
}
RUN = """
import json, sys
from fleetd.__main__ import main
code = main()
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("get", "ds"),
        ("get", "ds", "-o", "json"),
        ("describe", "ds", "agent"),
        ("rollout", "history", "ds/agent"),
        ("events",),
    ],
    ids=" ".join,
)
async def test_a_look_loads_nothing_heavy(tmp_path: Path, words: tuple[str, ...]) -> None:
    world = World(tmp_path, FakeFleet())
    path = world.write("agent.yaml", agent())
    await world.local("ann").apply([path], RunOptions(wait=False), unwatched)
    async with service(world) as running:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUN, *words, "--state", str(running.path.parent)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    code, loaded = json.loads(err.splitlines()[-1])
    assert code == 0
    assert b"agent" in out or words == ("events",)
    assert HEAVY & set(loaded) == set()
