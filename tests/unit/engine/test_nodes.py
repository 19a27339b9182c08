from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from fleetd.core.facts import (
    HOST_KEY_CHANGED,
    Clock,
    HostFacts,
    Known,
    Observation,
    Part,
    Unknown,
)
from fleetd.core.node import Node, Ssh, Taint
from fleetd.core.records import (
    EventRecord,
    InstanceRecord,
    NodeRecord,
    SlotRecord,
    TaintRecord,
)
from fleetd.engine.nodes import identify, meet, remember, time_taints
from fleetd.ports import Put
from fleetd.testing.store import FakeStore

FACTS = HostFacts("n1", "linux", "amd64", systemd=252, podman="4.3")
NODE = Node("n1", Ssh("192.0.2.1"))


def seen(machine: str = "m1", boot: str = "b1", facts: Any = None) -> Known[Observation]:
    empty: Known[Any] = Known(())
    return Known(
        Observation(
            clock=Known(Clock(machine, boot, 100.0)),
            owner=Known(None),
            ledger=empty,
            files=empty,
            units=empty,
            facts=facts,
        )
    )


def node(name: str, **more: Any) -> Node:
    return Node(name, Ssh(f"{name}.test"), **more)


def instance(name: str) -> InstanceRecord:
    return InstanceRecord(
        *("default", "agent", name, "a", "r1", "b", "Running", True, True, 0, "", 0.0, 0.0)
    )


def test_a_first_look_is_remembered() -> None:
    record = remember(NODE, seen(facts=Known(FACTS)), None, 500.0)
    assert record is not None
    assert (record.machine_id, record.boot_id, record.seen) == ("m1", "b1", 500.0)
    assert json.loads(record.facts_json) == asdict(FACTS)
    assert json.loads(record.ssh_json)["address"] == "192.0.2.1"
    assert record.runtime == "podman"


@pytest.mark.parametrize(
    ("part", "later", "written"),
    [
        pytest.param(seen(), 59.0, False, id="nothing-new"),
        pytest.param(seen(), 60.0, True, id="a-minute-later"),
        pytest.param(seen(machine="m2"), 1.0, True, id="another-machine"),
        pytest.param(Unknown("no route"), 1.0, True, id="silent"),
        pytest.param(seen(facts=Known(FACTS)), 1.0, False, id="the-same-facts"),
        pytest.param(seen(facts=Known(replace(FACTS, podman="5.0"))), 1.0, True, id="other-facts"),
    ],
)
def test_only_what_is_new_is_written(part: Part[Observation], later: float, written: bool) -> None:
    first = remember(NODE, seen(facts=Known(FACTS)), None, 500.0)
    assert (remember(NODE, part, first, 500.0 + later) is not None) is written


def test_silence_changes_nothing_that_was_known() -> None:
    first = remember(NODE, seen(facts=Known(FACTS)), None, 500.0)
    assert first is not None
    later = remember(NODE, Unknown("no route"), first, 501.0)
    assert later == replace(first, unreachable="no route")


@pytest.mark.parametrize("facts", [None, Unknown("cut")], ids=["not-told", "unreadable"])
def test_the_boot_is_that_of_the_facts(facts: Any) -> None:
    first = remember(NODE, seen(facts=Known(FACTS)), None, 500.0)
    later = remember(NODE, seen(boot="b2", facts=facts), first, 600.0)
    assert later is not None
    assert later.boot_id == "b1"


def test_the_engine_stays_whatever_is_installed_beside_it() -> None:
    first = remember(NODE, seen(facts=Known(replace(FACTS, podman="", docker="24.0"))), None, 1.0)
    later = remember(NODE, seen(facts=Known(replace(FACTS, docker="24.0"))), first, 2.0)
    assert later is not None
    assert later.runtime == "docker"


