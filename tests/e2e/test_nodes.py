"""Hosts that join, leave, are renamed or tainted: agents follow, and nothing goes by accident."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.admin import Admin, unit_agent
from tests.e2e.lab import Entry, HostSpec
from tests.e2e.proof import leftovers, snapshot, snapshots

pytestmark = pytest.mark.timeout(300)

HOSTS = tuple(HostSpec(f"n{number}", runtime="none") for number in range(4))
NAMES = [spec.name for spec in HOSTS]
KEPT = {"n0", "n1", "n2"}
DEDICATED = "dedicated=gpu"
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "gpu"}


def without(admin: Admin, *names: str) -> None:
    """Take hosts out of the inventory."""
    admin.know(Entry(host) for host in admin.fleet.hosts.values() if host.name not in names)


def running(admin: Admin, lock: str = "lock") -> set[str]:
    """The hosts where a copy lives now."""
    runs = admin.timeline(lock).runs
    return {name for name, lives in runs.items() if lives and lives[-1].last == float("inf")}


def gone(admin: Admin, name: str) -> None:
    """Assert that nothing of any fleet is left on a host."""
    host = admin.fleet[name]
    assert leftovers(host) == []
    assert host.sh("ls -A /var/lib/fleetd-node", check=False).stdout == ""


# ------------------------------------------------------------------------------------- members


def test_a_host_that_joins_gets_its_agents_and_one_that_leaves_is_cleaned(admin: Admin) -> None:
    without(admin, "n3")
    admin.apply(unit_agent(max_unavailable=4))
    assert running(admin) == KEPT
    admin.know()
    assert admin.reconcile().did == [("n3", "start")]
    others = snapshots(admin.fleet[name] for name in KEPT)
    without(admin, "n3")
    assert admin.reconcile().did == [("n3", "remove")]
    gone(admin, "n3")
    assert snapshots(admin.fleet[name] for name in KEPT) == others
    assert {item["metadata"]["name"] for item in admin.get("nodes")["items"]} == KEPT


def test_a_host_that_left_out_of_reach_is_remembered_and_cleaned_later(admin: Admin) -> None:
    admin.apply(unit_agent(max_unavailable=4))
    admin.fleet["n3"].unplug()
    without(admin, "n3")
    missed = admin.reconcile(code=3)
    assert missed.did == []
    assert any("n3" in problem and "left" in problem for problem in missed.json["problems"])
    assert running(admin) == set(NAMES)
    admin.fleet["n3"].plug()
    assert admin.reconcile().did == [("n3", "remove")]
    gone(admin, "n3")
    assert admin.reconcile().json["problems"] == []


def test_a_renamed_host_goes_on_running(admin: Admin) -> None:
    admin.apply(unit_agent(max_unavailable=4))
    before = snapshot(admin.fleet["n3"])
    hosts = admin.fleet.hosts.values()
    admin.know(Entry(host, "new-3" if host.name == "n3" else "") for host in hosts)
    report = admin.reconcile()
    assert report.did == []
    assert any("was n3" in problem for problem in report.json["problems"])
    assert snapshot(admin.fleet["n3"]) == before
    nodes = {item["metadata"]["name"] for item in admin.get("nodes")["items"]}
    assert nodes == {*KEPT, "new-3"}
    assert admin.reconcile().json["problems"] == []


def test_one_machine_under_two_names_is_refused_under_both(admin: Admin) -> None:
    twin = admin.fleet["n3"]
    twin.sh("ip address add 10.77.9.9/16 dev eth0")
    known = admin.fleet.known_hosts
    pinned = known.read_text()
    try:
        known.write_text(f"{pinned}10.77.9.9 {twin.disk.host_key}\n")
        text = admin.inventory.read_text()
        admin.inventory.write_text(f'{text}  again: {{"address": "10.77.9.9"}}\n')
        report = admin.apply(unit_agent(max_unavailable=5), code=3)
        assert sorted(report.did) == [(name, "start") for name in sorted(KEPT)]
        assert running(admin) == KEPT
        for name in ("n3", "again"):
            assert any(
                problem.startswith(f"{name}: ") and "are one machine" in problem
                for problem in report.json["problems"]
            )
    finally:
        known.write_text(pinned)
        twin.sh("ip address del 10.77.9.9/16 dev eth0")


# ------------------------------------------------------------------------------------ accidents


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("hosts: {}\n", id="no host"),
        pytest.param("", id="empty"),
        pytest.param("hosts: {n0: {addr", id="half a file"),
    ],
)
def test_an_inventory_that_says_nothing_removes_nothing(admin: Admin, broken: str) -> None:
    admin.apply(unit_agent(max_unavailable=4))
    before = snapshots(admin.fleet.hosts.values())
    admin.inventory.write_text(broken)
    assert str(admin.inventory) in admin.reconcile(code=2).stderr
    assert snapshots(admin.fleet.hosts.values()) == before


def test_many_leavers_at_once_need_a_confirmation(admin: Admin) -> None:
    admin.apply(unit_agent(max_unavailable=4))
    before = snapshots(admin.fleet.hosts.values())
    without(admin, "n1", "n2", "n3")
    refused = admin.reconcile(code=3)
    assert refused.did == []
    assert refused.decisions("n2") == ["RemovalNeedsConfirmation"]
    assert admin.reconcile("--confirm-removals=2", code=3).did == []
    assert snapshots(admin.fleet.hosts.values()) == before
    confirmed = admin.reconcile("--confirm-removals=3")
    assert sorted(confirmed.did) == [("n1", "remove"), ("n2", "remove"), ("n3", "remove")]
    for name in ("n1", "n2", "n3"):
        gone(admin, name)
    assert running(admin) == {"n0"}


def test_many_copies_that_become_ineligible_need_a_confirmation(admin: Admin) -> None:
    labels = {"role": "web"}
    hosts = admin.fleet.hosts.values()
    admin.know(Entry(host, labels=labels) for host in hosts)
    spec = unit_agent(max_unavailable=4, pod={"nodeSelector": labels})
    admin.apply(spec)
    admin.know()
    assert admin.reconcile(code=3).did == []
    assert running(admin) == set(NAMES)
    assert len(admin.reconcile("--confirm-removals=4").did) == 4
    assert running(admin) == set()
    for name in NAMES:
        assert leftovers(admin.fleet[name]) == []


def test_another_inventory_needs_a_word(admin: Admin) -> None:
    admin.apply(unit_agent(max_unavailable=4))
    before = snapshots(admin.fleet.hosts.values())
    other = admin.directory / "other.yaml"
    shutil.copy(admin.inventory, other)
    admin.inventory = other
    refused = admin.reconcile(code=None)
    assert refused.code in {2, 3}, str(refused)
    assert "--new-inventory" in refused.stderr
    assert admin.reconcile("--new-inventory").did == []
    assert admin.reconcile().did == []
    assert snapshots(admin.fleet.hosts.values()) == before


def test_a_program_that_fails_is_no_empty_inventory(admin: Admin) -> None:
    entries = {host.name: {"address": host.ip} for host in admin.fleet.hosts.values()}
    ssh = {
        "user": "fleet",
        "identityFile": str(admin.fleet.client_key),
        "knownHostsFile": str(admin.fleet.known_hosts),
    }
    answer = admin.directory / "answer.json"
    answer.write_text(json.dumps({"defaults": {"ssh": ssh}, "hosts": entries}))
    admin.inventory = _program(admin.directory / "hosts", f"cat {answer}")
    admin.apply(unit_agent(max_unavailable=4))
    before = snapshots(admin.fleet.hosts.values())
    for failure in ("exit 1", "exit 0", f"head -c 40 {answer}", f"cat {answer}; exit 1"):
        _program(admin.inventory, failure)
        assert "hosts" in admin.reconcile(code=2).stderr
    assert snapshots(admin.fleet.hosts.values()) == before


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# --------------------------------------------------------------------------------------- taints


def test_a_taint_keeps_new_copies_away_and_no_execute_takes_them_away(admin: Admin) -> None:
    admin.fleetd("taint", "n3", f"{DEDICATED}:NoSchedule")
    admin.apply(unit_agent(max_unavailable=4))
    assert running(admin) == KEPT
    said = admin.fleetd("why", "n3", "agent").stdout
    assert "dedicated=gpu:NoSchedule" in said
    admin.fleetd("taint", "n2", f"{DEDICATED}:NoSchedule")
    assert admin.reconcile().did == []
    assert running(admin) == KEPT
    admin.fleetd("taint", "n2", f"{DEDICATED}:NoExecute")
    assert admin.reconcile().did == [("n2", "remove")]
    assert running(admin) == {"n0", "n1"}
    assert leftovers(admin.fleet["n2"]) == []
    admin.fleetd("taint", "n2", "dedicated-")
    assert admin.reconcile().did == [("n2", "start")]


def test_a_toleration_lets_a_copy_onto_a_tainted_host(admin: Admin) -> None:
    hosts = admin.fleet.hosts.values()
    taints = [f"{DEDICATED}:NoExecute"]
    admin.know(Entry(host, taints=taints if host.name == "n3" else ()) for host in hosts)
    admin.apply(
        unit_agent("plain", lock="plain", max_unavailable=4),
        unit_agent("gpu", lock="gpu", max_unavailable=4, pod={"tolerations": [TOLERATION]}),
    )
    assert running(admin, "plain") == KEPT
    assert running(admin, "gpu") == set(NAMES)


def test_a_label_decides_where_copies_run(admin: Admin) -> None:
    admin.fleetd("label", "n1", "disktype=ssd")
    admin.apply(unit_agent(max_unavailable=4, pod={"nodeSelector": {"disktype": "ssd"}}))
    assert running(admin) == {"n1"}
    admin.fleetd("label", "n2", "disktype=ssd")
    assert admin.reconcile().did == [("n2", "start")]
    admin.fleetd("label", "n1", "disktype-")
    assert admin.reconcile().did == [("n1", "remove")]
    assert leftovers(admin.fleet["n1"]) == []


def test_a_cordoned_host_keeps_its_agents_and_a_held_one_is_left_alone(admin: Admin) -> None:
    admin.apply(unit_agent(max_unavailable=4))
    admin.fleetd("cordon", "n0")
    held = admin.fleet["n1"]
    admin.fleetd("hold", "n1")
    before = snapshot(held)
    updated = admin.apply(unit_agent(version="v2", max_unavailable=4))
    assert sorted(updated.did) == [("n0", "update"), ("n2", "update"), ("n3", "update")]
    assert snapshot(held) == before
    held.sh("systemctl stop fleetd-default.agent.main.a.service")
    assert admin.reconcile().did == []
    assert "hold" in admin.fleetd("why", "n1", "agent").stdout
    admin.fleetd("unhold", "n1")
    admin.fleetd("uncordon", "n0")
    assert admin.reconcile().did == [("n1", "update")]
    assert admin.timeline().versions("n1") == ["v1", "v2"]
