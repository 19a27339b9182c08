from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from fleetd.adapters.store import SqliteStore
from fleetd.api.rehearsal import Rehearsal
from fleetd.core.records import (
    IDENTITY,
    AuditRecord,
    EventRecord,
    InstanceRecord,
    NodeRecord,
    ObjectRecord,
    Record,
    RolloutRecord,
    RolloutState,
    Setting,
)
from fleetd.engine.memory import Memory
from fleetd.ports import AtLeast, Change, Drop, Put, Store
from fleetd.testing.store import FakeStore


@pytest.fixture(params=["sqlite", "fake", "rehearsal", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    makers: dict[str, Callable[[], Store]] = {
        "sqlite": lambda: SqliteStore(tmp_path / "fleetd.db"),
        "fake": FakeStore,
        "rehearsal": lambda: Rehearsal(FakeStore()),
        "memory": lambda: Memory(SqliteStore(tmp_path / "fleetd.db")),
    }
    made = makers[request.param]()
    yield made
    made.close()


SAMPLES: dict[Any, Any] = {
    str: 'tab\t nul\0 quote" ünï \U0001f980',
    int: 1 << 40,
    float: 1700000000.123456,
    bool: True,
    RolloutState: RolloutState.FAILED,
}


def sample(kind: type[Record]) -> Record:
    return kind(*(SAMPLES[hint] for hint in get_type_hints(kind).values()))


@pytest.mark.parametrize("kind", IDENTITY, ids=lambda kind: kind.__name__)
def test_every_record_comes_back_as_it_was(store: Store, kind: type[Record]) -> None:
    record = sample(kind)
    store.commit([Put(record)])
    (found,) = store.read(kind)
    assert found == record
    assert [type(getattr(found, field.name)) for field in fields(kind)] == [
        type(getattr(record, field.name)) for field in fields(kind)
    ]


@pytest.mark.parametrize("kind", IDENTITY, ids=lambda kind: kind.__name__)
def test_a_put_replaces_the_row_of_its_identity_only(store: Store, kind: type[Record]) -> None:
    first = sample(kind)
    changed = {
        name: SAMPLES[hint] * 2
        for name, hint in get_type_hints(kind).items()
        if name not in IDENTITY[kind] and hint in {str, int}
    }
    other = replace(first, **{IDENTITY[kind][-1]: first_of(first, kind) * 2})
    store.commit([Put(first), Put(other), Put(replace(first, **changed))])
    assert set(store.read(kind)) == {replace(first, **changed), other}


def first_of(record: Record, kind: type[Record]) -> Any:
    return getattr(record, IDENTITY[kind][-1])


def instance(node: str, name: str = "logs", *, ready: bool = True) -> InstanceRecord:
    return InstanceRecord(
        "default", name, node, "a", "r1", "b1", "active", ready, False, 0, "", 1.0, 2.0
    )


def test_reading_selects_by_values_and_orders_by_identity(store: Store) -> None:
    records = [instance("n2"), instance("n10"), instance("n1", ready=False), instance("n1", "a")]
    store.commit(Put(record) for record in records)
    assert [(row.name, row.node) for row in store.read(InstanceRecord)] == [
        ("a", "n1"),
        ("logs", "n1"),
        ("logs", "n10"),
        ("logs", "n2"),
    ]
    assert [row.node for row in store.read(InstanceRecord, name="logs", ready=True)] == [
        "n10",
        "n2",
    ]
    assert store.read(InstanceRecord, name="nobody") == ()


def test_a_column_may_be_called_kind(store: Store) -> None:
    record = ObjectRecord("Secret", "default", "a", "u", 1, 1, "{}", "{}", 1.0)
    store.commit([Put(record), Put(replace(record, kind="ConfigMap"))])
    assert store.read(ObjectRecord, kind="Secret") == (record,)
    store.commit([Drop(ObjectRecord, kind="Secret")])
    assert [row.kind for row in store.read(ObjectRecord)] == ["ConfigMap"]


def test_reading_selects_by_an_enum(store: Store) -> None:
    rollout = RolloutRecord("default", "logs", "r1", RolloutState.PAUSED, "", "", 1.0, 1.0)
    store.commit([Put(rollout)])
    assert store.read(RolloutRecord, state=RolloutState.PAUSED) == (rollout,)
    assert store.read(RolloutRecord, state=RolloutState.FAILED) == ()


def test_dropping_takes_the_rows_with_these_values_and_no_others(store: Store) -> None:
    store.commit([Put(instance("n1")), Put(instance("n2")), Put(instance("n1", "other"))])
    store.commit([Drop(InstanceRecord, name="logs", node="n1")])
    assert [(row.name, row.node) for row in store.read(InstanceRecord)] == [
        ("logs", "n2"),
        ("other", "n1"),
    ]
    store.commit([Put(Setting("kept", "")), Drop(InstanceRecord)])
    assert store.read(InstanceRecord) == ()
    assert store.read(Setting) == (Setting("kept", ""),)


def test_changes_take_effect_in_their_order(store: Store) -> None:
    store.commit([Put(NodeRecord("old"))])
    store.commit([Put(NodeRecord("x")), Drop(NodeRecord), Put(NodeRecord("new"))])
    assert store.read(NodeRecord) == (NodeRecord("new"),)


def test_a_commit_that_fails_changes_nothing(store: Store) -> None:
    store.commit([Put(Setting("a", "before"))])

    def changes() -> Iterator[Change]:
        yield Put(Setting("a", "after"))
        yield Put(Setting("b", "new"))
        raise LookupError("cut here")

    with pytest.raises(LookupError):
        store.commit(changes())
    assert store.read(Setting) == (Setting("a", "before"),)
    store.commit([Put(Setting("a", "later"))])
    assert store.read(Setting) == (Setting("a", "later"),)


def test_an_unknown_field_is_an_error_even_where_nothing_is(store: Store) -> None:
    with pytest.raises(TypeError, match="Setting has no field colour"):
        store.read(Setting, colour="red")
    with pytest.raises(TypeError, match="NodeRecord has no field colour"):
        store.commit([Put(Setting("a", "")), Drop(NodeRecord, colour="red")])
    assert store.read(Setting) == ()


def test_a_column_may_be_bounded_from_below(store: Store) -> None:
    entry = AuditRecord(2.0, "ann", "cordon", "Node n1", "")
    store.commit(Put(replace(entry, at=at)) for at in (1.0, 2.0, 3.0))
    store.commit([Put(replace(entry, at=2.5, verb="hold"))])
    assert [row.at for row in store.read(AuditRecord, at=AtLeast(2.0))] == [2.0, 2.5, 3.0]
    assert [row.at for row in store.read(AuditRecord, at=AtLeast(2.0), verb="hold")] == [2.5]
    assert store.read(AuditRecord, at=AtLeast(4)) == ()


def test_an_empty_commit_is_fine(store: Store) -> None:
    store.commit([])
    assert store.read(AuditRecord) == ()


def test_versions_only_rise(store: Store) -> None:
    versions = [store.next_version() for _ in range(5)]
    assert versions == sorted(set(versions))
    assert versions[0] > 0
    store.commit([Drop(Setting), Drop(EventRecord)])
    assert store.next_version() > versions[-1]
