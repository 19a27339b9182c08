"""How the objects of each resource are made from records, one by one.

A list of everything is cheap to ask for and dear to compute: at five thousand hosts it is tens of
thousands of pods. So each object has a *source*, the few records that its view is made from. Those
are references to what the state holds in memory already; two sources are compared to tell whether
an object has changed, and a view is made only when somebody is to read it. What a view does not
show is left out of its source, so that a look at a host that brought nothing new changes no pod.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Generic, TypeVar

from fleetd.api.fleet import FLEET_ID
from fleetd.api.reports import Shape
from fleetd.core import views
from fleetd.core.key import Key, pod_name, pod_uid
from fleetd.core.node import Host, Inventory, Node
from fleetd.core.nodes import nodes_of
from fleetd.core.records import (
    IDENTITY,
    EventRecord,
    InstanceRecord,
    NodeRecord,
    ObjectRecord,
    Record,
    RevisionRecord,
    Setting,
    StatusRecord,
)
from fleetd.errors import InventoryUnknown
from fleetd.ports import Change, Put, Store
from fleetd.server import resources
from fleetd.server.resources import Resource

S = TypeVar("S")
R = TypeVar("R", bound=Record)
INVENTORY_S = 5.0
"""How often a watcher looks for another inventory, which is no commit."""

Place = tuple[str, ...]
"""Where an object stands: the identity of the record that it is made from in the first place."""


class Shapes(ABC, Generic[S]):
    """The objects of one resource. Nothing is remembered here but what is cheap to make again."""

    look_s: float = math.inf
    """How often to ask `turned`: never where every change is a commit."""

    def __init__(self, resource: Resource, store: Store) -> None:
        """Take the resource, and where its records are."""
        self.resource = resource
        self.store = store

    @abstractmethod
    def places(self) -> Iterable[Place]:
        """Every object that may be there now."""

    @abstractmethod
    def named(self, key: Key) -> Iterable[Place]:
        """The places of what has this name; they need not be there."""

    def namespace(self, place: Place) -> str:
        """The namespace of what stands there, "" for what has none."""
        return place[0]

    @abstractmethod
    def source(self, place: Place) -> S | None:
        """What the object is made from now; None where there is none."""

    @abstractmethod
    def view(self, source: S, *, reveal: bool) -> Shape:
        """The object in Kubernetes' shape; `reveal` shows the values of a Secret."""

    @abstractmethod
    def touched(self, changes: Sequence[Change], known: Collection[Place]) -> set[Place]:
        """What the changes may have made, altered or taken away, given what was known before."""

    def essence(self, source: S) -> object:
        """What a writer must have seen to replace the object: what people say of it, no status."""
        return source

    def weight(self, source: S) -> int:
        """About how many bytes keeping a source holds on to, without what it shares with others."""
        return 1000

    def turned(self) -> bool:
        """Whether something changed that is no commit, and was not told by `touched` yet."""
        return False


class Objects(Shapes[tuple[ObjectRecord, StatusRecord | None]]):
    """Documents that were applied: DaemonSets with their status, ConfigMaps and Secrets."""

    def places(self) -> Iterable[Place]:
        return [_place(row) for row in self.store.read(ObjectRecord, kind=self.resource.kind)]

    def named(self, key: Key) -> Iterable[Place]:
        return ((self.resource.kind, *key),)

    def namespace(self, place: Place) -> str:
        return place[1]

    def source(self, place: Place) -> tuple[ObjectRecord, StatusRecord | None] | None:
        rows = self.store.read(ObjectRecord, **_where(ObjectRecord, place))
        if not rows:
            return None
        told: tuple[StatusRecord, ...] = ()
        if self.resource is resources.DAEMONSETS:
            told = self.store.read(StatusRecord, **_where(StatusRecord, place[1:]))
        return rows[0], replace(told[0], at=0.0) if told else None

    def view(self, source: tuple[ObjectRecord, StatusRecord | None], *, reveal: bool) -> Shape:
        record, status = source
        if self.resource is resources.DAEMONSETS:
            return views.daemonset_view(record, status)
        return views.object_view(record, reveal=reveal)

    def touched(self, changes: Sequence[Change], known: Collection[Place]) -> set[Place]:
        kind = self.resource.kind
        found = {place for place in _hit(changes, ObjectRecord, known) if place[0] == kind}
        if self.resource is resources.DAEMONSETS:
            counted = _hit(changes, StatusRecord, {place[1:] for place in known})
            found |= {(kind, *place) for place in counted}
        return found

    def essence(self, source: tuple[ObjectRecord, StatusRecord | None]) -> object:
        return source[0].resource_version

    def weight(self, source: tuple[ObjectRecord, StatusRecord | None]) -> int:
        return len(source[0].document_json) + len(source[0].last_applied_json)


