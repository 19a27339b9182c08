from __future__ import annotations

from typing import Any

import pytest

from fleetd.core.eligibility import Gate, judge
from fleetd.core.meta import LabelSelector
from fleetd.core.node import Node
from fleetd.core.pod import Placement
from fleetd.core.selectors import holds
from tests.unit.core.worlds import node

Answer = tuple[bool | None, bool | None]
BOTH: Answer = (True, True)
NEITHER: Answer = (False, False)
STAY: Answer = (False, True)
UNKNOWN: Answer = (None, None)


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


def term(key: str, operator: str, *values: str, of: str = "matchExpressions") -> dict[str, Any]:
    return {of: [{"key": key, "operator": operator, "values": list(values)}]}


def run_stay(one: Node, spec: dict[str, Any], *, host_network: bool = False) -> Answer:
    found = judge(one, Placement.model_validate(spec), host_network=host_network)
    return found.run, found.stay


EXISTS = {"operator": "Exists"}
KUBERNETES = "node.kubernetes.io/"


@pytest.mark.parametrize(
    ("taint", "toleration", "expected"),
    [
        pytest.param("a=b:NoSchedule", None, STAY, id="NoSchedule-keeps-who-is-there-K6-K7"),
        pytest.param("a=b:NoExecute", None, NEITHER, id="NoExecute-ousts-K7"),
        pytest.param("a=b:PreferNoSchedule", None, BOTH, id="Prefer-is-never-looked-at-K8"),
        pytest.param(KUBERNETES + "not-ready:NoExecute", None, BOTH, id="not-ready-K12"),
        pytest.param(KUBERNETES + "unreachable:NoExecute", None, BOTH, id="unreachable-K12"),
        pytest.param(KUBERNETES + "disk-pressure:NoSchedule", None, BOTH, id="disk-K12"),
        pytest.param(KUBERNETES + "memory-pressure:NoSchedule", None, BOTH, id="memory-K12"),
        pytest.param(KUBERNETES + "pid-pressure:NoSchedule", None, BOTH, id="pid-K12"),
        pytest.param(KUBERNETES + "unschedulable:NoSchedule", None, BOTH, id="cordon-K9-K12"),
        pytest.param(KUBERNETES + "network-unavailable:NoSchedule", None, STAY, id="network-K13"),
        pytest.param(KUBERNETES + "unschedulable:NoExecute", None, NEITHER, id="effect-K14"),
        pytest.param(KUBERNETES + "not-ready:NoSchedule", None, STAY, id="other-effect-K14"),
        pytest.param(KUBERNETES + "out-of-service:NoExecute", None, NEITHER, id="not-added-K15"),
        pytest.param("a=b:NoExecute", EXISTS, BOTH, id="empty-key-covers-all-K24"),
        pytest.param("a=b:NoExecute", {"key": "a", **EXISTS}, BOTH, id="Exists-any-value-K26"),
        pytest.param("fleetd/drained:NoExecute", EXISTS, NEITHER, id="drained-for-all-K24"),
        pytest.param(
            "fleetd/drained:NoExecute",
            {"key": "fleetd/drained", **EXISTS},
            BOTH,
            id="drained-but-named",
        ),
        pytest.param("a=b:NoExecute", {"key": "A", **EXISTS}, NEITHER, id="case-K24"),
        pytest.param("a=b:NoExecute", {"key": "a", "value": "b"}, BOTH, id="Equal-default-K25"),
        pytest.param("a=b:NoExecute", {"key": "a", "value": "c"}, NEITHER, id="Equal-differs-K25"),
        pytest.param("a:NoExecute", {"key": "a"}, BOTH, id="empty-equals-empty-K25"),
        pytest.param(
            "a=b:NoExecute",
            {"key": "a", "value": "b", "effect": "NoSchedule"},
            NEITHER,
            id="other-effect-K23",
        ),
        pytest.param(
            "a=b:NoExecute",
            {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5},
            BOTH,
            id="seconds-play-no-part-K18",
        ),
        pytest.param(
            "a=7:NoSchedule", {"key": "a", "operator": "Gt", "value": "5"}, BOTH, id="Gt-K27"
        ),
        pytest.param(
            "a=5:NoSchedule", {"key": "a", "operator": "Gt", "value": "5"}, STAY, id="Gt-equal-K27"
        ),
        pytest.param(
            "a=-7:NoSchedule", {"key": "a", "operator": "Lt", "value": "5"}, BOTH, id="Lt-K27"
        ),
        pytest.param(
            "a=07:NoSchedule", {"key": "a", "operator": "Gt", "value": "5"}, STAY, id="zero-K27"
        ),
    ],
)
def test_taints(taint: str, toleration: dict[str, Any] | None, expected: Answer) -> None:
    spec = {"tolerations": [toleration]} if toleration else {}
    assert run_stay(node("n0", taint), spec) == expected


