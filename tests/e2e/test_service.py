"""The service, installed for real: a box that drives two hosts under systemd, as its own user.

The tests of this module are one story, in its order: each begins with the fleet as the one before
has left it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import box as boxes
from tests.e2e.admin import unit_agent
from tests.e2e.box import UNITS, as_user, journal, know, property_of, write
from tests.e2e.lab import Fleet, Host, HostSpec, Timeline
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import never_two, snapshots

pytestmark = pytest.mark.timeout(300)

HOSTS = (
    HostSpec("box", runtime="none", admin=True),
    HostSpec("web-1", runtime="none"),
    HostSpec("web-2", runtime="none"),
)
SERVICE = "fleetd.service"
TARGETS = ("web-1", "web-2")
UNIT = "fleetd-default.agent.main.a.service"
DROP_IN = "/etc/systemd/system/fleetd.service.d/test.conf"


@pytest.fixture(scope="module")
def box(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The box, as docs/service.md installs it; the service not yet started."""
    box = fleet["box"]
    boxes.install_package(box, boxes.wheel(tmp_path_factory.mktemp("wheel")))
    boxes.install_units(box)
    service = {"metricsAddress": "127.0.0.1:9469"}
    boxes.settle_in(box, [fleet[name] for name in TARGETS], service)
    box.sh("useradd -m -G fleetd,fleetd-operators alice; useradd -m -G fleetd bob; useradd -m eve")
    yield box
    never_two(fleet.hosts.values())


def main_pid(box: Host) -> int:
    return int(property_of(box, SERVICE, "MainPID"))


def active(box: Host) -> bool:
    return property_of(box, SERVICE, "ActiveState") == "active"


def by(
    box: Host, user: str, command: str, *, code: int = 0, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """What a person does on the box."""
    done = box.sh(as_user(user, command), check=False, timeout=timeout)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def document(box: Host, version: str, **more: Any) -> str:
    """Write the agent's document where everybody may read it; its path."""
    path = f"/etc/fleetd/agent-{version}.yaml"
    write(box, path, yaml.safe_dump(unit_agent(version=version, **more)))
    return path


def versions(fleet: Fleet) -> dict[str, str]:
    """The version of the agent that runs on each host."""
    hosts = [fleet[name] for name in TARGETS]
    lives = Timeline.read(hosts).runs
    return {name: runs[-1].version if runs else "" for name, runs in lives.items()}


def wait_for(fleet: Fleet, version: str, *names: str, timeout: float = 60) -> None:
    wait_until(
        lambda: all(versions(fleet)[name] == version for name in names or TARGETS),
        timeout,
        f"{version} on {names or TARGETS}",
    )


def asked(box: Host, path: str) -> str:
    """What the service answers to GET, head and all."""
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX);"
        "s.connect('/run/fleetd/fleetd.sock');"
        "s.sendall(b'GET %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' "
        "% sys.argv[1].encode()); print(s.makefile().read())"
    )
    return box.sh(f'python3 -c "{program}" {path}').stdout


def settled(fleet: Fleet, box: Host) -> dict[str, dict[str, str]]:
    """What the hosts are once the service says that all is as asked."""
    by(box, "alice", "fleetd rollout status ds/agent --timeout 60s", timeout=90)
    return snapshots(fleet[name] for name in TARGETS)


# -------------------------------------------------------------------------------- the start


def test_systemd_starts_it_and_hears_that_it_is_ready(box: Host) -> None:
    box.sh(f"systemctl enable --now {SERVICE}", timeout=60)
    assert active(box)
    assert property_of(box, SERVICE, "StatusText") != ""
    assert box.sh(f"ps -o user= -p {main_pid(box)}").stdout.strip() == "fleetd"
    state = box.sh("stat -c '%a %U %n' /var/lib/fleetd /var/lib/fleetd/state.db").stdout
    assert state == "700 fleetd /var/lib/fleetd\n600 fleetd /var/lib/fleetd/state.db\n"