class Owned(Shapes[S]):
    """What belongs to a DaemonSet, and names it as its owner."""

    def __init__(self, resource: Resource, store: Store) -> None:
        super().__init__(resource, store)
        self._owners = _Trimmed(store, ObjectRecord, _owner)

    def owner(self, place: Place) -> ObjectRecord | None:
        """The DaemonSet of a place, with no more of it than a reference shows."""
        return self._owners.of(("DaemonSet", *place[:2]))

    def disowned(self, changes: Sequence[Change]) -> set[Place]:
        """The DaemonSets that came, went, or are another one now."""
        return {place[1:] for place in self._owners.moved(changes)}


class Pods(Owned[views.Pod]):
    """Copies as Pods."""

    def __init__(self, resource: Resource, store: Store) -> None:
        super().__init__(resource, store)
        self._hosts = _Trimmed(store, NodeRecord, _reached)
        self._revisions = _Trimmed(store, RevisionRecord, _template)

    def places(self) -> Iterable[Place]:
        return [_place(row) for row in self.store.read(InstanceRecord)]

    def named(self, key: Key) -> Iterable[Place]:
        return [
            _place(row)
            for row in self.store.read(InstanceRecord)
            if row.namespace == key.namespace
            and pod_name(Key(row.namespace, row.name), row.node, row.slot) == key.name
        ]

    def source(self, place: Place) -> views.Pod | None:
        rows = self.store.read(InstanceRecord, **_where(InstanceRecord, place))
        owner = self.owner(place)
        if not rows or owner is None:
            return None
        (row,) = rows
        revision = self._revisions.of((*place[:2], row.revision))
        fleet = "".join(each.value for each in self.store.read(Setting, name=FLEET_ID))
        uid = pod_uid(fleet, Key(row.namespace, row.name), row.node, row.slot)
        return views.Pod(row, owner, revision, self._hosts.of((row.node,)), uid)

    def view(self, source: views.Pod, *, reveal: bool) -> Shape:
        return views.pod_view(source)

    def touched(self, changes: Sequence[Change], known: Collection[Place]) -> set[Place]:
        found = _hit(changes, InstanceRecord, known)
        hosts = self._hosts.moved(changes)
        revisions = self._revisions.moved(changes)
        owners = self.disowned(changes)
        if hosts or revisions or owners:
            found |= {
                _place(row)
                for row in self.store.read(InstanceRecord)
                if (row.node,) in hosts
                or (row.namespace, row.name) in owners
                or (row.namespace, row.name, row.revision) in revisions
            }
        return found


