"""Two coordinators at once: over one state, over two states, and one that is out of date."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.admin import Admin, unit_agent
from tests.e2e.lab import HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import Snapshot, snapshots

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("a", runtime="none"), HostSpec("b", runtime="none"))
NAMES = [spec.name for spec in HOSTS]


def test_a_second_coordinator_of_one_state_ends_and_names_the_first(admin: Admin) -> None:
    """The first is held up by an agent that takes its time to become ready."""
    slow = unit_agent(version="v1", min_ready=8)
    first = admin.start("apply", admin.write(slow, name="first.yaml"))
    wait_until(lambda: admin.lives("a") > 0, 60, "the first copy")
    second = admin.apply(unit_agent(version="v2"), code=5)
    assert str(first.pid) in second.stderr
    assert str(admin.state) in second.stderr
    # To look needs no lock.
    assert len(admin.get("nodes")["items"]) == len(NAMES)
    admin.end(first)
    assert [admin.timeline().versions(name) for name in NAMES] == [["v1"], ["v1"]]


def test_a_second_fleet_is_refused_by_the_hosts_and_touches_nothing(
    admin: Admin, tmp_path: Path
) -> None:
    admin.apply(unit_agent(version="v1", max_unavailable=2))
    owner = admin.fleet["a"].sh("cut -f 1 /var/lib/fleetd-node/owner").stdout.strip()
    assert owner
    before = snapshots(admin.fleet.hosts.values())

    other = Admin(admin.fleet, tmp_path / "other")
    refused = other.apply(unit_agent("agent", "v2"), unit_agent("more", "v2", lock="more"), code=3)
    assert [action for action in refused.actions if action["result"] == "done"] == []
    holders = refused.json["holders"]
    assert all(
        owner in holders[f"default/{ds}"][name] for ds in ("agent", "more") for name in NAMES
    )
    assert snapshots(admin.fleet.hosts.values()) == before
    assert admin.reconcile().did == []


def test_two_fleets_at_once_leave_each_host_to_one_of_them(admin: Admin, tmp_path: Path) -> None:
    other = Admin(admin.fleet, tmp_path / "other")
    started = [
        each.start("apply", each.write(unit_agent(version=each.directory.name)), "-o", "json")
        for each in (admin, other)
    ]
    ends = [admin.end(process, code=None) for process in started]
    timeline = admin.timeline()
    done = [[node for node, _ in end.did if _result(end.actions, node) == "done"] for end in ends]
    assert sorted(done[0] + done[1]) == NAMES, "each host obeyed exactly one of them"
    for each, hosts in zip((admin, other), done, strict=True):
        assert all(timeline.versions(name) == [each.directory.name] for name in hosts)
    assert [end.code for end in ends] == [0 if hosts == NAMES else 3 for hosts in done]


def _result(actions: list[dict[str, str]], node: str) -> str:
    [action] = [each for each in actions if each["node"] == node]
    return action["result"]


def touched(admin: Admin) -> dict[str, Snapshot]:
    """All that matters on the hosts: but for when an order was last read there."""
    taken = snapshots(admin.fleet.hosts.values())
    stage = "/var/lib/fleetd-node/stage"
    return {
        host: {name: value for name, value in each.items() if name != stage}
        for host, each in taken.items()
    }


def test_an_older_term_is_refused_and_touches_nothing(admin: Admin, tmp_path: Path) -> None:
    """A state that was copied or restored from a backup must not undo what came after it."""
    admin.apply(unit_agent(version="v1", max_unavailable=2))
    backup = tmp_path / "backup"
    shutil.copytree(admin.state, backup)
    admin.apply(unit_agent(version="v2", max_unavailable=2))
    admin.apply(unit_agent(version="v3", max_unavailable=2))
    before = touched(admin)

    stale = Admin(admin.fleet, tmp_path / "stale")
    shutil.copytree(backup, stale.state)
    stale.inventory = admin.inventory
    refused = stale.apply(unit_agent(version="v4", max_unavailable=2), code=3)
    assert {action["result"] for action in refused.actions} == {"refused"}
    assert all("term" in action["message"] for action in refused.actions)
    assert touched(admin) == before
    assert admin.reconcile().did == []
