"""get, list and watch: what the hub knows, in the form that was asked for."""

from __future__ import annotations

import json
from asyncio import Event
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from fleetd.api.reports import Shape
from fleetd.core import choosing
from fleetd.core.choosing import Chosen
from fleetd.core.key import Key
from fleetd.server.bodies import flag
from fleetd.server.hub import RUN, Collection, Entry, Hub, Wanted
from fleetd.server.peers import Peer, Right
from fleetd.server.resources import Resource
from fleetd.server.status import Failure
from fleetd.server.watch import Watch

WATCH_S = 3600.0
"""How long a watch lasts when it is not said; clients go on with another one."""
MAX_WATCH_S = 86_400.0
CHUNK = 100
"""Objects of a list that are written at once."""


class Looks:
    """The reading half of the API."""

    def __init__(self, hub: Hub) -> None:
        """Read from this hub."""
        self._hub = hub

    async def get(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """One object."""
        entry = await self.entry(resource, key_of(request))
        reveal = peer.right >= Right.OPERATE
        return JSONResponse(self._collection(resource).present(entry, reveal=reveal))

    async def entry(self, resource: Resource, key: Key) -> Entry:
        """An object as it stands now. Raises Failure (404)."""
        collection = self._collection(resource)
        await collection.settle()
        entry = collection.find(key)
        if entry is None:
            raise not_found(resource, key.name)
        return entry

    def present(self, resource: Resource, entry: Entry) -> Shape:
        """An object as who may change it sees it."""
        return self._collection(resource).present(entry, reveal=True)

    def check(
        self, resource: Resource, key: Key, entry: Entry, version: str | None, stored: int
    ) -> None:
        """Hold a write to the version that its writer has seen. Raises Failure (409).

        A status that has changed since is no conflict. `stored` is the number that the state itself
        has for the object, which the command line shows as its resourceVersion.
        """
        if version is None:
            return
        number = int(version) if version.isdecimal() and len(version) <= 20 else -1
        seen = entry.written <= number <= self._hub.version if number >= RUN else number == stored
        if not seen:
            details = {"name": key.name, **resource.details}
            text = f'{resource.full} "{key.name}" has been changed since; get it anew and try again'
            raise Failure(409, text, details=details)

    async def collection(self, resource: Resource, request: Request, peer: Peer) -> Response:
        """A list, or the watch that follows it."""
        wanted = _wanted(resource, request, reveal=peer.right >= Right.OPERATE)
        if flag(request.query_params, "watch"):
            return await self._watch(resource, request, wanted)
        if request.query_params.get("continue"):
            raise Failure(
                410, "lists are given whole here, there is nothing to continue: list anew"
            )
        collection = self._collection(resource)
        await collection.settle()
        version, entries = collection.snapshot(wanted.namespace)
        self._possible(_version(request), exact=_match(request) == "Exact")
        lines = _list(resource, collection, version, entries, wanted)
        return StreamingResponse(lines, media_type="application/json")

    async def _watch(self, resource: Resource, request: Request, wanted: Wanted) -> Response:
        options = request.query_params
        collection = self._collection(resource)
        await collection.settle()
        since = _version(request)
        watch = Watch(
            hub=self._hub,
            collection=collection,
            wanted=wanted,
            ending=request.scope.get("state", {}).get("ending") or Event(),
            seconds=_seconds(request),
            bookmarks=flag(options, "allowWatchBookmarks"),
        )
        initial = flag(options, "sendInitialEvents")
        if since == 0 or initial:
            lines = watch.first(marked=initial and watch.bookmarks)
        elif collection.holds(since):
            lines = watch.after(since)
        else:
            raise Failure(
                410, f"too old resource version: {since}: list anew, and watch from that version"
            )
        return StreamingResponse(lines, media_type="application/json")

    def _possible(self, version: int, *, exact: bool) -> None:
        """A list is of now: what asks for a later state, or just an older one, cannot be had."""
        if version > self._hub.version or (exact and version != self._hub.version):
            raise Failure(410, f"the state of resourceVersion {version} cannot be had; ask without")

    def _collection(self, resource: Resource) -> Collection:
        return self._hub.collections[resource.plural]


def key_of(request: Request) -> Key:
    """The object that a path names; a node has no namespace."""
    return Key(request.path_params.get("namespace", ""), request.path_params["name"])


def not_found(resource: Resource, name: str) -> Failure:
    """There is no such object."""
    details = {"name": name, **resource.details}
    return Failure(404, f'{resource.full} "{name}" not found', details=details)


async def _list(
    resource: Resource, collection: Collection, version: int, entries: list[Entry], wanted: Wanted
) -> AsyncIterator[bytes]:
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    head_text = json.dumps(head | {"metadata": {"resourceVersion": str(version)}})
    held = [f'{head_text[:-1]}, "items": [']
    first = True
    async for view in collection.views(entries, wanted):
        held.append(json.dumps(view) if first else f",{json.dumps(view)}")
        first = False
        if len(held) >= CHUNK:
            yield "".join(held).encode()
            held = []
    held.append("]}")
    yield "".join(held).encode()


def _wanted(resource: Resource, request: Request, *, reveal: bool) -> Wanted:
    options = request.query_params
    rules: list[Chosen] = []
    if labels := options.get("labelSelector"):
        rules.append(choosing.by_labels(labels))
    if fields := options.get("fieldSelector"):
        rules.append(choosing.by_fields(fields, resource.plural))

    def chosen(view: dict[str, Any]) -> bool:
        return all(rule(view) for rule in rules)

    return Wanted(request.path_params.get("namespace"), chosen if rules else None, reveal)


def _version(request: Request) -> int:
    text = request.query_params.get("resourceVersion") or "0"
    if not text.isdecimal() or len(text) > 20:
        raise Failure(400, f"resourceVersion={text!r} is none that was ever given")
    return int(text)


def _match(request: Request) -> str:
    match = request.query_params.get("resourceVersionMatch", "")
    if match not in {"", "Exact", "NotOlderThan"}:
        raise Failure(400, f"resourceVersionMatch={match} is not known: Exact or NotOlderThan")
    return match


def _seconds(request: Request) -> float:
    text = request.query_params.get("timeoutSeconds") or str(int(WATCH_S))
    if not text.isdecimal() or len(text) > 9:
        raise Failure(400, f"timeoutSeconds={text!r} is no number of seconds")
    return min(float(text) or WATCH_S, MAX_WATCH_S)
