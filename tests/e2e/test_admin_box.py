"""The admin box: a host that runs fleetd for others and for itself, by hand and by its timer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.e2e.admin import unit_agent
from tests.e2e.box import (
    UNITS,
    as_user,
    install_units,
    journal,
    property_of,
    settle_in,
    write,
)
from tests.e2e.lab import Fleet, Host, HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import leftovers, never_two, snapshots, wipe

pytestmark = pytest.mark.timeout(300)

HOSTS = (
    HostSpec("box", runtime="none", admin=True),
    HostSpec("web-1", runtime="none"),
    HostSpec("web-2", runtime="none"),
)
NAMES = [spec.name for spec in HOSTS]
UNIT = "fleetd-default.agent.main.a.service"
DRIFT = "fleetd-drift.service"


@pytest.fixture(scope="module")
def box(fleet: Fleet) -> Iterator[Host]:
    """The admin box: settings in /etc/fleetd, units from the repository, the fleet settled."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(wipe, fleet.hosts.values()))
    box = fleet["box"]
    install_units(box)
    settle_in(box, fleet.hosts.values())
    document = unit_agent(max_unavailable="100%", pod={"tolerations": [{"operator": "Exists"}]})
    write(box, "/etc/fleetd/agent.yaml", yaml.safe_dump(document))
    box.sh(as_user("fleetd", "fleetd apply /etc/fleetd/agent.yaml"), timeout=120)
    yield box
    never_two(fleet.hosts.values())


def drift(box: Host) -> str:
    """Start the service, as its timer does, and return what it wrote to the journal."""
    since = box.sh("date +%s").stdout.strip()
    box.sh(f"systemctl start {DRIFT}", check=False, timeout=120)
    return journal(box, DRIFT, since)


def test_the_box_drives_itself_and_others(fleet: Fleet, box: Host) -> None:
    listed: Any = yaml.safe_load(box.sh(as_user("fleetd", "fleetd get pods -o yaml")).stdout)[
        "items"
    ]
    assert [pod["spec"]["nodeName"] for pod in listed] == NAMES
    for host in fleet.hosts.values():
        assert host.sh(f"systemctl is-active {UNIT}").stdout == "active\n"
    # What fleetd keeps as a coordinator, and as one of its hosts.
    state = box.sh("stat -c '%a %U %n' /var/lib/fleetd /var/lib/fleetd/state.db").stdout
    assert state == "700 fleetd /var/lib/fleetd\n600 fleetd /var/lib/fleetd/state.db\n"
    assert box.sh("ls /var/lib/fleetd-node/owner").stdout
    assert fleet["web-1"].sh("ls -d /var/lib/fleetd", check=False).stdout == ""


def test_the_units_are_as_systemd_wants_them(box: Host) -> None:
    for unit in UNITS:
        said = box.sh(f"systemd-analyze verify {unit}")
        assert said.stdout + said.stderr == ""
    box.sh("systemctl enable --now fleetd-drift.timer")
    assert property_of(box, "fleetd-drift.timer", "ActiveState") == "active"
    assert property_of(box, "fleetd-drift.timer", "NextElapseUSecRealtime") != ""
    box.sh("systemctl disable --now fleetd-drift.timer")


def test_a_run_of_the_service_repairs_drift_and_leaves_the_rest(fleet: Fleet, box: Host) -> None:
    others = [fleet["box"], fleet["web-2"]]
    before = snapshots(others)
    fleet["web-1"].sh(f"systemctl stop {UNIT}")
    assert "web-1: repair default/agent" in drift(box)
    assert property_of(box, DRIFT, "Result") == "success"
    assert fleet["web-1"].sh(f"systemctl is-active {UNIT}").stdout == "active\n"
    assert snapshots(others) == before


def test_a_host_that_does_not_answer_fails_the_service_by_name(fleet: Fleet, box: Host) -> None:
    away = fleet["web-2"]
    away.sh("systemctl stop ssh.service ssh.socket", check=False)
    try:
        said = drift(box)
        assert property_of(box, DRIFT, "ExecMainStatus") == "3"
        assert property_of(box, DRIFT, "ActiveState") == "failed"
        assert "web-2" in said
        assert "nothing listens on port 22" in said
    finally:
        away.sh("systemctl start ssh.service")
        away.wait_ssh()
    drift(box)
    assert property_of(box, DRIFT, "ActiveState") == "inactive"


def test_a_second_run_at_once_ends_with_5_and_names_the_first(fleet: Fleet, box: Host) -> None:
    away = fleet["web-2"]
    away.freeze_sshd()
    try:
        box.sh(f"systemctl start --no-block {DRIFT}")
        wait_until(lambda: "fleetd" in held(box), 30, "the first run to take the lock")
        second = box.sh(as_user("fleetd", "fleetd reconcile"), check=False)
        assert second.returncode == 5
        assert "`fleetd reconcile --timeout 20m`" in second.stderr
    finally:
        away.thaw_sshd()
    wait_until(
        lambda: property_of(box, DRIFT, "ActiveState") in {"inactive", "failed"}, 90, "its end"
    )


def held(box: Host) -> str:
    return box.sh("flock -n /var/lib/fleetd/lock true || cat /var/lib/fleetd/lock").stdout


def test_purge_leaves_the_box_its_state(box: Host) -> None:
    box.sh(as_user("fleetd", "fleetd delete ds agent"), timeout=120)
    box.sh(as_user("fleetd", "fleetd purge box"))
    assert [line for line in leftovers(box) if not line.endswith(UNITS)] == []
    assert box.sh("ls /var/lib/fleetd-node", check=False).returncode != 0
    assert box.sh("ls /var/lib/fleetd/state.db").returncode == 0
    assert "fleetd-drift.timer" in box.sh("ls /etc/systemd/system").stdout
