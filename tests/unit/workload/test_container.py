from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from fleetd.core.bundle import Check, CheckKind, SecretBytes
from fleetd.core.facts import HostProfile, Runtime
from fleetd.workload.errors import RenderError
from fleetd.workload.names import STATE_DIR
from tests.unit.workload.rendering import (
    DOCKER,
    PODMAN,
    Rendered,
    container,
    rendered,
)

UNIT = "main.a.service"
START = "main.start.sh"
SECRET = {"valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}


def flags(bundle: Rendered) -> list[str]:
    """The words of the engine's command line, with shell variables as they are written."""
    words = shlex.split(bundle.text(START).split("exec ", 1)[1])
    return [word for word in words if word.strip() not in {"", ">/dev/null"}]


def unit(bundle: Rendered) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in bundle.lines(UNIT):
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Host:
    return Host(tmp_path)


class Host:
    """A place where a launcher can run: engines that tell how they were called, values, secrets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("podman", "docker"):
            program = root / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(
                f"#!{sys.executable}\nimport json, os, sys\n"
                f"with open({str(root / 'called')!r}, 'w') as file:\n"
                "    json.dump([sys.argv[1:], dict(os.environ)], file)\n"
            )
            program.chmod(0o755)
        self.copy = root / "state/w/mon.agent_v2/a"
        self.copy.mkdir(parents=True)
        values = "FLEETD_NODE_NAME=web-1\nFLEETD_POD_NAME=agent-web-1\nFLEETD_FLEET=f1\n"
        (self.copy / "host.env").write_text(values)

    def start(self, bundle: Rendered, **secrets: str) -> tuple[list[str], dict[str, str]]:
        """Run the launcher; what the engine was called with, and its environment."""
        for key, value in secrets.items():
            path = self.copy / "secrets/db" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.encode())
        script = bundle.text(START).replace(STATE_DIR, f"{self.root}/state")
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        subprocess.run(
            ["/bin/sh", "/dev/stdin"], input=script.encode(), env=environment, check=True
        )
        argv, env = json.loads((self.root / "called").read_text())
        return argv, env


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0$")
    | st.sampled_from(" '\"\\`;&|<>*?#!~\n\t(){}[]%"),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, max_size=3), st.lists(WORDS, max_size=3), WORDS, WORDS)
def test_an_engine_gets_each_word_as_the_document_has_it(
    host: Host, command: list[str], args: list[str], plain: str, secret: str
) -> None:
    env = [{"name": "A.b-c", "value": plain}, {"name": "S", **SECRET}]
    bundle = container(command=command, args=args, env=env)
    argv, environment = host.start(bundle, password=secret)
    at = argv.index("busybox:1")
    assert argv[at + 1 :] == [*command[1:], *args]
    assert [a for a in argv if a.startswith("--entrypoint=")] == [
        f"--entrypoint={word}" for word in command[:1]
    ]
    assert f"--env=A.b-c={plain}" in argv
    assert "--env=S" in argv
    assert environment["S"] == secret


def test_variables_are_expanded_as_kubernetes_does(host: Host) -> None:
    env = [
        {"name": "LATE", "value": "$(NODE)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "ONE", "value": "<$(NODE)>"},
        {"name": "TWO", "value": "$(ONE)$(ONE) $$(ONE) $(NONE) $NODE"},
        {"name": "ONE", "value": "again"},
    ]
    argv, _ = host.start(container(env=env, args=["$(TWO)", "$(ONE)", "$$(ONE)"]))
    two = "<web-1><web-1> $(ONE) $(NONE) $NODE"
    assert argv[argv.index("busybox:1") + 1 :] == [two, "again", "$(ONE)"]
    assert [a for a in argv if a.startswith("--env=")] == [
        "--env=LATE=$(NODE)",
        "--env=NODE=web-1",
        f"--env=TWO={two}",
        "--env=ONE=again",
    ]


def test_a_secret_is_in_the_environment_and_nowhere_else(host: Host) -> None:
    env = [{"name": "PASS", **SECRET}, {"name": "URL", "value": "db://u:$(PASS)@$(NO)"}]
    bundle = container(env=env)
    argv, environment = host.start(bundle, password="t0p\nsecret\n\n")
    assert not [word for word in argv if "t0p" in word]
    assert environment["PASS"] == "t0p\nsecret\n\n"
    assert environment["URL"] == "db://u:t0p\nsecret\n\n@$(NO)"
    assert {"--env=PASS", "--env=URL"} <= {*argv}
    delivered = bundle.files[f"{STATE_DIR}/w/mon.agent_v2/a/secrets/db/password"]
    assert (delivered.mode, delivered.content) == (
        0o600,
        SecretBytes("mon", "db", "password", "d1"),
    )


def test_a_secret_that_is_not_there_stops_the_start(host: Host) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        host.start(container(env=[{"name": "PASS", **SECRET}]))


def test_nothing_of_the_document_stands_in_the_unit_or_is_open_to_all() -> None:
    bundle = container(env=[{"name": "A", "value": "canary"}], args=["canary"])
    assert "canary" not in bundle.text(UNIT)
    assert bundle.files[f"{STATE_DIR}/w/mon.agent_v2/a/{START}"].mode == 0o600
    assert (f"{STATE_DIR}/w/mon.agent_v2/a", 0o700) in bundle.bundle.directories


@pytest.mark.parametrize(
    "name",
    ["PATH", "LD_PRELOAD", "DOCKER_HOST", "https_proxy", "IFS", "BASH_ENV", "GODEBUG", "a.b", "_"],
)
def test_a_secret_that_the_engine_would_obey_is_refused(name: str) -> None:
    with pytest.raises(RenderError, match="choose another name"):
        container(env=[{"name": name, **SECRET}])


@pytest.mark.parametrize("name", ["DOCKER_PASSWORD", "PATHS", "TOKEN", "GOOGLE_KEY", "HOME_URL"])
def test_a_secret_with_a_name_of_its_own_is_taken(name: str) -> None:
    assert f"--env={name}" in flags(container(env=[{"name": name, **SECRET}]))


def test_what_the_engine_would_obey_is_an_argument_when_it_is_no_secret(host: Host) -> None:
    argv, environment = host.start(container(env=[{"name": "PATH", "value": "/bin"}]))
    assert "--env=PATH=/bin" in argv
    assert environment["PATH"] != "/bin"


@pytest.mark.parametrize("field", ["command", "args"])
def test_a_secret_in_a_command_line_is_refused(field: str) -> None:
    env = [{"name": "S", **SECRET}, {"name": "U", "value": "a$(S)"}]
    fields: dict[str, Any] = {"env": env, field: ["$(U)"]}
    with pytest.raises(RenderError, match=rf"containers\[0\].{field}\[0\]"):
        container(**fields)


LIMITS = {"limits": {"memory": "1Gi", "cpu": "5m"}, "requests": {"cpu": 2}}


def test_limits_are_the_units_with_podman() -> None:
    found = unit(container(resources=LIMITS))
    assert found["MemoryMax"] == ["1073741824"]
    assert found["CPUQuota"] == ["1%"]
    assert found["CPUWeight"] == ["200"]


def test_limits_are_flags_with_docker() -> None:
    bundle = container(profile=DOCKER, resources=LIMITS)
    assert {"--memory=1073741824", "--cpus=0.005", "--cpu-shares=2048"} <= {*flags(bundle)}
    assert "MemoryMax" not in unit(bundle)


def test_a_limit_is_a_request_where_no_other_is_made() -> None:
    assert unit(container(resources={"limits": {"cpu": 1}}))["CPUWeight"] == ["100"]


@pytest.mark.parametrize(
    ("version", "storage"),
    [pytest.param(3, True, id="3"), pytest.param(4, True, id="4"), pytest.param(5, False, id="5")],
)
def test_podmans_storage_is_cleared_where_it_can_be_left_behind(
    version: int, storage: bool
) -> None:
    bundle = container(profile=HostProfile(Runtime.PODMAN, version))
    assert any("--storage" in line for line in unit(bundle)["ExecStartPre"]) is storage


def test_a_stop_has_time_for_the_grace_period_and_more() -> None:
    bundle = container({"terminationGracePeriodSeconds": 90})
    assert unit(bundle)["TimeoutStopSec"] == ["120"]
    assert bundle.bundle.stop_s == 120
    assert "--stop-timeout=90" in flags(bundle)


@pytest.mark.parametrize("profile", [PODMAN, DOCKER], ids=["podman", "docker"])
def test_every_way_in_and_out_of_the_unit_removes_the_container(profile: HostProfile) -> None:
    found = unit(container(profile=profile))
    removes = re.compile(
        rf"-.* {profile.runtime} rm -f (-i )?fleetd-mon.agent_v2.main.a\b|"
        rf'-.*"{profile.runtime} rm -f fleetd-mon.agent_v2.main.a >'
    )
    assert removes.match(found["ExecStartPre"][0])
    assert removes.match(found["ExecStopPost"][0])


def test_capabilities_are_containerds(host: Host) -> None:
    assert {"--cap-add=NET_RAW", "--cap-add=MKNOD"} <= {*flags(container())}
    drop = {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}
    found = [f for f in flags(container(securityContext=drop)) if f.startswith("--cap")]
    assert found == ["--cap-drop=ALL", "--cap-add=NET_ADMIN"]
    privileged = flags(container(securityContext={"privileged": True}))
    assert "--privileged" in privileged
    assert not [f for f in privileged if f.startswith("--cap")]


def test_networks_and_ports() -> None:
    ports = [
        {"containerPort": 80},
        {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "::1"},
    ]
    own = flags(container(ports=ports))
    assert [f for f in own if f.startswith("--publish")] == ["--publish=[::1]:5353:53/udp"]
    shared = flags(container({"hostNetwork": True, "hostPID": True}, ports=ports))
    assert {"--network=host", "--pid=host"} <= {*shared}
    assert not [f for f in shared if f.startswith(("--publish", "--hostname"))]


VOLUMES = [
    {"name": "any", "hostPath": {"path": "/any"}},
    {"name": "dir", "hostPath": {"path": "/dir", "type": "Directory"}},
    {"name": "made", "hostPath": {"path": "/made", "type": "FileOrCreate"}},
    {"name": "conf", "configMap": {"name": "conf", "defaultMode": 0o444}},
    {"name": "db", "secret": {"secretName": "db", "items": [{"key": "user", "path": "a/b/u"}]}},
    {"name": "open", "secret": {"secretName": "db", "defaultMode": 0o440}},
    {"name": "none", "configMap": {"name": "none", "optional": True}},
    {"name": "tmp"},
]


def mounted(**mount: Any) -> list[str]:
    bundle = container({"volumes": VOLUMES}, volumeMounts=[{"mountPath": "/x", **mount}])
    return [f.removeprefix("--mount=type=bind,") for f in flags(bundle) if "--mount" in f]


COPY = f"{STATE_DIR}/w/mon.agent_v2/a"


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        pytest.param({"name": "any"}, "source=/any,target=/x", id="host-path"),
        pytest.param(
            {"name": "any", "subPath": "a/b", "readOnly": True},
            "source=/any/a/b,target=/x,readonly",
            id="sub-path",
        ),
        pytest.param({"name": "conf"}, f"source={COPY}/vol/conf,target=/x,readonly", id="conf"),
        pytest.param(
            {"name": "conf", "subPath": "app.conf"},
            f"source={COPY}/vol/conf/app.conf,target=/x,readonly",
            id="a-file-of-a-config-map",
        ),
        pytest.param(
            {"name": "db", "subPath": "a"},
            f"source={COPY}/vol/db/a,target=/x,readonly",
            id="a-directory-of-a-secret",
        ),
        pytest.param({"name": "tmp"}, f"source={COPY}/empty/r1/tmp,target=/x", id="empty-dir"),
    ],
)
def test_mounts(mount: dict[str, Any], expected: str) -> None:
    assert mounted(**mount) == [expected]


@pytest.mark.parametrize(
    "mount",
    [
        pytest.param({"name": "any", "subPath": "../etc"}, id="up"),
        pytest.param({"name": "any", "subPath": "/etc"}, id="absolute"),
        pytest.param({"name": "any", "mountPath": "/a,source=/"}, id="comma"),
        pytest.param({"name": "nope"}, id="no-such-volume"),
    ],
)
def test_a_mount_that_would_be_read_as_something_else_is_refused(mount: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="volumeMounts"):
        mounted(**mount)


def test_volumes_become_files_directories_and_checks() -> None:
    bundle = container({"volumes": VOLUMES}).bundle
    modes = {file.path.removeprefix(f"{COPY}/vol/"): file.mode for file in bundle.files}
    assert modes["conf/app.conf"] == 0o444
    assert modes["db/a/b/u"] == 0o644
    assert modes["open/password"] == 0o440
    assert [(check.kind, check.subject) for check in bundle.checks] == [
        (CheckKind.MAKE_PATH, "/any"),
        (CheckKind.DIRECTORY, "/dir"),
        (CheckKind.MAKE_FILE, "/made"),
    ]
    directories = dict(bundle.directories)
    assert directories[f"{COPY}/empty/r1/tmp"] == 0o777
    assert directories[f"{COPY}/vol/db/a/b"] == 0o755
    assert directories[f"{COPY}/vol/none"] == 0o755


def test_a_sub_path_of_a_path_of_the_host_is_made() -> None:
    mount = {"name": "dir", "mountPath": "/x", "subPath": "a"}
    bundle = container({"volumes": VOLUMES}, volumeMounts=[mount]).bundle
    assert Check(CheckKind.MAKE_PATH, "/dir/a") in bundle.checks


def test_what_a_reboot_takes_is_made_at_the_start(host: Host, tmp_path: Path) -> None:
    volumes = [
        {"name": "a", "hostPath": {"path": f"{tmp_path}/it's/a"}},
        {"name": "b", "hostPath": {"path": f"{tmp_path}/b", "type": "FileOrCreate"}},
        {"name": "c", "hostPath": {"path": f"{tmp_path}/c", "type": "Directory"}},
    ]
    # A quote is refused in a mount, so this one is only looked at.
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    with pytest.raises(RenderError):
        container({"volumes": volumes}, volumeMounts=mounts)
    volumes[0] = {"name": "a", "hostPath": {"path": f"{tmp_path}/x y/a"}}
    host.start(container({"volumes": volumes}, volumeMounts=mounts))
    assert (tmp_path / "x y/a").is_dir()
    assert (tmp_path / "b").is_file()
    assert not (tmp_path / "c").exists()


def test_an_empty_dir_lives_as_long_as_a_pod_would(host: Host) -> None:
    spec = {"volumes": [{"name": "tmp"}, {"name": "sub"}]}
    mounts = [
        {"name": "tmp", "mountPath": "/a"},
        {"name": "sub", "mountPath": "/b", "subPath": "x/y"},
    ]
    bundle = container(spec, volumeMounts=mounts)
    host.start(bundle)
    empty = host.copy / "empty/r1"
    assert (empty / "tmp").stat().st_mode & 0o7777 == 0o777
    assert (empty / "sub/x/y").is_dir()
    (empty / "tmp/kept").touch()
    host.start(bundle)
    assert (empty / "tmp/kept").exists()
    one = {"name": "main", "image": "busybox:1", "volumeMounts": mounts}
    host.start(rendered({**spec, "containers": [one]}, revision="r2"))
    assert [path.name for path in (host.copy / "empty").iterdir()] == ["r2"]


def test_selinux_is_told_to_let_mounts_be_read() -> None:
    profile = HostProfile(Runtime.PODMAN, 4, selinux=True)
    mount = [{"name": "any", "mountPath": "/x"}]
    with_mount = container({"volumes": VOLUMES}, profile, volumeMounts=mount)
    assert "--security-opt=label=disable" in flags(with_mount)
    assert "--security-opt=label=disable" not in flags(container(profile=profile))


def test_a_pin_is_what_runs_and_is_pulled() -> None:
    spec = {"containers": [{"name": "main", "image": "busybox:1"}]}
    bundle = rendered(spec, pins={"busybox:1": "busybox@sha256:aa", "other": "x"})
    assert bundle.bundle.images == ("busybox@sha256:aa",)
    assert flags(bundle)[-1] == "busybox@sha256:aa"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"env": [{"name": "A", "value": "x" * 140_000}]}, "longer", id="long-value"),
        pytest.param({"args": ["a\0b"]}, "NUL", id="nul"),
        pytest.param(
            {
                "env": [
                    {
                        "name": "A",
                        "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "raw"}},
                    }
                ]
            },
            "not text",
            id="binary-value",
        ),
        pytest.param(
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
            "no value for",
            id="field",
        ),
        pytest.param({"resources": {"limits": {"cpu": "x"}}}, "limits.cpu", id="quantity"),
    ],
)
def test_what_no_process_can_be_given_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RenderError, match=message):
        container(**fields)


def test_a_pod_needs_an_engine() -> None:
    with pytest.raises(RenderError, match="podman or docker"):
        container(profile=HostProfile(Runtime.SYSTEMD))


ADDED = {"capabilities": {"add": ["SYS_ADMIN", "BPF"]}}


def test_an_old_docker_is_refused_what_it_does_not_know() -> None:
    with pytest.raises(RenderError, match=r"capabilities\.add: docker older than 23 .* BPF"):
        container(profile=DOCKER, securityContext=ADDED)


@pytest.mark.parametrize("profile", [PODMAN, replace(DOCKER, runtime_version=23)])
def test_newer_engines_know_every_capability(profile: HostProfile) -> None:
    assert "--cap-add=BPF" in container(profile=profile, securityContext=ADDED).text(".start.sh")
