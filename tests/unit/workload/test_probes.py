from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.facts import Role, Slot
from fleetd.core.key import Key
from fleetd.workload.errors import RenderError
from fleetd.workload.holder import holder_name
from tests.unit.workload.hosting import UNIT, Host, until
from tests.unit.workload.rendering import DOCKER, Rendered, container, rendered
from tests.unit.workload.serving import probe, web

NAME = UNIT.removesuffix(".service")
PROBE = "main.probe.sh"


# ---------------------------------------------------------------------------- readiness, times


def test_a_workload_is_not_ready_before_it_says_so(any_host: Host) -> None:
    host = any_host
    flag = host.root / "it's ready"
    host.link("test")
    host.start("i1")
    with host.probing(probe(exec={"command": ["test", "-e", str(flag)]})):
        host.until("i1 fail readiness probe fails: exit status 1\n")
        flag.touch()
        host.until("i1 ok \n")


def test_an_answer_counts_for_one_start(any_host: Host) -> None:
    host = any_host
    flag = host.root / "ready"
    flag.touch()
    host.link("test")
    host.start("i1")
    with host.probing(probe(exec={"command": ["test", "-e", str(flag)]})):
        host.until("i1 ok \n")
        flag.unlink()
        host.start("i2")
        host.until("i2 fail readiness")  # at once, whatever the threshold: it has never been ready


def test_thresholds_and_times_are_the_documents(host: Host) -> None:
    asked, up = host.root / "asked", host.root / "answer"
    host.program("count", f'echo x >>{asked}; [ "$(cat {up})" = y ]')
    up.write_text("y")
    host.start("i1")
    times = {"initialDelaySeconds": 70, "periodSeconds": 30, "timeoutSeconds": 2}
    thresholds = {"successThreshold": 4, "failureThreshold": 5}
    with host.probing(probe(exec={"command": ["count"]}, **times, **thresholds)):
        host.until("i1 ok \n")
        assert len(asked.read_text().split()) >= 4
        before = len(asked.read_text().split())
        up.write_text("n")
        host.until("i1 fail readiness")
        assert len(asked.read_text().split()) >= before + 5
    slept = (host.root / "slept").read_text().split()
    assert slept[0] in {"69", "70"}
    assert {*slept[1:]} <= {"29", "30"}  # from one question to the next, as a ticker does


def test_a_message_is_one_printable_line(any_host: Host) -> None:
    host = any_host
    host.program("bad", 'printf "one\\ntwo\\033[1m%0400d" 7; exit 1')
    host.start("i1")
    with host.probing(probe(exec={"command": ["bad"]})):
        host.until("i1 fail readiness probe fails: one two [1m000")
        assert len(host.result()) <= 320
        assert host.result().count("\n") == 1


def test_a_loop_that_begins_anew_goes_on_with_the_start_that_it_finds(host: Host) -> None:
    host.engine("exit 1")
    host.start("i1")
    bundle = container(
        startupProbe={"exec": {"command": ["never"]}}, readinessProbe={"exec": {"command": ["x"]}}
    )
    with host.probing(bundle):
        host.until("i1 fail startup probe has not passed yet: exit status 1")
    host.engine("[ $1 = x ]")
    host.place.write_text("i1 fail readiness probe fails: exit status 1\n")  # it had started
    with host.probing(bundle):
        host.until("i1 ok")


def test_a_pass_says_since_when_and_a_loop_that_begins_anew_does_not_change_that(
    host: Host,
) -> None:
    host.link("true")
    host.start("i1")
    host.place.parent.mkdir()
    host.place.write_text("i1 ok@17 \n")
    bundle = probe(exec={"command": ["true"]})
    with host.probing(bundle):
        until((host.root / "slept").exists, host.result)
        assert host.place.read_text() == "i1 ok@17 \n"
        host.start("i2")
        host.until("i2 ok")
        with Path("/proc/uptime").open() as uptime:
            now = float(uptime.read().split()[0])
        assert now - 60 < int(host.place.read_text().split("@")[1]) <= now


# ----------------------------------------------------------------------------- startup, liveness


def test_the_other_probes_wait_for_the_startup_probe(any_host: Host) -> None:
    host = any_host
    asked, started = host.root / "asked", host.root / "started"
    host.engine(f"echo $1 >>{asked}; [ $1 != startup ] || [ -e {started} ]")
    host.start("i1")
    fields = {"periodSeconds": 1, "failureThreshold": 1000}
    bundle = container(
        startupProbe={"exec": {"command": ["startup"]}, **fields},
        livenessProbe={"exec": {"command": ["liveness"]}, **fields},
        readinessProbe={"exec": {"command": ["readiness"]}, **fields},
    )
    with host.probing(bundle):
        host.until("i1 fail startup probe has not passed yet: exit status 1")
        assert {*asked.read_text().split()} == {"startup"}
        started.touch()
        host.until("i1 ok \n")
        until(lambda: "liveness" in asked.read_text(), asked.read_text)
        after = asked.read_text().split()
    assert "startup" not in after[after.index("readiness") :]
    assert host.lines == []


