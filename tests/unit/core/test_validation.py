from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from fleetd.core.daemonset import ConfigMap, DaemonSet, Secret
from fleetd.core.validation import validate

POD = "spec.template.spec"
BOX = f"{POD}.containers[0]"
TERMS = f"{POD}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"


def daemonset(**pod: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "main", "image": "agent:1"}], **pod},
            },
        },
    }


def with_container(**fields: Any) -> dict[str, Any]:
    return daemonset(containers=[{"name": "main", "image": "agent:1", **fields}])


def with_spec(**fields: Any) -> dict[str, Any]:
    document = daemonset()
    document["spec"].update(fields)
    return document


def with_meta(**fields: Any) -> dict[str, Any]:
    document = daemonset()
    document["metadata"].update(fields)
    return document


def with_knobs(**fields: Any) -> dict[str, Any]:
    return with_spec(updateStrategy={"rollingUpdate": fields})


def with_terms(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return daemonset(affinity={"nodeAffinity": {key: required}})


def with_expression(**fields: Any) -> dict[str, Any]:
    return with_terms({"matchExpressions": [{"key": "a", **fields}]})


def with_systemd(**fields: Any) -> dict[str, Any]:
    document = daemonset()
    document["apiVersion"] = "fleetd/v1"
    unit = "[Service]\nExecStart=/usr/bin/agent\n"
    document["spec"]["template"]["spec"] = {"systemd": {"unit": unit, **fields}}
    return document


def with_file(**fields: Any) -> dict[str, Any]:
    return with_systemd(files=[{"path": "/etc/agent.conf", **fields}])


def with_selector(**expression: Any) -> dict[str, Any]:
    return with_spec(selector={"matchExpressions": [expression]})


def errors_of(document: dict[str, Any]) -> list[str]:
    found = validate(DaemonSet.model_validate(copy.deepcopy(document)))
    return [finding.path for finding in found if not finding.note]


def notes_of(document: dict[str, Any]) -> list[str]:
    return [f.path for f in validate(DaemonSet.model_validate(document)) if f.note]


SECRET = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
GET = {"httpGet": {"port": 80}}
MOUNT = {"name": "v", "mountPath": "/v"}

WRONG = [
    ("name", with_meta(name="Agent"), ["metadata.name"]),
    ("namespace", with_meta(namespace="a.b"), ["metadata.namespace"]),
    ("label key", with_meta(labels={"-a": "b"}), ["metadata.labels[-a]"]),
    ("label value", with_meta(labels={"a": "b c"}), ["metadata.labels.a"]),
    ("annotation key", with_meta(annotations={"a b": ""}), ["metadata.annotations[a b]"]),
    (
        "own annotation misspelt",
        with_meta(annotations={"fleetd/max-unreachble": "5"}),
        ["metadata.annotations[fleetd/max-unreachble]"],
    ),
    (
        "deadline 0",
        with_meta(annotations={"fleetd/progress-deadline-seconds": "0"}),
        ["metadata.annotations[fleetd/progress-deadline-seconds]"],
    ),
    (
        "limit above 100%",
        with_meta(annotations={"fleetd/max-unreachable": "120%"}),
        ["metadata.annotations[fleetd/max-unreachable]"],
    ),
    (
        "unreachable ignored",
        with_meta(annotations={"fleetd/unreachable": "ignore"}),
        ["metadata.annotations[fleetd/unreachable]"],
    ),
    ("empty selector", with_spec(selector={}), ["spec.selector"]),
    (
        "selector of others",
        with_spec(selector={"matchLabels": {"app": "other"}}),
        ["spec.template.metadata.labels"],
    ),
    (
        "selector In without values",
        with_selector(key="app", operator="In"),
        ["spec.selector.matchExpressions[0].values"],
    ),
    (
        "selector Exists with values",
        with_selector(key="app", operator="Exists", values=["a"]),
        ["spec.selector.matchExpressions[0].values"],
    ),
    (
        "selector NotIn matches not",
        with_selector(key="app", operator="NotIn", values=["agent"]),
        ["spec.template.metadata.labels"],
    ),
    ("minReadySeconds", with_spec(minReadySeconds=-1), ["spec.minReadySeconds"]),
    ("history limit", with_spec(revisionHistoryLimit=-1), ["spec.revisionHistoryLimit"]),
    *(
        (
            f"maxUnavailable {value!r}",
            with_knobs(maxUnavailable=value),
            ["spec.updateStrategy.rollingUpdate.maxUnavailable"],
        )
        for value in (0, "0%", -1, "10", "-1%", "+1%", "1.5%", " 5%", "101%")
    ),
    ("nodeName", daemonset(nodeName="A_b"), [f"{POD}.nodeName"]),
    ("nodeSelector key", daemonset(nodeSelector={"a b": "c"}), [f"{POD}.nodeSelector[a b]"]),
    ("nodeSelector value", daemonset(nodeSelector={"a": "b/c"}), [f"{POD}.nodeSelector.a"]),
    ("no terms", with_terms(), [f"{TERMS}.nodeSelectorTerms"]),
    *(
        (
            f"{operator} with {values}",
            with_expression(operator=operator, values=values),
            [f"{TERMS}.nodeSelectorTerms[0].matchExpressions[0].{where}"],
        )
        for operator, values, where in (
            ("In", [], "values"),
            ("Exists", ["a"], "values"),
            ("Gt", ["1", "2"], "values"),
            ("Lt", ["-1"], "values[0]"),
            ("NotIn", ["a b"], "values[0]"),
        )
    ),
    (
        "field term",
        with_terms({"matchFields": [{"key": "metadata.uid", "operator": "Gt"}]}),
        [f"{TERMS}.nodeSelectorTerms[0].matchFields[0].{f}" for f in ("key", "operator", "values")],
    ),
    (
        "toleration Equal without key",
        daemonset(tolerations=[{}]),
        [f"{POD}.tolerations[0].operator"],
    ),
    (
        "toleration Exists with value",
        daemonset(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        [f"{POD}.tolerations[0].operator"],
    ),
    (
        "toleration value",
        daemonset(tolerations=[{"key": "a", "value": "b c"}]),
        [f"{POD}.tolerations[0].operator"],
    ),
    (
        "toleration Gt of a word",
        daemonset(tolerations=[{"key": "a", "operator": "Gt", "value": "01"}]),
        [f"{POD}.tolerations[0].value"],
    ),
    (
        "tolerationSeconds without effect",
        daemonset(tolerations=[{"key": "a", "tolerationSeconds": 5}]),
        [f"{POD}.tolerations[0].tolerationSeconds"],
    ),
    ("no containers", daemonset(containers=[]), [f"{POD}.containers"]),
    ("container name", with_container(name="a.b"), [f"{BOX}.name"]),
    ("image", with_container(image=""), [f"{BOX}.image"]),
    ("image that is an option", with_container(image="--privileged"), [f"{BOX}.image"]),
    ("bell in args", with_container(args=["a\nb", "\a"]), [f"{BOX}.args[1]"]),
    ("escape in command", with_container(command=["\x1b"]), [f"{BOX}.command[0]"]),
    (
        "escape in env, where lines are fine",
        with_container(env=[{"name": "A", "value": "a\nb"}, {"name": "B", "value": "\x1b"}]),
        [f"{BOX}.env[1].value"],
    ),
    ("env name", with_container(env=[{"name": "A=B"}]), [f"{BOX}.env[0].name"]),
    (
        "value and source",
        with_container(env=[{**SECRET, "value": "x"}]),
        [f"{BOX}.env[0].valueFrom"],
    ),
    (
        "no source",
        with_container(env=[{"name": "A", "valueFrom": {}}]),
        [f"{BOX}.env[0].valueFrom"],
    ),
    (
        "fieldPath",
        with_container(
            env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]
        ),
        [f"{BOX}.env[0].valueFrom.fieldRef.fieldPath"],
    ),
    (
        "secret in args",
        with_container(env=[SECRET], args=["--token=$(S)", "$$(S)"]),
        [f"{BOX}.args[0]"],
    ),
    (
        "secret in args by way of a value",
        with_container(env=[SECRET, {"name": "URL", "value": "u:$(S)@h"}], args=["$(URL)"]),
        [f"{BOX}.args[0]"],
    ),
    ("port", with_container(ports=[{"containerPort": 0}]), [f"{BOX}.ports[0].containerPort"]),
    (
        "port name",
        with_container(ports=[{"containerPort": 1, "name": "80"}]),
        [f"{BOX}.ports[0].name"],
    ),
    (
        "port twice",
        with_container(ports=[{"containerPort": n, "hostPort": 5} for n in (1, 2)]),
        [f"{BOX}.ports[1].hostPort"],
    ),
    (
        "quantity",
        with_container(resources={"limits": {"cpu": "1 core"}}),
        [f"{BOX}.resources.limits.cpu"],
    ),
    (
        "negative",
        with_container(resources={"limits": {"cpu": "-1"}}),
        [f"{BOX}.resources.limits.cpu"],
    ),
    (
        "request above limit",
        with_container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "1001m"}}),
        [f"{BOX}.resources.requests.cpu"],
    ),
    (
        "capability",
        with_container(securityContext={"capabilities": {"add": ["CAP_SYS_ADMIN", "net_raw"]}}),
        [f"{BOX}.securityContext.capabilities.add[{i}]" for i in (0, 1)],
    ),
    ("probe of nothing", with_container(readinessProbe={}), [f"{BOX}.readinessProbe"]),
    (
        "probe of two things",
        with_container(readinessProbe={**GET, "tcpSocket": {"port": 1}}),
        [f"{BOX}.readinessProbe"],
    ),
    (
        "probe of a named port",
        with_container(readinessProbe={"httpGet": {"port": "http"}}),
        [f"{BOX}.readinessProbe.httpGet.port"],
    ),
    (
        "probe numbers",
        with_container(readinessProbe={**GET, "periodSeconds": -1, "initialDelaySeconds": -1}),
        [f"{BOX}.readinessProbe.initialDelaySeconds", f"{BOX}.readinessProbe.periodSeconds"],
    ),
    (
        "probe header",
        with_container(
            readinessProbe={"httpGet": {"port": 1, "httpHeaders": [{"name": "A:", "value": "b\r"}]}}
        ),
        [f"{BOX}.readinessProbe.httpGet.httpHeaders[0].{f}" for f in ("name", "value")],
    ),
    ("mount of nothing", with_container(volumeMounts=[MOUNT]), [f"{BOX}.volumeMounts[0].name"]),
    (
        "hostPath",
        daemonset(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]),
        [f"{POD}.volumes[0].hostPath.path"],
    ),
    (
        "volume twice",
        daemonset(volumes=[{"name": "v", "emptyDir": {}}] * 2),
        [f"{POD}.volumes[1].name"],
    ),
    (
        "volume of two sources",
        daemonset(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}]),
        [f"{POD}.volumes[0].emptyDir"],
    ),
    (
        "items",
        daemonset(
            volumes=[
                {
                    "name": "v",
                    "configMap": {
                        "name": "c",
                        "defaultMode": 0o1000,
                        "items": [{"key": "k", "path": p} for p in ("/a", "a b", "c", "c")],
                    },
                }
            ]
        ),
        [
            f"{POD}.volumes[0].configMap.{f}"
            for f in ("defaultMode", "items[0].path", "items[1].path", "items[3].path")
        ],
    ),
    (
        "grace",
        daemonset(terminationGracePeriodSeconds=-1),
        [f"{POD}.terminationGracePeriodSeconds"],
    ),
    ("two units", with_systemd(existingUnit="a.service"), [f"{POD}.systemd"]),
    ("unit without a service", with_systemd(unit="[Unit]\n"), [f"{POD}.systemd.unit"]),
    (
        "unit with an escape",
        with_systemd(unit="[Service]\nExecStart=/a\x1b\n"),
        [f"{POD}.systemd.unit"],
    ),
    (
        "no unit name",
        with_systemd(unit=None, existingUnit="chrony"),
        [f"{POD}.systemd.existingUnit"],
    ),
    (
        "a unit of fleetd's",
        with_systemd(unit=None, existingUnit="fleetd-a.service"),
        [f"{POD}.systemd.existingUnit"],
    ),
    (
        "environment of an existing unit",
        with_systemd(unit=None, existingUnit="a.service", env=[{"name": "A"}]),
        [f"{POD}.systemd.env"],
    ),
    *(
        (f"file {path}", with_file(path=path, content=""), [f"{POD}.systemd.files[0].path"])
        for path in (
            "etc/a",
            "/etc/a b",
            "/etc/../a",
            "/etc/",
            "/run/a",
            "/var/lib/fleetd-node/ledger",
        )
    ),
    (
        "timer and socket",
        with_systemd(timer="[Timer]\nOnCalendar=daily\n", socket="[Socket]\nListenStream=9\n"),
        [f"{POD}.systemd.socket"],
    ),
    ("timer without time", with_systemd(timer=""), [f"{POD}.systemd.timer"]),
    (
        "timer of an existing unit",
        with_systemd(unit=None, existingUnit="a.service", timer="[Timer]\nOnCalendar=daily\n"),
        [f"{POD}.systemd.timer"],
    ),
    (
        "probe of what a timer starts",
        with_systemd(
            timer="[Timer]\nOnCalendar=daily\n", readinessProbe={"exec": {"command": ["a"]}}
        ),
        [f"{POD}.systemd.readinessProbe"],
    ),
    ("unit refused", with_systemd(unit="[Service]\nKillMode=none\n"), [f"{POD}.systemd.unit"]),
    (
        "credential of nothing",
        with_systemd(credentials=[{"name": "a"}]),
        [f"{POD}.systemd.credentials[0]"],
    ),
    (
        "credential by a path",
        with_systemd(credentials=[{"name": "a/b", "secretKeyRef": {"name": "s", "key": "k"}}]),
        [f"{POD}.systemd.credentials[0].name"],
    ),
    (
        "credentials of an existing unit",
        with_systemd(
            unit=None,
            existingUnit="a.service",
            credentials=[{"name": "a", "secretKeyRef": {"name": "s", "key": "k"}}],
        ),
        [f"{POD}.systemd.credentials"],
    ),
    ("file without content", with_file(), [f"{POD}.systemd.files[0]"]),
    ("file of two contents", with_file(content="", contentBase64=""), [f"{POD}.systemd.files[0]"]),
    ("no base64", with_file(contentBase64="*"), [f"{POD}.systemd.files[0].contentBase64"]),
    ("file owner", with_file(content="", owner="a b"), [f"{POD}.systemd.files[0].owner"]),
    ("file mode", with_file(content="", mode=0o10000), [f"{POD}.systemd.files[0].mode"]),
    (
        "architecture",
        with_file(perArchitecture={"x86_64": ""}),
        [f"{POD}.systemd.files[0].perArchitecture[x86_64]"],
    ),
    ("user root", with_systemd(users=[{"name": "root"}]), [f"{POD}.systemd.users[0].name"]),
    ("variable", with_systemd(env=[{"name": "a-b"}]), [f"{POD}.systemd.env[0].name"]),
    (
        "variable of two sources",
        with_systemd(env=[{"name": "A", "value": "b", "fieldPath": "spec.nodeName"}]),
        [f"{POD}.systemd.env[0]"],
    ),
]


