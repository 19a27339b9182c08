"""What happens to a host is seen through its journal, and repaired at once.

The service looks at nothing by itself here but once a day, so that whatever it repairs was told by
a stream; each repair is held against the event that came before it. How long a repair took, from
the cause on, goes into build/streams.txt; no test asserts a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path

import pytest

from tests.e2e.admin import AGENT_DIR, IMAGE, Admin, pod_agent, unit_agent
from tests.e2e.lab import Fleet, Host, HostSpec, boottime
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import never_two, shape, snapshots
from tests.e2e.running import Running, service

pytestmark = pytest.mark.timeout(300)

UNIT = "fleetd-default.agent.main.a.service"
TEXT = f"/etc/systemd/system/{UNIT}"
CONTAINER = "fleetd-default.pod.agent.a"
CONFIG = "/etc/agent.conf"
WANTS = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
STREAM_UNITS = "systemctl list-units --all --plain --no-legend 'fleetd_watch-*.path' | wc -l"
FOLLOWERS = "pgrep -c -f '^journalctl -f -o json' || true"
DEAF = """
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\\nStorage=none\\n' >/etc/systemd/journald.conf.d/none.conf
systemctl restart systemd-journald
rm -rf /run/log/journal/* /var/log/journal/*
"""
READY = f"{AGENT_DIR}/probed-is-ready"
TIMES = Path(__file__).parents[2] / "build/streams.txt"

HOSTS = (
    HostSpec("p0", runtime="podman", labels={"containers": "yes"}),
    HostSpec("d0", runtime="docker", labels={"containers": "yes"}),
    HostSpec("u0", runtime="none"),
    HostSpec("u1", runtime="none", labels={"probed": "yes"}),
    HostSpec("q0", runtime="none"),
)
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS]
DOCUMENTS = (
    unit_agent(
        directives="RestartSec=100ms\n[Unit]\nStartLimitIntervalSec=5\nStartLimitBurst=3\n",
        systemd={"files": [{"path": CONFIG, "mode": 0o640, "content": "some\n"}]},
        max_unavailable="100%",
    ),
    pod_agent(
        "pod", lock="pod", max_unavailable="100%", pod={"nodeSelector": {"containers": "yes"}}
    ),
    unit_agent(
        "probed",
        lock="probed",
        systemd={
            "readinessProbe": {
                "exec": {"command": ["test", "-e", READY]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            }
        },
        pod={"nodeSelector": {"probed": "yes"}},
    ),
)


@dataclass(frozen=True, slots=True)
class Drift:
    """A damage as a shell script, and what the stream tells of it, of which any one is enough.

    systemd itself mends `by_systemd`, with a new life of the agent of that lock.
    """

    name: str
    script: str
    told: tuple[str, ...]
    host: str = ""
    by_systemd: str = ""


def _in_turns(*drifts: Drift) -> tuple[Drift, ...]:
    """What is put right again and again on one host is left alone for a while: take turns."""
    hosts = cycle(("u0", "u1", "p0", "d0"))
    return tuple(drift if drift.host else replace(drift, host=next(hosts)) for drift in drifts)


DRIFTS = _in_turns(
    Drift("killed", f"systemctl kill -s KILL {UNIT}", ("process exited",), by_systemd="lock"),
    Drift("stopped", f"systemctl stop {UNIT}", ("unit stopped",)),
    Drift("masked", f"ln -sf /dev/null {TEXT}; systemctl daemon-reload", ("systemd reloads",)),
    Drift("masked by a link alone", f"ln -sf /dev/null {TEXT}", ("files changed",)),
    Drift("disabled", f"systemctl disable {UNIT}", ("systemd reloads", "files changed")),
    # systemd remembers what is enabled until it reloads.
    Drift("link removed", f"rm {WANTS}; systemctl daemon-reload", ("files changed",)),
    Drift(
        "crash loop",
        f"""until systemctl is-failed --quiet {UNIT}; do
            systemctl kill --signal=KILL {UNIT}; sleep 0.2
        done""",
        ("unit failed",),
    ),
    Drift("unit file edited", f"sed -i s/=v1/=v9/ {TEXT}", ("files changed",)),
    Drift("unit file appended to", f"echo >>{TEXT}", ("files changed",)),
    Drift("unit file removed", f"rm {TEXT}", ("files changed",)),
    Drift("delivered file edited", f"echo more >>{CONFIG}", ("files changed",)),
    Drift("delivered file replaced", f"echo x >/etc/x; mv /etc/x {CONFIG}", ("files changed",)),
    Drift("delivered file removed", f"rm {CONFIG}", ("files changed",)),
    Drift("delivered file opened to all", f"chmod 666 {CONFIG}", ("files changed",)),
    Drift(
        "podman: container removed",
        f"{HostSpec('p0').runtime} rm --force {CONTAINER}",
        ("unit stopped", "process exited", "unit"),
        host="p0",
        by_systemd="pod",
    ),
    Drift(
        "docker: container removed",
        f"docker rm --force {CONTAINER}",
        ("unit stopped", "process exited", "unit"),
        host="d0",
        by_systemd="pod",
    ),
    Drift(
        "podman: unit stopped",
        f"systemctl stop {CONTAINER}.service",
        ("unit stopped",),
        host="p0",
    ),
    Drift(
        "docker: unit stopped",
        f"systemctl stop {CONTAINER}.service",
        ("unit stopped",),
        host="d0",
    ),
)


@dataclass
class Watched:
    """A settled fleet under a service that nothing but streams wakes."""

    admin: Admin
    running: Running
    took: dict[str, float] = field(default_factory=dict)

    def host(self, name: str) -> Host:
        return self.admin.fleet[name]

    def damage(self, host: str, script: str) -> float:
        """Do it once nothing of what was before is still being told; returns the moment before."""
        wait_until(lambda: not self.running.since(time.time() - 0.6, host), 60, f"{host} to rest")
        at = time.time()
        self.host(host).sh(f"{{ {script}; }} >/dev/null 2>&1")
        return at

    def repaired(self, drift: Drift, since: float, lives: int) -> float:
        """Wait until it is as it was; returns when that was so."""
        if not drift.by_systemd:
            return self.running.done(drift.host, since=since).at
        lock = drift.by_systemd
        wait_until(lambda: self.admin.lives(drift.host, lock) > lives, 60, "a new life")
        start = self.admin.timeline(lock, [drift.host]).runs[drift.host][-1].start
        return time.time() - boottime() + start

    def whys(self, node: str, since: float) -> list[str]:
        """What the stream of a node told since then."""
        found = self.running.since(since, node)
        return [event.why for event in found if event.name == "stream_event"]


@pytest.fixture(scope="module")
def watched(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    admin = Admin(fleet, tmp_path_factory.mktemp("admin"))
    fleet["q0"].sh(DEAF)
    fleet["u1"].sh(f"touch {READY}")
    admin.apply(*DOCUMENTS)
    with service(admin, pollSeconds=5) as running:
        for name in NAMES:
            running.state(name, "polling" if name == "q0" else "live")
        watched = Watched(admin, running)
        yield watched
    if watched.took:
        _write_down(watched.took)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_is_left_alone, fleet.hosts.values()))
    never_two(fleet.hosts.values())


def _is_left_alone(host: Host) -> None:
    """No stream of a service that has ended goes on."""
    wait_until(lambda: host.sh(STREAM_UNITS).stdout.strip() == "0", 20, f"no watch on {host.name}")
    wait_until(lambda: host.sh(FOLLOWERS).stdout.strip() == "0", 20, f"no reader on {host.name}")


def _write_down(took: dict[str, float]) -> None:
    TIMES.parent.mkdir(exist_ok=True)
    lines = [f"{seconds:6.2f} s  {name}\n" for name, seconds in took.items()]
    median = f"{statistics.median(took.values()):6.2f} s  median, from the cause to repaired\n"
    TIMES.write_text("".join([*lines, median]))


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name)
def test_a_drift_is_told_by_the_stream_and_repaired(watched: Watched, drift: Drift) -> None:
    host = watched.host(drift.host)
    before = shape(host)
    lives = watched.admin.lives(drift.host, drift.by_systemd) if drift.by_systemd else 0
    cause = watched.damage(drift.host, drift.script)
    repaired = watched.repaired(drift, cause, lives)
    watched.took[drift.name] = repaired - cause
    first = watched.running.wait(
        lambda event: (
            event.name == "stream_event"
            and event.node == drift.host
            and event.why.startswith(drift.told)
        ),
        f"a word of the stream about {drift.name}",
        since=cause,
    )
    if not drift.by_systemd:
        assert first.at < repaired
    wait_until(lambda: shape(host) == before, 60, f"{drift.host} to be as it was")
    told = watched.running.since(cause, drift.host)
    assert [event for event in told if event.name == "stream"] == []


def test_streams_change_nothing_and_are_one_per_host(watched: Watched) -> None:
    hosts = [watched.host(name) for name in NAMES]
    before = snapshots(hosts)
    count = {host.name: host.sh(STREAM_UNITS).stdout.strip() for host in hosts}
    assert {count[name] for name in NAMES if name != "q0"} == {"1"}
    assert snapshots(hosts) == before


def test_what_a_probe_finds_is_told(watched: Watched) -> None:
    def ready() -> str:
        (pod,) = [
            pod
            for pod in watched.admin.get("pods")["items"]
            if pod["metadata"]["name"].startswith("probed-")
        ]
        conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
        return str(conditions["Ready"])

    assert ready() == "True"
    cause = watched.damage("u1", f"rm {READY}")
    wait_until(lambda: ready() == "False", 60, "the pod to be not ready", every=0.3)
    assert watched.whys("u1", cause)[0] == "files changed"
    watched.host("u1").sh(f"touch {READY}")
    wait_until(lambda: ready() == "True", 60, "the pod to be ready again", every=0.3)


def test_a_host_whose_journal_tells_nothing_is_polled_and_said_to_be(watched: Watched) -> None:
    told = watched.running.state("q0", "polling")
    assert told.why.startswith("its journal tells nothing")
    cause = watched.damage("q0", f"systemctl stop {UNIT}")
    watched.running.done("q0", since=cause)
    assert watched.whys("q0", 0.0) == []


def test_a_restart_of_journald_is_no_loss(watched: Watched) -> None:
    watched.host("u0").sh("systemctl restart systemd-journald")
    cause = watched.damage("u0", f"systemctl stop {UNIT}")
    watched.running.done("u0", since=cause)
    assert any(why.startswith("unit stopped") for why in watched.whys("u0", cause))


def test_a_reader_of_the_journal_that_dies_is_replaced(watched: Watched) -> None:
    """What happens in between is not lost: the next one goes on where this one ended."""
    cause = watched.damage("u0", f"pkill -f '^journalctl -f'; systemctl stop {UNIT}")
    watched.running.state("u0", "down", since=cause)
    watched.running.state("u0", "live", since=cause)
    watched.running.done("u0", since=cause)
    watched.running.wait(
        lambda event: event.name == "stream_event" and event.why.startswith("unit stopped"),
        "the stop",
        since=cause,
    )
    wait_until(
        lambda: watched.host("u0").sh(STREAM_UNITS).stdout.strip() == "1", 20, "only one watch"
    )


def test_what_a_host_suffered_while_it_was_off_is_repaired_when_it_is_back(
    watched: Watched,
) -> None:
    host = watched.host("u1")
    host.power_cut()
    cause = time.time()
    watched.running.state("u1", "down", since=cause - 5)
    (host.rootfs / CONFIG.lstrip("/")).unlink()
    host.boot()
    watched.running.state("u1", "live", since=cause)
    watched.running.done("u1", since=cause)
    assert host.sh(f"cat {CONFIG}").stdout == "some\n"


def test_a_reboot_is_seen_and_the_stream_goes_on(watched: Watched) -> None:
    cause = time.time()
    watched.host("u1").reboot()
    watched.running.state("u1", "down", since=cause)
    back = watched.running.state("u1", "live", since=cause)
    stopped = watched.damage("u1", f"systemctl stop {UNIT}")
    watched.running.done("u1", since=stopped)
    assert back.at < stopped


def test_hosts_that_fall_silent_are_noticed_and_caught_up_with(watched: Watched) -> None:
    """A cable and a frozen sshd: nobody closes those connections."""
    unplugged, frozen = watched.host("u0"), watched.host("u1")
    cause = time.time()
    try:
        unplugged.unplug()
        frozen.freeze_sshd()
        for host in (unplugged, frozen):
            watched.damage(host.name, f"systemctl stop {UNIT}")
        for host in (unplugged, frozen):
            watched.running.state(host.name, "down", since=cause, timeout=150)
    finally:
        unplugged.plug()
        frozen.thaw_sshd()
    for host in (unplugged, frozen):
        watched.running.state(host.name, "live", since=cause, timeout=90)
        watched.running.done(host.name, since=cause)