def test_a_workload_without_a_readiness_probe_is_ready_once_it_has_started(host: Host) -> None:
    host.engine()
    host.start("i1")
    with host.probing(container(livenessProbe={"exec": {"command": ["x"]}})):
        host.until("i1 ok \n")


def test_a_startup_that_takes_too_long_ends(any_host: Host) -> None:
    host = any_host
    host.engine("echo no; exit 1")
    host.start("i1")
    fields = {"failureThreshold": 3, "terminationGracePeriodSeconds": 7}
    with host.probing(container(startupProbe={"exec": {"command": ["x"]}, **fields})):
        host.until("i1 fail startup probe failed: no\n")
        until(lambda: bool(host.lines), host.result)
    assert host.lines[0] == f"stop -t 7 {NAME}"


def test_a_liveness_failure_stops_the_container_and_the_next_start_tells_why(
    any_host: Host,
) -> None:
    host = any_host
    host.engine("[ $1 = ready ]")
    host.start("i1")
    bundle = container(
        {"terminationGracePeriodSeconds": 45},
        livenessProbe={"exec": {"command": ["alive"]}, "failureThreshold": 2},
        readinessProbe={"exec": {"command": ["ready"]}},
    )
    with host.probing(bundle):
        host.until("i1 fail liveness probe failed: exit status 1\n")
        until(lambda: bool(host.lines), host.result)
        assert host.lines[0] == f"stop -t 45 {NAME}"
        host.start("i2")
        host.engine("exit 0")
        until(lambda: host.comes_up() and "i2 ok" in host.result(), host.result)
        assert host.result() == "i2 ok restarted: liveness probe failed: exit status 1\n"
        host.start("i3")  # for another reason
        host.until("i3 ok \n")


def test_the_pre_stop_hook_runs_before_a_liveness_stop(any_host: Host) -> None:
    host = any_host
    host.engine(f"echo $1 >>{host.log}; [ $1 = pre ]")
    host.start("i1")
    bundle = container(
        livenessProbe={"exec": {"command": ["alive"]}, "failureThreshold": 1},
        lifecycle={"preStop": {"exec": {"command": ["pre"]}}},
    )
    with host.probing(bundle):
        until(lambda: any(line.startswith("stop") for line in host.lines), host.result)
    assert host.lines[:3] == ["alive", "pre", f"stop -t 30 {NAME}"]


def test_a_liveness_probe_does_not_wait_for_a_readiness_probe_that_hangs(any_host: Host) -> None:
    host = any_host
    host.engine("[ $1 != ready ] || exec /bin/sleep 60; exit 1")
    host.start("i1")
    bundle = container(
        livenessProbe={"exec": {"command": ["alive"]}},
        readinessProbe={"exec": {"command": ["ready"]}, "timeoutSeconds": 60},
    )
    with host.probing(bundle):
        host.until("i1 fail liveness probe failed")


def sidecar(**fields: Any) -> Rendered:
    first = {"name": "main", "image": "x", "restartPolicy": "Always", **fields}
    return rendered({"initContainers": [first], "containers": [{"name": "other", "image": "x"}]})


