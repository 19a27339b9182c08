"""What a service at work tells: its metrics and its log, fed by the real loop and real streams."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fleetd.adapters.metrics import Metrics
from fleetd.adapters.sinks import LogSink, Several
from fleetd.api.reports import RunOptions
from fleetd.core.records import AuditRecord
from fleetd.engine.audience import Audience
from fleetd.engine.following import Following
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from fleetd.testing.loop import LoopClock
from tests.sim.harness import Sim, agent, unwatched
from tests.unit.adapters.metering import samples

UNIT = "fleetd-default.agent.main.a.service"
AGENT = {"namespace": "default", "daemonset": "agent"}


@dataclass
class Watched:
    """A service over simulated hosts, and what it tells."""

    sim: Sim
    loop: Loop
    metrics: Metrics
    out: io.StringIO

    def value(self, name: str, **labels: str) -> float | None:
        return samples(self.metrics).get((name, frozenset(labels.items())))

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        every = [json.loads(line) for line in self.out.getvalue().splitlines()]
        return [line for line in every if line["event"] == event]

    async def settled(self) -> None:
        run = await self.loop.perform(None, RunOptions(timeout_s=900), unwatched)
        assert run.ended == "settled"


@asynccontextmanager
async def watched(sim: Sim) -> AsyncIterator[Watched]:
    memory, out = Memory(sim.store), io.StringIO()
    metrics = Metrics(memory, LoopClock())
    sink = Audience(Several(LogSink(form="json", debug=False, stream=out), metrics))
    inventory = sim.session().inventory
    joined = [host.name for host in inventory.hosts]
    sink.emit("inventory_changed", joined=joined, left=[], changed=[])
    session = replace(sim.session(), store=memory, sink=sink, who="fleetd")
    made = session.open_loop(memory, Random(1))
    following = Following(sim.fleet, made, LoopClock(), sink, Random(1))
    following.take_inventory(inventory)
    tasks = [asyncio.create_task(made.run()), asyncio.create_task(following.run())]
    try:
        yield Watched(sim, made, metrics, out)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_fleet_that_comes_up_is_counted() -> None:
    async def story() -> None:
        sim = Sim.of(5)
        sim.fleet.fault("h05", Fault(unreachable=True))
        sim.put(agent("v1"))
        async with watched(sim) as service:
            await service.settled()
            for name, number in (
                ("status_desired_number_scheduled", 5),
                ("status_number_ready", 4),
                ("status_number_available", 4),
                ("status_number_unknown", 1),
                ("status_updated_number_scheduled", 4),
                ("status_observed_generation", 1),
            ):
                assert service.value(f"fleetd_daemonset_{name}", **AGENT) == number, name
            reachable = [service.value("fleetd_host_reachable", node=name) for name in sim.names]
            assert reachable == [1, 1, 1, 1, 0]
            visits = service.value("fleetd_host_visit_duration_seconds_count", node="h01")
            assert visits
            assert visits >= 2
            done = {"action": "start", "reason": "Missing", "outcome": "done"}
            assert service.value("fleetd_actions_total", **done) == 4
            passes = service.value("fleetd_pass_duration_seconds_count")
            assert passes
            assert service.value("fleetd_last_pass_timestamp_seconds")
            live = {"node": "h01", "state": "live"}
            assert service.value("fleetd_host_stream_state", **live) == 1
            assert (
                service.value("fleetd_host_drift_repaired_total", node="h01", kind="stopped")
                is None
            )

    loop.run(story(), seed=1)


def test_drift_is_heard_of_repaired_counted_logged_and_audited() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        revision = sim.put(agent("v1"))
        async with watched(sim) as service:
            await service.settled()
            quiet = len(service.out.getvalue().splitlines())
            await asyncio.sleep(3600)
            assert len(service.out.getvalue().splitlines()) == quiet, "an hour of peace is silent"
            sim.fleet.hosts["h02"].stop(UNIT)
            await asyncio.sleep(60)
            assert (
                service.value("fleetd_host_drift_repaired_total", node="h02", kind="stopped") == 1
            )
            assert service.value("fleetd_event_lag_seconds_count")
            (line,) = service.lines("action_ended")[3:]
            assert (line["node"], line["daemonset"], line["level"]) == (
                *("h02", "default/agent", "info"),
            )
            told = service.lines("pass_ended")[-1]
            assert (told["planned"], told["daemonsets"]) == ({"repair": 1}, ["default/agent"])
            (row,) = sim.store.read(AuditRecord, verb="repair")
            assert (row.who, row.node, row.revision, row.outcome) == (
                *("fleetd", "h02", revision, "done"),
            )
            assert "stopped" in row.detail

    loop.run(story(), seed=2)


def test_a_host_that_goes_and_comes_is_told_twice() -> None:
    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        async with watched(sim) as service:
            await service.settled()
            before = len(service.lines("visit"))
            sim.fleet.fault("h02", Fault(unreachable=True))
            await asyncio.sleep(1800)
            assert service.value("fleetd_host_reachable", node="h02") == 0
            sim.fleet.heal("h02")
            await asyncio.sleep(300)
            assert service.value("fleetd_host_reachable", node="h02") == 1
            told = [(line["node"], line["level"]) for line in service.lines("visit")[before:]]
            assert told == [("h02", "warning"), ("h02", "info")]

    loop.run(story(), seed=3)
