from __future__ import annotations

import pytest

from fleetd.api.delete import delete, still_used
from fleetd.core.meta import Key
from fleetd.core.records import (
    ObjectRecord,
    RemovalRecord,
    RevisionRecord,
    RolloutRecord,
    RolloutState,
    SlotRecord,
    StatusRecord,
)
from fleetd.errors import NotFound, Refused
from fleetd.ports import Put
from tests.unit.api.desk import Desk, config, daemonset, env_from, secret


def remembered(desk: Desk, name: str) -> None:
    """What passes write about a DaemonSet."""
    desk.store.commit(
        [
            Put(StatusRecord("default", name, "{}", 1.0)),
            Put(RolloutRecord("default", name, "r", RolloutState.COMPLETE, "", "", 1.0, 1.0)),
            Put(SlotRecord("default", name, "n1", "r", "update", 1.0)),
        ]
    )


def test_a_deleted_set_leaves_the_order_to_remove_its_copies(desk: Desk) -> None:
    desk.apply(daemonset("a"), daemonset("b"))
    remembered(desk, "a")
    remembered(desk, "b")
    assert desk.delete("DaemonSet/a") == ["DaemonSet/a"]
    assert desk.names() == ["DaemonSet/b"]
    assert desk.store.read(RemovalRecord) == (RemovalRecord("default", "a", "uid-1", desk.now),)
    assert [row.name for row in desk.store.read(RevisionRecord)] == ["b"]
    assert [row.name for row in desk.store.read(StatusRecord)] == ["b"]
    assert [row.name for row in desk.store.read(RolloutRecord)] == ["b"]
    assert [row.name for row in desk.store.read(SlotRecord)] == ["b"]
    assert desk.audited()[-1] == ("ann", "delete", "DaemonSet default/a")


def test_an_orphaned_set_leaves_copies_and_revisions(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.delete("DaemonSet/web", cascade="orphan")
    assert desk.names() == []
    assert desk.store.read(RemovalRecord) == ()
    assert len(desk.store.read(RevisionRecord)) == 1


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_what_is_referenced_may_go_and_that_is_told(desk: Desk, kind: str) -> None:
    content = config("x", a="1") if kind == "ConfigMap" else secret("x", a="1")
    desk.apply(content, daemonset(more=env_from(kind, "x", "a")))
    revision = desk.current()
    assert desk.delete(f"{kind}/x") == [f"{kind}/x"]
    assert desk.current() == revision
    (note,) = still_used(desk.store, [(kind, Key("default", "x"))])
    assert note.startswith(f"{kind} default/x is still referred to by DaemonSet default/web (spec")
    with pytest.raises(Refused, match=f"cannot be started anew: there is no {kind} default/x"):
        desk.restart()


def test_a_name_in_another_namespace_is_another_object(desk: Desk) -> None:
    elsewhere = config("x", a="1").replace("{name: x}", "{name: x, namespace: other}")
    desk.apply(elsewhere, config("x", a="1"), daemonset(more=env_from("ConfigMap", "x", "a")))
    place = ("ConfigMap", Key("other", "x"))
    assert delete(desk.store, [place], cascade="background", now=1.0, who="ann") == (place,)
    assert [row.namespace for row in desk.store.read(ObjectRecord, kind="ConfigMap")] == ["default"]


def test_a_delete_may_be_repeated_but_not_of_nothing(desk: Desk) -> None:
    desk.apply(daemonset("a"), daemonset("b"))
    desk.delete("DaemonSet/a")
    assert desk.delete("DaemonSet/a", "DaemonSet/b", "DaemonSet/b") == ["DaemonSet/b"]
    with pytest.raises(NotFound, match="DaemonSet default/a, DaemonSet default/b"):
        desk.delete("DaemonSet/a", "DaemonSet/b")