class Revisions(Owned[tuple[RevisionRecord, ObjectRecord]]):
    """Revisions as ControllerRevisions."""

    def places(self) -> Iterable[Place]:
        return [_place(row) for row in self.store.read(RevisionRecord)]

    def named(self, key: Key) -> Iterable[Place]:
        return [
            _place(row)
            for row in self.store.read(RevisionRecord)
            if row.namespace == key.namespace and f"{row.name}-{row.revision}" == key.name
        ]

    def source(self, place: Place) -> tuple[RevisionRecord, ObjectRecord] | None:
        rows = self.store.read(RevisionRecord, **_where(RevisionRecord, place))
        owner = self.owner(place)
        return (rows[0], owner) if rows and owner else None

    def view(self, source: tuple[RevisionRecord, ObjectRecord], *, reveal: bool) -> Shape:
        return views.revision_view(*source)

    def weight(self, source: tuple[RevisionRecord, ObjectRecord]) -> int:
        return len(source[0].template_json) + len(source[0].content_json)

    def touched(self, changes: Sequence[Change], known: Collection[Place]) -> set[Place]:
        found = _hit(changes, RevisionRecord, known)
        if owners := self.disowned(changes):
            found |= {place for place in self.places() if place[:2] in owners}
        return found


class Events(Shapes[EventRecord]):
    """Events, each with its count."""

    def places(self) -> Iterable[Place]:
        return [_place(row) for row in self.store.read(EventRecord)]

    def named(self, key: Key) -> Iterable[Place]:
        return [
            _place(row)
            for row in self.store.read(EventRecord)
            if row.namespace == key.namespace
            and key.name.startswith(f"{row.name}.")
            and views.event_view(row)["metadata"]["name"] == key.name
        ]

    def source(self, place: Place) -> EventRecord | None:
        return next(iter(self.store.read(EventRecord, **_where(EventRecord, place))), None)

    def view(self, source: EventRecord, *, reveal: bool) -> Shape:
        return views.event_view(source)

    def touched(self, changes: Sequence[Change], known: Collection[Place]) -> set[Place]:
        return _hit(changes, EventRecord, known)


class Nodes(Shapes[tuple[Node, NodeRecord | None]]):
    """Hosts as Nodes: those of the inventory in force, and those that left and are not clean."""

    look_s = INVENTORY_S

    def __init__(
        self, resource: Resource, store: Store, inventory: Callable[[], Inventory]
    ) -> None:
        super().__init__(resource, store)
        self._read = inventory
        self._inventory: Inventory | None = None
        self._hosts: dict[str, Host] = {}
        self._news: set[Place] = set()

    def places(self) -> Iterable[Place]:
        """Raises InventoryUnknown while there is no inventory: then nobody knows all nodes."""
        self._take(self._read())
        return {(name,) for name in self._hosts} | {
            (row.name,) for row in self.store.read(NodeRecord)
        }

    def named(self, key: Key) -> Iterable[Place]:
        return ((key.name,),)

    def namespace(self, place: Place) -> str:
        return ""

    def source(self, place: Place) -> tuple[Node, NodeRecord | None] | None:
        (name,) = place
        self.turned()
        hosts = (self._hosts[name],) if name in self._hosts else ()
        rows = self.store.read(NodeRecord, name=name)
        found = nodes_of(Inventory(hosts, ()), rows)
        return (found[0], rows[0] if rows else None) if found else None

    def view(self, source: tuple[Node, NodeRecord | None], *, reveal: bool) -> Shape:
        return views.node_view(*source)

    def touched(self, changes: Sequence[Change], known: Collection[Place]) -> set[Place]:
        self.turned()
        news, self._news = self._news, set()
        return news | _hit(changes, NodeRecord, known)

    def turned(self) -> bool:
        """Take the inventory in force; whether it brought what `touched` has not told yet."""
        with suppress(InventoryUnknown):
            self._take(self._read())
        return bool(self._news)

    def _take(self, inventory: Inventory) -> None:
        if inventory is self._inventory:
            return
        before, self._inventory = self._hosts, inventory
        self._hosts = {host.name: host for host in inventory.hosts}
        names = before.keys() | self._hosts.keys()
        moved = (name for name in names if before.get(name) != self._hosts.get(name))
        self._news |= {(name,) for name in moved}

    def essence(self, source: tuple[Node, NodeRecord | None]) -> object:
        node, record = source
        return node, record.annotations_json if record else "{}"


