"""Draining: agents go and come back, the guard holds, and a silent host is not called drained."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest

from fleetd.api.nodes import Nodes
from fleetd.api.reports import Report, RunOptions
from fleetd.api.running import drain
from fleetd.core.records import InstanceRecord
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import Sim, agent, unwatched

BOUND = RunOptions(timeout_s=900)
EVERYTHING = {"tolerations": [{"operator": "Exists"}]}
BY_NAME = {"tolerations": [{"key": "fleetd/drained", "operator": "Exists"}]}


async def drained(sim: Sim, *names: str, on: bool = True, options: RunOptions = BOUND) -> Report:
    hosts = {host.name: host for host in sim.fleet.inventory()}
    nodes = Nodes(sim.store, hosts, now=0.0, who="test")
    for name in names:
        nodes.drain(name, on=on)
    return await drain(sim.session(), names, options, unwatched, ())


def at_work(sim: Sim) -> list[str]:
    """Where copies are known to be."""
    return sorted(row.node for row in sim.store.read(InstanceRecord))


def on_a_fleet(story: Callable[[Sim], Coroutine[None, None, None]], **pod: object) -> None:
    async def told() -> None:
        sim = Sim.of(4)
        sim.put(agent("v1", pod=pod))
        await sim.converge()
        await story(sim)

    loop.run(told(), seed=1)


@pytest.mark.parametrize("pod", [{}, EVERYTHING], ids=["plain", "tolerates-everything"])
def test_agents_go_and_come_back(pod: dict[str, object]) -> None:
    async def story(sim: Sim) -> None:
        report = await drained(sim, "h02")
        assert report.converged, report
        assert [(entry.node, entry.decision) for entry in report.entries if entry.outcome] == [
            ("h02", "remove")
        ]
        assert at_work(sim) == ["h01", "h03", "h04"]
        await sim.converge()
        assert at_work(sim) == ["h01", "h03", "h04"]
        assert (await drained(sim, "h02", on=False)).converged
        assert at_work(sim) == ["h01", "h02", "h03", "h04"]

    on_a_fleet(story, **pod)


def test_an_agent_that_names_the_taint_stays() -> None:
    async def story(sim: Sim) -> None:
        assert (await drained(sim, "h02")).converged
        assert at_work(sim) == ["h01", "h02", "h03", "h04"]

    on_a_fleet(story, **BY_NAME)


def test_a_host_that_does_not_answer_is_not_drained() -> None:
    async def story(sim: Sim) -> None:
        sim.fleet.fault("h02", Fault(unreachable=True))
        confirmed = replace(BOUND, confirm_removals=2)
        report = await drained(sim, "h02", "h03", options=confirmed)
        assert not report.converged
        assert [list(hosts) for hosts in report.holders.values()] == [["h02"]]
        assert at_work(sim) == ["h01", "h02", "h04"]

    on_a_fleet(story)


def test_trouble_elsewhere_is_no_trouble_of_a_drain() -> None:
    async def story(sim: Sim) -> None:
        sim.fleet.fault("h04", Fault(unreachable=True))
        assert (await drained(sim, "h02")).converged

    on_a_fleet(story)


def test_many_hosts_at_once_are_guarded() -> None:
    async def story(sim: Sim) -> None:
        report = await drained(sim, "h01", "h02", "h03")
        assert not report.converged
        assert at_work(sim) == ["h01", "h02", "h03", "h04"]
        confirmed = replace(BOUND, confirm_removals=3)
        assert (await drained(sim, "h01", "h02", "h03", options=confirmed)).converged
        assert at_work(sim) == ["h04"]

    on_a_fleet(story)
