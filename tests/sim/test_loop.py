"""The service's loop over simulated hosts, in virtual time."""

from __future__ import annotations

from fleetd.api.reports import RunOptions
from fleetd.testing import loop
from tests.sim.harness import Sim, agent, unwatched


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
