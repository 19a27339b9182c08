from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from fleetd.api.nodes import Nodes
from fleetd.api.reports import Marks
from fleetd.core.node import Host, Inventory, Node, Ssh, Taint
from fleetd.core.nodes import nodes_of
from fleetd.core.records import AuditRecord, NodeRecord, TaintRecord
from fleetd.core.views import node_view
from fleetd.errors import InvalidInput, NotFound, Refused
from fleetd.ports import Put
from fleetd.testing.store import FakeStore

HOST = Host(
    "n1",
    Ssh("10.0.0.1"),
    {"site": "fra1", "rack": "7"},
    (Taint("gpu", "yes", "NoSchedule"), Taint("gpu", "yes", "NoExecute")),
)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def nodes(store: FakeStore) -> Nodes:
    return Nodes(store, {"n1": HOST}, now=5.0, who="ann")


def seen(store: FakeStore) -> Node:
    """The node as the engine sees it."""
    (node,) = nodes_of(Inventory((HOST,), ()), store.read(NodeRecord))
    return node


def labels(*changes: str, overwrite: bool = False) -> Marks:
    return Marks("labels", changes, overwrite)


def taints(store: FakeStore) -> list[str]:
    return [str(taint) for taint in seen(store).taints]


def test_cordon_and_uncordon(store: FakeStore, nodes: Nodes) -> None:
    assert nodes.cordon("n1", on=True) == "node/n1 cordoned"
    assert nodes.cordon("n1", on=True) == "node/n1 already cordoned"
    assert "node.kubernetes.io/unschedulable:NoSchedule" in taints(store)
    assert nodes.cordon("n1", on=False) == "node/n1 uncordoned"
    assert taints(store) == ["gpu=yes:NoExecute", "gpu=yes:NoSchedule"]
    assert [row.verb for row in store.read(AuditRecord)] == ["cordon", "uncordon"]


def test_hold_and_unhold(store: FakeStore, nodes: Nodes) -> None:
    assert nodes.hold("n1", on=True) == "node/n1 held"
    assert seen(store).held
    assert nodes.hold("n1", on=False) == "node/n1 unheld"
    assert nodes.hold("n1", on=False) == "node/n1 already unheld"
    assert not seen(store).held


def test_what_is_known_of_a_node_stays(store: FakeStore, nodes: Nodes) -> None:
    store.commit([Put(NodeRecord("n1", machine_id="m", held=True))])
    nodes.cordon("n1", on=True)
    assert store.read(NodeRecord) == (NodeRecord("n1", machine_id="m", held=True, cordoned=True),)


def test_a_node_that_left_can_still_be_spoken_of(store: FakeStore, nodes: Nodes) -> None:
    store.commit([Put(NodeRecord("gone", left=1.0))])
    assert nodes.hold("gone", on=True) == "node/gone held"
    assert nodes.mark("gone", labels("a=b", "c-")) == "node/gone labeled"
    with pytest.raises(NotFound, match="node nobody is not in the inventory"):
        nodes.hold("nobody", on=True)


LABELS: list[tuple[str, Sequence[str], dict[str, str]]] = [
    ("adds", ["role=web"], {"site": "fra1", "rack": "7", "role": "web"}),
    ("replaces", ["site=ber2"], {"site": "ber2", "rack": "7"}),
    ("empty_value", ["site="], {"site": "", "rack": "7"}),
    ("hides", ["site-"], {"rack": "7"}),
    ("sets_again", ["site-", "site=x"], {"site": "x", "rack": "7"}),
    ("adds_and_takes", ["role=web", "role-"], {"site": "fra1", "rack": "7"}),
    ("prefixed", ["example.com/a=b"], {"site": "fra1", "rack": "7", "example.com/a": "b"}),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [pytest.param(*row[1:], id=row[0]) for row in LABELS]
)
def test_label(
    store: FakeStore, nodes: Nodes, changes: Sequence[str], expected: dict[str, str]
) -> None:
    for change in changes:
        nodes.mark("n1", labels(change, overwrite=True))
    assert seen(store).labels == expected


def test_taking_a_label_that_is_not_there_changes_nothing(store: FakeStore, nodes: Nodes) -> None:
    assert nodes.mark("n1", labels("nobody-")) == "node/n1 not labeled"
    assert store.read(NodeRecord) == ()
    assert nodes.mark("n1", labels("site-", "x=1")) == "node/n1 labeled"
    (record,) = store.read(NodeRecord)
    assert json.loads(record.labels_json) == {"site": None, "x": "1"}
    (audit,) = store.read(AuditRecord)
    assert (audit.verb, audit.subject, audit.detail) == ("label", "Node n1", "site- x=1")
    assert audit.node == "n1"


