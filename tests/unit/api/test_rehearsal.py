from __future__ import annotations

from fleetd.api.rehearsal import Rehearsal
from fleetd.core.records import NodeRecord, Setting
from fleetd.ports import Drop, Put
from fleetd.testing.store import FakeStore


def test_what_is_rehearsed_is_seen_by_nobody_else() -> None:
    store = FakeStore()
    store.commit([Put(Setting("a", "1")), Put(Setting("b", "1")), Put(NodeRecord("n1"))])
    rehearsal = Rehearsal(store)
    rehearsal.commit([Put(Setting("a", "2")), Drop(Setting, name="b"), Put(Setting("c", "3"))])
    assert rehearsal.read(Setting) == (Setting("a", "2"), Setting("c", "3"))
    assert rehearsal.read(NodeRecord) == (NodeRecord("n1"),)
    assert store.read(Setting) == (Setting("a", "1"), Setting("b", "1"))
    assert store.commits == 1
    rehearsal.close()
    assert store.read(NodeRecord) == (NodeRecord("n1"),)