@pytest.mark.parametrize(
    ("document", "paths"), [pytest.param(d, paths, id=name) for name, d, paths in WRONG]
)
def test_each_error_has_its_path(document: dict[str, Any], paths: list[str]) -> None:
    assert errors_of(document) == paths


RIGHT = {
    "smallest": daemonset(),
    "tolerates all": daemonset(tolerations=[{"operator": "Exists"}]),
    "tolerates for ever": daemonset(
        tolerations=[
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": -1}
        ]
    ),
    "empty term": with_terms({}),
    "Gt": with_expression(operator="Gt", values=["007"]),
    "empty value": daemonset(nodeSelector={"a": ""}),
    "counts": with_knobs(maxUnavailable="100%"),
    "zero seconds of a probe": with_container(readinessProbe={**GET, "periodSeconds": 0}),
    "named port": with_container(
        ports=[{"name": "http", "containerPort": 80}], readinessProbe={"httpGet": {"port": "http"}}
    ),
    "a secret as a variable": with_container(env=[SECRET], args=["$(OTHER)"]),
    "a secret overridden": with_container(
        env=[SECRET, {"name": "S", "value": "plain"}], args=["$(S)"]
    ),
    "all capabilities": with_container(securityContext={"capabilities": {"drop": ["ALL"]}}),
    "own annotations": with_meta(
        annotations={
            "fleetd/progress-deadline-seconds": "60",
            "fleetd/max-unreachable": "5",
            "fleetd/unreachable": "count",
        }
    ),
    "systemd": with_systemd(
        users=[{"name": "agent"}], env=[{"name": "A", "fieldPath": "spec.nodeName"}]
    ),
    "existing unit": with_systemd(unit=None, existingUnit="chrony.service"),
    "binary": with_file(perArchitecture={"amd64": base64.b64encode(b"\0").decode()}, mode=0o4755),
}


