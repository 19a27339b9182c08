"""The numbered behaviours of Kubernetes' controller, J: every rule of validation, with its path."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from fleetd.core.validation import MAX_ANNOTATION_BYTES
from fleetd.core.validation_placement import taint_from_text
from fleetd.documents.load import load
from fleetd.errors import InvalidInput

SPEC = "spec.template.spec"
TERMS = f"{SPEC}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
KNOBS = "spec.updateStrategy.rollingUpdate"
LONG = "a" * 64


def document(**parts: Mapping[str, Any]) -> dict[str, Any]:
    """A sound DaemonSet with parts of it replaced: meta, spec, labels (the template's), pod."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", **parts.get("meta", {})},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": parts.get("labels", {"app": "agent"})},
                "spec": {
                    "containers": [{"name": "main", "image": "agent:1"}],
                    **parts.get("pod", {}),
                },
            },
            **parts.get("spec", {}),
        },
    }


def wrong_with(text: Any) -> list[str]:
    """The fields that loading complains about."""
    try:
        load(["-"], io.BytesIO(json.dumps(text).encode()))
    except InvalidInput as error:
        return [problem.path for problem in error.problems]
    return []


def pod(**fields: Any) -> dict[str, Any]:
    return document(pod=fields)


def spec(**fields: Any) -> dict[str, Any]:
    return document(spec=fields)


def selector(**fields: Any) -> dict[str, Any]:
    return spec(selector={"matchExpressions": [fields]})


def knobs(**fields: Any) -> dict[str, Any]:
    return spec(updateStrategy={"rollingUpdate": fields})


def toleration(**fields: Any) -> dict[str, Any]:
    return pod(tolerations=[fields])


def terms(*each: Any) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(each)}
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return pod(affinity={"nodeAffinity": {key: required}})


def expression(**fields: Any) -> dict[str, Any]:
    return terms({"matchExpressions": [fields]})


def field(**fields: Any) -> dict[str, Any]:
    return terms({"matchFields": [{"key": "metadata.name", **fields}]})


def containers(*each: Mapping[str, Any]) -> dict[str, Any]:
    return pod(containers=list(each))