def all_shapes(store: Store, inventory: Callable[[], Inventory]) -> Mapping[str, Shapes[Any]]:
    """The shapes of every resource, by its plural."""
    made: tuple[Shapes[Any], ...] = (
        Objects(resources.DAEMONSETS, store),
        Objects(resources.CONFIGMAPS, store),
        Objects(resources.SECRETS, store),
        Pods(resources.PODS, store),
        Revisions(resources.REVISIONS, store),
        Events(resources.EVENTS, store),
        Nodes(resources.NODES, store, inventory),
    )
    return {shapes.resource.plural: shapes for shapes in made}


class _Trimmed(Generic[R]):
    """Records of a kind, with no more in them than the views of others show.

    So thousands of pods share one, and are the same as before when something else in it changes.
    """

    def __init__(self, store: Store, kind: type[R], trim: Callable[[R], R]) -> None:
        self._store = store
        self._kind = kind
        self._trim = trim
        self._made: dict[Place, tuple[R, R]] = {}
        self._shown: dict[Place, R | None] = {}
        """What views were made from, as of the last `moved`."""

    def of(self, place: Place) -> R | None:
        """The trimmed record of this identity."""
        found = self._read(place)
        self._shown.setdefault(place, found)
        return found

    def moved(self, changes: Sequence[Change]) -> set[Place]:
        """What views were made from, and is another thing now."""
        news = set()
        for place in _hit(changes, self._kind, self._shown.keys()) & self._shown.keys():
            now = self._read(place)
            if now != self._shown[place]:
                news.add(place)
                self._shown[place] = now
        return news

    def _read(self, place: Place) -> R | None:
        rows = self._store.read(self._kind, **_where(self._kind, place))
        if not rows:
            self._made.pop(place, None)
            return None
        before = self._made.get(place)
        if before is None or before[0] is not rows[0]:
            trimmed = self._trim(rows[0])
            if before is not None and before[1] == trimmed:
                trimmed = before[1]
            self._made[place] = before = (rows[0], trimmed)
        return before[1]


def _owner(record: ObjectRecord) -> ObjectRecord:
    version = json.loads(record.document_json).get("apiVersion", "apps/v1")
    return ObjectRecord(
        kind=record.kind,
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        generation=0,
        resource_version=0,
        document_json=json.dumps({"apiVersion": version}),
        last_applied_json="",
        created=0.0,
    )


def _reached(record: NodeRecord) -> NodeRecord:
    return NodeRecord(record.name, ssh_json=record.ssh_json, unreachable=record.unreachable)


def _template(record: RevisionRecord) -> RevisionRecord:
    return replace(record, number=0, content_json="", created=0.0, cause="")


def _place(record: Record) -> Place:
    return tuple(getattr(record, column) for column in IDENTITY[type(record)])


def _where(kind: type[Any], place: Place) -> dict[str, str]:
    return dict(zip(IDENTITY[kind], place, strict=True))


def _hit(changes: Sequence[Change], kind: type[Any], known: Collection[Place]) -> set[Place]:
    """The identities of a kind that changes speak of; a deletion, of those that were known."""
    found: set[Place] = set()
    columns = IDENTITY[kind]
    for change in changes:
        if isinstance(change, Put):
            if isinstance(change.record, kind):
                found.add(_place(change.record))
        elif change.kind is kind:
            # A bound that is no plain value is left out: what is found may not have changed.
            said = {name: text for name, text in change.where.items() if isinstance(text, str)}
            told = [(i, said[name]) for i, name in enumerate(columns) if name in said]
            if len(told) == len(columns):
                found.add(tuple(text for _, text in told))
            else:
                found |= {place for place in known if all(place[i] == text for i, text in told)}
    return found
