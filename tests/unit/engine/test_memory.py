"""What a memory adds to the contract of a store; `tests/contract/test_store.py` has the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fleetd.core.records import AuditRecord, InstanceRecord, NodeRecord, Setting
from fleetd.engine.memory import Memory
from fleetd.ports import Change, Drop, Put, R
from fleetd.testing.store import FakeStore


class Counted(FakeStore):
    """Counts what is read of it, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.broken = False

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        self.reads.append(kind.__name__)
        return super().read(kind, **where)

    def commit(self, changes: Iterable[Change]) -> None:
        if self.broken:
            raise OSError("the disk is full")
        super().commit(changes)


def copy(name: str, node: str, *, ready: bool = True) -> InstanceRecord:
    return InstanceRecord("ns", name, node, "a", "r", "b", "Running", ready, ready, 0, "", 1, 2)


def test_each_kind_is_read_from_the_store_once() -> None:
    store = Counted()
    store.commit([Put(copy("web", "h1"))])
    memory = Memory(store)
    for _ in range(3):
        assert copy("web", "h1") in memory.read(InstanceRecord, namespace="ns", name="web")
        memory.commit([Put(copy("web", "h2"))])
        assert len(memory.read(InstanceRecord)) == 2
    assert store.reads == ["InstanceRecord"]


def test_what_is_written_is_in_the_store_as_well() -> None:
    store = FakeStore()
    memory = Memory(store)
    assert memory.read(NodeRecord) == ()
    memory.commit([Put(NodeRecord("h1")), Put(NodeRecord("h2"))])
    memory.commit([Drop(NodeRecord, name="h1")])
    assert memory.read(NodeRecord) == store.read(NodeRecord) == (NodeRecord("h2"),)


def test_a_commit_that_fails_is_not_remembered_and_nobody_hears_of_it() -> None:
    store = Counted()
    memory = Memory(store)
    heard: list[tuple[Change, ...]] = []
    memory.listen(heard.append)
    assert memory.read(Setting) == ()
    store.broken = True
    with pytest.raises(OSError, match="full"):
        memory.commit([Put(Setting("a", "1"))])
    assert memory.read(Setting) == ()
    assert heard == []


def test_listeners_hear_of_a_commit_when_it_can_be_read_until_they_stop_listening() -> None:
    memory = Memory(FakeStore())
    heard: list[tuple[Setting, ...]] = []
    stop = memory.listen(lambda _: heard.append(memory.read(Setting)))
    memory.commit([Put(Setting("a", "1"))])
    stop()
    stop()
    memory.commit([Put(Setting("b", "2"))])
    assert heard == [(Setting("a", "1"),)]


def test_rows_of_which_nothing_has_changed_are_the_very_same_tuple() -> None:
    memory = Memory(FakeStore())
    memory.commit([Put(copy("web", "h1")), Put(copy("log", "h1"))])
    web = memory.read(InstanceRecord, namespace="ns", name="web")
    memory.commit([Put(copy("log", "h1", ready=False))])
    assert memory.read(InstanceRecord, namespace="ns", name="web") is web
    memory.commit([Put(copy("web", "h0"))])
    nodes = [row.node for row in memory.read(InstanceRecord, namespace="ns", name="web")]
    assert nodes == ["h0", "h1"]


def test_a_row_is_found_by_its_whole_identity_and_more() -> None:
    memory = Memory(FakeStore())
    memory.commit([Put(copy("web", "h1"))])
    place: dict[str, Any] = {"namespace": "ns", "name": "web", "node": "h1", "slot": "a"}
    assert memory.read(InstanceRecord, **place) == (copy("web", "h1"),)
    assert memory.read(InstanceRecord, **place, ready=False) == ()
    assert memory.read(InstanceRecord, **{**place, "slot": "b"}) == ()
    assert memory.read(InstanceRecord, node="h1") == (copy("web", "h1"),)


def test_the_audit_is_not_kept_in_memory() -> None:
    store = Counted()
    memory = Memory(store)
    memory.commit([Put(AuditRecord(1.0, "ann", "apply", "x", ""))])
    assert len(memory.read(AuditRecord)) == len(memory.read(AuditRecord)) == 1
    assert store.reads == ["AuditRecord", "AuditRecord"]
