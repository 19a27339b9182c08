"""The numbered behaviours of Kubernetes' controller, A to C: which nodes a copy may run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.eligibility import Eligibility, Gate
from fleetd.core.meta import Key
from fleetd.core.node import Node, Taint
from fleetd.core.plan import Plan, plan
from fleetd.core.pod import Placement
from fleetd.core.records import SlotKind, SlotRecord
from fleetd.core.world import SetState
from tests.unit.core.worlds import (
    AGENT,
    NOW,
    Box,
    daemonset,
    decide,
    hosts,
    node,
    record,
    seen,
    verdicts,
    world,
)

Answer = tuple[bool | None, bool | None]
RUN: Answer = (True, True)
STAY: Answer = (False, True)
NO: Answer = (False, False)
SETTLED = SetState(daemonset(), "r1", record("r1"))
WK = "node.kubernetes.io/"


def judged(spec: Mapping[str, Any], one: Node, *, now: float = 0.0, host: bool = False) -> Answer:
    found = of(spec, one, now=now, host=host)
    return found.run, found.stay


def of(spec: Mapping[str, Any], one: Node, *, now: float = 0.0, host: bool = False) -> Eligibility:
    return Gate(Placement.model_validate(spec), host_network=host).judge(one, now)


def affinity(*terms: Mapping[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"affinity": {"nodeAffinity": {key: required}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def labels(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [expression(key, operator, *values)]}


def fields(operator: str, *values: str) -> dict[str, Any]:
    return {"matchFields": [expression("metadata.name", operator, *values)]}


def tolerating(**fields: Any) -> dict[str, Any]:
    return {"tolerations": [fields]}


def n(*taints: str, **had: str) -> Node:
    return node("n0", *taints, labels={key.replace("_", "-"): v for key, v in had.items()})


ROWS: list[tuple[str, Mapping[str, Any], Node, Answer]] = [
    ("K 1 start and stay are two answers", {}, n("a:NoSchedule"), STAY),
    ("K 3 fixed name of another node", {"nodeName": "n1"}, n(), NO),
    ("K 3 fixed name of this node", {"nodeName": "n0"}, n(), RUN),
    ("K 4 selector does not hold", {"nodeSelector": {"a": "b"}}, n(a="c"), NO),
    ("K 4 affinity does not hold", affinity(labels("a", "In", "b")), n(a="c"), NO),
    ("K 4 both have to hold", {"nodeSelector": {"a": "b"}, **affinity(labels("c", "Exists"))},
     n(a="b"), NO),
    ("K 6 NoSchedule", {}, n("a:NoSchedule"), STAY),
    ("K 6 NoExecute", {}, n("a:NoExecute"), NO),
    ("K 7 only NoExecute takes a copy away", {}, n("a:NoSchedule", "b:PreferNoSchedule"), STAY),
    ("K 8 PreferNoSchedule is never looked at", {}, n("a:PreferNoSchedule"), RUN),
    ("K 9 the cordon's taint is tolerated", {}, n(WK + "unschedulable:NoSchedule"), RUN),
    ("K 12 not-ready", {}, n(WK + "not-ready:NoExecute"), RUN),
    ("K 12 unreachable", {}, n(WK + "unreachable:NoExecute"), RUN),
    ("K 12 disk-pressure", {}, n(WK + "disk-pressure:NoSchedule"), RUN),
    ("K 12 memory-pressure", {}, n(WK + "memory-pressure:NoSchedule"), RUN),
    ("K 12 pid-pressure", {}, n(WK + "pid-pressure:NoSchedule"), RUN),
    ("K 13 network-unavailable without hostNetwork", {}, n(WK + "network-unavailable:NoSchedule"),
     STAY),
    ("K 14 unschedulable with another effect", {}, n(WK + "unschedulable:NoExecute"), NO),
    ("K 14 not-ready with another effect", {}, n(WK + "not-ready:NoSchedule"), STAY),
    ("K 15 out-of-service", {}, n(WK + "out-of-service:NoExecute"), NO),
    ("K 15 uninitialized", {}, n("node.cloudprovider.kubernetes.io/uninitialized:NoSchedule"),
     STAY),
    ("K 15 control-plane", {}, n("node-role.kubernetes.io/control-plane:NoSchedule"), STAY),
    ("K 23 empty effect covers all", tolerating(key="a", operator="Exists"), n("a:NoExecute"), RUN),
    ("K 23 other effect", tolerating(key="a", operator="Exists", effect="NoSchedule"),
     n("a:NoExecute"), NO),
    ("K 24 empty key covers all", tolerating(operator="Exists"), n("x/a=b:NoExecute"), RUN),
    ("K 24 case counts", tolerating(key="A", operator="Exists"), n("a:NoSchedule"), STAY),
    ("K 24 prefix counts", tolerating(key="a", operator="Exists"), n("x/a:NoSchedule"), STAY),
    ("K 25 Equal by default", tolerating(key="a", value="b"), n("a=b:NoSchedule"), RUN),
    ("K 25 Equal with another value", tolerating(key="a", value="c"), n("a=b:NoSchedule"), STAY),
    ("K 25 empty equals empty", tolerating(key="a"), n("a:NoSchedule"), RUN),
    ("K 26 Exists ignores values", tolerating(key="a", operator="Exists"), n("a=b:NoSchedule"),
     RUN),
    ("K 27 Gt", tolerating(key="a", operator="Gt", value="5"), n("a=6:NoSchedule"), RUN),
    ("K 27 Gt is strict", tolerating(key="a", operator="Gt", value="5"), n("a=5:NoSchedule"), STAY),
    ("K 27 Lt", tolerating(key="a", operator="Lt", value="5"), n("a=-4:NoSchedule"), RUN),
    ("K 27 leading zero", tolerating(key="a", operator="Gt", value="5"), n("a=06:NoSchedule"),
     STAY),
    ("K 27 plus", tolerating(key="a", operator="Gt", value="5"), n("a=+6:NoSchedule"), STAY),
    ("K 27 beyond 64 bits", tolerating(key="a", operator="Gt", value="5"),
     n("a=9223372036854775808:NoSchedule"), STAY),
    ("K 29 each taint has to be covered", tolerating(key="a", operator="Exists"),
     n("a:NoSchedule", "b:NoSchedule"), STAY),
    ("K 30 pair equal", {"nodeSelector": {"a": "b"}}, n(a="b"), RUN),
    ("K 30 every pair", {"nodeSelector": {"a": "b", "c": "d"}}, n(a="b"), NO),
    ("K 30 empty selector", {"nodeSelector": {}}, n(), RUN),
    ("K 30 empty value needs the label", {"nodeSelector": {"a": ""}}, n(), NO),
    ("K 30 empty value, label empty", {"nodeSelector": {"a": ""}}, n(a=""), RUN),
    ("K 31 no affinity", {"affinity": {"nodeAffinity": {}}}, n(), RUN),
    ("K 31 affinity without terms", affinity(), n(), NO),
    ("K 32 terms are ORed", affinity(labels("a", "Exists"), labels("b", "Exists")), n(b=""), RUN),
    ("K 32 expressions are ANDed", affinity({"matchExpressions": [
        expression("a", "Exists"), expression("b", "Exists")]}), n(b=""), NO),
    ("K 32 fields and expressions are ANDed",
     affinity({**labels("a", "Exists"), **fields("In", "n0")}), n(), NO),
    ("K 33 an empty term holds nowhere", affinity({}), n(), NO),
    ("K 33 and is passed over", affinity({}, labels("a", "Exists")), n(a=""), RUN),
    ("K 34 In", affinity(labels("a", "In", "b", "c")), n(a="c"), RUN),
    ("K 34 In without the label", affinity(labels("a", "In", "")), n(), NO),
    ("K 34 NotIn", affinity(labels("a", "NotIn", "b")), n(a="b"), NO),
    ("K 34 NotIn without the label", affinity(labels("a", "NotIn", "b")), n(), RUN),
    ("K 35 Exists with an empty value", affinity(labels("a", "Exists")), n(a=""), RUN),
    ("K 35 DoesNotExist", affinity(labels("a", "DoesNotExist")), n(a=""), NO),
    ("K 36 Gt", affinity(labels("a", "Gt", "9")), n(a="10"), RUN),
    ("K 36 Gt is strict", affinity(labels("a", "Gt", "9")), n(a="9"), NO),
    ("K 36 Lt with leading zeros", affinity(labels("a", "Lt", "0010")), n(a="009"), RUN),
    ("K 36 node value no number", affinity(labels("a", "Gt", "9")), n(a="x"), NO),
    ("K 36 without the label", affinity(labels("a", "Lt", "9")), n(), NO),
    ("K 37 two bounds", affinity(labels("a", "Gt", "1", "2")), n(a="5"), NO),
    ("K 37 negative bound", affinity(labels("a", "Gt", "-1")), n(a="5"), NO),
    ("K 38 In without values", affinity(labels("a", "In")), n(a=""), NO),
    ("K 38 Exists with values", affinity(labels("a", "Exists", "b")), n(a="b"), NO),
    ("K 39 field In", affinity(fields("In", "n0")), n(), RUN),
    ("K 39 field NotIn", affinity(fields("NotIn", "n0")), n(), NO),
    ("K 39 two values", affinity(fields("In", "n0", "n1")), n(), NO),
    ("K 39 other operator", affinity(fields("Exists")), n(), NO),
    ("K 40 a label called metadata.name", affinity(labels("metadata.name", "In", "n0")), n(), NO),
    ("K 40 a field looks at no label", affinity(fields("In", "x")), n(**{"metadata.name": "x"}),
     NO),
    ("K 42 one bad expression spoils its term", affinity({"matchExpressions": [
        expression("a", "Exists"), expression("a", "In")]}), n(a=""), NO),
    ("K 45 values are case-sensitive", {"nodeSelector": {"a": "B"}}, n(a="b"), NO),
    ("K 45 keys are case-sensitive", affinity(labels("A", "Exists")), n(a="b"), NO),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "one", "expected"), [pytest.param(*r[1:], id=r[0]) for r in ROWS])
def test_eligibility(spec: Mapping[str, Any], one: Node, expected: Answer) -> None:
    assert judged(spec, one) == expected


@pytest.mark.parametrize("host", [pytest.param(True, id="K 13 with hostNetwork")])
def test_network_unavailable(host: bool) -> None:
    assert judged({}, n(WK + "network-unavailable:NoSchedule"), host=host) == RUN


@pytest.mark.parametrize("operator", [pytest.param("exists", id="K 28 operators have one case")])
def test_unknown_operator(operator: str) -> None:
    with pytest.raises(ValueError, match="operator"):
        Placement.model_validate(tolerating(operator=operator))


@pytest.mark.parametrize("taints", [pytest.param(("b:NoSchedule", "a:NoSchedule"), id="K 29")])
def test_the_first_uncovered_taint_is_told(taints: tuple[str, ...]) -> None:
    assert "taint b:NoSchedule" in of({}, n(*taints)).reason


@pytest.mark.parametrize("spec", [pytest.param({"nodeSelector": {"a": "b"}}, id="K 43")])
def test_the_selector_is_judged_first(spec: dict[str, Any]) -> None:
    assert "nodeSelector a=b" in of({**spec, **affinity(labels("a", "In"))}, n()).reason


@pytest.mark.parametrize("had", [pytest.param({"a": "b"}, id="K 44 nothing is changed by asking")])
def test_the_matcher_leaves_its_input_alone(had: dict[str, str]) -> None:
    spec = Placement.model_validate(affinity(labels("a", "In", "b")))
    before = spec.model_copy(deep=True)
    Gate(spec, host_network=False).judge(node("n0", labels=had), 0.0)
    assert (spec, had) == (before, {"a": "b"})


# Timed tolerations.


def tainted(*since: tuple[str, float]) -> Node:
    one = n(*(text for text, _ in since))
    times = dict(since)
    return replace(one, since={taint: times[str(taint)] for taint in one.taints})


def limited(key: str, seconds: int | None, **more: str) -> dict[str, Any]:
    limit = {} if seconds is None else {"tolerationSeconds": seconds}
    return {"key": key, "operator": "Exists", "effect": "NoExecute", **limit, **more}


EVERYTHING = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
TIMED = [
    ("K 18 before its time is over", [limited("a", 60)], [("a:NoExecute", 0.0)], 59.9, RUN),
    ("K 18 and at that moment", [limited("a", 60)], [("a:NoExecute", 0.0)], 60.0, NO),
    ("K 18 counted from when the taint came", [limited("a", 60)], [("a:NoExecute", 50.0)], 60, RUN),
    ("K 18 without a limit", [limited("a", None)], [("a:NoExecute", 0.0)], 1e9, RUN),
    ("K 18 negative means at once", [limited("a", -5)], [("a:NoExecute", 9.0)], 9.0, NO),
    ("K 18 the shortest of several taints", [limited("a", 90), limited("b", 30)],
     [("a:NoExecute", 0.0), ("b:NoExecute", 0.0)], 30.0, NO),
    ("K 18 of each taint the first toleration", [limited("a", 90), limited("a", 30)],
     [("a:NoExecute", 0.0)], 30.0, RUN),
    ("K 18 NoSchedule is not timed", [{"key": "a", "operator": "Exists"}],
     [("a:NoSchedule", 0.0)], 1e9, RUN),
    ("K 17 the added toleration replaces an equal one",
     [limited(WK + "not-ready", 60), limited(WK + "unreachable", 60)],
     [(WK + "not-ready:NoExecute", 0.0), (WK + "unreachable:NoExecute", 0.0)], 1e9, RUN),
    ("K 17 one that is not equal stays in force", [EVERYTHING], [(WK + "not-ready:NoExecute", 0.0)],
     60.0, NO),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tolerations", "since", "now", "expected"), [pytest.param(*r[1:], id=r[0]) for r in TIMED]
)
def test_timed_tolerations(
    tolerations: list[dict[str, Any]], since: list[tuple[str, float]], now: float, expected: Answer
) -> None:
    assert judged({"tolerations": tolerations}, tainted(*since), now=now) == expected


@pytest.mark.parametrize("seconds", [pytest.param(60, id="K 18 the pass wakes at that moment")])
def test_wakes_when_the_time_is_over(seconds: int) -> None:
    state = replace(SETTLED, daemonset=daemonset(template={"tolerations": [limited("a", seconds)]}))
    nodes = (replace(tainted(("a:NoExecute", NOW - 20)), name="n0"), node("n1"), node("n2"))
    at = world(hosts("old old old"), state, nodes=nodes)
    assert plan(at, NOW).wake_at == NOW + 40
    assert plan(at, NOW).settled
    assert verdicts(plan(at, NOW)) == "keep:UpToDate keep:UpToDate keep:UpToDate"
    assert verdicts(plan(at, NOW + 40)) == "remove:NotEligible keep:UpToDate keep:UpToDate"
    gone = world(hosts("- old old"), state, nodes=nodes)
    assert verdicts(plan(gone, NOW + 40)) == "skipped:NotEligible keep:UpToDate keep:UpToDate"


# What a pass makes of nodes.


def desired(result: Plan) -> int:
    return result.statuses[AGENT].desired


@pytest.mark.parametrize("taint", [pytest.param("a:NoSchedule", id="K 2 K 128")])
def test_only_nodes_that_may_start_one_are_desired(taint: str) -> None:
    result = plan(world(hosts("old old"), SETTLED, nodes=(node("n0", taint), node("n1"))), NOW)
    assert (desired(result), result.statuses[AGENT].misscheduled) == (1, 1)
    assert verdicts(result) == "keep:Misscheduled keep:UpToDate"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("? old", id="K 10 whether a host answers is not looked at"),
        pytest.param("old! old", id="K 10 nor how its copy fares"),
    ],
)
def test_conditions_of_nodes_are_not_looked_at(said: str) -> None:
    assert desired(decide(said, SETTLED)) == 2


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"containers": [{"name": "m", "image": "i", "resources": {"requests": {
            "cpu": "1000"}}}]}, id="K 11 free resources"),
    ],
)  # fmt: skip
def test_what_a_scheduler_would_look_at(spec: dict[str, Any]) -> None:
    state = replace(SETTLED, daemonset=daemonset(template=spec))
    assert desired(decide("old", state)) == 1


@pytest.mark.parametrize("said", [pytest.param("-", id="K 19 K 46 K 75 one is made")])
def test_a_node_that_joins(said: str) -> None:
    assert verdicts(decide(said, SETTLED)) == "start:Missing"


@pytest.mark.parametrize(
    ("taint", "said", "expected"),
    [
        pytest.param("", "-", "start:Missing", id="K 20 should run one, has none"),
        pytest.param("a:NoExecute", "old", "remove:NotEligible", id="K 20 must not keep its own"),
        pytest.param("a:NoExecute", "-", "skipped:NotEligible", id="K 20 neither"),
    ],
)
def test_a_node_that_changed(taint: str, said: str, expected: str) -> None:
    taints = (taint,) if taint else ()
    result = plan(world(hosts(said), SETTLED, nodes=(node("n0", *taints),)), NOW)
    assert verdicts(result) == expected


@pytest.mark.parametrize("later", [pytest.param(500.0, id="K 21 time alone")])
def test_a_node_that_only_lived_on(later: float) -> None:
    first = decide("old", SETTLED)
    state = replace(SETTLED, instances=first.instances)
    result = plan(world({"n0": seen(Box("r1", age=60.0 + later))}, state), NOW + later)
    assert (result.actions, result.instances, result.slots, result.settled) == ((), (), (), True)


@pytest.mark.parametrize("left", [pytest.param(True, id="K 22 its copy goes")])
def test_a_node_that_leaves(left: bool) -> None:
    result = plan(world(hosts("old"), SETTLED, nodes=(node("n0", left=left),)), NOW)
    assert verdicts(result) == "remove:NodeLeft"


@pytest.mark.parametrize("kind", [pytest.param(SlotKind.DELETE, id="held nodes are left alone")])
def test_a_copy_asked_to_go_on_a_held_node_stays(kind: SlotKind) -> None:
    asked = SlotRecord(*Key("default", "agent"), "n0", "", kind, NOW)
    state = replace(SETTLED, slots=(asked,))
    result = plan(world(hosts("old"), state, nodes=(node("n0", held=True),)), NOW)
    assert verdicts(result) == "held:Held"


def test_taints_are_told_apart_by_value() -> None:
    one = node("n0", "a=x:NoExecute")
    assert one.taints == (Taint("a", "x", "NoExecute"),)
