from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.facts import HostProfile, Role, Runtime
from fleetd.workload.names import RUN_DIR, STATE_DIR
from tests.unit.workload.rendering import DOCKER, PODMAN, Rendered, rendered

BOTH = pytest.mark.parametrize("profile", [PODMAN, DOCKER], ids=["podman", "docker"])
STEM = "fleetd-mon.agent_v2"
COPY = f"{STATE_DIR}/w/mon.agent_v2/a"


def one(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", **fields}


def unit_of(name: str) -> str:
    return f"{STEM}.{name}.a.service"


def unit(bundle: Rendered, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in bundle.lines(f"/{unit_of(name)}"):
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


def flags(bundle: Rendered, name: str) -> set[str]:
    words = shlex.split(bundle.text(f"/{name}.start.sh").replace(";", " ; "), comments=True)
    return {word for word in words if word.startswith("--")}


POD = {
    "initContainers": [one("first"), one("proxy", restartPolicy="Always"), one("second")],
    "containers": [
        one("web", ports=[{"containerPort": 80, "hostPort": 8080}]),
        one("log", ports=[{"containerPort": 81, "hostPort": 8081, "hostIP": "::1"}]),
    ],
}


@BOTH
def test_units_are_in_the_order_of_their_start(profile: HostProfile) -> None:
    bundle = rendered(POD, profile).bundle
    assert [(entry.name, entry.role) for entry in bundle.units] == [
        (f"{STEM}.target", Role.TARGET),
        (unit_of("_holder"), Role.MAIN),
        (unit_of("first"), Role.INIT),
        (unit_of("proxy"), Role.MAIN),
        (unit_of("second"), Role.INIT),
        (unit_of("web"), Role.MAIN),
        (unit_of("log"), Role.MAIN),
    ]
    assert bundle.images == ("first:1", "proxy:1", "second:1", "web:1", "log:1")
    assert {entry.name for entry in bundle.units if not entry.enable} == {f"{STEM}.target"}


@BOTH
def test_containers_wait_for_what_is_before_them(profile: HostProfile) -> None:
    bundle = rendered(POD, profile)
    for name, required, wanted in (
        ("first", [], ["proxy", "second", "web", "log"]),
        ("proxy", ["first"], []),
        ("second", ["first"], ["proxy", "web", "log"]),
        ("web", ["first", "second"], ["proxy"]),
        ("log", ["first", "second"], ["proxy"]),
    ):
        found = unit(bundle, name)
        holder = unit_of("_holder")
        assert found["BindsTo"] == [holder], name
        assert found["WantedBy"] == [holder], name
        assert found.get("Requires", []) == [unit_of(other) for other in required], name
        assert {unit_of(other) for other in wanted} <= {*found["Wants"]}, name
        after = {*found["After"]}
        assert holder in after, name
        assert {unit_of(other) for other in required} <= after, name
        assert (unit_of("proxy") in after) is (name in {"second", "web", "log"}), name
    assert unit(bundle, "_holder")["WantedBy"] == ["multi-user.target"]


@BOTH
def test_the_holder_owns_what_the_containers_share(profile: HostProfile) -> None:
    spec = {
        **POD,
        "shareProcessNamespace": True,
        "hostname": "told",
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["one", "two"]}],
        "securityContext": {"sysctls": [{"name": "net/ipv4/conf/eth0.1/x", "value": "1"}]},
    }
    bundle = rendered(spec, profile)
    held = flags(bundle, "_holder")
    assert {"--publish=8080:80/tcp", "--publish=[::1]:8081:81/tcp", "--hostname=told"} <= held
    assert {"--add-host=one:192.0.2.1", "--add-host=two:192.0.2.1", "--ipc=shareable"} <= held
    assert "--sysctl=net.ipv4.conf.eth0/1.x=1" in held
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"} <= held
    for name in ("first", "proxy", "second", "web", "log"):
        found = flags(bundle, name)
        holder = f"container:{STEM}._holder.a"
        assert {f"--network={holder}", f"--ipc={holder}", f"--pid={holder}"} <= found, name
        told = ("--publish", "--add-host", "--sysctl")
        assert not [flag for flag in found if flag.startswith(told)], name
        # docker takes a name beside a network that is not its own for a mistake
        assert ("--hostname=told" in found) is (profile is PODMAN), name


def test_a_pod_of_one_container_is_its_own_sandbox() -> None:
    bundle = rendered({"containers": [one("web")]})
    assert not [path for path in bundle.files if "_holder" in path]
    assert unit(bundle, "web")["WantedBy"] == ["multi-user.target"]


@pytest.mark.parametrize(
    ("spec", "held"),
    [
        pytest.param({}, True, id="own-network"),
        pytest.param({"hostNetwork": True}, False, id="host-network"),
        pytest.param({"hostNetwork": True, "shareProcessNamespace": True}, True, id="processes"),
    ],
)
def test_a_holder_is_there_where_something_is_shared(spec: dict[str, Any], *, held: bool) -> None:
    bundle = rendered({**spec, "containers": [one("web"), one("log")]}).bundle
    assert (f"{STEM}._holder.a" in bundle.containers) is held


def test_the_namespaces_of_the_host() -> None:
    spec = {**POD, "hostNetwork": True, "hostIPC": True, "hostPID": True}
    found = flags(rendered(spec), "web")
    assert {"--network=host", "--ipc=host", "--pid=host"} <= found
    assert not [flag for flag in found if flag.startswith(("--publish", "--hostname"))]


