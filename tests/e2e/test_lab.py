from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import IO

import pytest
import yaml

from tests.e2e.lab import Entry, Fleet, Host, HostSpec, LabError, Timeline, boottime, sweep
from tests.e2e.lab.machine import Cgroup, wait_until
from tests.e2e.lab.timeline import Overlap, Peak, Run, parse

pytestmark = pytest.mark.timeout(600)  # the first run builds the base image

SPECS = (
    HostSpec("pod", noisy_bashrc=True, labels={"role": "web"}),
    HostSpec("dock", runtime="docker", login_shell="zsh", noisy_bashrc=True),
    HostSpec("boss", user="root", login_shell="dash"),
    HostSpec("fish", login_shell="fish", noisy_bashrc=True),
    HostSpec("small", login_shell="tcsh", noisy_bashrc=True, disk_mb=48),
    HostSpec("admin", runtime="none", admin=True),
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(SPECS) as booted:
        yield booted


@pytest.fixture
def pod(fleet: Fleet) -> Host:
    return fleet["pod"]


def start_agent(host: Host, image: str, lock: str) -> str:
    """Run the test agent in a container; returns the container's name."""
    state = "/var/lib/lab-agent"
    host.sh(
        f"{host.spec.runtime} run --detach --name {lock} --network=none --volume={state}:{state}"
        f" --env=AGENT_LOCK={state}/{lock} {image}"
    )
    wait_until(lambda: bool(lives(host, lock)), 20, f"the start of {lock}")
    return lock


def lives(host: Host, lock: str) -> tuple[Run, ...]:
    return Timeline.read([host], lock).runs[host.name]


def facts_of(up: IO[str]) -> dict[str, str]:
    """What `lab up` prints before it holds the fleet."""
    lines = takewhile(lambda line: not line.startswith("up;"), up)
    return {words[0]: words[1] for words in (line.split(maxsplit=1) for line in lines)}


# ------------------------------------------------------------------------------------- access


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_login_shell_runs_what_ssh_asks(fleet: Fleet, spec: HostSpec) -> None:
    command = "sudo -n id -u; sh -c 'cat /proc/$PPID/comm'; hostname"
    chatter = ["Welcome to the machine!"] if spec.noisy_bashrc else []
    said = fleet[spec.name].ssh(command).stdout.splitlines()
    assert said == [*chatter, "0", spec.login_shell, spec.name]


def test_hosts_share_no_identity(fleet: Fleet) -> None:
    hosts = list(fleet.hosts.values())
    assert len({host.sh("cat /etc/machine-id").stdout for host in hosts}) == len(hosts)
    assert len({host.disk.host_key for host in hosts}) == len(hosts)


def test_a_host_has_only_the_engine_it_was_asked_for(fleet: Fleet) -> None:
    programs = {"podman", "docker", "python3"}
    found = {
        name: programs & set(fleet[name].sh("ls /usr/bin").stdout.split())
        for name in ("pod", "dock", "admin")
    }
    assert found == {"pod": {"podman"}, "dock": {"docker"}, "admin": {"python3"}}


def test_every_unit_of_a_fresh_host_is_well(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        state = host.sh("systemctl is-system-running --wait; systemctl --failed --plain").stdout
        assert state.startswith("running\n"), state


def test_nothing_leaves_the_network_of_the_fleet(fleet: Fleet) -> None:
    assert "default" not in fleet.coordinator(["ip", "route"]).stdout
    assert "default" not in fleet["pod"].sh("ip route").stdout


def test_the_inventory_names_every_host_or_the_entries_asked_for(
    fleet: Fleet, tmp_path: Path
) -> None:
    every = yaml.safe_load(fleet.write_inventory(tmp_path / "all.yaml").read_text())
    assert list(every["hosts"]) == [spec.name for spec in SPECS]
    assert every["hosts"]["boss"] == {"address": fleet["boss"].ip, "ssh": {"user": "root"}}

    entry = Entry(fleet["pod"], "renamed", labels={"zone": "a"}, taints=["x=y:NoSchedule"])
    one = yaml.safe_load(fleet.write_inventory(tmp_path / "one.yaml", [entry]).read_text())
    assert one["hosts"] == {
        "renamed": {
            "address": fleet["pod"].ip,
            "labels": {"role": "web", "zone": "a"},
            "taints": ["x=y:NoSchedule"],
        }
    }


def test_the_admin_box_has_the_project_and_reaches_the_fleet(fleet: Fleet) -> None:
    admin = fleet["admin"]
    imports = "PYTHONPATH=/opt/fleetd:/opt/site-packages python3 -c 'import fleetd, asyncssh'"
    admin.sh(imports)
    key, known = fleet.client_key, fleet.known_hosts
    hop = f"ssh -n -i {key} -o UserKnownHostsFile={known} root@{fleet['boss'].ip} hostname"
    assert admin.sh(hop).stdout == "boss\n"


def test_a_coordinator_is_killed_itself_and_not_a_wrapper(fleet: Fleet) -> None:
    process = fleet.start_coordinator(["sleep", "1000"])
    wait_until(
        lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes() == b"sleep\x001000\x00",
        10,
        "the command to replace what started it",
    )
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


# -------------------------------------------------------------------------------------- agent


@pytest.mark.parametrize("name", ["pod", "dock"])
def test_a_container_of_an_imported_image_runs_and_tells_when(fleet: Fleet, name: str) -> None:
    host = fleet[name]
    host.import_image("fluent/fluentd:v1.12-1", env={"AGENT_VERSION": "one"})
    before = boottime()
    start_agent(host, "docker.io/fluent/fluentd:v1.12-1", "told")
    host.sh(f"{host.spec.runtime} stop told")
    [run] = lives(host, "told")
    assert run.version == "one"
    assert before - 0.01 <= run.start <= run.last == run.end <= boottime()


def test_an_image_has_one_id_on_all_hosts(fleet: Fleet) -> None:
    ids = set()
    for name in ("pod", "dock", "fish"):
        host = fleet[name]
        host.import_image("example.org:5000/same", env={"AGENT_VERSION": "same"})
        inspect = "image inspect --format '{{.Id}}' example.org:5000/same:latest"
        ids.add(host.sh(f"{host.spec.runtime} {inspect}").stdout.strip().removeprefix("sha256:"))
    assert len(ids) == 1


def test_a_second_copy_is_an_overlap(pod: Host) -> None:
    pod.import_image("example/agent:v1")
    start_agent(pod, "docker.io/example/agent:v1", "first")
    lock = "AGENT_LOCK=/var/lib/lab-agent/first AGENT_VERSION=two"
    second = pod.sh(f"{lock} /opt/lab/agent", check=False)
    assert second.returncode == 1
    timeline = Timeline.read([pod], "first")
    assert [(overlap.host, overlap.version) for overlap in timeline.overlaps] == [("pod", "two")]
    assert [run.end for run in timeline.runs["pod"]] == [float("inf")]
    pod.sh("podman rm -f first")


def test_a_killed_copy_ended_between_its_last_beat_and_its_successor(pod: Host) -> None:
    unit = "systemd-run --unit=agent-k -E AGENT_LOCK=/var/lib/lab-agent/killed -p Restart=always"
    pod.sh(f"{unit} /opt/lab/agent")
    wait_until(lambda: bool(lives(pod, "killed")), 20, "the first life")
    pod.sh("systemctl kill -s KILL agent-k")
    wait_until(lambda: len(lives(pod, "killed")) == 2, 20, "the second life")
    pod.sh("systemctl stop agent-k")
    first, second = lives(pod, "killed")
    assert first.last < first.end == second.start < second.end


@pytest.mark.parametrize(
    ("setting", "status"),
    [("AGENT_REFUSE=1", 1), ("AGENT_DIE_AFTER=1", 1)],
    ids=["refuses", "dies"],
)
def test_an_agent_misbehaves_as_told(pod: Host, setting: str, status: int) -> None:
    lock = setting.partition("=")[0]
    done = pod.sh(f"AGENT_LOCK=/var/lib/lab-agent/{lock} {setting} /opt/lab/agent", check=False)
    assert done.returncode == status
    assert len(lives(pod, lock)) == (setting == "AGENT_DIE_AFTER=1")


def test_an_agent_serves_its_readiness(pod: Host) -> None:
    pod.sh(
        "systemd-run --unit=agent-r -E AGENT_LOCK=/var/lib/lab-agent/ready"
        " -E AGENT_READY=/run/agent-r/ready -E AGENT_HTTP=8080 -p RuntimeDirectory=agent-r"
        " -E AGENT_IGNORE_TERM=1 -p TimeoutStopSec=1 /opt/lab/agent"
    )
    get = "busybox wget -q -O - http://127.0.0.1:8080/ready"
    wait_until(lambda: pod.sh(get, check=False).stdout == "none\n", 20, "readiness")
    pod.sh("systemctl stop agent-r")
    [run] = lives(pod, "ready")
    assert run.last < run.end  # it ignored SIGTERM, so nothing tells the moment exactly


# ------------------------------------------------------------------------------------- faults


def test_a_power_cut_ends_everything_and_the_disk_comes_back(fleet: Fleet) -> None:
    host = fleet["boss"]
    host.sh("systemd-run --unit=agent /opt/lab/agent; echo kept >/root/kept; : >/run/lost")
    wait_until(lambda: bool(lives(host, "lock")), 20, "the agent")
    cut = host.power_cut()
    assert not host.powered
    with pytest.raises(LabError, match="boss is off"):
        host.sh("true")
    [run] = lives(host, "lock")
    assert run.last == run.end == cut
    host.boot()
    host.wait_ssh()
    assert host.ssh("cat kept; ls /run/lost", check=False).stdout == "kept\n"


def test_a_reboot_from_inside_comes_back(pod: Host) -> None:
    pod.sh(": >/run/lost")
    pod.reboot()
    pod.wait_ssh()
    assert pod.sh("test ! -e /run/lost; podman images -q").returncode == 0


def test_an_unplugged_host_is_out_of_reach_but_alive(fleet: Fleet) -> None:
    host = fleet["fish"]
    host.unplug()
    quick = host.ssh_argv("-o", "ConnectTimeout=1")
    assert subprocess.run([*quick, "true"], capture_output=True, check=False).returncode == 255
    assert host.sh("hostname").stdout == "fish\n"
    host.plug()
    assert host.ssh("hostname").returncode == 0


def test_a_frozen_sshd_accepts_and_does_not_answer(fleet: Fleet) -> None:
    host = fleet["fish"]
    host.freeze_sshd()
    quick = host.ssh_argv("-o", "ConnectTimeout=1")
    frozen = subprocess.run([*quick, "true"], capture_output=True, check=False, text=True)
    host.thaw_sshd()
    assert frozen.returncode == 255
    assert "banner exchange" in frozen.stderr
    assert host.ssh("hostname").returncode == 0


def test_a_full_disk_takes_nothing_until_it_is_freed(fleet: Fleet) -> None:
    small = fleet["small"]
    write = "head -c 100000 /dev/zero >/etc/more"
    small.disk.fill()
    full = small.sh(write, check=False)
    small.disk.free()
    assert "No space left" in full.stderr
    assert small.sh(write).returncode == 0


def test_a_host_without_a_disk_of_its_own_is_not_filled(pod: Host) -> None:
    with pytest.raises(LabError, match="disk_mb"):
        pod.disk.fill()


def test_what_a_killed_run_left_is_swept_and_other_runs_are_not(fleet: Fleet) -> None:
    up = [sys.executable, "-m", "tests.e2e.lab", "up", "--hosts", "1"]
    with subprocess.Popen(up, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        state = Path(facts_of(other.stdout)["state"].strip())
        other.kill()
    group = Cgroup(fleet.directory / "cgroup", f"/fleetd-lab/{state.name}")
    assert group.populated()
    sweep()
    assert not group.path.exists()
    assert not state.exists()
    assert not list(Path("/run/netns").glob(f"lab-{state.name}*"))
    assert state.name not in Path("/proc/self/mounts").read_text()
    assert fleet["pod"].powered


# ----------------------------------------------------------------------------------- timeline

A = [Run("v1", 1, 10, 10), Run("v2", 12, 20, 20), Run("v2", 21, float("inf"))]
LATER = [Run("v1", 1, 13, 13), Run("v2", 14, float("inf"))]
KILLED = [Run("v1", 1, 14, 16), Run("v2", 16, float("inf"))]


@pytest.mark.parametrize(
    ("b", "since", "min_ready", "proven", "peak"),
    [
        ([Run("v1", 1, float("inf"))], 5, 0, False, Peak(frozenset("a"), 10)),
        ([Run("v1", 1, 11, 11)], 5, 0, False, Peak(frozenset("ab"), 11)),
        ([Run("v1", 1, 12, 12)], 5, 0, False, Peak(frozenset("ab"), 12)),
        (LATER, 5, 0, False, Peak(frozenset("a"), 10)),
        (LATER, 5, 2, False, Peak(frozenset("ab"), 13)),
        ([], 5, 0, False, Peak(frozenset("ab"), 10)),
        ([Run("v1", 1, float("inf"))], 30, 0, False, Peak(frozenset(), 30)),
        (KILLED, 5, 3, False, Peak(frozenset("ab"), 14)),
        (KILLED, 5, 3, True, Peak(frozenset("a"), 10)),
    ],
    ids=[
        "one at a time",
        "both",
        "both within one tick",
        "one after the other",
        "the second before the first is ready",
        "a host that never had a copy",
        "all well",
        "killed, for the worse",
        "killed, proven",
    ],
)
def test_the_peak_is_the_worst_moment(
    b: list[Run], since: float, min_ready: float, proven: bool, peak: Peak
) -> None:
    timeline = Timeline({"a": tuple(A), "b": tuple(b)}, ())
    assert timeline.peak(since, 40, min_ready=min_ready, proven=proven) == peak


def test_versions_leave_repetitions_out() -> None:
    assert Timeline({"a": tuple(A)}, ()).versions("a") == ["v1", "v2"]


def test_a_log_tells_lives_and_overlaps() -> None:
    log = """start 1.00 a v1
beat 1.10 a
overlap 1.20 b v2
stop 2.00 a
refuse 2.50 c v2
start 3.00 d v2
beat 3.10 d
start 4.00 e v3
beat 4.10 d
"""
    runs, overlaps = parse("h", log, "log")
    assert runs == [Run("v1", 1, 2, 2), Run("v2", 3, 3.1, 4), Run("v3", 4, 4)]
    assert overlaps == [
        Overlap("h", 1.2, "v2"),
        Overlap("h", 4.1, "(its lock file was replaced)"),
    ]


def test_a_torn_log_is_an_error_with_its_line() -> None:
    with pytest.raises(LabError, match=r"some/log:2: .*'beat 1'"):
        parse("h", "start 1.00 a v1\nbeat 1\n", "some/log")