@pytest.mark.parametrize("document", RIGHT.values(), ids=RIGHT.keys())
def test_nothing_is_wrong_with(document: dict[str, Any]) -> None:
    assert errors_of(document) == []


def test_host_port_must_be_the_container_port_on_the_hosts_network() -> None:
    document = with_container(ports=[{"containerPort": 1, "hostPort": 2}])
    assert errors_of(document) == []
    document["spec"]["template"]["spec"]["hostNetwork"] = True
    assert errors_of(document) == [f"{BOX}.ports[0].hostPort"]


@pytest.mark.parametrize(("down", "surge"), [(0, 0), ("0%", "0%")])
def test_errors_about_the_knobs_name_both(down: int | str, surge: int | str) -> None:
    document = with_knobs(maxUnavailable=down, maxSurge=surge)
    (finding,) = validate(DaemonSet.model_validate(document))
    assert "maxUnavailable" in finding.message
    assert "maxSurge" in finding.message


@pytest.mark.parametrize("down", [0, 1])
def test_surge_with_and_without_in_place(down: int) -> None:
    document = with_knobs(maxUnavailable=down, maxSurge="25%")
    assert errors_of(document) == []
    assert notes_of(document) == []


SURGE = "spec.updateStrategy.rollingUpdate.maxSurge"
PORTS = [{"containerPort": 80}]
ON_HOST = {**daemonset(hostNetwork=True)["spec"]["template"]["spec"]}
ON_HOST["containers"] = [{"name": "main", "image": "agent:1", "ports": PORTS}]
CLASHES = {
    "hostPort": with_container(ports=[{"containerPort": 80, "hostPort": 80}]),
    "init hostPort": daemonset(
        initContainers=[
            {"name": "i", "image": "i:1", "ports": [{"containerPort": 8, "hostPort": 8}]}
        ]
    ),
    "hostNetwork": daemonset(**ON_HOST),
    "existing unit": with_systemd(unit=None, existingUnit="chrony.service"),
    "fixed path": with_file(content="x"),
    "replaces": with_meta(annotations={"fleetd/replaces": "agent.service"}),
}


