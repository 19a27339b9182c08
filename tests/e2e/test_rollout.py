"""Rolling updates on real hosts: both bounds, readiness, and the end of an old copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.e2e.admin import IMAGE, Admin, Document, pod_agent, unit_agent
from tests.e2e.lab import Entry, HostSpec, boottime

pytestmark = pytest.mark.timeout(300)

HOSTS = tuple(HostSpec(f"r{number}") for number in range(1, 7))
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS]
PAIR = NAMES[:2]

WORKLOADS = [pytest.param(unit_agent, id="systemd"), pytest.param(pod_agent, id="container")]
#: The agent writes its first line this much later than systemd calls it active, at the most (s).
LAG = 0.5

Agent = Callable[..., Document]


@pytest.fixture
def pair(admin: Admin) -> Admin:
    """The coordinator of two hosts, where it is not their number that matters."""
    admin.know([Entry(admin.fleet[name]) for name in PAIR])
    return admin


def failed_units(admin: Admin) -> list[str]:
    hosts = admin.fleet.hosts.values()
    shown = "systemctl list-units --failed --plain --no-legend 'fleetd-*'"
    return [said for host in hosts if (said := host.sh(shown).stdout)]


@pytest.mark.parametrize("agent", WORKLOADS)
def test_updates_and_restarts_stop_two_of_six_at_a_time_and_reach_all(
    admin: Admin, agent: Agent
) -> None:
    admin.apply(agent(version="v1", max_unavailable=2))
    since = boottime()
    ended = admin.apply(agent(version="v2", max_unavailable=2))
    until = boottime()
    assert sorted(ended.did) == [(name, "update") for name in NAMES]
    timeline = admin.timeline()
    assert all(timeline.versions(name) == ["v1", "v2"] for name in NAMES)
    assert {len(runs) for runs in timeline.runs.values()} == {2}
    # Both bounds: never more than two without an agent, and two at once, not one after the other.
    assert timeline.peak(since, until).count == 2

    admin.fleetd("rollout", "restart", "ds/agent")
    timeline = admin.timeline()
    assert {len(runs) for runs in timeline.runs.values()} == {3}
    assert timeline.peak(until, boottime()).count == 2


def test_a_copy_counts_as_available_after_min_ready_seconds(pair: Admin) -> None:
    pair.apply(unit_agent(version="v1", min_ready=3))
    since = boottime()
    pair.apply(unit_agent(version="v2", min_ready=3))
    peak = pair.timeline(hosts=PAIR).peak(since, boottime(), min_ready=3 - LAG)
    assert peak.count == 1


def test_a_copy_counts_as_available_when_its_readiness_probe_passes(pair: Admin) -> None:
    probe: Document = {
        "exec": {"command": ["test", "-e", "/run/agent.ready"]},
        "periodSeconds": 1,
    }
    env = {"AGENT_READY": "/run/agent.ready", "AGENT_READY_AFTER": "3"}

    def agent(version: str) -> Document:
        systemd = {"readinessProbe": probe}
        return unit_agent(version=version, env=env, systemd=systemd)

    pair.apply(agent("v1"))
    since = boottime()
    pair.apply(agent("v2"))
    assert pair.timeline(hosts=PAIR).peak(since, boottime(), min_ready=3 - LAG).count == 1


STUBBORN: Mapping[str, str] = {"AGENT_IGNORE_TERM": "1"}


def stubborn_unit(version: str, **more: Any) -> Document:
    spec = unit_agent(version=version, env=STUBBORN, **more)
    spec["spec"]["template"]["spec"]["systemd"]["unit"] += "TimeoutStopSec=2\n"
    return spec


def stubborn_pod(version: str, **more: Any) -> Document:
    pod = {"terminationGracePeriodSeconds": 2}
    return pod_agent(version=version, env=STUBBORN, pod=pod, **more)


@pytest.mark.parametrize(
    "agent",
    [pytest.param(stubborn_unit, id="systemd"), pytest.param(stubborn_pod, id="container")],
)
def test_an_agent_deaf_to_term_is_killed_after_its_grace_and_has_not_failed(
    pair: Admin, agent: Agent
) -> None:
    pair.apply(agent("v1"))
    since = boottime()
    pair.apply(agent("v2"))
    timeline = pair.timeline(hosts=PAIR)
    assert timeline.peak(since, boottime()).count == 1
    assert all(timeline.versions(name) == ["v1", "v2"] for name in PAIR)
    assert failed_units(pair) == []
    pair.fleetd("delete", "ds", "agent")
    assert failed_units(pair) == []
    assert all(runs[-1].end < boottime() for runs in pair.timeline(hosts=PAIR).runs.values())


def test_on_delete_leaves_copies_to_their_operator(pair: Admin) -> None:
    def agent(version: str) -> Document:
        spec = unit_agent(version=version)
        spec["spec"]["updateStrategy"] = {"type": "OnDelete"}
        return spec

    pair.apply(agent("v1"))
    assert pair.apply(agent("v2")).did == []
    pair.fleetd("purge", PAIR[0])
    assert pair.reconcile().did == [(PAIR[0], "start")]
    timeline = pair.timeline(hosts=PAIR)
    assert [timeline.versions(name) for name in PAIR] == [["v1", "v2"], ["v1"]]
