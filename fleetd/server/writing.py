"""create, update, patch and delete: each is one use case, done as the peer who asks.

They only say what is wanted. Admission, the merge and the audit are the use cases' own, the same as
the command line's; the engine's loop sees the change in the state and brings it about. From the
check of a resourceVersion to the commit nothing else has its turn, so that nothing comes between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fleetd.api import apply, rollouts
from fleetd.api.delete import Cascade, delete
from fleetd.api.draft import document_of as stored
from fleetd.api.fleet import open_fleet
from fleetd.api.rehearsal import Rehearsal
from fleetd.client.local import Local
from fleetd.core import views
from fleetd.core.key import Key
from fleetd.core.records import ObjectRecord, StatusRecord
from fleetd.documents.load import Lines, Loaded, Sent, admit
from fleetd.documents.yaml import Document
from fleetd.errors import Refused
from fleetd.ports import Store
from fleetd.server import bodies
from fleetd.server.bodies import Plain
from fleetd.server.looking import Looks, key_of, not_found
from fleetd.server.patching import Patch, patched
from fleetd.server.peers import Peer
from fleetd.server.resources import DAEMONSETS, PODS, Resource
from fleetd.server.service import Service
from fleetd.server.status import Failure, success

SOURCE = "body"
CASCADES: Mapping[str, Cascade] = {
    "Background": "background",
    "Foreground": "foreground",
    "Orphan": "orphan",
}
"""Kubernetes' propagation policies."""


