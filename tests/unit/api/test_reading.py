from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fleetd.api import reading
from fleetd.api.reports import Query
from fleetd.core.meta import Key
from fleetd.core.node import Inventory
from fleetd.errors import InvalidInput, NotFound
from fleetd.testing import loop
from fleetd.testing.units import Behaviour
from tests.sim.harness import AGENT, Sim, agent
from tests.unit.api.desk import Desk, config, daemonset, secret


def nobody() -> Inventory:
    return Inventory((), ())


def names(shapes: list[Any]) -> list[str]:
    return [f"{shape['metadata']['namespace']}/{shape['metadata']['name']}" for shape in shapes]


def on_a_fleet(check: Callable[[Sim], None], *, bad: bool = False) -> None:
    async def story() -> None:
        sim = Sim.of(3, faults={"--is=bad": Behaviour(dies_after_s=3)})
        notes = {"annotations": {"fleetd/progress-deadline-seconds": "60"}}
        sim.put(agent("v1", **notes))
        sim.put(agent("v1", Key("system", "guard"), **notes))
        await sim.converge()
        if bad:
            sim.put(agent("bad", **notes))
            await sim.converge()
        check(sim)

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(Query(), ["default/agent"], id="of-a-namespace"),
        pytest.param(Query(None), ["default/agent", "system/guard"], id="of-all"),
        pytest.param(Query(None, "guard"), ["system/guard"], id="by-name"),
        pytest.param(Query("default", "guard"), [], id="elsewhere"),
    ],
)
def test_objects_are_found_by_namespace_and_name(query: Query, expected: list[str]) -> None:
    def check(sim: Sim) -> None:
        shapes = reading.get(sim.store, lambda: sim.session().inventory, "daemonsets", query)
        assert names(shapes) == expected

    on_a_fleet(check)


def test_copies_are_pods_of_their_set() -> None:
    def check(sim: Sim) -> None:
        session = sim.session()
        assert names(reading.get(sim.store, lambda: session.inventory, "pods", Query())) == [
            f"default/agent-h0{number}" for number in (1, 2, 3)
        ]
        (one,) = reading.get(sim.store, lambda: session.inventory, "pods", Query(None, "guard-h02"))
        assert one["spec"]["nodeName"] == "h02"
        assert one["status"]["phase"] == "Running"

    on_a_fleet(check)


def test_a_finished_rollout_is_converged() -> None:
    def check(sim: Sim) -> None:
        assert reading.standing(sim.store, AGENT).converged

    on_a_fleet(check)


def test_a_failed_rollout_says_why() -> None:
    def check(sim: Sim) -> None:
        report = reading.standing(sim.store, AGENT)
        assert not report.converged
        assert any("no progress" in problem for problem in report.problems)
        assert "h01" in report.holders["default/agent"]

    on_a_fleet(check, bad=True)


def test_what_no_pass_has_seen_is_not_converged() -> None:
    def check(sim: Sim) -> None:
        sim.put(agent("v2"))
        report = reading.standing(sim.store, AGENT)
        assert not report.converged
        assert "this generation has not been acted upon yet" in report.problems

    on_a_fleet(check)


def test_revisions_are_told_oldest_first(desk: Desk) -> None:
    for tag in ("1", "2"):
        desk.apply(daemonset(image=f"web:{tag}"))
    found = reading.revisions(desk.store, Key("default", "web"))
    assert [(row.number, row.current) for row in found] == [(1, False), (2, True)]


def test_a_set_that_is_not_there_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound, match="web"):
        reading.revisions(desk.store, Key("default", "web"))
    with pytest.raises(NotFound, match="web"):
        reading.standing(desk.store, Key("default", "web"))


@pytest.mark.parametrize(
    ("kind", "expected"), [("configmaps", ["default/conf"]), ("secrets", ["default/pass"])]
)
def test_content_is_had_by_kind(desk: Desk, kind: str, expected: list[str]) -> None:
    desk.apply(config(a="1"), secret(key="hunter2"))
    shapes = reading.get(desk.store, nobody, kind, Query())
    assert names(shapes) == expected


def test_an_unknown_kind_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="deployments"):
        reading.get(desk.store, nobody, "deployments", Query())
