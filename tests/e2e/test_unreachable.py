"""Hosts that do not answer while an update goes on: unplugged, frozen, before it and during it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.admin import Admin, Document, unit_agent
from tests.e2e.lab import HostSpec, boottime
from tests.e2e.lab.machine import wait_until

pytestmark = pytest.mark.timeout(300)

HOSTS = tuple(HostSpec(f"u{number}", runtime="none") for number in range(1, 7))
NAMES = [spec.name for spec in HOSTS]


def agent(version: str) -> Document:
    return unit_agent(version=version, max_unavailable=2)


@pytest.fixture
def settled(admin: Admin) -> Iterator[Admin]:
    """Six hosts with v1, and cables and sshd as they were when the test is over."""
    admin.apply(agent("v1"))
    yield admin
    for host in admin.fleet.hosts.values():
        host.plug()
        host.thaw_sshd()


def test_silent_hosts_pause_a_rollout_above_the_limit_and_else_are_left_out(
    settled: Admin,
) -> None:
    """A cable and a frozen sshd: 2 of 6 are within 20 %, rounded up; a third is too much."""
    fleet = settled.fleet
    since = boottime()
    fleet["u4"].unplug()
    fleet["u5"].unplug()
    fleet["u6"].freeze_sshd()
    three = settled.apply(agent("v2"), flags=("--max-unreachable", "3"), code=3)
    assert three.did == []
    assert any("3 nodes are unreachable" in problem for problem in three.json["problems"])
    holders = three.json["holders"]["default/agent"]
    silent = [name for name, why in holders.items() if why.startswith("unreachable: ")]
    assert sorted(silent) == ["u4", "u5", "u6"]

    fleet["u4"].plug()
    two = settled.reconcile("--max-unreachable", "2")
    assert sorted(two.did) == [(name, "update") for name in NAMES[:4]]
    assert sorted(two.json["holders"]["default/agent"]) == ["u5", "u6"]
    assert settled.timeline().peak(since, boottime()).count == 2

    fleet["u5"].plug()
    fleet["u6"].thaw_sshd()
    assert sorted(settled.reconcile().did) == [("u5", "update"), ("u6", "update")]
    timeline = settled.timeline()
    assert all(timeline.versions(name) == ["v1", "v2"] for name in NAMES)
    assert timeline.peak(since, boottime()).count == 2


def test_a_host_lost_during_its_update_uses_budget_and_is_neither_done_nor_failed(
    settled: Admin,
) -> None:
    first = settled.fleet["u1"]
    since = boottime()
    soon = {"fleetd/progress-deadline-seconds": "5"}
    spec = unit_agent(version="v2", max_unavailable=2, annotations=soon)
    update = settled.start("apply", settled.write(spec), "-o", "json")
    log = first.agent_logs / "lock.log"
    wait_until(lambda: "stop" in log.read_text(), 60, "the update of u1")
    first.unplug()
    lost = boottime()
    ended = settled.end(update, code=3, timeout=150)
    until = boottime()
    [(name, why)] = ended.json["holders"]["default/agent"].items()
    assert name == "u1"
    assert why.startswith("unreachable: ")
    assert any("the rollout waits" in problem for problem in ended.json["problems"])
    timeline = settled.timeline()
    others = [name for name in NAMES if name != "u1"]
    assert all(timeline.versions(name) == ["v1", "v2"] for name in others)
    assert timeline.peak(since, until).count == 2
    # From then on u1 counted, whatever it did: the others were stopped one at a time.
    rest = settled.timeline(hosts=others[1:])
    assert rest.peak(lost, until).count == 1

    first.plug()
    settled.reconcile()
    assert settled.timeline().versions("u1") == ["v1", "v2"]