def test_its_sandbox_is_tight(box: Host) -> None:
    for unit in UNITS[:2]:
        told = box.sh(f"systemd-analyze security --no-pager {unit}").stdout.splitlines()[-1]
        exposure = float(told.partition(": ")[2].split()[0])
        assert exposure < 2.0, told
    pid = main_pid(box)
    status = box.sh(f"cat /proc/{pid}/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(fields["CapBnd"].strip()) == {"0"}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


# ------------------------------------------------------------------------------ the socket


def test_an_operator_applies_and_agents_appear(fleet: Fleet, box: Host) -> None:
    by(box, "alice", f"fleetd apply {document(box, 'v1')}", timeout=90)
    assert versions(fleet) == dict.fromkeys(TARGETS, "v1")
    assert main_pid(box) != 0


def test_a_reader_looks_and_changes_nothing(box: Host) -> None:
    assert "web-1" in by(box, "bob", "fleetd get pods -o wide").stdout
    refused = by(box, "bob", "fleetd delete ds agent", code=2).stderr
    assert "fleetd-operators" in refused
    assert "agent" in by(box, "bob", "fleetd get ds").stdout


def test_a_stranger_is_told_which_group_it_takes(box: Host) -> None:
    assert "the group fleetd" in by(box, "eve", "fleetd get ds", code=2).stderr


def test_the_drift_timer_asks_the_service(fleet: Fleet, box: Host) -> None:
    before = snapshots(fleet[name] for name in TARGETS)
    box.sh("systemctl start fleetd-drift.service", timeout=60)
    assert property_of(box, "fleetd-drift.service", "Result") == "success"
    assert snapshots(fleet[name] for name in TARGETS) == before


def test_metrics_and_health_and_nothing_else_are_on_tcp(box: Host) -> None:
    program = (
        "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 9469);"
        "c.request('GET', sys.argv[1]); a = c.getresponse(); print(a.status, a.read().decode())"
    )
    told = {
        path: box.sh(f'python3 -c "{program}" {path}').stdout
        for path in ("/metrics", "/readyz", "/api/v1/nodes", "/apis/fleetd/v1/verbs/get")
    }
    assert told["/metrics"].startswith("200 ")
    assert 'fleetd_host_reachable{node="web-1"} 1' in told["/metrics"]
    assert told["/readyz"] == "200 ok\n"
    assert told["/api/v1/nodes"].startswith("404 ")
    assert told["/apis/fleetd/v1/verbs/get"].startswith("404 ")


# -------------------------------------------------------------------------------- a reload


def test_a_reload_reads_the_inventory_again(fleet: Fleet, box: Host) -> None:
    pid = main_pid(box)
    know(box, [fleet[name] for name in TARGETS], rack="r7")
    box.sh(f"systemctl reload {SERVICE}")
    wait_until(
        lambda: "rack=r7" in by(box, "bob", "fleetd get nodes --show-labels").stdout,
        20,
        "the label of the inventory",
    )
    assert active(box)
    assert main_pid(box) == pid


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        pytest.param("/etc/fleetd/hosts.json", "{}", "names no host", id="inventory"),
        pytest.param("/etc/fleetd/fleetd.yaml", "inventry: hosts\n", "inventry", id="settings"),
    ],
)
def test_what_is_wrong_at_a_reload_changes_nothing_and_is_told(
    fleet: Fleet, box: Host, path: str, text: str, told: str
) -> None:
    before, good, pid = settled(fleet, box), box.sh(f"cat {path}").stdout, main_pid(box)
    since = box.sh("date +%s").stdout.strip()
    write(box, path, text)
    box.sh(f"systemctl reload {SERVICE}")
    wait_until(lambda: told in property_of(box, SERVICE, "StatusText"), 20, "the trouble")
    assert told in journal(box, SERVICE, since)
    assert active(box)
    write(box, path, good)
    box.sh(f"systemctl reload {SERVICE}")
    wait_until(lambda: told not in property_of(box, SERVICE, "StatusText"), 20, "its end")
    assert settled(fleet, box) == before
    assert main_pid(box) == pid


# ------------------------------------------------------------------------ ends and new starts


@pytest.fixture(scope="module")
def hasty(box: Host) -> Host:
    """The same box, with less patience of systemd."""
    box.sh(f"mkdir -p {DROP_IN.rpartition('/')[0]}")
    write(box, DROP_IN, "[Service]\nWatchdogSec=3s\nRestartSec=500ms\n")
    box.sh(f"systemctl daemon-reload && systemctl restart {SERVICE}")
    return box


def again(box: Host, before: int) -> None:
    """Wait until systemd has started the service anew."""
    wait_until(lambda: main_pid(box) not in {0, before} and active(box), 40, "a new start")


def test_a_service_that_hangs_is_killed_and_started_again(fleet: Fleet, hasty: Host) -> None:
    before, pid = settled(fleet, hasty), main_pid(hasty)
    hasty.sh(f"kill -STOP {pid}")
    again(hasty, pid)
    assert "watchdog" in hasty.sh(f"journalctl -q --no-pager -u {SERVICE}").stdout.lower()
    assert settled(fleet, hasty) == before


def test_a_service_whose_part_fails_is_started_again_and_restarts_no_agent(
    fleet: Fleet, hasty: Host
) -> None:
    before, pid = settled(fleet, hasty), main_pid(hasty)
    hasty.sh(f"kill -KILL {pid}")
    again(hasty, pid)
    assert settled(fleet, hasty) == before


GATE = "ExecStartPre=/bin/sh -c 'until [ -e /run/go-%s ]; do sleep 0.1; done'\n"
"""A new copy starts when it may: so there is a middle of a rollout, for as long as it takes."""


def begin_rollout(fleet: Fleet, box: Host, version: str) -> None:
    """Begin a rollout, and return when the update of its first host is under way."""
    path = document(box, version, directives=GATE % version)
    box.sh(f"({as_user('alice', f'fleetd apply {path}')}) >/tmp/apply.log 2>&1 &")
    first = fleet["web-1"]
    wait_until(
        lambda: property_of(first, UNIT, "ActiveState") == "activating", 30, "the first update"
    )


