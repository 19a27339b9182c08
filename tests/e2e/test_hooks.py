"""Hooks on real hosts: what they do in order with the agent's own life, however it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.e2e.admin import AGENT_DIR, IMAGE, Admin, Document, pod_agent
from tests.e2e.lab import Host, HostSpec
from tests.e2e.lab.machine import LabError, wait_until

pytestmark = pytest.mark.timeout(400)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod"))
IMAGES = (IMAGE,)
BOTH: Final[dict[str, Any]] = {"max_unavailable": 2}
UNIT: Final = "fleetd-default.agent.agent.a.service"
SICK: Final = f"{AGENT_DIR}/sick"


def says(word: str) -> Document:
    """A hook that writes a line as the agent does: what, and when by the boot clock."""
    script = f'read -r now _ </proc/uptime; echo "{word} $now" >>{AGENT_DIR}/hooks'
    return {"exec": {"command": ["sh", "-c", script]}}


def hooked(version: str = "v1", **pod: Any) -> Document:
    container = {
        "lifecycle": {"postStart": says("post-start"), "preStop": says("pre-stop")},
        "livenessProbe": {
            "exec": {"command": ["test", "!", "-e", SICK]},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
    }
    return pod_agent(version=version, container=container, pod=pod, **BOTH)


def lines(host: Host) -> list[tuple[float, str]]:
    """What the agent and its hooks wrote down on a host, in order of time."""
    found = []
    for name in ("lock.log", "hooks"):
        text = (host.agent_logs / name).read_text()
        words = (line.split() for line in text.splitlines())
        found += [(float(at), event) for event, at, *_ in words if event != "beat"]
    return sorted(found)


def await_lines(host: Host, number: int) -> None:
    """Wait until so many lines are there, told if they never come."""
    try:
        wait_until(lambda: len(lines(host)) >= number, 90, f"{number} lines on {host.name}")
    except LabError as error:
        raise AssertionError(f"{error}: {lines(host)}") from error


LIFE: Final = ["start", "post-start", "pre-stop", "stop"]
"""The agent lives on while its hook runs, and is told to stop after it."""


def update(admin: Admin, host: Host) -> None:
    admin.apply(hooked("v2"))


def restart(admin: Admin, host: Host) -> None:
    host.sh(f"systemctl restart {UNIT}")


def die(admin: Admin, host: Host) -> None:
    (host.agent_logs / "sick").touch()
    await_lines(host, 5)
    (host.agent_logs / "sick").unlink()


def reboot(admin: Admin, host: Host) -> None:
    host.reboot()


WAYS: Final = [update, restart, die, reboot]


@pytest.mark.parametrize("stop", WAYS, ids=lambda way: way.__name__)
def test_hooks_run_in_order_however_the_agent_is_stopped(
    admin: Admin, stop: Callable[[Admin, Host], None]
) -> None:
    admin.apply(hooked())
    hosts = list(admin.fleet.hosts.values())
    for host in hosts:
        assert [event for _, event in lines(host)] == LIFE[:2]
    for host in hosts:
        stop(admin, host)
        await_lines(host, 6)
        events = [event for _, event in lines(host)]
        assert events[:6] == [*LIFE, *LIFE[:2]], f"{host.name}: {events}"


def test_delete_runs_the_hook(admin: Admin) -> None:
    admin.apply(hooked())
    admin.fleetd("delete", "ds/agent")
    for host in admin.fleet.hosts.values():
        assert [event for _, event in lines(host)] == LIFE


def test_a_hook_that_hangs_and_an_agent_that_does_not_listen_end_with_the_grace_period(
    admin: Admin,
) -> None:
    container = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "1000"]}}}}
    document = pod_agent(
        container=container,
        env={"AGENT_IGNORE_TERM": "yes"},
        pod={"terminationGracePeriodSeconds": 3},
        **BOTH,
    )
    admin.apply(document)
    admin.fleetd("delete", "ds/agent", timeout=60)
    for host in admin.fleet.hosts.values():
        assert host.sh("pgrep -f 'sleep [1]000'", check=False).stdout == ""


def test_no_grace_period_means_no_hook_and_no_waiting(admin: Admin) -> None:
    container = {"lifecycle": {"preStop": says("pre-stop"), "postStart": says("post-start")}}
    document = pod_agent(
        container=container,
        env={"AGENT_IGNORE_TERM": "yes"},
        pod={"terminationGracePeriodSeconds": 0},
        **BOTH,
    )
    admin.apply(document)
    admin.fleetd("delete", "ds/agent", timeout=60)
    for host in admin.fleet.hosts.values():
        assert [event for _, event in lines(host)] == LIFE[:2]


def lives_again(admin: Admin, host: Host) -> None:
    wait_until(lambda: admin.lives(host.name) > 1, 60, f"another start on {host.name}")


def test_a_copy_is_not_ready_before_its_hook_is_over_and_starts_again_when_it_fails(
    admin: Admin,
) -> None:
    hook = f"[ -e {AGENT_DIR}/may-start ] || {{ echo no leave to start; exit 1; }}"
    container = {"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", hook]}}}}
    admin.fleetd("apply", admin.write(pod_agent(container=container, **BOTH)), "--no-wait")
    hosts = list(admin.fleet.hosts.values())
    for host in hosts:
        lives_again(admin, host)

    def told() -> bool:
        holders = admin.reconcile("--timeout", "1s", code=3).json["holders"]["default/agent"]
        return all("postStart hook failed: no leave to start" in why for why in holders.values())

    wait_until(told, 60, "the reason on all hosts")
    assert admin.get("ds", "agent")["status"]["numberReady"] == 0
    for host in hosts:
        (host.agent_logs / "may-start").touch()
    admin.reconcile()
    assert admin.get("ds", "agent")["status"]["numberReady"] == 2
    for host in hosts:
        first, *_ = admin.timeline(hosts=[host.name]).runs[host.name]
        assert first.last == first.end  # the one whose hook failed was told to stop