def test_who_leaves_keeps_the_way_and_the_time() -> None:
    first = remember(NODE, seen(), None, 500.0)
    gone = Node("n1", Ssh(""), left=True)
    left = remember(gone, Unknown("no route"), first, 600.0)
    assert left is not None
    assert first is not None
    assert (left.left, left.ssh_json) == (600.0, first.ssh_json)
    assert remember(gone, Unknown("no route"), left, 700.0) is None
    back = remember(NODE, seen(), left, 800.0)
    assert back is not None
    assert back.left == 0.0


def test_a_rename_takes_everything_along() -> None:
    store = FakeStore()
    slot = SlotRecord("default", "agent", "old", "r1", "update", 1.0)
    old = NodeRecord("old", machine_id="m1", held=True, left=5.0)
    store.commit([Put(old), Put(NodeRecord("new")), Put(instance("old")), Put(slot)])
    found = identify(
        [node("new"), node("old", left=True, uid="m1")],
        {"new": seen(), "old": Unknown("no such address")},
        store,
    )
    store.commit(found.changes)
    assert [one.name for one in found.nodes] == ["new"]
    assert list(found.seen) == ["new"]
    assert store.read(NodeRecord) == (replace(old, name="new", left=0.0),)
    assert store.read(InstanceRecord) == (instance("new"),)
    assert store.read(SlotRecord) == (replace(slot, node="new"),)
    assert [name for name, _ in found.notes] == ["new"]


def test_one_machine_under_two_names_is_unknown_under_both() -> None:
    found = identify(
        [node("a"), node("b"), node("c")],
        {
            "a": seen("m1"),
            "b": seen("m1"),
            "c": seen("m2"),
        },
        FakeStore(),
    )
    assert isinstance(found.seen["a"], Unknown)
    assert isinstance(found.seen["b"], Unknown)
    assert isinstance(found.seen["c"], Known)
    assert [name for name, _ in found.notes] == ["a", "b"]
    assert found.changes == ()


def test_a_leaver_that_nobody_replaces_stays() -> None:
    nodes = [node("a"), node("old", left=True, uid="m9")]
    found = identify(nodes, {"a": seen("m1"), "old": seen("m9")}, FakeStore())
    assert found.nodes == tuple(nodes)
    assert (found.changes, found.notes) == ((), ())


def tainted(*taints: Taint) -> Node:
    return replace(NODE, taints=taints)


REPAIR = Taint("repair", "", "NoExecute")


def test_a_taint_keeps_the_time_at_which_it_was_met_first() -> None:
    store = FakeStore()
    for now in (100.0, 200.0):
        (node,), changes = time_taints([tainted(REPAIR)], store, now)
        store.commit(changes)
        assert node.since == {REPAIR: 100.0}
        assert bool(changes) is (now == 100.0)


def test_a_taint_that_comes_back_begins_anew() -> None:
    store = FakeStore()
    for now, node in ((100.0, tainted(REPAIR)), (200.0, tainted())):
        store.commit(time_taints([node], store, now)[1])
    (timed,), _ = time_taints([tainted(REPAIR)], store, 300.0)
    assert timed.since == {REPAIR: 300.0}


def test_another_value_is_another_taint() -> None:
    store = FakeStore()
    other = Taint("repair", "disk", "NoExecute")
    store.commit(time_taints([tainted(REPAIR)], store, 100.0)[1])
    (node,), changes = time_taints([tainted(other)], store, 200.0)
    store.commit(changes)
    assert node.since == {other: 200.0}
    assert [row.value for row in store.read(TaintRecord)] == ["disk"]


def test_only_noexecute_is_timed() -> None:
    (node,), changes = time_taints([tainted(Taint("a", "", "NoSchedule"))], FakeStore(), 1.0)
    assert (node.since, changes) == ({}, ())


# ------------------------------------------------------------------------------- what is kept


CHANGED = f"{HOST_KEY_CHANGED} in known_hosts (it shows another)"


def known(name: str, machine: str, **more: Any) -> NodeRecord:
    record = remember(node(name), seen(machine, facts=Known(FACTS)), None, 500.0)
    assert record is not None
    return replace(record, **more)