def end_rollout(fleet: Fleet, box: Host, version: str) -> None:
    """Let a rollout go on, to its end; each host has had each version once."""
    for name in TARGETS:
        fleet[name].sh(f"touch /run/go-{version}")
    wait_for(fleet, version)
    settled(fleet, box)
    lives = Timeline.read([fleet[name] for name in TARGETS]).runs
    for runs in lives.values():
        started = [run.version for run in runs]
        assert started == sorted(set(started))


def test_a_stop_in_the_middle_of_a_rollout_leaves_every_host_whole(
    fleet: Fleet, hasty: Host
) -> None:
    begin_rollout(fleet, hasty, "v2")
    hasty.sh(f"systemctl stop --no-block {SERVICE}")
    wait_until(
        lambda: property_of(hasty, SERVICE, "ActiveState") == "deactivating", 20, "the end to begin"
    )
    refused = by(hasty, "alice", f"fleetd apply {document(hasty, 'v9')}", code=2).stderr
    assert "the service is ending" in refused
    # What is in flight may take its time; whoever is in a hurry says so once more.
    hasty.sh(f"systemctl kill --kill-who=main --signal=TERM {SERVICE}", check=False)
    wait_until(lambda: property_of(hasty, SERVICE, "ActiveState") == "inactive", 20, "the end")
    assert "the service goes on with it" in hasty.sh("cat /tmp/apply.log").stdout
    assert property_of(hasty, SERVICE, "Result") == "success"
    states = {name: property_of(fleet[name], UNIT, "ActiveState") for name in TARGETS}
    assert states == {"web-1": "activating", "web-2": "active"}
    assert versions(fleet)["web-2"] == "v1"
    root_keeps_out(hasty)
    hasty.sh(f"systemctl start {SERVICE}", timeout=60)
    end_rollout(fleet, hasty, "v2")


def root_keeps_out(box: Host) -> None:
    """While no service runs root may look, leaves nothing of its own, and is told how to change."""
    assert "web-1" in box.sh("fleetd get pods -o wide").stdout
    refused = box.sh("fleetd reconcile", check=False)
    assert refused.returncode == 2
    assert "systemctl start fleetd" in refused.stderr
    assert box.sh("find /var/lib/fleetd ! -user fleetd").stdout == ""


def test_a_kill_in_the_middle_of_a_rollout_delays_it_and_no_more(fleet: Fleet, hasty: Host) -> None:
    pid = main_pid(hasty)
    begin_rollout(fleet, hasty, "v3")
    hasty.sh(f"kill -KILL {pid}")
    again(hasty, pid)
    assert versions(fleet)["web-2"] == "v2"
    end_rollout(fleet, hasty, "v3")


def test_an_upgrade_goes_on_with_a_rollout_and_restarts_no_agent(
    fleet: Fleet, hasty: Host, tmp_path: Path
) -> None:
    newer = boxes.wheel(tmp_path, "99.0.0")
    begin_rollout(fleet, hasty, "v4")
    boxes.install_package(hasty, newer)
    hasty.sh(f"systemctl restart {SERVICE}", timeout=90)
    end_rollout(fleet, hasty, "v4")
    before = settled(fleet, hasty)
    assert '"fleetdVersion":"99.0.0"' in asked(hasty, "/version")
    hasty.sh(f"systemctl restart {SERVICE}", timeout=90)
    by(hasty, "alice", "fleetd reconcile --timeout 60s", timeout=90)
    assert settled(fleet, hasty) == before


# ---------------------------------------------------------------------------- a bad start


def test_wrong_settings_end_the_start_and_are_not_tried_again(hasty: Host) -> None:
    good = hasty.sh("cat /etc/fleetd/fleetd.yaml").stdout
    write(hasty, "/etc/fleetd/fleetd.yaml", "inventry: hosts\n")
    since = hasty.sh("date +%s").stdout.strip()
    hasty.sh(f"systemctl restart {SERVICE}", check=False, timeout=60)
    assert property_of(hasty, SERVICE, "ActiveState") == "failed"
    assert property_of(hasty, SERVICE, "ExecMainStatus") == "2"
    assert "did you mean inventory?" in journal(hasty, SERVICE, since)
    write(hasty, "/etc/fleetd/fleetd.yaml", good)


def test_an_inventory_that_fails_is_waited_for_and_nobody_leaves(fleet: Fleet, hasty: Host) -> None:
    before = snapshots(fleet[name] for name in TARGETS)
    hasty.sh("mv /etc/fleetd/hosts.json /etc/fleetd/away")
    hasty.sh(f"systemctl start {SERVICE}", timeout=60)
    assert active(hasty)
    assert "hosts.json" in property_of(hasty, SERVICE, "StatusText")
    ready = asked(hasty, "/readyz")
    assert " 503 " in ready.splitlines()[0]
    assert snapshots(fleet[name] for name in TARGETS) == before
    hasty.sh("mv /etc/fleetd/away /etc/fleetd/hosts.json")
    wait_until(
        lambda: "hosts.json" not in property_of(hasty, SERVICE, "StatusText"), 30, "the inventory"
    )
    assert settled(fleet, hasty) == before