TAINTS: list[tuple[str, Sequence[str], list[str]]] = [
    ("adds", ["a=b:NoSchedule"], ["a=b:NoSchedule", "gpu=yes:NoExecute", "gpu=yes:NoSchedule"]),
    ("no_value", ["a:NoExecute"], ["a:NoExecute", "gpu=yes:NoExecute", "gpu=yes:NoSchedule"]),
    ("replaces_value", ["gpu=no:NoExecute"], ["gpu=no:NoExecute", "gpu=yes:NoSchedule"]),
    ("hides_one_effect", ["gpu:NoExecute-"], ["gpu=yes:NoSchedule"]),
    ("hides_all_effects", ["gpu-"], []),
    ("sets_again", ["gpu-", "gpu=a:NoExecute"], ["gpu=a:NoExecute"]),
    ("adds_and_takes", ["a:NoExecute", "a-"], ["gpu=yes:NoExecute", "gpu=yes:NoSchedule"]),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [pytest.param(*row[1:], id=row[0]) for row in TAINTS]
)
def test_taint(store: FakeStore, nodes: Nodes, changes: Sequence[str], expected: list[str]) -> None:
    for change in changes:
        done = "untainted" if change.endswith("-") else "tainted"
        assert nodes.taint("n1", [change]) == f"node/n1 {done}"
    assert taints(store) == expected


@pytest.mark.parametrize("change", ["nobody-", "gpu:PreferNoSchedule-"])
def test_taking_a_taint_that_is_not_there(store: FakeStore, nodes: Nodes, change: str) -> None:
    with pytest.raises(NotFound, match="node n1 has no taint"):
        nodes.taint("n1", ["a=b:NoSchedule", change])
    assert store.read(NodeRecord) == ()


def test_a_hidden_taint_cannot_be_taken_again(nodes: Nodes) -> None:
    nodes.taint("n1", ["gpu-"])
    with pytest.raises(NotFound):
        nodes.taint("n1", ["gpu-"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("role", "write KEY=VALUE or KEY-"),
        ("=x", "the key of a label"),
        ("a b=x", "the key of a label"),
        ("a=b c", "the value of a label"),
        ("-", "the key of a label"),
    ],
)
def test_labels_of_another_form(store: FakeStore, nodes: Nodes, change: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        nodes.mark("n1", labels("good=yes", change))
    assert store.read(NodeRecord) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("a=b", "write KEY=VALUE:EFFECT"),
        ("a=b:Never", "the effect is one of NoSchedule"),
        ("a:Never-", "the effect is one of NoSchedule"),
        ("a=b c:NoSchedule", "the value of a taint"),
        (":NoSchedule", "the key of a taint"),
    ],
)
def test_taints_of_another_form(store: FakeStore, nodes: Nodes, change: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        nodes.taint("n1", ["good=yes:NoSchedule", change])
    assert store.read(NodeRecord) == ()


def test_a_value_is_replaced_only_when_told(store: FakeStore, nodes: Nodes) -> None:
    with pytest.raises(Refused, match=r"'site' already has a value \(fra1\), and --overwrite is"):
        nodes.mark("n1", labels("site=ber2"))
    assert nodes.mark("n1", labels("site=fra1", "x=1")) == "node/n1 labeled"
    assert nodes.mark("n1", labels("x-")) == "node/n1 unlabeled"
    assert seen(store).labels == {"site": "fra1", "rack": "7"}


def test_annotations_are_kept_beside_what_is_known(store: FakeStore, nodes: Nodes) -> None:
    assert nodes.mark("n1", Marks("annotations", ("note=by Ann, today",))) == "node/n1 annotated"
    (record,) = store.read(NodeRecord)
    assert node_view(seen(store), record)["metadata"]["annotations"] == {"note": "by Ann, today"}
    nodes.mark("n1", Marks("annotations", ("note-",)))
    assert store.read(NodeRecord)[0].annotations_json == "{}"
    with pytest.raises(InvalidInput, match="say `fleetd hold n1`"):
        nodes.mark("n1", Marks("annotations", ("fleetd/hold=true",)))


def test_a_drain_cordons_and_keeps_every_agent_away_until_it_is_undone(
    store: FakeStore, nodes: Nodes
) -> None:
    before = taints(store)
    assert nodes.drain("n1", on=True)
    assert not nodes.drain("n1", on=True)
    assert {"fleetd/drained:NoExecute", "node.kubernetes.io/unschedulable:NoSchedule"} <= {
        *taints(store)
    }
    assert nodes.drain("n1", on=False)
    assert sorted(taints(store)) == sorted(before)


def since(store: FakeStore) -> dict[str, float]:
    return {row.key: row.added for row in store.read(TaintRecord)}


def test_a_noexecute_taint_counts_from_when_it_was_set(store: FakeStore, nodes: Nodes) -> None:
    nodes.taint("n1", ["repair:NoExecute", "other:NoSchedule"])
    assert since(store) == {"gpu": 5.0, "repair": 5.0}
    later = Nodes(store, {"n1": HOST}, now=9.0, who="ann")
    later.cordon("n1", on=True)
    assert since(store) == {"gpu": 5.0, "repair": 5.0}
    later.taint("n1", ["repair-"])
    later.taint("n1", ["repair:NoExecute"])
    assert since(store) == {"gpu": 5.0, "repair": 9.0}