SLOW = {"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 3}


def test_what_follows_a_sidecar_waits_for_its_startup_probe(any_host: Host) -> None:
    started = any_host.root / "started"
    any_host.engine(f"[ -e {started} ]")
    any_host.start("i1")
    gate = any_host.popen(sidecar(startupProbe={**SLOW, "failureThreshold": 999}), PROBE, "gate")
    any_host.until("i1 fail startup probe has not passed yet")
    assert gate.poll() is None
    started.touch()
    assert gate.wait() == 0
    assert any_host.lines == []


def test_a_sidecar_that_does_not_start_is_stopped_before_anything_follows(any_host: Host) -> None:
    any_host.engine("exit 1")
    any_host.start("i1")
    assert any_host.popen(sidecar(startupProbe=SLOW), PROBE, "gate").wait() == 1
    assert any_host.lines == [f"stop -t 30 {NAME}"]
    assert any_host.result() == "i1 fail startup probe failed: exit status 1\n"


def test_a_stop_while_a_sidecar_starts_is_a_graceful_one(any_host: Host) -> None:
    any_host.engine("exit 1")
    any_host.start("i1")
    gate = any_host.popen(sidecar(startupProbe={**SLOW, "failureThreshold": 999}), PROBE, "gate")
    any_host.until("i1 fail startup probe has not passed yet")
    gate.send_signal(signal.SIGTERM)
    assert gate.wait() == 1
    assert any_host.lines == [f"stop -t 30 {NAME}"]


def test_only_the_start_of_a_sidecar_has_a_gate() -> None:
    gated = [line for line in sidecar(startupProbe=SLOW).lines(UNIT) if line.endswith(" gate")]
    assert gated[0].startswith("ExecStartPost=/bin/sh /")
    assert " gate" not in container(startupProbe=SLOW).text(UNIT)
    assert " gate" not in sidecar(livenessProbe=SLOW).text(UNIT)


# ---------------------------------------------------------------------------------------- exec


def test_what_hangs_has_failed(host: Host) -> None:
    host.program("hang", "exec /bin/sleep 60")
    host.start("i1")
    with host.probing(probe(exec={"command": ["hang"]})):
        host.until("i1 fail readiness probe fails: no answer within 1 s")


def test_what_hangs_in_a_container_is_killed_there(any_host: Host) -> None:
    host = any_host
    host.link("setsid")  # the engine's client does not take its command with it
    left = host.root / "left"
    host.engine(f"setsid /bin/sh -c 'echo $$ >{left}; exec /bin/sleep 600' & wait")
    host.start("i1")
    with host.probing(container(readinessProbe={"exec": {"command": ["x"]}})):
        host.until("i1 fail readiness probe fails: no answer within 1 s")
        process = Path("/proc", left.read_text().strip())
        until(lambda: not process.exists() or "Z" in (process / "stat").read_text(), str)


def test_a_container_is_asked_inside(host: Host) -> None:
    host.program("docker", f'[ $1 = inspect ] && echo true || printf "%s|" "$@" >{host.root}/argv')
    host.start("i1")
    bundle = container(profile=DOCKER, readinessProbe={"exec": {"command": ["a b", "-c"]}})
    with host.probing(bundle):
        host.until("i1 ok")
    argv = (host.root / "argv").read_text()
    assert argv == f"exec|-e|FLEETD_ASKER={host.root}:{NAME}.readiness|{NAME}|a b|-c|"


def test_nothing_is_asked_before_the_container_runs(host: Host) -> None:
    asked = host.root / "asked"
    host.engine(f"touch {asked}", runs=False)
    host.start("i1")
    with host.probing(container(livenessProbe={"exec": {"command": ["x"]}})):
        until((host.root / "slept").exists, str)
        assert not asked.exists()
        host.comes_up()
        host.until("i1 ok")


# ----------------------------------------------------------------------------- where to ask


def listens(host: Host, spec: dict[str, Any], says: str = "i1 ok", at: str = "127.0.0.1") -> None:
    """A pod that listens at an address only says this."""
    host.link("bash")
    host.start("i1")
    with web(at=at) as server:
        bundle = container(spec, readinessProbe={"tcpSocket": {"port": server.port}})
        with host.probing(bundle):
            host.until(says)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param('echo "127.0.0.1 10.0.0.9 "', id="first-network"),
        pytest.param("case $3 in *range*) echo;; *) echo 127.0.0.1;; esac", id="default-network"),
    ],
)
def test_a_container_is_asked_at_its_own_address(host: Host, answers: str) -> None:
    host.program("podman", f"case $3 in *Running*) echo true;; *) {answers};; esac")
    listens(host, {})


def test_a_container_without_an_address_is_not_ready(host: Host) -> None:
    host.program(
        "podman", "case $3 in *Running*) echo true; exit;; esac; echo no such >&2; exit 125"
    )
    listens(host, {}, "i1 fail readiness probe fails: no address: no such")


@pytest.mark.parametrize(
    ("known_as", "borne", "at"),
    [
        pytest.param("127.0.0.5", "echo yes", "127.0.0.5", id="its-own-address"),
        pytest.param("192.0.2.1", "", "127.0.0.1", id="behind-nat"),
    ],
)
def test_on_the_hosts_network_the_host_is_asked(
    host: Host, known_as: str, borne: str, at: str
) -> None:
    host.engine()
    host.program("ip", f'[ "$*" = "-o addr show to {known_as}" ] && {borne or ":"}')
    spec = {"hostNetwork": True}
    bundle = container(spec, readinessProbe={"tcpSocket": {"port": 1}})
    (line,) = (line for line in bundle.lines("main.probe.sh") if line.endswith("host.env"))
    values = host.path(line.removeprefix(". "))
    values.parent.mkdir(parents=True)
    values.write_text(f"FLEETD_HOST_IP={known_as}\n")
    listens(host, spec, at=at)


def test_a_pod_with_a_holder_is_asked_at_its_holder() -> None:
    variable = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    bundle = container(env=[variable], readinessProbe={"tcpSocket": {"port": 1}})
    holder = holder_name(Key("mon", "agent.v2"), Slot.A)
    assert f"peer={holder}" in bundle.lines("main.probe.sh")


# ----------------------------------------------------------------------------------- rendering


def test_the_probe_lives_and_dies_with_the_workload() -> None:
    bundle = container(readinessProbe={"tcpSocket": {"port": 1}})
    (unit,) = (unit for unit in bundle.bundle.units if unit.role is Role.PROBE)
    lines = bundle.lines(unit.name)
    assert {f"BindsTo={UNIT}", f"After={UNIT}", f"WantedBy={UNIT}"} <= {*lines}


def test_ports_by_name() -> None:
    ports = [{"name": "web", "containerPort": 8080, "hostPort": 80}]
    bundle = container(
        {"hostNetwork": True}, ports=ports, readinessProbe={"tcpSocket": {"port": "web"}}
    )
    assert "  ask_tcp '' 8080" in bundle.lines("main.probe.sh")
    with pytest.raises(RenderError, match="no port is named 'x'"):
        container(readinessProbe={"tcpSocket": {"port": "x"}})
