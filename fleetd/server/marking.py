"""Writes to nodes: a patch of a Node is read as what people may say of one.

A node is a host of the inventory: its labels, annotations, taints and cordon can be laid over that,
by the same verbs as on the command line. All else of it is refused by name, so that nobody believes
that it was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fleetd.api.nodes import Nodes
from fleetd.api.rehearsal import Rehearsal
from fleetd.api.reports import Marks
from fleetd.core import views
from fleetd.core.node import UNSCHEDULABLE, Host, Inventory
from fleetd.core.nodes import nodes_of
from fleetd.core.records import NodeRecord
from fleetd.errors import InvalidInput, Problem
from fleetd.ports import Store
from fleetd.server import bodies
from fleetd.server.bodies import Plain
from fleetd.server.looking import Looks, key_of
from fleetd.server.patching import Patch, patched
from fleetd.server.peers import Peer
from fleetd.server.resources import Resource
from fleetd.server.service import Service
from fleetd.server.status import Failure
from fleetd.server.writing import SOURCE, client_of, version_of

NO_VERSION = -1
"""Nodes have no version in the state itself."""

Order = Callable[[Nodes], object]
Field = Literal["labels", "annotations"]
FIELDS: tuple[Field, ...] = ("labels", "annotations")
CHANGEABLE = (
    "labels, annotations, spec.taints and spec.unschedulable can; the rest is the inventory's"
)


class NodeWrites:
    """update and patch of nodes."""

    def __init__(self, service: Service, looks: Looks) -> None:
        """Write to this service's state; conflicts are told from what `looks` has shown."""
        self._service = service
        self._looks = looks

    async def update(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """Take what a document says of a node instead of what is said now."""
        document = await bodies.document_of(request)
        if document.get("kind", resource.kind) != resource.kind:
            raise Failure(400, f"the body is a {document['kind']}, the path is of nodes")
        return await self._write(resource, request, peer, document)

    async def patch(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """Change what is said of a node by a patch."""
        kind, patch = await bodies.patch_of(request, *bodies.PATCHES)
        return await self._write(resource, request, peer, patch, kind)

    async def _write(
        self, resource: Resource, request: Request, peer: Peer, said: Patch, kind: str = ""
    ) -> Response:
        """Carry out what is said: a patch of a kind, or without one the whole document."""
        key = key_of(request)
        entry = await self._looks.entry(resource, key)
        self._looks.check(resource, key, entry, version_of(said), NO_VERSION)
        before = self._looks.present(resource, entry)
        after = patched(before, said, kind) if kind or isinstance(said, list) else said
        orders = _orders(key.name, before, after)
        local = client_of(self._service, peer)
        hosts = {host.name: host for host in self._service.inventory().hosts}
        now, who = local.clock.now(), local.who
        # First over a state that forgets: where one order is refused, none is carried out.
        rehearsal = Rehearsal(local.store)
        for order in orders:
            order(Nodes(rehearsal, hosts, now=now, who=who))
        if bodies.rehearsed(request.query_params.getlist("dryRun")):
            return JSONResponse(_as_it_would_be(rehearsal, hosts.get(key.name), key.name))
        for order in orders:
            order(Nodes(local.store, hosts, now=now, who=who))
        entry = await self._looks.entry(resource, key)
        return JSONResponse(self._looks.present(resource, entry))


def _as_it_would_be(store: Store, host: Host | None, name: str) -> Plain:
    rows = store.read(NodeRecord, name=name)
    (node,) = nodes_of(Inventory((host,) if host else (), ()), rows)
    return views.node_view(node, rows[0] if rows else None)


def _orders(name: str, before: Plain, after: Plain) -> list[Order]:
    """What the verbs have to do so that a node is as it is asked for. Raises InvalidInput."""
    wrong: list[Problem] = []
    spec, metadata = _part(after, "spec", wrong), _part(after, "metadata", wrong)
    if metadata.get("name", name) != name:
        wrong.append(_problem("metadata.name", f"the path says {name}"))
    for field, value in spec.items():
        if field not in {"taints", "unschedulable"} and before["spec"].get(field) != value:
            wrong.append(_problem(f"spec.{field}", "cannot be changed", CHANGEABLE))
    orders: list[Order] = []
    cordoned = spec.get("unschedulable") or False
    if not isinstance(cordoned, bool):
        wrong.append(_problem("spec.unschedulable", "must be true or false"))
    elif cordoned != before["spec"].get("unschedulable", False):
        orders.append(lambda nodes: nodes.cordon(name, on=cordoned))
    if taints := _taints(before["spec"].get("taints"), spec.get("taints"), wrong):
        orders.append(lambda nodes: nodes.taint(name, taints))
    orders += [
        partial(Nodes.mark, name=name, marks=marks)
        for field in FIELDS
        if (marks := _marks(field, before["metadata"].get(field), metadata.get(field), wrong))
    ]
    if wrong:
        raise InvalidInput(wrong)
    return orders


def _taints(before: Any, after: Any, wrong: list[Problem]) -> list[str]:  # noqa: ANN401 - any JSON
    """The changes that make the taints these; the cordon's own follows from the cordon."""
    were, are = _by_effect(before, []), _by_effect(after, wrong)
    gone = [f"{key}:{effect}-" for key, effect in sorted(were.keys() - are.keys())]
    return gone + [
        f"{key}={value}:{effect}" if value else f"{key}:{effect}"
        for (key, effect), value in sorted(are.items())
        if were.get((key, effect)) != value
    ]


def _by_effect(taints: Any, wrong: list[Problem]) -> dict[tuple[str, str], str]:  # noqa: ANN401
    found = {}
    if not isinstance(taints or [], list):
        wrong.append(_problem("spec.taints", "must be a list"))
        return {}
    for i, taint in enumerate(taints or []):
        fields = taint if isinstance(taint, dict) else {}
        key, effect, value = (fields.get(each) for each in ("key", "effect", "value"))
        if not isinstance(key, str) or not isinstance(effect, str) or not key:
            wrong.append(_problem(f"spec.taints[{i}]", "needs key and effect, each a string"))
        elif not isinstance(value or "", str):
            wrong.append(_problem(f"spec.taints[{i}].value", "must be a string"))
        elif key != UNSCHEDULABLE.key:
            found[key, effect] = value or ""
    return found


def _marks(field: Field, before: Any, after: Any, wrong: list[Problem]) -> Marks | None:  # noqa: ANN401
    were, are = before or {}, after or {}
    if not isinstance(are, dict) or not all(isinstance(each, str) for each in are.values()):
        wrong.append(_problem(f"metadata.{field}", "must be a map of strings"))
        return None
    changes = [f"{key}-" for key in sorted(were.keys() - are.keys())]
    changes += [f"{key}={value}" for key, value in sorted(are.items()) if were.get(key) != value]
    return Marks(field, tuple(changes), overwrite=True) if changes else None


def _part(node: Plain, field: str, wrong: list[Problem]) -> Plain:
    part = node.get(field) or {}
    if isinstance(part, dict):
        return part
    wrong.append(_problem(field, "must be a map"))
    return {}


def _problem(path: str, message: str, hint: str = "") -> Problem:
    return Problem(SOURCE, 0, path, message, hint)
