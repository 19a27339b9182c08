"""The inventory moves while the service runs: real hosts join, leave, move, are installed anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.admin import Admin, unit_agent
from tests.e2e.lab import Host, HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import leftovers, snapshots
from tests.e2e.served import Served

pytestmark = pytest.mark.timeout(400)

HOSTS = tuple(HostSpec(f"m{number}", runtime="none") for number in range(1, 5))
NAMES = tuple(spec.name for spec in HOSTS)
KEY = "/etc/ssh/ssh_host_ed25519_key"
ELSEWHERE = "10.77.200.{}"
"""A second address of the host of that number."""


class Site:
    """An admin whose inventory is a program, and whose host keys are pinned by name."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.pins = admin.directory / "known_hosts"
        self.answer = admin.directory / "hosts.json"
        self.places = {name: admin.fleet[name].ip for name in NAMES}
        self.pin(*NAMES)
        self.tell(*NAMES)
        admin.inventory = admin.directory / "hosts"
        self.program(f"exec cat {self.answer}")

    def pin(self, *names: str) -> None:
        keys = {name: self.admin.fleet[name].disk.host_key for name in names}
        self.pins.write_text("".join(f"{name} {key}\n" for name, key in keys.items()))

    def program(self, script: str) -> None:
        self.admin.inventory.write_text(f"#!/bin/sh\n{script}\n")
        self.admin.inventory.chmod(0o755)

    def tell(self, *names: str, **places: str) -> None:
        """The program says that these are the hosts, some of them at other addresses."""
        ssh = {
            "user": "fleet",
            "identityFile": str(self.admin.fleet.client_key),
            "knownHostsFile": str(self.pins),
        }
        where = {**{name: self.places[name] for name in names}, **places}
        hosts = {name: {"address": address} for name, address in where.items()}
        self.answer.write_text(json.dumps({"defaults": {"ssh": ssh}, "hosts": hosts}))

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["name"]: item for item in self.admin.get("nodes")["items"]}

    def ready(self, name: str) -> tuple[str, str]:
        """The Ready condition of a node: its status and reason."""
        (found,) = [
            each for each in self.nodes()[name]["status"]["conditions"] if each["type"] == "Ready"
        ]
        return found["status"], found["reason"]

    def alive(self, *names: str) -> bool:
        runs = self.admin.timeline(hosts=names).runs
        return all(runs[name] and runs[name][-1].end == float("inf") for name in names)

    def versions(self, name: str) -> list[str]:
        return self.admin.timeline(hosts=[name]).versions(name)

    def settle(self) -> None:
        self.admin.fleetd("reconcile", "--timeout", "60s", timeout=90)

    def said(self, event: str) -> list[dict[str, Any]]:
        """What the service has logged under this name."""
        lines = self.served.log.read_text().splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in told if each["event"] == event]

    served: Served


@pytest.fixture
def site(admin: Admin) -> Iterator[Site]:
    """The first three hosts run v1 under the service; the fourth is not in the inventory."""
    site = Site(admin)
    site.tell(*NAMES[:3])
    site.served = Served(admin, inventorySeconds=1)
    with site.served:
        admin.apply(unit_agent(version="v1", max_unavailable="100%"))
        yield site
    for host in admin.fleet.hosts.values():
        host.sh(f"ip addr del {elsewhere(host)}/16 dev eth0", check=False)


def elsewhere(host: Host) -> str:
    return ELSEWHERE.format(NAMES.index(host.name) + 1)


def test_hosts_join_and_leave(site: Site) -> None:
    site.tell(*NAMES)
    wait_until(lambda: site.alive("m4"), 60, "a copy on the new host")
    site.tell("m1", "m3", "m4")
    wait_until(lambda: "m2" not in site.nodes(), 60, "the farewell")
    assert leftovers(site.admin.fleet["m2"]) == []
    site.settle()
    assert [site.admin.lives(name) for name in NAMES] == [1, 1, 1, 1]


def test_who_joins_in_the_middle_of_a_bad_rollout_gets_what_is_proved(site: Site) -> None:
    bad = unit_agent(version="bad", max_unavailable=1, env={"AGENT_DIE_AFTER": "1"}, min_ready=3)
    site.admin.fleetd("apply", site.admin.write(bad), "--no-wait")
    wait_until(lambda: site.versions("m1") == ["v1", "bad"], 60, "the bad version on one host")
    site.tell(*NAMES)
    wait_until(lambda: site.alive("m4"), 60, "a copy on the new host")
    assert site.versions("m4") == ["v1"]
    assert [site.versions(name) for name in ("m2", "m3")] == [["v1"], ["v1"]]


def test_a_source_in_trouble_costs_nothing(site: Site) -> None:
    hosts = site.admin.fleet.hosts.values()
    before = snapshots(hosts)
    site.program("echo trouble >&2; exit 7")
    wait_until(lambda: bool(site.said("inventory_failed")), 30, "the failure")
    assert "trouble" in site.said("inventory_failed")[-1]["why"]
    assert "trouble" in site.admin.fleetd("get", "events", "-A").stdout
    # Half of it: two of three would leave.
    site.tell("m1")
    site.program(f"exec cat {site.answer}")
    wait_until(
        lambda: any(each["left"] == ["m2", "m3"] for each in site.said("inventory_changed")),
        30,
        "the half inventory",
    )
    held = site.admin.reconcile("--timeout", "20s", code=3)
    assert "RemovalNeedsConfirmation" in held.decisions("m2")
    site.tell(*NAMES[:3])
    wait_until(
        lambda: site.said("inventory_changed")[-1]["joined"] == ["m2", "m3"], 30, "the whole one"
    )
    site.settle()
    assert snapshots(hosts) == before
    assert [site.admin.lives(name) for name in NAMES[:3]] == [1, 1, 1]


