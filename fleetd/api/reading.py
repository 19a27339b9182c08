"""What the state knows, in Kubernetes' shapes: get, history, where a rollout stands. Reads only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from fleetd.api.fleet import FLEET_ID
from fleetd.api.reports import Query, Report, Revision, Shape
from fleetd.core import views
from fleetd.core.key import Key, pod_name, pod_uid
from fleetd.core.node import Inventory
from fleetd.core.nodes import nodes_of
from fleetd.core.records import (
    AuditRecord,
    EventRecord,
    InstanceRecord,
    NodeRecord,
    ObjectRecord,
    RevisionRecord,
    RolloutRecord,
    RolloutState,
    Setting,
    StatusRecord,
)
from fleetd.errors import InvalidInput, NotFound
from fleetd.ports import AtLeast, Store

OBJECTS = {"configmaps": "ConfigMap", "secrets": "Secret"}


SOURCES = "inventory-sources"


def sources(store: Store) -> tuple[str, ...]:
    """The inventory's sources that this state was last used with."""
    rows = store.read(Setting, name=SOURCES)
    return tuple(rows[0].value.splitlines()) if rows else ()


def get(store: Store, inventory: Callable[[], Inventory], kind: str, query: Query) -> list[Shape]:
    """Objects of a kind (in the plural), by namespace and name; only nodes need the inventory.

    Raises:
        InvalidInput: fleetd has no such kind.
    """
    match kind:
        case "daemonsets":
            return daemonsets(store, query)
        case "pods":
            return list(pods(store, query))
        case "nodes":
            return nodes(store, inventory(), query)
        case "events":
            return events(store, query)
        case "audit":
            return audit(store, query)
        case "controllerrevisions":
            return list(controllerrevisions(store, query))
        case "configmaps" | "secrets":
            rows = _objects(store, OBJECTS[kind], query)
            return [views.object_view(row, reveal=True) for row in rows]
        case _:
            raise InvalidInput(f"there is no kind {kind!r} here")


def daemonsets(store: Store, query: Query) -> list[Shape]:
    """DaemonSets with the status of the last pass over them."""
    statuses = {(row.namespace, row.name): row for row in store.read(StatusRecord)}
    return [
        views.daemonset_view(row, statuses.get((row.namespace, row.name)))
        for row in _objects(store, "DaemonSet", query)
    ]


def pods(store: Store, query: Query) -> Iterator[Shape]:
    """Copies as Pods, under their `pod_name`."""
    owners = {(row.namespace, row.name): row for row in store.read(ObjectRecord, kind="DaemonSet")}
    revisions = {(row.namespace, row.name, row.revision): row for row in store.read(RevisionRecord)}
    hosts = {row.name: row for row in store.read(NodeRecord)}
    fleet = "".join(row.value for row in store.read(Setting, name=FLEET_ID))
    for row in store.read(InstanceRecord):
        owner = owners.get((row.namespace, row.name))
        key = Key(row.namespace, row.name)
        named = query.name in ("", pod_name(key, row.node, row.slot))
        if owner and named and query.namespace in (None, row.namespace):
            revision = revisions.get((row.namespace, row.name, row.revision))
            uid = pod_uid(fleet, key, row.node, row.slot)
            yield views.pod_view(views.Pod(row, owner, revision, hosts.get(row.node), uid))


def nodes(store: Store, inventory: Inventory, query: Query) -> list[Shape]:
    """Hosts as Nodes: those of the inventory, and those that left and are not clean yet."""
    records = {row.name: row for row in store.read(NodeRecord)}
    return [
        views.node_view(node, records.get(node.name))
        for node in nodes_of(inventory, records.values())
        if query.name in ("", node.name)
    ]


def events(store: Store, query: Query) -> list[Shape]:
    """Events, the oldest first."""
    rows = [row for row in store.read(EventRecord) if query.namespace in (None, row.namespace)]
    rows.sort(key=lambda row: row.last)
    return [views.event_view(row) for row in rows if query.name in ("", row.name)]


def audit(store: Store, query: Query) -> list[Shape]:
    """Who did what, the oldest first."""
    rows = store.read(AuditRecord, at=AtLeast(query.since))
    return [views.audit_view(row) for row in rows]


def controllerrevisions(store: Store, query: Query) -> Iterator[Shape]:
    """Revisions, by DaemonSet and number."""
    for owner in _objects(store, "DaemonSet", Query(query.namespace)):
        for row in history(store, Key(owner.namespace, owner.name)):
            if query.name in ("", f"{row.name}-{row.revision}", row.name):
                yield views.revision_view(row, owner)


def daemonset(store: Store, key: Key) -> ObjectRecord:
    """A DaemonSet of the state. Raises NotFound."""
    rows = store.read(ObjectRecord, kind="DaemonSet", namespace=key.namespace, name=key.name)
    if not rows:
        raise NotFound(f"daemonset {key.name} is not known in namespace {key.namespace}")
    return rows[0]


def history(store: Store, key: Key) -> tuple[RevisionRecord, ...]:
    """The revisions of a DaemonSet, oldest first: the last is in force."""
    rows = store.read(RevisionRecord, namespace=key.namespace, name=key.name)
    return tuple(sorted(rows, key=lambda row: row.number))


def revisions(store: Store, key: Key) -> tuple[Revision, ...]:
    """The known revisions of a DaemonSet, oldest first."""
    daemonset(store, key)
    rows = history(store, key)
    last = rows[-1].revision if rows else ""
    return tuple(
        Revision(
            number=row.number,
            revision=row.revision,
            cause=row.cause,
            current=row.revision == last,
            template=json.loads(row.template_json),
        )
        for row in rows
    )


def standing(store: Store, key: Key) -> Report:
    """Where a rollout stands, by the state alone."""
    record = daemonset(store, key)
    rollouts = store.read(RolloutRecord, namespace=key.namespace, name=key.name)
    statuses = store.read(StatusRecord, namespace=key.namespace, name=key.name)
    holders = json.loads(statuses[0].status_json)["holders"] if statuses else {}
    seen = record.observed_generation == record.generation
    done = seen and bool(rollouts) and rollouts[0].state is RolloutState.COMPLETE
    problems: tuple[str, ...] = ()
    if not seen:
        problems = ("this generation has not been acted upon yet",)
    if rollouts and rollouts[0].state is RolloutState.FAILED:
        problems = (*problems, rollouts[0].reason)
    return Report(
        holders={str(key): holders} if holders else {},
        problems=problems,
        converged=done and not holders,
    )


def _objects(store: Store, kind: str, query: Query) -> list[ObjectRecord]:
    return [
        row
        for row in store.read(ObjectRecord, kind=kind)
        if query.namespace in (None, row.namespace) and query.name in ("", row.name)
    ]
