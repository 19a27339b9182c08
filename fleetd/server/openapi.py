"""The API in OpenAPI's words: what clients look up before they write.

Made from the table of resources. It tells paths, verbs and parameters, and no fields: those are
checked when a document comes, always strictly, and `fleetd explain` has them.
"""

from __future__ import annotations

from typing import Any

from fleetd import __version__
from fleetd.server import bodies
from fleetd.server.resources import GROUPS, RESOURCES, Resource

ROOT = "/openapi/v3"

_ACTIONS = {"create": "post", "update": "put"}
"""The verbs whose action, as Kubernetes names it, is not the verb itself."""
_LOOKS = ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch")
_WRITES = ("dryRun", "fieldManager", "fieldValidation")
_DELETES = ("dryRun", "propagationPolicy", "gracePeriodSeconds")

Plain = dict[str, Any]


def documents() -> dict[str, Plain]:
    """Every document by its path, the index of all among them."""
    places = {path: f"{ROOT}{path}" for path in GROUPS.values()}
    index = {path.strip("/"): {"serverRelativeURL": place} for path, place in places.items()}
    return {
        ROOT: {"paths": index},
        **{places[path]: _document(version) for version, path in GROUPS.items()},
    }


def _document(api_version: str) -> Plain:
    paths: Plain = {}
    for resource in RESOURCES:
        if resource.api_version == api_version:
            paths |= _paths(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "fleetd", "version": __version__},
        "paths": paths,
        "components": {"schemas": {}},
    }


def _paths(resource: Resource) -> Plain:
    return {
        path: {
            method.lower(): _operation(resource, verb)
            for method, verb in verbs.items()
            if verb in resource.verbs and method != "HEAD"
        }
        | {"parameters": [_within(name) for name in ("namespace", "name") if f"{{{name}}}" in path]}
        for path, verbs in resource.paths.items()
    }


def _operation(resource: Resource, verb: str) -> Plain:
    group, _, version = resource.api_version.rpartition("/")
    parameters = {"list": _LOOKS, "get": (), "delete": _DELETES}.get(verb, _WRITES)
    kinds: dict[str, tuple[str, ...]] = {
        "create": (bodies.JSON, bodies.YAML),
        "update": (bodies.JSON, bodies.YAML),
        "patch": (*bodies.PATCHES, bodies.APPLY),
    }
    told: Plain = {
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": {
            "group": group,
            "version": version,
            "kind": resource.kind,
        },
        "parameters": [_asked(name) for name in parameters],
        "responses": {"default": {"description": f"{resource.kind}, or a Status"}},
    }
    if verb in kinds:
        told["requestBody"] = {"content": {kind: {} for kind in kinds[verb]}}
    return told


def _within(name: str) -> Plain:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _asked(name: str) -> Plain:
    return {"name": name, "in": "query", "schema": {"type": "string"}}
