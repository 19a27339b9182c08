"""Whoever lists, and then watches from that list's version, knows what there is: exactly.

Random changes, at random distances; lists and watches with random selections begin at random times.
Each property has broken twins, which it must catch.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from fleetd.api import reading
from fleetd.api.reports import Query
from fleetd.core import choosing
from fleetd.core.node import Host, Inventory, Ssh
from fleetd.core.records import (
    EventRecord,
    InstanceRecord,
    NodeRecord,
    ObjectRecord,
    RevisionRecord,
    StatusRecord,
)
from fleetd.engine.memory import Memory
from fleetd.ports import Change, Drop, Put
from fleetd.server import hub, shapes
from fleetd.server.hub import Collection, Entry, Hub, Wanted
from fleetd.server.watch import Watch
from fleetd.testing.store import FakeStore
from tests.unit.server.service import Desk

SEEDS = range(60)
SELECTORS = (None, "team=red", "team!=red", "!team")
NODES = ("a", "b", "c")


def document(rng: Random, kind: str, name: str) -> str:
    team = rng.choice([{}, {"team": "red"}, {"team": "blue"}])
    return json.dumps(
        {
            "apiVersion": rng.choice(["apps/v1", "fleetd/v1"]) if kind == "DaemonSet" else "v1",
            "kind": kind,
            "metadata": {"name": name, "labels": team},
            "data": {"x": str(rng.randrange(3))},
        }
    )


def some_change(rng: Random, store: Memory) -> Change:
    """One change to anything; what it belongs to need not be there."""
    namespace, name = rng.choice(["default", "other"]), rng.choice(["web", "log"])
    node, slot = rng.choice(NODES), rng.choice("ab")
    revision = rng.choice(["r1", "r2"])
    place = {"namespace": namespace, "name": name}
    team = {"labels": {"team": rng.choice(["red", "blue"])}}
    template = json.dumps({"metadata": team, "spec": {"containers": []}})
    kind = rng.choice(["DaemonSet", "ConfigMap", "Secret"])
    said = document(rng, kind, name)
    copy = InstanceRecord(
        *(namespace, name, node, slot, revision, "", "Running"),
        ready=rng.random() < 0.5,
        available=False,
        restarts=rng.randrange(2),
        message="",
        started=1.0,
        seen=1.0,
    )
    event = (namespace, "DaemonSet", name, node, rng.choice(["Up", "Down"]))
    choices: list[Callable[[], Change]] = [
        lambda: Put(
            ObjectRecord(kind, namespace, name, f"u{rng.randrange(2)}", 1, version, said, said, 1.0)
        ),
        lambda: Drop(ObjectRecord, kind=kind, **place),
        lambda: Put(copy),
        lambda: Put(copy),
        lambda: Drop(InstanceRecord, **place, node=node, slot=slot),
        lambda: Drop(InstanceRecord, **place),
        lambda: Drop(InstanceRecord, node=node),
        lambda: Put(NodeRecord(node, seen=rng.random(), unreachable=rng.choice(["", "silent"]))),
        lambda: Drop(NodeRecord, name=node),
        lambda: Put(RevisionRecord(namespace, name, revision, rng.randrange(3), template, "", 1.0)),
        lambda: Drop(RevisionRecord, **place),
        lambda: Put(StatusRecord(namespace, name, json.dumps({"ready": rng.randrange(3)}), 1.0)),
        lambda: Drop(StatusRecord, **place),
        lambda: Put(EventRecord(*event, False, "", rng.randrange(4), 1.0, rng.random())),
        lambda: Drop(EventRecord, **place),
        lambda: Drop(EventRecord),
    ]
    version = store.next_version()
    return rng.choice(choices)()


@dataclass
class Reader:
    """Somebody who lists once, and then lives on what a watch tells."""

    hub: Hub
    collection: Collection
    wanted: Wanted
    known: dict[tuple[str, str], Any] = field(default_factory=dict)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def listed(self) -> tuple[int, dict[tuple[str, str], Any]]:
        await self.collection.settle()
        version, entries = self.collection.snapshot(self.wanted.namespace)
        found = {}
        async for view in self.collection.views(entries, self.wanted):
            found[place(view)] = view
        return version, found

    async def run(self, watched: type[Watch]) -> None:
        version, self.known = await self.listed()
        watch = watched(self.hub, self.collection, self.wanted, self.ending, 3600.0)
        async for chunk in watch.after(version):
            for line in chunk.splitlines():
                event = json.loads(line)
                assert event["type"] in {"ADDED", "MODIFIED", "DELETED"}, event
                if event["type"] == "DELETED":
                    self.known.pop(place(event["object"]), None)
                else:
                    self.known[place(event["object"])] = event["object"]


def place(view: Any) -> tuple[str, str]:
    return view["metadata"].get("namespace", ""), view["metadata"]["name"]


async def agree(seed: int, made: type[Hub], watched: type[Watch]) -> bool:
    """Whether all readers know in the end what there is."""
    rng = Random(seed)
    desk = Desk()
    store = Memory(FakeStore())
    desk.store = store  # type: ignore[assignment]  # the real one, which tells its listeners, too
    told = made(desk.service())
    readers: list[Reader] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(rng.randrange(20, 120)):
            if rng.random() < 0.1:
                labels = rng.choice(SELECTORS)
                chosen = choosing.by_labels(labels) if labels else None
                plural = rng.choice(list(told.collections))
                namespace = rng.choice([None, "default"]) if plural != "nodes" else None
                wanted = Wanted(namespace, chosen, reveal=True)
                readers.append(Reader(told, told.collections[plural], wanted))
                group.create_task(readers[-1].run(watched))
            if rng.random() < 0.05:
                hosts = [Host(name, Ssh(rng.choice("xy"))) for name in rng.sample(NODES, 2)]
                desk.inventory = Inventory(tuple(hosts), ())
            store.commit([some_change(rng, store) for _ in range(rng.randrange(1, 4))])
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.2:
                told.stir()
        told.stir()
        while any(collection.behind for collection in told.collections.values()):
            told.stir()
        right = [truth(desk, reader) for reader in readers]
        for reader in readers:
            reader.ending.set()
    return all(
        {at: plain(view) for at, view in reader.known.items()} == known
        for reader, known in zip(readers, right, strict=True)
    )


def truth(desk: Desk, reader: Reader) -> dict[tuple[str, str], Any]:
    """What there is, by another way than the hub's."""
    query = Query(reader.wanted.namespace)
    plural = reader.collection.shapes.resource.plural
    views = reading.get(desk.store, lambda: desk.inventory, plural, query)
    return {place(view): plain(view) for view in views if reader.wanted.takes(view)}


