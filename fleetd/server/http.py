"""The application: routes, rights, and the form of answers.

Every handler runs for a peer that the kernel named (`scope["state"]["peer"]`); a request without
one may do nothing. Every answer is JSON, every error a Status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fleetd.api import reading
from fleetd.api.reports import Query, Shape
from fleetd.server import health, resources
from fleetd.server.peers import NOBODY, Peer, Right
from fleetd.server.resources import Resource
from fleetd.server.service import Service
from fleetd.server.status import Failure, failure_of

Handler = Callable[[Request], Awaitable[Response]]


def build(service: Service) -> Starlette:
    """The whole API over a service, for its Unix socket."""
    api = _Api(service)
    return Starlette(
        routes=[
            *health.health_routes(service),
            health.metrics_route(service),
            health.version_route(),
            *_discovery(),
            *(route for resource in resources.RESOURCES for route in api.routes(resource)),
        ],
        exception_handlers={HTTPException: _http_failure, Exception: _failure},
    )


class _Api:
    """The handlers of resources."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self, resource: Resource) -> list[Route]:
        """Where a resource is found."""
        everything = partial(self._collection, resource)
        one = partial(self._object, resource)
        paths = dict.fromkeys((resource.everywhere, resource.within))
        found = [Route(path, _guarded(everything)) for path in paths]
        found.append(Route(f"{resource.within}/{{name}}", _guarded(one)))
        if resource is resources.DAEMONSETS:
            found.append(Route(f"{resource.within}/{{name}}/status", _guarded(one)))
        return found

    async def _collection(self, resource: Resource, request: Request) -> Response:
        return JSONResponse(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": {},
                "items": self._read(resource, request, ""),
            }
        )

    async def _object(self, resource: Resource, request: Request) -> Response:
        name = request.path_params["name"]
        items = [
            item for item in self._read(resource, request, name) if item["metadata"]["name"] == name
        ]
        if not items:
            raise Failure(404, f'{resource.plural} "{name}" not found', details=resource.details)
        return JSONResponse(items[0])

    def _read(self, resource: Resource, request: Request, name: str) -> list[Shape]:
        query = Query(request.path_params.get("namespace"), name)
        return reading.get(self._service.store, self._service.inventory, resource.plural, query)


def peer_of(request: Request, needed: Right) -> Peer:
    """Who asks. Raises Failure where they may not."""
    peer: Peer = request.scope.get("state", {}).get("peer", NOBODY)
    if peer.right < needed:
        what = "change anything" if needed is Right.OPERATE else "look at anything"
        raise Failure(403, f"{peer.user} (uid {peer.uid}) may not {what} here")
    return peer


def _guarded(handler: Handler) -> Handler:
    """Only for those who may do what the method means."""

    async def endpoint(request: Request) -> Response:
        reads = request.method in {"GET", "HEAD"}
        peer_of(request, Right.READ if reads else Right.OPERATE)
        return await handler(request)

    return endpoint


def _discovery() -> list[Route]:
    told: dict[str, dict[str, Any]] = {
        "/api": resources.versions(),
        "/apis": resources.groups(),
        "/apis/apps": resources.group(),
        **{path: resources.resource_list(version) for version, path in resources.GROUPS.items()},
    }

    def answering(document: dict[str, Any]) -> Handler:
        async def endpoint(_: Request) -> Response:
            return JSONResponse(document)

        return _guarded(endpoint)

    return [Route(path, answering(document)) for path, document in told.items()]


async def _failure(_: Request, error: Exception) -> Response:
    failure = failure_of(error)
    return JSONResponse(failure.status, failure.code)


async def _http_failure(request: Request, error: Exception) -> Response:
    """What the router says itself: there is no such path, or no such method there."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    messages = {
        404: f"there is nothing at {path}; /api/v1 and /apis/apps/v1 list what there is",
        405: f"{request.method} is not possible at {path}",
    }
    message = messages.get(error.status_code, error.detail)
    failure = Failure(error.status_code, message)
    return JSONResponse(failure.status, failure.code, headers=error.headers)
