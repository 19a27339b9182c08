from __future__ import annotations

import shlex
from typing import Any

import pytest

from fleetd.core.bundle import Check, CheckKind
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostProfile, Slot
from fleetd.workload.render import render
from tests.unit.workload.rendering import CONTENT, DOCKER, PODMAN, Rendered, daemonset, rendered

ANNOTATION = "container.apparmor.security.beta.kubernetes.io/main"
OPT = "--security-opt="


def pod(own: dict[str, Any] | None = None, whole: dict[str, Any] | None = None) -> dict[str, Any]:
    main = {"name": "main", "image": "busybox:1", "securityContext": own or {}}
    return {"containers": [main], "securityContext": whole or {}}


def flags(bundle: Rendered) -> set[str]:
    script = bundle.text("main.start.sh")
    return {word for word in shlex.split(script.split("exec ", 1)[1]) if word.startswith("--")}


def local(name: str) -> dict[str, str]:
    return {"type": "Localhost", "localhostProfile": name}


@pytest.mark.parametrize(
    ("own", "whole", "expected"),
    [
        pytest.param({"runAsUser": 5}, {}, {"--user=5"}, id="user"),
        pytest.param({"runAsUser": 0}, {"runAsUser": 5}, {"--user=0"}, id="own-user-wins"),
        pytest.param(
            {"runAsGroup": 7}, {"runAsUser": 5, "runAsGroup": 6}, {"--user=5:7"}, id="group"
        ),
        pytest.param({"runAsGroup": 7}, {}, {"--user=${fleetd_user:-0}:7"}, id="the-images-user"),
        pytest.param(
            {},
            {"supplementalGroups": [8, 9], "fsGroup": 9},
            {"--group-add=8", "--group-add=9"},
            id="groups",
        ),
        pytest.param(
            {"allowPrivilegeEscalation": False}, {}, {f"{OPT}no-new-privileges"}, id="escalation"
        ),
        pytest.param({"privileged": True}, {}, {"--privileged"}, id="privileged"),
        pytest.param(
            {"seccompProfile": {"type": "Unconfined"}}, {}, {f"{OPT}seccomp=unconfined"}, id="none"
        ),
        pytest.param(
            {"seccompProfile": {"type": "RuntimeDefault"}},
            {"seccompProfile": {"type": "Unconfined"}},
            set(),
            id="own-seccomp-wins",
        ),
        pytest.param(
            {},
            {"seccompProfile": local("a/b.json")},
            {f"{OPT}seccomp=/var/lib/kubelet/seccomp/a/b.json"},
            id="seccomp-file",
        ),
        pytest.param(
            {"privileged": True},
            {"seccompProfile": local("a.json")},
            {"--privileged"},
            id="privileged-has-no-seccomp",
        ),
        pytest.param(
            {"appArmorProfile": local("mine")}, {}, {f"{OPT}apparmor=mine"}, id="apparmor"
        ),
        pytest.param(
            {"seLinuxOptions": {"type": "spc_t", "level": "s0:c1,c2"}},
            {"seLinuxOptions": {"user": "system_u"}},
            {f"{OPT}label=type:spc_t", f"{OPT}label=level:s0:c1,c2"},
            id="selinux",
        ),
    ],
)
@pytest.mark.parametrize("profile", [PODMAN, DOCKER], ids=["podman", "docker"])
def test_a_security_context_becomes_flags(
    own: dict[str, Any], whole: dict[str, Any], expected: set[str], profile: HostProfile
) -> None:
    plain = flags(rendered(pod(), profile))
    found = flags(rendered(pod(own, whole), profile))
    assert {flag for flag in found - plain if not flag.startswith("--cap")} == expected


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        pytest.param(
            PODMAN,
            {"--read-only", "--read-only-tmpfs=false", f"{OPT}unmask=ALL"},
            id="podman",
        ),
        pytest.param(DOCKER, {"--read-only", f"{OPT}systempaths=unconfined"}, id="docker"),
    ],
)
def test_what_engines_call_by_other_names(profile: HostProfile, expected: set[str]) -> None:
    own = {"readOnlyRootFilesystem": True, "procMount": "Unmasked"}
    assert flags(rendered(pod(own), profile)) - flags(rendered(pod(), profile)) == expected


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        pytest.param("localhost/mine", {}, {f"{OPT}apparmor=mine"}, id="local"),
        pytest.param("unconfined", {}, {f"{OPT}apparmor=unconfined"}, id="unconfined"),
        pytest.param("runtime/default", {}, set(), id="default"),
        pytest.param("nonsense", {}, set(), id="nonsense"),
        pytest.param(
            "localhost/mine",
            {"appArmorProfile": {"type": "Unconfined"}},
            {f"{OPT}apparmor=unconfined"},
            id="the-field-wins",
        ),
    ],
)
def test_the_old_annotation_for_apparmor(
    text: str, own: dict[str, Any], expected: set[str]
) -> None:
    document = daemonset(pod(own)).model_dump(by_alias=True)
    document["spec"]["template"]["metadata"]["annotations"] = {ANNOTATION: text}
    parsed = DaemonSet.model_validate(document)
    bundle = Rendered(render(parsed, "r1", Slot.A, PODMAN, CONTENT, {}))
    assert {flag for flag in flags(bundle) if "apparmor" in flag} == expected


def test_a_local_seccomp_profile_must_be_on_the_host() -> None:
    bundle = rendered(pod({"seccompProfile": local("a.json")})).bundle
    assert Check(CheckKind.FILE, "/var/lib/kubelet/seccomp/a.json") in bundle.checks


def test_a_local_profile_may_be_brought_by_an_init_container() -> None:
    spec = pod({"seccompProfile": local("a.json")})
    bundle = rendered({**spec, "initContainers": [{"name": "bring", "image": "b"}]})
    assert bundle.bundle.checks == ()


def test_labels_that_are_asked_for_are_not_switched_off() -> None:
    profile = HostProfile(PODMAN.runtime, 4, selinux=True)
    spec = pod({"seLinuxOptions": {"type": "spc_t"}})
    spec["volumes"] = [{"name": "v", "hostPath": {"path": "/v"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    assert f"{OPT}label=disable" not in flags(rendered(spec, profile))


def test_a_priority_is_a_weight_and_a_score() -> None:
    spec = {**pod(), "priorityClassName": "system-node-critical"}
    unit = rendered(spec).lines("main.a.service")
    assert {"OOMScoreAdjust=-997", "CPUWeight=1000"} <= {*unit}
    docker = rendered(spec, DOCKER).text("main.start.sh")
    assert "--cpu-shares=10240" in docker
    assert 'then set -- "$@" --oom-score-adj=-997; fi' in docker
    other = rendered({**pod(), "priorityClassName": "mine"})
    assert other.text("main.start.sh") == rendered(pod()).text("main.start.sh")


def test_terminals_and_input() -> None:
    spec = pod()
    spec["containers"][0] |= {"tty": True, "stdin": True, "workingDir": "/it's here"}
    spec["containers"][0]["lifecycle"] = {"stopSignal": "SIGUSR1"}
    found = flags(rendered(spec))
    assert {"--tty", "--interactive", "--stop-signal=SIGUSR1", "--workdir=/it's here"} <= found
    # An attached client of docker would ask for a terminal of its own.
    docker = rendered(spec, DOCKER).text("main.start.sh")
    assert "docker create" in docker
    assert docker.endswith("exec docker start --attach fleetd-mon.agent_v2.main.a\n")
