from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from fleetd.core.facts import HostFacts
from fleetd.core.node import Host, Inventory, Ssh, Taint
from fleetd.core.nodes import facts_of, nodes_of
from fleetd.core.records import NodeRecord

FACTS = HostFacts("web-1.example", "linux", "arm64", podman="4.3")
OBSERVED = {
    "kubernetes.io/hostname": "web-1.example",
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "arm64",
}


def record(**more: Any) -> NodeRecord:
    return NodeRecord(**{"name": "n1", "facts_json": json.dumps(asdict(FACTS)), **more})


def one(host: Host, *records: NodeRecord) -> Any:
    (node,) = nodes_of(Inventory((host,), ("x",)), records)
    return node


def host(*taints: Taint, **labels: str) -> Host:
    return Host("n1", Ssh("192.0.2.1"), labels, taints)


def test_what_a_new_host_is_is_not_known() -> None:
    node = one(host(role="web"))
    assert node.labels == {"role": "web"}
    assert node.unknown_labels == frozenset(OBSERVED)


def test_the_inventory_may_know_what_nobody_has_observed() -> None:
    node = one(Host("n1", Ssh("192.0.2.1"), {"kubernetes.io/arch": "arm64"}))
    assert node.unknown_labels == {"kubernetes.io/hostname", "kubernetes.io/os"}


def test_facts_are_labels() -> None:
    node = one(host(role="web"), record())
    assert node.labels == {"role": "web", **OBSERVED}
    assert node.unknown_labels == frozenset()
    assert facts_of(record()) == FACTS


@pytest.mark.parametrize(
    ("inventory", "overlay", "expected"),
    [
        pytest.param("web", {}, "web", id="inventory"),
        pytest.param("web", {"role": "db"}, "db", id="said-otherwise"),
        pytest.param("web", {"role": None}, None, id="hidden"),
        pytest.param(None, {"role": "db"}, "db", id="said-only"),
    ],
)
def test_what_people_say_wins(
    inventory: str | None, overlay: dict[str, str | None], expected: str | None
) -> None:
    labels = {"role": inventory} if inventory else {}
    node = one(host(**labels), record(labels_json=json.dumps(overlay)))
    assert node.labels.get("role") == expected


def test_no_host_talks_itself_into_a_label() -> None:
    node = one(Host("n1", Ssh("192.0.2.1"), {"kubernetes.io/arch": "amd64"}), record())
    assert node.labels["kubernetes.io/arch"] == "amd64"


def test_the_engine_stays_unless_the_inventory_says_another() -> None:
    assert one(host(), record(runtime="podman")).labels["fleetd/runtime"] == "podman"
    asked = Host("n1", Ssh("192.0.2.1"), {"fleetd/runtime": "docker"})
    assert one(asked, record(runtime="podman")).labels["fleetd/runtime"] == "docker"


GPU = Taint("gpu", "yes", "NoSchedule")


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        pytest.param([], {str(GPU)}, id="inventory"),
        pytest.param([{"key": "gpu", "value": None, "effect": "NoSchedule"}], set(), id="hidden"),
        pytest.param(
            [{"key": "gpu", "value": "no", "effect": "NoSchedule"}],
            {"gpu=no:NoSchedule"},
            id="another-value",
        ),
        pytest.param(
            [{"key": "gpu", "value": "yes", "effect": "NoExecute"}],
            {str(GPU), "gpu=yes:NoExecute"},
            id="another-effect-beside",
        ),
    ],
)
def test_taints_lie_over_the_inventory(overlay: list[Any], expected: set[str]) -> None:
    node = one(host(GPU), record(taints_json=json.dumps(overlay)))
    assert {str(taint) for taint in node.taints} == expected


def test_a_cordon_is_a_taint() -> None:
    node = one(host(), record(cordoned=True))
    assert [str(taint) for taint in node.taints] == ["node.kubernetes.io/unschedulable:NoSchedule"]


def test_a_host_that_left_is_reached_as_it_last_was() -> None:
    ssh = Ssh("192.0.2.9", user="fleet", jump="bastion")
    gone = record(name="old", ssh_json=json.dumps(asdict(ssh)), machine_id="m1", held=True)
    new, old = nodes_of(Inventory((host(),), ("x",)), [gone])
    assert (new.left, old.left) == (False, True)
    assert (old.name, old.ssh, old.uid, old.held) == ("old", ssh, "m1", True)