def plain(view: Any) -> Any:
    """A view without its version, which each way counts for itself."""
    told: dict[str, Any] = json.loads(json.dumps(view))
    told["metadata"].pop("resourceVersion", None)
    return told


@pytest.mark.parametrize("kept", [hub.SLICE, 2], ids=["at once", "in small turns"])
async def test_nothing_is_lost(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SLICE", kept)
    monkeypatch.setattr(hub, "TOLD", kept)
    assert [seed for seed in SEEDS if not await agree(seed, Hub, Watch)] == []


class Late(Collection):
    """Says of a list that it is as new as what is told right after it."""

    async def settle(self) -> None:
        if not self.begun:
            await super().settle()

    def snapshot(self, namespace: str | None) -> tuple[int, list[Entry]]:
        _, entries = super().snapshot(namespace)
        self._hub.stir()
        return self._hub.version, entries


class Short(Collection):
    """Leaves one out."""

    def snapshot(self, namespace: str | None) -> tuple[int, list[Entry]]:
        _, entries = super().snapshot(namespace)
        return self._hub.version, entries[:-1]


class NotLeft(Watch):
    """Does not say that an object is chosen no more."""

    def _told(self, event: hub.Event) -> Any:
        told = super()._told(event)
        return None if told and told[0] == "DELETED" and event.after is not None else told


class Deaf(shapes.Pods):
    """Believes that pods change with their own records alone."""

    def touched(self, changes: Any, known: Any) -> Any:
        return shapes._hit(changes, InstanceRecord, known)


class Absolute(shapes.Events):
    """Believes that a deletion names every column."""

    def touched(self, changes: Any, known: Any) -> Any:
        return shapes._hit(changes, EventRecord, ())


def hub_of(collection: type[Collection] = Collection, **other: type[Any]) -> type[Hub]:
    class Twin(Hub):
        def __init__(self, service: Any) -> None:
            super().__init__(service)
            self.collections = {
                plural: collection(self, each.shapes) for plural, each in self.collections.items()
            }
            for plural, broken in other.items():
                each = self.collections[plural]
                each.shapes = broken(each.shapes.resource, service.store)

    return Twin


@pytest.mark.parametrize(
    ("made", "watched"),
    [
        (hub_of(Late), Watch),
        (hub_of(Short), Watch),
        (Hub, NotLeft),
        (hub_of(pods=Deaf), Watch),
        (hub_of(events=Absolute), Watch),
    ],
    ids=["late", "short", "not left", "deaf", "absolute"],
)
async def test_broken_twins_are_caught(made: type[Hub], watched: type[Watch]) -> None:
    assert not all([await agree(seed, made, watched) for seed in SEEDS])