def events_of(store: FakeStore) -> list[tuple[str, str]]:
    return [(row.node, row.reason) for row in store.read(EventRecord)]


def test_another_machine_under_a_known_name_begins_with_nothing() -> None:
    store = FakeStore()
    slot = SlotRecord("default", "agent", "a", "r1", "update", 1.0)
    store.commit([Put(known("a", "m1", held=True)), Put(instance("a")), Put(slot)])
    store.commit([Put(instance("b")), Put(replace(slot, node="b"))])
    docker = Known(replace(FACTS, podman="", docker="24.0"))
    met = meet([node("a")], {"a": seen("m2", "b2", facts=docker)}, store, 900.0)
    store.commit(met.changes)
    [row] = store.read(NodeRecord)
    assert (row.machine_id, row.boot_id, row.runtime, row.joined) == ("m2", "b2", "docker", 900.0)
    assert row.held, "what people said of the name stays"
    assert [row.node for row in store.read(InstanceRecord)] == ["b"]
    assert [row.node for row in store.read(SlotRecord)] == ["b"]
    assert events_of(store) == [("a", "MachineReplaced")]


def test_facts_of_the_old_machine_are_not_taken_for_those_of_the_new_one() -> None:
    store = FakeStore()
    store.commit([Put(known("a", "m1"))])
    met = meet([node("a")], {"a": seen("m2")}, store, 900.0)
    assert (met.records["a"].facts_json, met.records["a"].runtime) == ("", "")


def test_the_first_machine_of_a_name_replaces_nobody() -> None:
    store = FakeStore()
    store.commit([Put(NodeRecord("a", held=True)), Put(instance("a"))])
    met = meet([node("a")], {"a": seen("m1")}, store, 900.0)
    store.commit(met.changes)
    assert store.read(InstanceRecord) == (instance("a"),)
    assert events_of(store) == []


def test_two_that_swap_their_names_are_each_a_new_machine() -> None:
    store = FakeStore()
    store.commit([Put(known("a", "m1")), Put(known("b", "m2"))])
    met = meet([node("a"), node("b")], {"a": seen("m2"), "b": seen("m1")}, store, 900.0)
    assert {name: row.machine_id for name, row in met.records.items()} == {"a": "m2", "b": "m1"}


def test_twins_are_not_written_down_as_one_another() -> None:
    store = FakeStore()
    slot = SlotRecord("default", "agent", "a", "r1", "update", 1.0)
    store.commit([Put(known("a", "m1")), Put(known("b", "m2")), Put(instance("a")), Put(slot)])
    met = meet([node("a"), node("b")], {"a": seen("m2"), "b": seen("m2")}, store, 900.0)
    store.commit(met.changes)
    rows = store.read(NodeRecord)
    assert [row.machine_id for row in rows] == ["m1", "m2"]
    assert all("a and b are one machine (m2)" in row.unreachable for row in rows)
    assert store.read(InstanceRecord) == (instance("a"),)
    assert store.read(SlotRecord) == (slot,)


def test_a_changed_host_key_is_told_once_until_it_is_over() -> None:
    store = FakeStore()
    store.commit([Put(known("a", "m1"))])
    told = []
    for part in (Unknown(CHANGED), Unknown(f"{CHANGED} again"), seen("m1"), Unknown(CHANGED)):
        met = meet([node("a")], {"a": part}, store, 900.0)
        store.commit(met.changes)
        told.append([name for name, _ in met.quarantined])
    assert told == [["a"], [], [], ["a"]]
    assert events_of(store) == [("a", "HostKeyChanged")]
    [row] = store.read(NodeRecord)
    assert row.quarantined
    assert row.machine_id == "m1"


def test_who_does_not_answer_is_in_no_quarantine() -> None:
    store = FakeStore()
    jump = f"its jump host j: {CHANGED}"
    met = meet([node("a")], {"a": Unknown(jump)}, store, 900.0)
    assert met.quarantined == ()
    assert not met.records["a"].quarantined
