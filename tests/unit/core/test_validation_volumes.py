"""Rules for environments and volumes, with Kubernetes' field paths (K 150, 167)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.core.test_validation import (
    BOX,
    MOUNT,
    POD,
    daemonset,
    errors_of,
    notes_of,
    with_container,
)

VOLUME = f"{POD}.volumes[0]"


def env(**source: Any) -> dict[str, Any]:
    return with_container(env=[{"name": "A", "valueFrom": source}])


def env_field(path: str) -> dict[str, Any]:
    return env(fieldRef={"fieldPath": path})


def env_resource(**ref: Any) -> dict[str, Any]:
    return env(resourceFieldRef=ref)


def volume(**source: Any) -> dict[str, Any]:
    return daemonset(volumes=[{"name": "v", **source}])


def told(*items: dict[str, Any]) -> dict[str, Any]:
    return volume(downwardAPI={"items": list(items)})


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    return volume(projected={"sources": list(sources)})


def mounted(*mounts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    document = with_container(volumeMounts=[{**MOUNT, **mount} for mount in mounts], **fields)
    document["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": "/v"}}]
    return document


FIELD = f"{BOX}.env[0].valueFrom.fieldRef.fieldPath"
RESOURCE = f"{BOX}.env[0].valueFrom.resourceFieldRef"
FROM = f"{BOX}.envFrom[0]"
ITEM = f"{VOLUME}.downwardAPI.items[0]"
NAME = {"fieldRef": {"fieldPath": "metadata.name"}}
CPU = {"resource": "limits.cpu", "containerName": "main"}

WRONG = [
    ("no source", env(), [f"{BOX}.env[0].valueFrom"]),
    (
        "two sources",
        env(fieldRef={"fieldPath": "metadata.name"}, resourceFieldRef={"resource": "limits.cpu"}),
        [f"{BOX}.env[0].valueFrom"],
    ),
    ("all labels in a variable", env_field("metadata.labels"), [FIELD]),
    ("a bad key of a label", env_field("metadata.labels['a b']"), [FIELD]),
    ("a key of no map", env_field("metadata.name['a']"), [FIELD]),
    ("an index without a quote", env_field("metadata.labels[a]"), [FIELD]),
    (
        "a version of the API",
        env(fieldRef={"fieldPath": "metadata.name", "apiVersion": "v2"}),
        [f"{BOX}.env[0].valueFrom.fieldRef.apiVersion"],
    ),
    ("a resource", env_resource(resource="limits.gpu"), [f"{RESOURCE}.resource"]),
    (
        "a unit of memory for cpu",
        env_resource(resource="limits.cpu", divisor="1Mi"),
        [f"{RESOURCE}.divisor"],
    ),
    (
        "a unit that is none",
        env_resource(resource="limits.memory", divisor="3"),
        [f"{RESOURCE}.divisor"],
    ),
    (
        "a divisor that is no quantity",
        env_resource(resource="limits.memory", divisor="x"),
        [f"{RESOURCE}.divisor"],
    ),
    (
        "a container that is not there",
        env_resource(resource="limits.cpu", containerName="other"),
        [f"{RESOURCE}.containerName"],
    ),
    (
        "envFrom of nothing",
        with_container(envFrom=[{}]),
        [FROM],
    ),
    (
        "envFrom of two",
        with_container(envFrom=[{"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]),
        [FROM],
    ),
    (
        "a prefix",
        with_container(envFrom=[{"configMapRef": {"name": "a"}, "prefix": "1"}]),
        [f"{FROM}.prefix"],
    ),
    (
        "a name in envFrom",
        with_container(envFrom=[{"secretRef": {"name": "A"}}]),
        [f"{FROM}.secretRef.name"],
    ),
    (
        "three sources of a volume",
        volume(hostPath={"path": "/a"}, configMap={"name": "c"}, projected={"sources": []}),
        [f"{VOLUME}.configMap", f"{VOLUME}.projected"],
    ),
    (
        "size",
        volume(emptyDir={"medium": "Memory", "sizeLimit": "-1"}),
        [f"{VOLUME}.emptyDir.sizeLimit"],
    ),
    (
        "size that is none",
        volume(emptyDir={"medium": "Memory", "sizeLimit": "much"}),
        [f"{VOLUME}.emptyDir.sizeLimit"],
    ),
    ("a file of nothing", told({"path": "a"}), [ITEM]),
    ("a file of two", told({"path": "a", **NAME, "resourceFieldRef": CPU}), [ITEM]),
    ("a file up", told({"path": "../a", **NAME}), [f"{ITEM}.path"]),
    ("a file of Kubernetes' own", told({"path": "..data", **NAME}), [f"{ITEM}.path"]),
    ("a mode", told({"path": "a", "mode": 0o1777, **NAME}), [f"{ITEM}.mode"]),
    (
        "a default mode",
        volume(downwardAPI={"defaultMode": -1}),
        [f"{VOLUME}.downwardAPI.defaultMode"],
    ),
    (
        "one path twice",
        told({"path": "a", **NAME}, {"path": "a", **NAME}),
        [f"{VOLUME}.downwardAPI.items[1].path"],
    ),
    (
        "what no file is told",
        told({"path": "a", "fieldRef": {"fieldPath": "spec.nodeName"}}),
        [f"{ITEM}.fieldRef.fieldPath"],
    ),
    (
        "a file of no container",
        told({"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}),
        [f"{ITEM}.resourceFieldRef.containerName"],
    ),
    (
        "two kinds in one projection",
        projected({"configMap": {"name": "a"}, "secret": {"name": "b"}}),
        [f"{VOLUME}.projected.sources[0].secret"],
    ),
    (
        "one path in two projections",
        projected(
            {"configMap": {"name": "a", "items": [{"key": "k", "path": "p"}]}},
            {"downwardAPI": {"items": [{"path": "p", **NAME}]}},
        ),
        [f"{VOLUME}.projected.sources[1].downwardAPI.items[0].path"],
    ),
    (
        "a name in a projection",
        projected({"secret": {"name": "A"}}),
        [f"{VOLUME}.projected.sources[0].secret.name"],
    ),
    (
        "subPath and subPathExpr",
        mounted({"subPath": "a", "subPathExpr": "b"}),
        [f"{BOX}.volumeMounts[0].subPathExpr"],
    ),
    (
        "subPathExpr up",
        mounted({"subPathExpr": "$(A)/../.."}),
        [f"{BOX}.volumeMounts[0].subPathExpr"],
    ),
    (
        "subPathExpr absolute",
        mounted({"subPathExpr": "/$(A)"}),
        [f"{BOX}.volumeMounts[0].subPathExpr"],
    ),
    (
        "Bidirectional",
        mounted({"mountPropagation": "Bidirectional"}),
        [f"{BOX}.volumeMounts[0].mountPropagation"],
    ),
    ("mounted nowhere", mounted({"mountPath": ""}), [f"{BOX}.volumeMounts[0].mountPath"]),
    ("mounted up", mounted({"mountPath": "/a/../b"}), [f"{BOX}.volumeMounts[0].mountPath"]),
    ("mounted twice", mounted({}, {}), [f"{BOX}.volumeMounts[1].mountPath"]),
]


@pytest.mark.parametrize(
    ("document", "paths"), [pytest.param(d, paths, id=name) for name, d, paths in WRONG]
)
def test_each_error_has_its_path(document: dict[str, Any], paths: list[str]) -> None:
    assert errors_of(document) == paths


RIGHT = {
    "keys of maps": with_container(
        env=[
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{path}"}}}
            for path in ("labels['app.kubernetes.io/name']", "annotations['Example.com/Note']")
        ]
    ),
    "huge pages": env_resource(resource="limits.hugepages-2Mi", divisor="1Mi"),
    "a unit in other words": env_resource(resource="limits.memory", divisor="1024Ki"),
    "own container": env_resource(resource="requests.cpu", containerName="main", divisor="1m"),
    "all of a file's sources": told(
        {"path": "a/b", "fieldRef": {"fieldPath": "metadata.labels"}, "mode": 0o400},
        {"path": "c", "resourceFieldRef": CPU},
    ),
    "a projection that only an API server could fill": projected({}),
    "Bidirectional where it may be": mounted(
        {"mountPropagation": "Bidirectional"}, securityContext={"privileged": True}
    ),
    "subPathExpr": mounted({"subPathExpr": "a/$(A)"}),
    "a mount path that is not absolute": mounted({"mountPath": "a/b"}),
}


@pytest.mark.parametrize(
    "document", [pytest.param(document, id=name) for name, document in RIGHT.items()]
)
def test_nothing_is_wrong_with(document: dict[str, Any]) -> None:
    assert errors_of(document) == []


def test_what_is_not_enforced_is_noted() -> None:
    assert notes_of(volume(emptyDir={"sizeLimit": "1Gi"})) == [f"{VOLUME}.emptyDir.sizeLimit"]
    assert notes_of(volume(emptyDir={"medium": "Memory", "sizeLimit": "1Gi"})) == []


def test_an_account_is_only_told() -> None:
    assert notes_of(daemonset(serviceAccountName="a")) == [f"{POD}.serviceAccountName"]
