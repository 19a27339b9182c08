"""Health, version and metrics: the paths that tell of the service and of no object.

They are an application of their own as well, since they may be served on a TCP address where
nothing else is: it is made of these routes, whatever the rest of the API grows.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fleetd import __version__
from fleetd.server.service import Service

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Endpoint = Callable[[Request], Awaitable[Response]]


def public(service: Service) -> Starlette:
    """The application for a TCP address: metrics and health to read, and nothing else."""
    return Starlette(
        routes=[*health_routes(service), metrics_route(service)],
        exception_handlers={HTTPException: _refused},
    )


def health_routes(service: Service) -> list[Route]:
    """`/healthz`, `/livez` and `/readyz`, each with `?verbose`."""

    async def alive(request: Request) -> Response:
        return _told(request, {"ping": ""})

    async def ready(request: Request) -> Response:
        return _told(request, {"ping": "", **service.ready()})

    endpoints: Mapping[str, Endpoint] = {"/healthz": ready, "/livez": alive, "/readyz": ready}
    return [Route(path, endpoint, methods=["GET"]) for path, endpoint in endpoints.items()]


def metrics_route(service: Service) -> Route:
    """`/metrics`, in Prometheus' text format."""

    async def metrics(_: Request) -> Response:
        # With thousands of hosts the text is megabytes: the loop does not wait for it.
        text = await asyncio.to_thread(service.scrape())
        return Response(text, headers={"content-type": METRICS_TYPE})

    return Route("/metrics", metrics, methods=["GET"])


def version_route() -> Route:
    """`/version`, in Kubernetes' shape, which wants a text for each of its fields."""
    major, minor, *_ = __version__.split(".")
    told = {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{__version__}",
        **dict.fromkeys(("gitCommit", "gitTreeState", "buildDate", "goVersion"), ""),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
        "compiler": platform.python_implementation(),
        "fleetdVersion": __version__,
    }

    async def version(_: Request) -> Response:
        return JSONResponse(told)

    return Route("/version", version, methods=["GET"])


def _told(request: Request, checks: Mapping[str, str]) -> Response:
    """As Kubernetes writes it: `ok`, or a line for each check where it is asked for or needed."""
    bad = [name for name, missing in checks.items() if missing]
    if not bad and "verbose" not in request.query_params:
        return PlainTextResponse("ok")
    lines = [
        f"[-]{name} failed: {missing}" if missing else f"[+]{name} ok"
        for name, missing in checks.items()
    ]
    name = request.url.path.strip("/")
    lines.append(f"{name} check {'failed' if bad else 'passed'}")
    return PlainTextResponse("\n".join(lines) + "\n", status_code=503 if bad else 200)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers=error.headers)
