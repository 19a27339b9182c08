"""Cuts at any moment: of fleetd, of a host's power; and reboots, which need no coordinator.

The moments are drawn at random, by a seed that a failing test names: another seed is another run.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from subprocess import Popen

import pytest

from tests.e2e.admin import IMAGE, Admin, Document, pod_agent, unit_agent
from tests.e2e.lab import Entry, Host, HostSpec, boottime
from tests.e2e.lab.machine import wait_until

pytestmark = pytest.mark.timeout(300)

HOSTS = (
    *(HostSpec(f"c{number}") for number in range(1, 5)),
    HostSpec("dock", runtime="docker"),
)
IMAGES = (IMAGE,)
FOUR = [spec.name for spec in HOSTS[:4]]
UNIT = "fleetd-default.agent.main.a.service"
KILLS = 6
CUTS = 4


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")  # noqa: T201  (pytest shows it when the test fails)
    return random.Random(seed)


@pytest.fixture
def four(admin: Admin) -> Admin:
    admin.know([Entry(admin.fleet[name]) for name in FOUR])
    return admin


def cut_short(run: Popen[str], chance: random.Random) -> None:
    """Return at some moment of the 1.5 seconds after fleetd has said what it is about to do."""
    assert run.stderr is not None
    run.stderr.readline()
    time.sleep(chance.uniform(0, 1.5))


def agent(version: str) -> Document:
    return unit_agent(version=version, max_unavailable=1)


def test_a_rollout_survives_any_number_of_kills_within_its_budget(
    four: Admin, chance: random.Random
) -> None:
    four.apply(agent("v1"))
    since = boottime()
    spec = four.write(agent("v2"))
    for _ in range(KILLS):
        run = four.start("apply", spec)
        cut_short(run, chance)
        run.kill()
        run.communicate()
    four.apply(agent("v2"))
    timeline = four.timeline(hosts=FOUR)
    assert all(timeline.versions(name) == ["v1", "v2"] for name in FOUR)
    assert timeline.peak(since, boottime()).count == 1
    assert four.reconcile().did == []
    [rollout] = four.get("ds")["items"]
    assert rollout["status"]["numberAvailable"] == len(FOUR)


def unit_file(host: Host) -> Path:
    return host.rootfs / "etc/systemd/system" / UNIT


def test_a_power_cut_in_an_apply_leaves_whole_files_and_the_next_run_converges(
    four: Admin, chance: random.Random
) -> None:
    first, other = four.fleet["c1"], four.fleet["c2"]
    four.know([Entry(first), Entry(other)])
    four.apply(unit_agent(version="v0", max_unavailable=2))
    old = unit_file(other).read_text()
    for number in range(1, CUTS + 1):
        version = f"v{number}"
        spec = unit_agent(version=version, max_unavailable=2)
        run = four.start("apply", four.write(spec), "-o", "json")
        cut_short(run, chance)
        first.power_cut()
        run.kill()
        run.communicate()
        torn = unit_file(first).read_text()
        first.boot()
        first.wait_ssh()
        four.apply(spec)
        new = unit_file(other).read_text()
        assert torn in (old, new), f"cut {number} left neither revision whole"
        assert unit_file(first).read_text() == new
        assert four.timeline().versions("c1")[-1] == version
        old = new
    state = first.sh(f"systemctl is-enabled {UNIT}; systemctl is-active {UNIT}").stdout
    assert state.split() == ["enabled", "active"]


@pytest.fixture
def both(admin: Admin) -> Admin:
    """A unit and a container on a podman host and on a docker host."""
    admin.know([Entry(admin.fleet[name]) for name in ("c1", "dock")])
    admin.apply(unit_agent("unit", lock="unit"), pod_agent("pod", lock="pod"))
    return admin


def wait_for_lives(admin: Admin, host: str, count: int) -> None:
    """Until both agents of a host have started so often and run."""

    def there() -> bool:
        lives = [admin.timeline(lock, [host]).runs[host] for lock in ("unit", "pod")]
        return all(len(runs) >= count and runs[-1].end == float("inf") for runs in lives)

    wait_until(there, 60, f"the agents of {host}, life {count}")


def test_agents_come_back_after_a_reboot_and_a_power_cut_without_a_coordinator(
    both: Admin,
) -> None:
    hosts = [both.fleet["c1"], both.fleet["dock"]]
    for host in hosts:
        host.reboot()
    for host in hosts:
        wait_for_lives(both, host.name, 2)
    for host in hosts:
        host.power_cut()
        host.boot()
    for host in hosts:
        wait_for_lives(both, host.name, 3)
        host.wait_ssh()
    assert both.reconcile().did == []
    pods = both.get("pods", flags=("--refresh",))["items"]
    assert len(pods) == 4
    ready = [
        each["status"]
        for pod in pods
        for each in pod["status"]["conditions"]
        if each["type"] == "Ready"
    ]
    assert ready == ["True"] * 4
    assert [both.lives(host.name, lock) for host in hosts for lock in ("unit", "pod")] == [3] * 4