class Writes:
    """The writing half of the API, but for nodes."""

    def __init__(self, service: Service, looks: Looks) -> None:
        """Write to this service's state; conflicts are told from what `looks` has shown."""
        self._service = service
        self._looks = looks

    async def create(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """Make an object that must not be there yet."""
        document = await bodies.document_of(request)
        loaded = _admitted(resource, document, request.path_params["namespace"])
        desk = self._desk(request, peer)
        key = loaded.object.key
        if desk.find(resource, key):
            text = f'{resource.full} "{key.name}" already exists'
            details = {"name": key.name, **resource.details}
            raise Failure(409, text, reason="AlreadyExists", details=details)
        desk.apply(loaded)
        return await self._shown(desk, resource, key, 201)

    async def update(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """Put a document in the place of an object."""
        key = key_of(request)
        document = await bodies.document_of(request)
        loaded = _admitted(resource, document, *key)
        entry = await self._looks.entry(resource, key)
        desk = self._desk(request, peer)
        record = desk.get(resource, key)
        self._looks.check(resource, key, entry, version_of(document), record.resource_version)
        desk.replace(record, loaded)
        return await self._shown(desk, resource, key, 200)

    async def patch(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """Change an object by a patch; one of the kind `apply` makes it where it is not there."""
        key = key_of(request)
        kind, patch = await bodies.patch_of(request, *bodies.PATCHES, bodies.APPLY)
        if kind == bodies.APPLY and isinstance(patch, dict):
            return await self._apply(resource, request, peer, patch)
        entry = await self._looks.entry(resource, key)
        desk = self._desk(request, peer)
        record = desk.get(resource, key)
        self._looks.check(resource, key, entry, version_of(patch), record.resource_version)
        after = patched(stored(record), patch, kind)
        desk.replace(record, _admitted(resource, after, *key))
        return await self._shown(desk, resource, key, 200)

    async def _apply(
        self, resource: Resource, request: Request, peer: Peer, document: Plain
    ) -> Response:
        key = key_of(request)
        loaded = _admitted(resource, document, *key)
        desk = self._desk(request, peer)
        there = desk.find(resource, key) is not None
        if (version := version_of(document)) is not None:
            entry = await self._looks.entry(resource, key)
            record = desk.get(resource, key)
            self._looks.check(resource, key, entry, version, record.resource_version)
        desk.apply(loaded)
        return await self._shown(desk, resource, key, 200 if there else 201)

    async def delete(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """Take an object away; its copies as the propagation policy says."""
        key = key_of(request)
        options = await _options(request)
        entry = await self._looks.entry(resource, key)
        shown = self._looks.present(resource, entry)
        desk = self._desk(request, peer, options.get("dryRun"))
        uid = shown["metadata"].get("uid", "")
        wanted = options.get("preconditions") or {}
        if wanted.get("uid", uid) != uid:
            raise _conflict(resource, key, f"its uid is {uid}")
        if resource is PODS:
            (owner,) = shown["metadata"]["ownerReferences"]
            desk.delete_pod(Key(key.namespace, owner["name"]), shown["spec"]["nodeName"])
            return JSONResponse(shown)
        record = desk.get(resource, key)
        version = version_of({"metadata": wanted})
        self._looks.check(resource, key, entry, version, record.resource_version)
        desk.delete(resource, key, _cascade(options))
        if desk.find(resource, key):
            return await self._shown(desk, resource, key, 200)
        return JSONResponse(success({"name": key.name, **resource.details, "uid": uid}))

    def _desk(self, request: Request, peer: Peer, dry_run: object = None) -> _Desk:
        asked = request.query_params.getlist("dryRun")
        rehearsed = bodies.rehearsed(asked) or bodies.rehearsed(dry_run)
        return _Desk(client_of(self._service, peer), rehearsed=rehearsed)

    async def _shown(self, desk: _Desk, resource: Resource, key: Key, code: int) -> Response:
        """The object as it is now, or as it would be."""
        if desk.rehearsed:
            return JSONResponse(desk.view(resource, key), code)
        entry = await self._looks.entry(resource, key)
        return JSONResponse(self._looks.present(resource, entry), code)


class _Desk:
    """The use cases over a state, or over one that forgets, in the name of one client."""

    def __init__(self, local: Local, *, rehearsed: bool) -> None:
        self.rehearsed = rehearsed
        self.store: Store = Rehearsal(local.store) if rehearsed else local.store
        self._local = local
        if local.state.fleet is None:
            open_fleet(self.store, local.fresh_id(), local.fresh_key())

    def find(self, resource: Resource, key: Key) -> ObjectRecord | None:
        kind = resource.kind
        rows = self.store.read(ObjectRecord, kind=kind, namespace=key.namespace, name=key.name)
        return rows[0] if rows else None

    def get(self, resource: Resource, key: Key) -> ObjectRecord:
        record = self.find(resource, key)
        if record is None:
            raise not_found(resource, key.name)
        return record

    def apply(self, loaded: Loaded) -> None:
        apply.apply_objects(
            self.store,
            [loaded],
            new_uid=self._local.fresh_id,
            now=self._local.clock.now(),
            who=self._local.who,
        )

    def replace(self, record: ObjectRecord, loaded: Loaded) -> None:
        apply.replace_object(
            self.store,
            (record.kind, Key(record.namespace, record.name)),
            loaded,
            str(record.resource_version),
            now=self._local.clock.now(),
            who=self._local.who,
        )

    def delete(self, resource: Resource, key: Key, cascade: Cascade) -> None:
        place, now = (resource.kind, key), self._local.clock.now()
        delete(self.store, [place], cascade=cascade, now=now, who=self._local.who)

    def delete_pod(self, daemonset: Key, node: str) -> None:
        now, who = self._local.clock.now(), self._local.who
        rollouts.delete_pod(self.store, daemonset, node, now=now, who=who)

    def view(self, resource: Resource, key: Key) -> Plain:
        """The object as it would be; it has no version yet."""
        record = self.get(resource, key)
        told = self.store.read(StatusRecord, namespace=key.namespace, name=key.name)
        if resource is DAEMONSETS:
            view = views.daemonset_view(record, told[0] if told else None)
        else:
            view = views.object_view(record, reveal=True)
        del view["metadata"]["resourceVersion"]
        return view


def client_of(service: Service, peer: Peer) -> Local:
    """The client of a request. Raises Failure (503) where the service takes none any more."""
    try:
        return service.client(peer)
    except Refused as error:
        raise Failure(503, str(error)) from error


def version_of(document: Patch) -> str | None:
    """The resourceVersion that a document or patch names as the one that it began from."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return str(version) if version else None


def _admitted(resource: Resource, document: Plain, namespace: str, name: str = "") -> Loaded:
    """The object of a document, which must be the one that the path names.

    Raises Failure for another one, InvalidInput for one that breaks the rules.
    """
    document = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
    if document["kind"] != resource.kind:
        raise Failure(400, f"the body is a {document['kind']}, the path is of {resource.plural}")
    metadata = document.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    for field, told in (("namespace", namespace), ("name", name)):
        given = metadata.get(field) or told or None
        if told and given != told:
            raise Failure(400, f"metadata.{field} of the body is {given!r}, the path says {told!r}")
        if given and (field == "name" or given != "default"):
            metadata[field] = given
    loaded = admit([Sent({**document, "metadata": metadata}, SOURCE, Lines(Document(None, 0)))])
    if len(loaded) != 1 or loaded[0].object.kind != resource.kind:
        raise Failure(400, f"the body holds no {resource.kind} of {document['apiVersion']}")
    return loaded[0]


async def _options(request: Request) -> Plain:
    """DeleteOptions out of the body and, where that is silent, out of the parameters."""
    data = await bodies.body_of(request)
    options: dict[str, Any] = bodies.from_json(data) if data.strip() else {}
    if not isinstance(options.get("preconditions") or {}, dict):
        raise Failure(400, "preconditions has to be a map")
    return {**request.query_params, **options}


def _cascade(options: Plain) -> Cascade:
    policy = options.get("propagationPolicy") or "Background"
    if not isinstance(policy, str) or policy not in CASCADES:
        raise Failure(400, f"propagationPolicy={policy} is none of {', '.join(CASCADES)}")
    return CASCADES[policy]


def _conflict(resource: Resource, key: Key, why: str) -> Failure:
    details = {"name": key.name, **resource.details}
    return Failure(409, f'{resource.full} "{key.name}" is another one: {why}', details=details)
