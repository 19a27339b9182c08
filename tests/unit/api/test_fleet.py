from __future__ import annotations

from fleetd.api.fleet import Fleet, known_fleet, open_fleet, raise_term
from fleetd.testing.store import FakeStore


def test_a_fleet_is_made_once() -> None:
    store = FakeStore()
    assert known_fleet(store) is None
    made = open_fleet(store, "a" * 32, b"\1" * 32)
    assert made == Fleet("a" * 32, "01" * 32, 0)
    assert open_fleet(store, "b" * 32, b"\2" * 32) == made
    assert known_fleet(store) == made
    assert store.commits == 1


def test_every_writer_has_a_higher_term() -> None:
    store = FakeStore()
    fleet = open_fleet(store, "a" * 32, b"\1" * 32)
    assert [raise_term(store, fleet).term for _ in range(2)] == [1, 2]
    assert known_fleet(store) == Fleet(fleet.id, fleet.key, 2)


def test_a_fleet_does_not_show_its_key() -> None:
    assert "0101" not in repr(open_fleet(FakeStore(), "a" * 32, b"\1" * 32))