def test_without_a_holder_a_boot_does_not_wait_for_init_containers() -> None:
    bundle = rendered({**POD, "hostNetwork": True})
    for name in ("first", "proxy", "second", "web", "log"):
        found = unit(bundle, name)
        assert found["DefaultDependencies"] == ["no"], name
        assert "BindsTo" not in found, name
        assert found["WantedBy"] == ["multi-user.target"], name
    assert unit(bundle, "web")["Requires"][1:] == [unit_of("first"), unit_of("second")]


@BOTH
def test_an_init_container_runs_to_its_end_and_its_unit_stays(profile: HostProfile) -> None:
    found = unit(rendered(POD, profile), "first")
    assert found["Type"] == ["oneshot"]
    assert found["RemainAfterExit"] == ["yes"]
    assert found["TimeoutStartSec"] == ["infinity"]
    assert "SuccessExitStatus" not in found  # else a stop in the middle would be its end
    old = HostProfile(profile.runtime, profile.runtime_version, systemd=239)
    assert found["Restart"] == ["on-failure"]
    assert "Restart" not in unit(rendered(POD, old), "first")


def test_limits_of_an_init_container_are_flags_where_the_host_can_keep_them() -> None:
    limits = {"limits": {"memory": "1Mi", "cpu": "1"}}
    bundle = rendered({**POD, "initContainers": [one("first", resources=limits)]})
    assert {"--memory=1048576", "--cpus=1.000", "--cpu-shares=1024"} <= flags(bundle, "first")
    assert "MemoryMax" not in unit(bundle, "first")
    script = bundle.text("first.start.sh")
    assert "grep -qw memory /sys/fs/cgroup/cgroup.controllers" in script
    older = HostProfile(Runtime.PODMAN, 4, cgroup=1)
    script = rendered({**POD, "initContainers": [one("first", resources=limits)]}, older).text(
        "first.start.sh"
    )
    assert "[ -d /sys/fs/cgroup/memory ]" in script


def test_the_address_of_the_pod_is_asked_of_the_holder() -> None:
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    own = rendered({"containers": [one("web", env=env)]})
    script = own.text("web.start.sh")
    assert f"{STEM}._holder.a | grep -m 1 ." in script
    shared = rendered({"containers": [one("web", env=env)], "hostNetwork": True})
    assert "FLEETD_POD_IP=$FLEETD_HOST_IP" in shared.lines("web.start.sh")
    assert f"{STEM}._holder.a" not in shared.bundle.containers


def test_a_secret_of_two_containers_is_one_file() -> None:
    env = [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]
    bundle = rendered({"containers": [one("web", env=env), one("log", env=env)]}).bundle
    paths = [file.path for file in bundle.files]
    assert paths.count(f"{COPY}/secrets/db/password") == 1
    assert len(paths) == len({*paths})


def test_the_image_of_the_holder_goes_with_the_last_of_them() -> None:
    last = unit(rendered(POD), "_holder")["ExecStopPost"][-1]
    assert "podman image rm localhost/fleetd-holder:1" in last


def test_docker_says_that_a_container_runs_before_others_join_it() -> None:
    bundle = rendered(POD, DOCKER)
    for name in ("_holder", "proxy"):
        assert "State.Running" in unit(bundle, name)["ExecStartPost"][0], name
    assert "ExecStartPost" not in unit(bundle, "web")


def test_an_old_systemd_restarts_a_holder_once_all_have_stopped() -> None:
    spec = {**POD, "terminationGracePeriodSeconds": 40}
    old = HostProfile(Runtime.PODMAN, 4, systemd=239)
    assert unit(rendered(spec, old), "_holder")["RestartSec"] == ["75"]
    assert unit(rendered(spec), "_holder")["RestartSec"] == ["5"]


def test_what_comes_after_a_sidecar_waits_for_its_startup_probe(tmp_path: Path) -> None:
    probe = {"exec": {"command": ["true"]}, "initialDelaySeconds": 5, "failureThreshold": 7}
    sidecar = one("proxy", restartPolicy="Always", startupProbe=probe)
    bundle = rendered({**POD, "initContainers": [one("first"), sidecar, one("second")]})
    assert unit(bundle, "web")["TimeoutStartSec"] == ["120", "195"]
    assert unit(bundle, "second")["TimeoutStartSec"] == ["infinity"]
    assert not [line for line in unit(bundle, "proxy")["ExecStartPre"] if "until" in line]
    (line,) = [line for line in unit(bundle, "web")["ExecStartPre"] if "until" in line]
    script = shlex.split(line)[2].replace("$$", "$").replace(RUN_DIR, str(tmp_path))
    for name, word in (("stamp", "r1 i1"), ("probe", "i1 fail readiness probe fails: no")):
        (tmp_path / name).mkdir()
        (tmp_path / name / unit_of("proxy")).write_text(f"{word}\n")
    subprocess.run(["/bin/sh", "-c", script], check=True, timeout=10)
    for told in ("i1 fail startup probe has not passed yet", "i0 ok", ""):
        (tmp_path / "probe" / unit_of("proxy")).write_text(f"{told}\n")
        once = script.replace("sleep 1", "exit 9")
        assert subprocess.run(["/bin/sh", "-c", once], check=False, timeout=10).returncode == 9


def test_a_stop_has_time_for_the_sidecars_after_the_others() -> None:
    spec = {**POD, "terminationGracePeriodSeconds": 40}
    assert rendered(spec).bundle.stop_s == 110
    assert rendered({**spec, "initContainers": []}).bundle.stop_s == 70