def surging(document: dict[str, Any], down: int) -> dict[str, Any]:
    document = copy.deepcopy(document)
    document["spec"]["updateStrategy"] = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": down}}
    return document


@pytest.mark.parametrize("document", CLASHES.values(), ids=CLASHES.keys())
def test_copies_that_would_clash_do_not_surge(document: dict[str, Any]) -> None:
    assert SURGE in errors_of(surging(document, 0))
    assert SURGE not in errors_of(surging(document, 1))
    assert SURGE in notes_of(surging(document, 1))


RELAXED = {
    "ports of its own": with_container(ports=PORTS),
    "shared ports": daemonset(**ON_HOST) | with_meta(annotations={"fleetd/surge": "share-ports"}),
    "unit alone": with_systemd(),
}
RELAXED["shared ports"]["spec"] = daemonset(**ON_HOST)["spec"]


@pytest.mark.parametrize("document", RELAXED.values(), ids=RELAXED.keys())
def test_copies_that_get_along_surge(document: dict[str, Any]) -> None:
    assert errors_of(surging(document, 0)) == []


def test_a_host_port_cannot_be_shared() -> None:
    document = copy.deepcopy(CLASHES["hostPort"])
    document["metadata"]["annotations"] = {"fleetd/surge": "share-ports"}
    assert errors_of(surging(document, 0)) == [SURGE]


def test_knobs_are_not_looked_at_under_on_delete() -> None:
    document = with_spec(
        updateStrategy={"type": "OnDelete", "rollingUpdate": {"maxUnavailable": "x"}}
    )
    assert errors_of(document) == []


def test_all_errors_are_found_together() -> None:
    document = with_meta(name="A")
    document["spec"]["minReadySeconds"] = -1
    document["spec"]["template"]["spec"]["nodeName"] = "_"
    assert errors_of(document) == ["metadata.name", "spec.minReadySeconds", f"{POD}.nodeName"]


def test_config_map() -> None:
    config_map = ConfigMap.model_validate(
        {
            "metadata": {"name": "c"},
            "data": {"a/b": "", "x": "y" * (1 << 20)},
            "binaryData": {"x": "eA==", "z": "*"},
        }
    )
    assert [f.path for f in validate(config_map)] == [
        "data[a/b]",
        "binaryData.x",
        "binaryData.z",
        "data",
    ]


def test_a_secret_is_never_told() -> None:
    secret = Secret.model_validate({"metadata": {"name": "s"}, "data": {"a": "hunter2!"}})
    (finding,) = validate(secret)
    assert finding.path == "data.a"
    assert "hunter2" not in str(finding)
