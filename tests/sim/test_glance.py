"""What fleetd makes of a manifest is told at a glance once it runs: else planning were slow."""

from __future__ import annotations

import asyncio

from fleetd.api.reports import RunOptions
from fleetd.core.stream import StreamState
from fleetd.testing import loop
from tests.sim.harness import AGENT, Sim, agent, unwatched


def test_a_settled_fleet_is_judged_at_a_glance() -> None:
    async def whole() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        async with sim.served() as served:
            run = await served.perform(None, RunOptions(timeout_s=900), unwatched)
            assert run.ended == "settled"
            for name in sim.names:
                served.note_stream(name, StreamState.LIVE)
            await asyncio.sleep(60)
            served.decide_soon()
            await asyncio.sleep(60)
            assert served.sights.kept(AGENT).fine.keys() == set(sim.names)

    loop.run(whole(), seed=7)
