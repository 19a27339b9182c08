"""Rules for probes and hooks, with Kubernetes' field paths (K 167)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.test_validation import (
    BOX,
    GET,
    daemonset,
    errors_of,
    notes_of,
    with_container,
    with_systemd,
)

HOOK = f"{BOX}.lifecycle.preStop"
PORTS = [{"name": "web", "containerPort": 80}]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def hook(handler: dict[str, Any], **pod: Any) -> dict[str, Any]:
    one = {"name": "main", "image": "a:1", "ports": PORTS, "lifecycle": {"preStop": handler}}
    return daemonset(containers=[one], **pod)


ACTIONS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("none", {}, [""]),
    ("two", {**GET, "grpc": {"port": 1}}, [""]),
    ("no-command", {"exec": {"command": []}}, [".exec.command"]),
    ("grpc-port", {"grpc": {"port": 65536}}, [".grpc.port"]),
    ("http-port", {"httpGet": {"port": 0}}, [".httpGet.port"]),
    ("tcp-port-name", {"tcpSocket": {"port": "db"}}, [".tcpSocket.port"]),
    ("digits-are-no-name", {"tcpSocket": {"port": "80"}}, [".tcpSocket.port"]),
    (
        "header",
        {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": ""}]}},
        [".httpGet.httpHeaders[0].name"],
    ),
    ("host", {"httpGet": {"port": 1, "host": "a b"}}, [".httpGet.host"]),
    ("period", {**GET, "periodSeconds": -1}, [".periodSeconds"]),
    ("failures", {**GET, "failureThreshold": -1}, [".failureThreshold"]),
    ("timeout", {**GET, "timeoutSeconds": -1}, [".timeoutSeconds"]),
]


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize(("probe", "where"), [pytest.param(*r[1:], id=r[0]) for r in ACTIONS])
def test_every_probe_is_held_to_its_rules(
    name: str, probe: dict[str, Any], where: list[str]
) -> None:
    document = with_container(ports=PORTS, **{name: probe})
    assert errors_of(document) == [f"{BOX}.{name}{path}" for path in where]


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize(
    "probe",
    [
        pytest.param({"exec": {"command": ["a"]}}, id="exec"),
        pytest.param({"httpGet": {"port": "web", "scheme": "HTTPS"}}, id="http"),
        pytest.param({"tcpSocket": {"port": "web", "host": "127.0.0.1"}}, id="tcp"),
        pytest.param({"grpc": {"port": 80, "service": "a.b"}}, id="grpc"),
        pytest.param({**GET, "periodSeconds": 0, "successThreshold": 0}, id="defaults"),
    ],
)
def test_every_kind_is_fine_for_every_probe(name: str, probe: dict[str, Any]) -> None:
    assert errors_of(with_container(ports=PORTS, **{name: probe})) == []


@pytest.mark.parametrize("name", PROBES)
def test_only_readiness_may_ask_for_several_successes(name: str) -> None:
    wrong = errors_of(with_container(**{name: {**GET, "successThreshold": 2}}))
    assert wrong == ([] if name == "readinessProbe" else [f"{BOX}.{name}.successThreshold"])


@pytest.mark.parametrize("name", PROBES)
def test_only_what_stops_has_a_grace_period(name: str) -> None:
    grace = f"{BOX}.{name}.terminationGracePeriodSeconds"
    given = {**GET, "terminationGracePeriodSeconds": 5}
    assert errors_of(with_container(**{name: given})) == (
        [grace] if name == "readinessProbe" else []
    )
    none = {**GET, "terminationGracePeriodSeconds": 0}
    assert errors_of(with_container(**{name: none})) == [grace]


HOOKS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("none", {}, [""]),
    ("two", {"sleep": {"seconds": 1}, "exec": {"command": ["a"]}}, [""]),
    ("no-command", {"exec": {"command": []}}, [".exec.command"]),
    ("port-name", {"httpGet": {"port": "db"}}, [".httpGet.port"]),
    ("no-sleep", {"sleep": {"seconds": 0}}, [".sleep"]),
    ("negative-sleep", {"sleep": {"seconds": -1}}, [".sleep"]),
    ("sleep-beyond-the-grace-period", {"sleep": {"seconds": 31}}, [".sleep"]),
    ("exec", {"exec": {"command": ["a"]}}, []),
    ("http", {"httpGet": {"port": "web"}}, []),
    ("sleep", {"sleep": {"seconds": 30}}, []),
    ("tcp", {"tcpSocket": {"port": "web"}}, []),
]


@pytest.mark.parametrize(("handler", "where"), [pytest.param(*r[1:], id=r[0]) for r in HOOKS])
def test_hooks(handler: dict[str, Any], where: list[str]) -> None:
    assert errors_of(hook(handler)) == [f"{HOOK}{path}" for path in where]
    after = with_container(ports=PORTS, lifecycle={"postStart": handler})
    assert errors_of(after) == [f"{BOX}.lifecycle.postStart{path}" for path in where]


def test_a_pause_is_measured_by_the_pods_own_grace_period() -> None:
    assert errors_of(hook({"sleep": {"seconds": 31}}, terminationGracePeriodSeconds=31)) == []
    assert errors_of(hook({"sleep": {"seconds": 1}}, terminationGracePeriodSeconds=0)) == [
        f"{HOOK}.sleep"
    ]


def test_a_tcp_hook_is_named_as_doing_nothing() -> None:
    assert f"{HOOK}.tcpSocket" in notes_of(hook({"tcpSocket": {"port": 1}}))


@pytest.mark.parametrize("name", [*PROBES, "lifecycle"])
def test_init_containers_have_neither_unless_they_stay(name: str) -> None:
    given = {"preStop": {"sleep": {"seconds": 1}}} if name == "lifecycle" else GET
    first = {"name": "first", "image": "a:1", name: given}
    rest = {"containers": [{"name": "main", "image": "a:1"}]}
    assert errors_of(daemonset(initContainers=[first], **rest)) == [
        f"spec.template.spec.initContainers[0].{name}"
    ]
    sidecar = {**first, "restartPolicy": "Always"}
    assert errors_of(daemonset(initContainers=[sidecar], **rest)) == []


def test_the_probe_of_a_unit_is_held_to_the_same_rules() -> None:
    probe = {**GET, "terminationGracePeriodSeconds": 1}
    path = "spec.template.spec.systemd.readinessProbe.terminationGracePeriodSeconds"
    assert errors_of(with_systemd(readinessProbe=probe)) == [path]
