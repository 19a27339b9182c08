from __future__ import annotations

import json
from typing import Any

import pytest

from fleetd.core.node import Host, Inventory, Ssh, Taint
from fleetd.core.records import NodeRecord
from tests.unit.server.service import Caller, Desk

NODE = "/api/v1/nodes/a"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
def desk() -> Desk:
    taints = (Taint("gpu", "yes", "NoSchedule"),)
    return Desk(hosts=(Host("a", Ssh("192.0.2.1"), {"rack": "r1"}, taints),))


def record(desk: Desk) -> NodeRecord:
    (row,) = desk.store.read(NodeRecord)
    return row


@pytest.mark.parametrize("kind", [MERGE, STRATEGIC])
async def test_cordon(desk: Desk, ann: Caller, kind: str) -> None:
    answer = await ann.ask("PATCH", NODE, {"spec": {"unschedulable": True}}, kind)
    assert (answer.status, answer.json["spec"]["unschedulable"]) == (200, True)
    assert record(desk).cordoned
    assert desk.audited() == [("ann", "cordon", "Node a")]
    answer = await ann.ask("PATCH", NODE, {"spec": {"unschedulable": None}}, kind)
    assert "unschedulable" not in answer.json["spec"]
    assert not record(desk).cordoned


async def test_taints_are_replaced_and_the_inventorys_hidden(desk: Desk, ann: Caller) -> None:
    taints = [{"key": "disk", "value": "slow", "effect": "NoExecute"}]
    answer = await ann.ask("PATCH", NODE, {"spec": {"taints": taints}}, STRATEGIC)
    assert answer.json["spec"]["taints"] == [
        {"key": "disk", "effect": "NoExecute", "value": "slow"}
    ]
    answer = await ann.ask("PATCH", NODE, {"spec": {"taints": None}}, MERGE)
    assert answer.json["spec"]["taints"] == []


async def test_the_taint_of_a_cordon_follows_the_cordon(desk: Desk, ann: Caller) -> None:
    await ann.ask("PATCH", NODE, {"spec": {"unschedulable": True}}, MERGE)
    shown = (await ann.get(NODE)).json
    assert len(shown["spec"]["taints"]) == 2
    shown["spec"]["taints"] = []
    answer = await ann.ask("PUT", NODE, shown)
    keys = [taint["key"] for taint in answer.json["spec"]["taints"]]
    assert keys == ["node.kubernetes.io/unschedulable"]


async def test_labels_and_annotations(desk: Desk, ann: Caller) -> None:
    patch = {"metadata": {"labels": {"rack": None, "zone": "z"}, "annotations": {"note": "n"}}}
    answer = await ann.ask("PATCH", NODE, patch, MERGE)
    assert answer.json["metadata"]["labels"] == {"zone": "z"}
    assert answer.json["metadata"]["annotations"] == {"note": "n"}
    assert json.loads(record(desk).labels_json) == {"rack": None, "zone": "z"}
    assert sorted(verb for _, verb, _ in desk.audited()) == ["annotate", "label"]


async def test_a_document_put_in_place_says_all_of_it(desk: Desk, ann: Caller) -> None:
    shown = (await ann.get(NODE)).json
    shown["metadata"]["labels"]["zone"] = "z"
    answer = await ann.ask("PUT", NODE, shown)
    assert answer.json["metadata"]["labels"] == {"rack": "r1", "zone": "z"}
    answer = await ann.ask("PUT", NODE, shown)
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")


async def test_nothing_to_change_writes_nothing(desk: Desk, ann: Caller) -> None:
    before = desk.store.commits
    assert (await ann.ask("PATCH", NODE, {}, MERGE)).status == 200
    assert desk.store.commits == before


async def test_a_dry_run_shows_it_and_keeps_nothing(desk: Desk, ann: Caller) -> None:
    patch = {"spec": {"unschedulable": True}}
    answer = await ann.ask("PATCH", f"{NODE}?dryRun=All", patch, MERGE)
    assert answer.json["spec"]["unschedulable"] is True
    assert desk.store.read(NodeRecord) == ()


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"spec": {"podCIDR": "192.0.2.0/24"}}, 422),
        ({"spec": {"taints": [{"key": "x"}]}}, 422),
        ({"spec": {"taints": "x"}}, 422),
        ({"spec": {"taints": [{"key": "x", "effect": "NoSchedule", "value": 1}]}}, 422),
        ({"spec": {"unschedulable": "yes"}}, 422),
        ({"spec": 1}, 422),
        ({"metadata": {"name": "b"}}, 422),
        ({"metadata": {"labels": {"x": 1}}}, 422),
        ({"metadata": {"labels": "x"}}, 422),
        ({"spec": {"taints": [{"key": "x", "effect": "Never"}]}}, 400),
        ({"metadata": {"labels": {"-x-": "1"}}}, 400),
        ({"metadata": {"annotations": {"fleetd/hold": "true"}}}, 400),
    ],
)
async def test_what_cannot_be_said_of_a_node_changes_nothing(
    desk: Desk, ann: Caller, patch: dict[str, Any], code: int
) -> None:
    spec = patch.get("spec")
    if isinstance(spec, dict):
        spec.setdefault("unschedulable", True)
    before = desk.store.commits
    answer = await ann.ask("PATCH", NODE, patch, MERGE)
    assert answer.status == code, answer.json
    assert desk.store.commits == before


async def test_a_node_that_is_not_known(desk: Desk, ann: Caller) -> None:
    answer = await ann.ask("PATCH", "/api/v1/nodes/x", {}, MERGE)
    assert (answer.status, answer.json["details"]) == (404, {"name": "x", "kind": "nodes"})


async def test_a_host_that_joined_a_moment_ago_can_be_cordoned(desk: Desk, ann: Caller) -> None:
    await ann.get("/api/v1/nodes")
    desk.inventory = Inventory((*desk.hosts, Host("new", Ssh("192.0.2.9"))), ("hosts.yaml",))
    answer = await ann.ask("PATCH", "/api/v1/nodes/new", {"spec": {"unschedulable": True}}, MERGE)
    assert answer.status == 200