def test_network_taint_is_tolerated_by_host_network_only_k13() -> None:
    one = node("n0", KUBERNETES + "network-unavailable:NoSchedule")
    assert run_stay(one, {}, host_network=True) == BOTH


def test_every_taint_must_be_covered_k29() -> None:
    one = node("n0", "a:NoSchedule", "b:NoExecute")
    found = judge(
        one,
        Placement.model_validate({"tolerations": [{"key": "a", **EXISTS}]}),
        host_network=False,
    )
    assert (found.run, found.stay) == NEITHER
    assert found.reason == "taint b:NoExecute is not tolerated"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, BOTH, id="empty-K30"),
        pytest.param({"nodeSelector": {"role": "web"}}, BOTH, id="pair-K30"),
        pytest.param({"nodeSelector": {"role": "Web"}}, NEITHER, id="case-K45"),
        pytest.param({"nodeSelector": {"role": "web", "x": "y"}}, NEITHER, id="one-missing-K30"),
        pytest.param({"nodeSelector": {"empty": ""}}, BOTH, id="empty-value-K30"),
        pytest.param({"nodeSelector": {"absent": ""}}, NEITHER, id="empty-value-absent-K30"),
        pytest.param({"nodeName": "n0"}, BOTH, id="nodeName-K3"),
        pytest.param({"nodeName": "n1"}, NEITHER, id="other-nodeName-K3"),
        pytest.param(affinity(), NEITHER, id="no-terms-K31"),
        pytest.param(affinity({}), NEITHER, id="empty-term-K33"),
        pytest.param(affinity({}, term("role", "Exists")), BOTH, id="terms-are-ORed-K32-K33"),
        pytest.param(affinity(term("role", "In", "db", "web")), BOTH, id="In-K34"),
        pytest.param(affinity(term("role", "In", "db")), NEITHER, id="In-not-K34"),
        pytest.param(affinity(term("absent", "NotIn", "x")), BOTH, id="NotIn-absent-K34"),
        pytest.param(affinity(term("role", "NotIn", "web")), NEITHER, id="NotIn-K34"),
        pytest.param(affinity(term("empty", "Exists")), BOTH, id="Exists-empty-K35"),
        pytest.param(affinity(term("absent", "DoesNotExist")), BOTH, id="DoesNotExist-K35"),
        pytest.param(affinity(term("cores", "Gt", "7")), BOTH, id="Gt-K36"),
        pytest.param(affinity(term("cores", "Gt", "8")), NEITHER, id="Gt-strict-K36"),
        pytest.param(affinity(term("cores", "Lt", "0009")), BOTH, id="leading-zeros-K36"),
        pytest.param(affinity(term("role", "Lt", "9")), NEITHER, id="no-number-K36"),
        pytest.param(affinity(term("cores", "Gt", "-1")), NEITHER, id="negative-bound-K37"),
        pytest.param(affinity(term("cores", "Gt", "1", "2")), NEITHER, id="two-bounds-K37"),
        pytest.param(affinity(term("role", "In")), NEITHER, id="In-without-values-K38"),
        pytest.param(affinity(term("absent", "NotIn")), NEITHER, id="NotIn-without-values-K38"),
        pytest.param(affinity(term("role", "Exists", "x")), NEITHER, id="Exists-with-value-K38"),
        pytest.param(
            affinity(term("metadata.name", "In", "n0", of="matchFields")), BOTH, id="field-K39"
        ),
        pytest.param(
            affinity(term("metadata.name", "NotIn", "n0", of="matchFields")),
            NEITHER,
            id="field-NotIn-K39",
        ),
        pytest.param(
            affinity(term("role", "In", "web", of="matchFields")), NEITHER, id="other-field-K39"
        ),
        pytest.param(affinity(term("metadata.name", "In", "n0")), NEITHER, id="no-such-label-K40"),
        pytest.param(
            affinity(term("role", "In"), term("role", "In", "web")), BOTH, id="lazy-errors-K41"
        ),
        pytest.param(
            affinity(
                {
                    "matchExpressions": [
                        {"key": "role", "operator": "In", "values": ["web"]},
                        {"key": "role", "operator": "In", "values": []},
                    ]
                }
            ),
            NEITHER,
            id="malformed-spoils-its-term-K42",
        ),
        pytest.param(
            {"nodeSelector": {"role": "db"}, **affinity(term("role", "Exists"))},
            NEITHER,
            id="both-must-hold-K4",
        ),
        pytest.param({"nodeSelector": {"unseen": "x"}}, UNKNOWN, id="label-not-observed"),
        pytest.param({"nodeSelector": {"facts.fleetd/kernel": "6"}}, UNKNOWN, id="fact-not-seen"),
        pytest.param(
            affinity(term("unseen", "DoesNotExist")), UNKNOWN, id="not-seen-is-not-absent"
        ),
        pytest.param(
            affinity(term("unseen", "Exists"), term("role", "Exists")), BOTH, id="other-term-holds"
        ),
        pytest.param(
            {"nodeSelector": {"role": "db", "unseen": "x"}}, NEITHER, id="no-wins-over-unknown"
        ),
    ],
)
def test_selection(spec: dict[str, Any], expected: Answer) -> None:
    one = node(
        "n0",
        labels={"role": "web", "empty": "", "cores": "8"},
        unknown_labels=frozenset({"unseen"}),
    )
    assert run_stay(one, spec) == expected


