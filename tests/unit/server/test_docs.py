"""docs/api.md, held to the application."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from starlette.routing import Match

from fleetd.server import bodies, hub, status
from fleetd.server.connection import STALL_S
from fleetd.server.http import METHODS, build
from fleetd.server.resources import RESOURCES, Resource
from tests.unit.server.service import Desk

PAGE = (Path(__file__).parents[3] / "docs/api.md").read_text()
ROWS = [
    (re.findall(r"`(/[^`]*)`", paths), text.strip())
    for paths, text in re.findall(r"^\| (`/.*?) \| (.*) \|$", PAGE, re.MULTILINE)
]
OWN = "/apis/fleetd/v1/"


def verbs_of(resource: Resource, path: str) -> list[str]:
    if path == resource.everywhere and resource.namespaced:
        verbs = ["list", "watch"]
    elif path == resource.within:
        verbs = ["list", "watch", "create"]
    elif path.endswith("/status"):
        verbs = ["get"]
    else:
        verbs = ["get", "update", "patch", "delete"]
    return [verb for verb in verbs if verb in resource.verbs]


def test_every_path_is_there(desk: Desk) -> None:
    routes = {getattr(route, "path", "?") for route in build(desk.service()).routes}
    told = [path for paths, _ in ROWS for path in paths]
    assert len(told) == len(set(told))
    assert {path for path in routes if not path.startswith(OWN)} == set(told)


def test_every_verb_is_there() -> None:
    told = {path: text.split(", ") for paths, text in ROWS for path in paths}
    for resource in RESOURCES:
        one = f"{resource.within}/{{name}}"
        for path in {resource.everywhere, resource.within, one, f"{one}/status"} & told.keys():
            assert told[path] == verbs_of(resource, path), path


def test_the_examples_lead_somewhere(desk: Desk) -> None:
    examples = re.findall(r"http://fleetd(/[^\s'?]*)", PAGE)
    assert len(examples) >= 7
    for path in examples:
        scope: dict[str, Any] = {"type": "http", "path": path, "method": METHODS[0]}
        matches = [route.matches(scope)[0] for route in build(desk.service()).routes]
        assert Match.FULL in matches, path


def test_every_error_is_there() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", PAGE, re.MULTILINE)
    told = {int(code): re.findall(r"`(\w+)`", reasons)[0] for code, reasons in rows}
    assert told == dict(status.REASONS)


def test_the_numbers_are_right() -> None:
    for text in (
        f"The last {hub.KEPT} changes",
        f"nothing for {STALL_S:.0f} seconds",
        f"longer than {bodies.BODY_S:.0f} seconds",
        f"larger than {bodies.MAX_BODY >> 20} MiB",
    ):
        assert text in PAGE
    assert all(kind in PAGE for kind in bodies.PATCHES)
