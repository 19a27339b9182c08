from __future__ import annotations

from typing import Any

from fleetd.server.http import build
from fleetd.server.resources import RESOURCES
from tests.unit.server.service import Caller, Desk


async def listed(caller: Caller, path: str) -> dict[str, Any]:
    answer = (await caller.get(path)).json
    assert answer["kind"] == "APIResourceList"
    return {entry["name"]: entry for entry in answer["resources"]}


async def test_from_the_root_to_each_resource(bob: Caller) -> None:
    assert (await bob.get("/api")).json["versions"] == ["v1"]
    (group,) = (await bob.get("/apis")).json["groups"]
    assert group["preferredVersion"]["groupVersion"] == "apps/v1"
    assert (await bob.get("/apis/apps")).json["name"] == "apps"
    apps, core = await listed(bob, "/apis/apps/v1"), await listed(bob, "/api/v1")
    assert sorted(apps) == ["controllerrevisions", "daemonsets", "daemonsets/status"]
    assert sorted(core) == ["configmaps", "events", "nodes", "pods", "secrets"]
    assert apps["daemonsets"]["shortNames"] == ["ds"]
    assert not core["nodes"]["namespaced"]
    assert "create" not in core["nodes"]["verbs"]


async def test_what_is_listed_can_be_asked(ann: Caller) -> None:
    """Every verb of every resource answers with something else than that it is not possible."""
    methods = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
    for resource in RESOURCES:
        within = resource.within.format(namespace="default")
        for verb in {"get", "list", *methods}:
            one = within if verb in {"list", "create"} else f"{within}/none"
            answer = await ann.ask(methods.get(verb, "GET"), one)
            assert (answer.status == 405) == (verb not in resource.verbs), (resource.plural, verb)


def test_no_route_is_hidden_by_another(desk: Desk) -> None:
    paths = [getattr(route, "path", "?") for route in build(desk.service()).routes]
    assert len(paths) == len(set(paths))