@pytest.mark.parametrize(
    ("taint", "expected"),
    [
        pytest.param("a:NoExecute", NEITHER, id="NoExecute-wins"),
        pytest.param("a:NoSchedule", (False, None), id="NoSchedule-decides-run-only"),
    ],
)
def test_taint_beside_an_unknown_label(taint: str, expected: Answer) -> None:
    one = node("n0", taint, unknown_labels=frozenset({"unseen"}))
    assert run_stay(one, {"nodeSelector": {"unseen": "x"}}) == expected


def test_fact_labels_of_a_seen_host_are_known() -> None:
    assert run_stay(node("n0"), {"nodeSelector": {"facts.fleetd/kernel": "6"}}) == NEITHER


def test_node_that_left() -> None:
    assert run_stay(node("n0", left=True), {"tolerations": [EXISTS]}) == NEITHER


def test_memo_tells_apart_what_the_template_looks_at() -> None:
    gate = Gate(Placement.model_validate({"nodeSelector": {"a": ""}}), host_network=False)
    answers = [
        gate.judge(one, 0.0).run
        for one in (
            node("n0", labels={"a": ""}),
            node("n1"),
            node("n2", unknown_labels=frozenset({"a"})),
            node("n3", "t:NoSchedule", labels={"a": ""}),
            node("n4", labels={"a": "", "b": "c"}),
        )
    ]
    assert answers == [True, False, None, False, True]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param({}, True, id="empty"),
        pytest.param({"matchLabels": {"a": "b"}}, True, id="labels"),
        pytest.param({"matchLabels": {"a": "c"}}, False, id="other-value"),
        pytest.param(
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]},
            False,
            id="expression",
        ),
    ],
)
def test_label_selector(selector: dict[str, Any], expected: bool) -> None:
    assert holds(LabelSelector.model_validate(selector), {"a": "b"}) is expected