EXPRESSION = "spec.selector.matchExpressions[0]"
TOLERATION = f"{SPEC}.tolerations[0]"
TERM = f"{TERMS}.nodeSelectorTerms[0].matchExpressions[0]"
FIELD = f"{TERMS}.nodeSelectorTerms[0].matchFields[0]"
ROWS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("nothing wrong", document(), []),
    ("K 147 name", document(meta={"name": "Agent"}), ["metadata.name"]),
    ("K 147 name too long", document(meta={"name": "a" * 254}), ["metadata.name"]),
    ("K 147 label key", document(meta={"labels": {"-a": ""}}), ["metadata.labels[-a]"]),
    ("K 147 label value", document(meta={"labels": {"a": "b c"}}), ["metadata.labels.a"]),
    ("K 147 annotation key", document(meta={"annotations": {"a b": ""}}),
     ["metadata.annotations[a b]"]),
    ("K 147 annotations too long",
     document(meta={"annotations": {"a": "x" * MAX_ANNOTATION_BYTES}}), ["metadata.annotations"]),
    ("K 71 a selector that matches everything", spec(selector={}), ["spec.selector"]),
    ("K 148 empty selector", spec(selector={"matchLabels": {}}), ["spec.selector"]),
    ("K 148 In without values", selector(key="app", operator="In"), [f"{EXPRESSION}.values"]),
    ("K 148 Exists with values", selector(key="app", operator="Exists", values=["x"]),
     [f"{EXPRESSION}.values"]),
    ("K 148 Gt", selector(key="app", operator="Gt", values=["1"]), [f"{EXPRESSION}.operator"]),
    ("K 148 key", selector(key="a b", operator="Exists"), [f"{EXPRESSION}.key"]),
    ("K 148 value", selector(key="app", operator="In", values=["a b"]),
     [f"{EXPRESSION}.values[0]"]),
    ("K 149 labels not selected", document(labels={"app": "other"}),
     ["spec.template.metadata.labels"]),
    ("K 150 restartPolicy", pod(restartPolicy="OnFailure"), [f"{SPEC}.restartPolicy"]),
    ("K 150 Always", pod(restartPolicy="Always"), []),
    ("K 151 deadline", pod(activeDeadlineSeconds=5), [f"{SPEC}.activeDeadlineSeconds"]),
    ("K 151 ephemeral containers", pod(ephemeralContainers=[{"name": "a", "image": "a"}]),
     [f"{SPEC}.ephemeralContainers"]),
    ("K 152 minReadySeconds", spec(minReadySeconds=-1), ["spec.minReadySeconds"]),
    ("K 152 revisionHistoryLimit", spec(revisionHistoryLimit=-1), ["spec.revisionHistoryLimit"]),
    ("K 81 K 153 unknown strategy", spec(updateStrategy={"type": "rollingUpdate"}),
     ["spec.updateStrategy.type"]),
    ("K 153 the block is not looked at under OnDelete",
     spec(updateStrategy={"type": "OnDelete", "rollingUpdate": {"maxUnavailable": "x"}}), []),
    ("K 154 the block has its defaults", spec(updateStrategy={"type": "RollingUpdate"}), []),
    *(
        (f"K 155 {knob} {value!r}", knobs(**{knob: value}), [f"{KNOBS}.{knob}"])
        for knob in ("maxUnavailable", "maxSurge")
        for value in (-1, "10", "-1%", "+1%", "1.5%", " 5%", "101%")
    ),
    ("K 155 a percentage", knobs(maxUnavailable="100%"), []),
    ("K 156 both 0", knobs(maxUnavailable=0), [f"{KNOBS}.maxUnavailable"]),
    ("K 156 both 0 percent", knobs(maxUnavailable="0%", maxSurge="0%"),
     [f"{KNOBS}.maxUnavailable"]),
    ("K 156 both above 0: ours", knobs(maxUnavailable=1, maxSurge=1), []),
    ("K 157 maxSurge alone: ours", knobs(maxSurge=1), []),
    ("K 159 key", toleration(key="a b", operator="Exists"), [f"{TOLERATION}.key"]),
    ("K 159 empty key needs Exists", toleration(value="a"), [f"{TOLERATION}.operator"]),
    ("K 160 effect", toleration(key="a", effect="Never"), [f"{TOLERATION}.effect"]),
    ("K 160 seconds need NoExecute", toleration(key="a", tolerationSeconds=1),
     [f"{TOLERATION}.tolerationSeconds"]),
    ("K 160 negative seconds", toleration(key="a", effect="NoExecute", tolerationSeconds=-1), []),
    ("K 28 K 161 operator", toleration(key="a", operator="In"), [f"{TOLERATION}.operator"]),
    ("K 161 Exists with a value", toleration(key="a", operator="Exists", value="b"),
     [f"{TOLERATION}.operator"]),
    ("K 161 value", toleration(key="a", value="b c"), [f"{TOLERATION}.operator"]),
    ("K 161 duplicates", pod(tolerations=[{"operator": "Exists"}] * 2), []),
    ("K 162 no terms", terms(), [f"{TERMS}.nodeSelectorTerms"]),
    ("K 162 an empty term", terms({}), []),
    ("K 163 key", expression(key="a b", operator="Exists"), [f"{TERM}.key"]),
    ("K 163 operator missing", expression(key="a"), [f"{TERM}.operator"]),
    ("K 163 operator unknown", expression(key="a", operator="Has"), [f"{TERM}.operator"]),
    ("K 38 K 163 In without values", expression(key="a", operator="In"), [f"{TERM}.values"]),
    ("K 38 K 163 Exists with values", expression(key="a", operator="Exists", values=["b"]),
     [f"{TERM}.values"]),
    ("K 37 K 163 Gt with two", expression(key="a", operator="Gt", values=["1", "2"]),
     [f"{TERM}.values"]),
    ("K 37 negative bound", expression(key="a", operator="Gt", values=["-1"]),
     [f"{TERM}.values[0]"]),
    ("K 39 K 164 key", field(key="metadata.labels", operator="In", values=["a"]), [f"{FIELD}.key"]),
    ("K 39 K 164 operator", field(operator="Exists", values=["a"]), [f"{FIELD}.operator"]),
    ("K 164 two values", field(operator="In", values=["a", "b"]), [f"{FIELD}.values"]),
    ("K 164 no legal name", field(operator="In", values=["A_b"]), [f"{FIELD}.values[0]"]),
    ("K 166 nodeSelector key", pod(nodeSelector={"a b": "c"}), [f"{SPEC}.nodeSelector[a b]"]),
    ("K 166 nodeSelector value", pod(nodeSelector={"a": "b/c"}), [f"{SPEC}.nodeSelector.a"]),
    ("K 166 nodeName", pod(nodeName="A_b"), [f"{SPEC}.nodeName"]),
    ("K 167 no containers", containers(), [f"{SPEC}.containers"]),
    ("K 167 name", containers({"name": "A", "image": "a"}), [f"{SPEC}.containers[0].name"]),
    ("K 167 name twice", containers(*[{"name": "a", "image": "a"}] * 2),
     [f"{SPEC}.containers[1].name"]),
    ("K 167 no image", containers({"name": "a", "image": ""}), [f"{SPEC}.containers[0].image"]),
    ("K 169 prefix", document(meta={"labels": {"A_b/c": ""}}), ["metadata.labels[A_b/c]"]),
    ("K 169 name too long", document(meta={"labels": {LONG: ""}}), [f"metadata.labels.{LONG}"]),
    ("K 169 value too long", document(meta={"labels": {"a": LONG}}), ["metadata.labels.a"]),
    ("K 169 ends with a dash", document(meta={"labels": {"a": "b-"}}), ["metadata.labels.a"]),
    ("K 169 empty value", document(meta={"labels": {"example.com/a_b.c": ""}}), []),
    ("K 170 all of them at once", document(meta={"name": "A"}, spec={"minReadySeconds": -1}),
     ["metadata.name", "spec.minReadySeconds"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_rules(text: dict[str, Any], expected: list[str]) -> None:
    assert sorted(wrong_with(text)) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        pytest.param("a=b:NoSchedule", True, id="K 168 a taint"),
        pytest.param("a:NoExecute", True, id="K 168 without a value"),
        pytest.param("=b:NoSchedule", False, id="K 168 no key"),
        pytest.param("a b:NoSchedule", False, id="K 168 bad key"),
        pytest.param("a=b c:NoSchedule", False, id="K 168 bad value"),
        pytest.param("a=b", False, id="K 168 no effect"),
        pytest.param("a=b:Never", False, id="K 168 unknown effect"),
    ],
)
def test_taints(text: str, good: bool) -> None:
    taint, wrong = taint_from_text(text)
    assert (taint is not None, not wrong) == (good, good)
