"""The service's loop over simulated hosts, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from fleetd.api.reports import RunOptions
from fleetd.core.stream import StreamState
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.testing import loop
from tests.sim.harness import AGENT, Sim, agent, unwatched


def test_a_fleet_gets_one_copy_each() -> None:
    async def story() -> None:
        sim = Sim.of(7)
        revision = sim.put(agent("v1"))
        async with sim.served() as served:
            run = await served.perform(None, RunOptions(timeout_s=900), unwatched)
        assert run.ended == "settled"
        assert sim.revisions() == dict.fromkeys(sim.names, revision)
        assert sim.rollout().state == "complete"

    loop.run(story(), seed=1)