def test_another_address_is_the_same_host(site: Site) -> None:
    host = site.admin.fleet["m2"]
    there = elsewhere(host)
    host.sh(f"ip addr add {there}/16 dev eth0")
    uid = site.nodes()["m2"]["status"]["nodeInfo"]["machineID"]
    site.tell("m1", "m3", m2=there)
    wait_until(
        lambda: there in json.dumps(site.nodes()["m2"]["status"]["addresses"]), 30, "the address"
    )
    host.sh("systemctl stop fleetd-default.agent.main.a.service")
    wait_until(lambda: site.admin.lives("m2") == 2, 60, "the repair, by the new way")
    site.settle()
    assert site.nodes()["m2"]["status"]["nodeInfo"]["machineID"] == uid
    assert site.admin.lives("m2") == 2


def test_another_name_is_the_same_host_and_two_names_are_refused(site: Site) -> None:
    host = site.admin.fleet["m2"]
    there = elsewhere(host)
    host.sh(f"ip addr add {there}/16 dev eth0")
    site.pins.write_text(site.pins.read_text() + f"web {host.disk.host_key}\n")
    site.tell("m1", "m2", "m3", web=there)
    wait_until(lambda: "web" in site.nodes() and site.ready("web")[0] != "True", 30, "the twin")
    wait_until(lambda: site.ready("m2")[0] != "True", 30, "the other twin")
    assert "are one machine" in site.admin.fleetd("why", "web").stdout
    assert site.admin.lives("m2") == 1

    site.tell("m1", "m3", web=there)
    wait_until(lambda: "m2" not in site.nodes(), 60, "the new name")
    wait_until(lambda: site.ready("web") == ("True", "HostAnswers"), 30, "the host")
    site.settle()
    assert site.admin.lives("m2") == 1
    pods = {item["metadata"]["name"] for item in site.admin.get("pods")["items"]}
    assert pods == {"agent-m1", "agent-m3", "agent-web"}


def install_anew(host: Host) -> str:
    """Another key, another machine-id, and nothing of what was there; its key line."""
    host.sh(
        "systemctl stop 'fleetd-*';"
        " find /etc/systemd/system -name '*fleetd-*' -exec rm -rf {} +;"
        " rm -rf /var/lib/fleetd-node /run/fleetd-node;"
        f" rm {KEY}*; ssh-keygen -q -t ed25519 -N '' -f {KEY};"
        " tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id",
        check=False,
    )
    host.reboot()
    wait_until(host._lets_users_in, 60, f"sshd on {host.name}")
    return " ".join(host.sh(f"cat {KEY}.pub").stdout.split()[:2])


def test_a_host_installed_anew_is_left_alone_until_it_is_enrolled(site: Site) -> None:
    host = site.admin.fleet["m3"]
    old_key = (
        (host.rootfs / KEY.lstrip("/")).read_bytes(),
        (host.rootfs / f"{KEY}.pub".lstrip("/")).read_bytes(),
    )
    key = install_anew(host)
    wait_until(lambda: site.ready("m3") == ("Unknown", "HostKeyChanged"), 60, "the quarantine")
    assert "NotReady,HostKeyChanged" in site.admin.fleetd("get", "nodes", "m3").stdout
    assert "its host key is not the one pinned" in site.admin.fleetd("why", "m3").stdout
    assert "HostKeyChanged" in site.admin.fleetd("get", "events", "-A").stdout
    assert [each["node"] for each in site.said("quarantined")] == ["m3"]
    loose = {"fleetd/max-unreachable": "50%"}
    v2 = unit_agent(version="v2", max_unavailable="100%", annotations=loose)
    site.admin.apply(v2, code=3)
    assert site.versions("m1")[-1] == "v2"
    assert site.versions("m3") == ["v1"]
    assert host.sh("ls /var/lib/fleetd-node", check=False).returncode != 0

    lines = site.pins.read_text().splitlines(keepends=True)
    site.pins.write_text("".join(line for line in lines if not line.startswith("m3 ")))
    assert "pinned" in site.admin.fleetd("enroll", "m3", "--yes").stdout
    assert key in site.pins.read_text()
    wait_until(lambda: site.alive("m3"), 60, "a copy on the new machine")
    site.settle()
    assert site.versions("m3") == ["v1", "v2"]
    assert site.ready("m3") == ("True", "HostAnswers")
    assert site.nodes()["m3"]["status"]["nodeInfo"]["machineID"] == host.machine_id
    assert "MachineReplaced" in site.admin.fleetd("get", "events", "-A").stdout

    # As it was, for whatever comes after.
    for path, data in zip((KEY, f"{KEY}.pub"), old_key, strict=True):
        Path(host.rootfs / path.lstrip("/")).write_bytes(data)
    host.sh("systemctl restart ssh")
