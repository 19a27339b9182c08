"""The application: routes, rights, and the form of answers.

Every handler runs for a peer that the kernel named (`scope["state"]["peer"]`); a request without
one may do nothing. Every answer is JSON, every error a Status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from fleetd.errors import InvalidInput, NotFound, Refused, StateHeld
from fleetd.server import bodies, health, openapi, resources
from fleetd.server.hub import Hub
from fleetd.server.looking import Looks
from fleetd.server.marking import NodeWrites
from fleetd.server.peers import NOBODY, Peer, Right
from fleetd.server.resources import Resource
from fleetd.server.service import Service
from fleetd.server.status import Failure, failure_of
from fleetd.server.writing import Writes

Handler = Callable[[Request], Awaitable[Response]]
Verb = Callable[[Resource, Request, Peer], Awaitable[Response]]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
LOOKS = ("GET", "HEAD")


def build(service: Service, *, verbs: Sequence[BaseRoute] = ()) -> Starlette:
    """The whole API over a service, for its Unix socket; `verbs` are the routes of `verbs.py`."""
    api = _Api(service)
    return Starlette(
        routes=[
            *verbs,
            *health.health_routes(service),
            health.metrics_route(service),
            health.version_route(),
            *_discovery(),
            *(route for resource in resources.RESOURCES for route in api.routes(resource)),
        ],
        exception_handlers={HTTPException: _http_failure, Failure: _failure, Exception: _failure},
    )


class _Api:
    """Which method of which path is which verb of which resource."""

    def __init__(self, service: Service) -> None:
        self._looks = Looks(Hub(service))
        self._writes = Writes(service, self._looks)
        self._nodes = NodeWrites(service, self._looks)

    def routes(self, resource: Resource) -> list[Route]:
        """Where a resource is found, and its objects."""
        return [
            Route(path, self._endpoint(resource, verbs), methods=METHODS)
            for path, verbs in resource.paths.items()
        ]

    def _endpoint(self, resource: Resource, verbs: Mapping[str, str]) -> Handler:
        handlers = self._handlers(resource)
        known = {method: handlers[verb] for method, verb in verbs.items() if verb in resource.verbs}

        async def endpoint(request: Request) -> Response:
            peer = peer_of(request, Right.READ if request.method in LOOKS else Right.OPERATE)
            handler = known.get(request.method)
            if handler is None:
                what = f"{request.method} is not possible at {request.url.path}"
                raise Failure(405, f"{what}; {resource.instead}" if resource.instead else what)
            _check_accept(request)
            try:
                return await handler(resource, request, peer)
            except (InvalidInput, NotFound, Refused, StateHeld) as error:
                name = request.path_params.get("name")
                details = ({"name": name} if name else {}) | resource.details
                raise failure_of(error, details) from error

        return endpoint

    def _handlers(self, resource: Resource) -> Mapping[str, Verb]:
        writes = self._nodes if resource is resources.NODES else self._writes
        return {
            "get": self._looks.get,
            "list": self._looks.collection,
            "create": self._writes.create,
            "update": writes.update,
            "patch": writes.patch,
            "delete": self._writes.delete,
        }


def _check_accept(request: Request) -> None:
    """JSON is what there is."""
    accepted = request.headers.get("accept") or "*/*"
    kinds = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    if not kinds & {"*/*", "application/*", bodies.JSON}:
        raise Failure(406, f"{accepted} cannot be given; {bodies.JSON} can")


def peer_of(request: Request, needed: Right) -> Peer:
    """Who asks. Raises Failure where they may not."""
    peer: Peer = request.scope.get("state", {}).get("peer", NOBODY)
    if peer.right < needed:
        what = "change anything" if needed is Right.OPERATE else "look at anything"
        raise Failure(403, f"{peer.user} (uid {peer.uid}) may not {what} here")
    return peer


def _discovery() -> list[Route]:
    told: dict[str, dict[str, Any]] = {
        "/api": resources.versions(),
        "/apis": resources.groups(),
        "/apis/apps": resources.group(),
        **{path: resources.resource_list(version) for version, path in resources.GROUPS.items()},
        **openapi.documents(),
    }

    def answering(document: dict[str, Any]) -> Handler:
        async def endpoint(request: Request) -> Response:
            peer_of(request, Right.READ)
            return JSONResponse(document)

        return endpoint

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
