"""What must not restart an agent: a lost state that is adopted, and an upgrade of fleetd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import fleetd
from tests.e2e.admin import IMAGE, Admin, config_map, pod_agent, secret, unit_agent
from tests.e2e.lab import Host, HostSpec
from tests.e2e.proof import Snapshot, snapshots

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("a"), HostSpec("b", runtime="docker"))
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS]

CONFIG = {"/etc/agent": {"configMap": {"name": "settings"}}}
PASSWORD = {"valueFrom": {"secretKeyRef": {"name": "password", "key": "password"}}}
DOCUMENTS = (
    config_map("settings", {"greeting": "hello\nworld\n"}),
    secret("password", {"password": "correct horse"}),
    unit_agent("unit", lock="unit"),
    pod_agent("pod", lock="pod", mounts=CONFIG, container={"env": [{"name": "P", **PASSWORD}]}),
)


def main_pids(host: Host) -> str:
    return host.sh("systemctl show --property=Id,MainPID,InvocationID 'fleetd-*'").stdout


def without_terms(taken: dict[str, Snapshot]) -> dict[str, Snapshot]:
    """Snapshots but for the owner file: a new term is written with the next change."""
    return {
        host: {name: value for name, value in each.items() if "fleetd-node/owner" not in name}
        for host, each in taken.items()
    }


def test_a_lost_state_is_adopted_and_the_same_files_restart_nothing(admin: Admin) -> None:
    admin.apply(*DOCUMENTS)
    hosts = list(admin.fleet.hosts.values())
    before, pids = snapshots(hosts), [main_pids(host) for host in hosts]

    shutil.rmtree(admin.state)
    assert admin.reconcile(code=None).did == []
    shutil.rmtree(admin.state)
    admin.fleetd("adopt")
    # Nobody has said yet what these copies are: they are kept.
    kept = admin.reconcile(code=None)
    assert kept.did == []
    assert snapshots(hosts) == before

    admin.apply(*DOCUMENTS)
    assert [main_pids(host) for host in hosts] == pids
    assert without_terms(snapshots(hosts)) == without_terms(before)
    assert [admin.lives(name, lock) for name in NAMES for lock in ("unit", "pod")] == [1] * 4
    assert admin.reconcile().did == []

    # The adopted fleet obeys: a drift is repaired, a new revision rolled out, all of it removed.
    admin.fleet["a"].sh("systemctl stop fleetd-default.unit.main.a.service")
    assert admin.reconcile().did == [("a", "repair")]
    admin.apply(unit_agent("unit", "v2", lock="unit"))
    assert [admin.timeline("unit").versions(name) for name in NAMES] == [["v1", "v2"]] * 2
    admin.fleetd("delete", "ds", "unit", "pod")
    assert "fleetd-" not in "".join(main_pids(host) for host in hosts)


class Upgraded(Admin):
    """The same coordinator, with another version of fleetd from a directory of its own."""

    @property
    def env(self) -> dict[str, str]:
        return {**super().env, "PYTHONPATH": str(self.directory / "upgrade")}


def upgraded(admin: Admin) -> Admin:
    """Install a copy of fleetd that renders units with another default: RestartSec=4, not 5."""
    package = Path(fleetd.__file__).parent
    copy = admin.directory / "upgrade" / "fleetd"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("systemd", "launcher"):
        renderer = copy / f"workload/{name}.py"
        text = renderer.read_text()
        assert "RestartSec=5" in text
        renderer.write_text(text.replace("RestartSec=5", "RestartSec=4"))
    return Upgraded(admin.fleet, admin.directory)


def unit_text(host: Host) -> str:
    return (host.rootfs / "etc/systemd/system/fleetd-default.unit.main.a.service").read_text()


def test_an_upgrade_that_renders_otherwise_restarts_nothing(admin: Admin) -> None:
    admin.apply(*DOCUMENTS)
    hosts = list(admin.fleet.hosts.values())
    before, pids = snapshots(hosts), [main_pids(host) for host in hosts]
    old_text = unit_text(hosts[0])

    new = upgraded(admin)
    assert new.reconcile().did == []
    assert new.apply(*DOCUMENTS).did == []
    assert snapshots(hosts) == before
    assert [main_pids(host) for host in hosts] == pids

    # A repair brings the copy back as it was; the next revision is rendered anew.
    hosts[0].sh("rm /etc/systemd/system/fleetd-default.unit.main.a.service")
    assert new.reconcile().did == [("a", "repair")]
    assert unit_text(hosts[0]) == old_text
    assert "RestartSec=5" in old_text
    new.apply(unit_agent("unit", "v2", lock="unit"))
    assert all("RestartSec=4" in unit_text(host) for host in hosts)
    assert [admin.lives(name, "pod") for name in NAMES] == [1, 1]
