"""The resources of the API, as one table: routes, discovery and rights are all made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

READS = ("get", "list", "watch")
WRITES = ("create", "delete", "patch", "update")

GROUPS = {"v1": "/api/v1", "apps/v1": "/apis/apps/v1"}
"""Where each group and version lives."""


_LISTED = {"GET": "list", "HEAD": "list"}
_ADDED = {"POST": "create"}
_READ = {"GET": "get", "HEAD": "get"}
_OBJECT = _READ | {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource: its names, where it lives, and what can be asked of it."""

    plural: str
    singular: str
    kind: str
    api_version: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    verbs: tuple[str, ...] = READS
    instead: str = ""
    """What to do instead of a verb that is not there."""

    @property
    def details(self) -> dict[str, str]:
        """How a Status names it."""
        group = self.api_version.rpartition("/")[0]
        return ({"group": group} if group else {}) | {"kind": self.plural}

    @property
    def full(self) -> str:
        """How messages name it: with its group, where it has one."""
        return ".".join((self.plural, *filter(None, [self.details.get("group")])))

    @property
    def everywhere(self) -> str:
        """The path of all objects, of all namespaces."""
        return f"{GROUPS[self.api_version]}/{self.plural}"

    @property
    def within(self) -> str:
        """The path of all objects of one namespace, or of all where there are none."""
        place = "/namespaces/{namespace}" if self.namespaced else ""
        return f"{GROUPS[self.api_version]}{place}/{self.plural}"

    @property
    def paths(self) -> dict[str, dict[str, str]]:
        """Where it is found, and its objects: which method is which verb there, known or not."""
        one = f"{self.within}/{{name}}"
        paths = {self.everywhere: _LISTED, self.within: _LISTED | _ADDED, one: _OBJECT}
        return paths | ({f"{one}/status": _READ} if self is DAEMONSETS else {})


DAEMONSETS = Resource(
    "daemonsets", "daemonset", "DaemonSet", "apps/v1", ("ds",), verbs=(*READS, *WRITES)
)
NODES = Resource(
    *("nodes", "node", "Node", "v1", ("no",)),
    namespaced=False,
    verbs=(*READS, "patch", "update"),
    instead="nodes are the hosts of the inventory: add them there, or take them out",
)
PODS = Resource(
    *("pods", "pod", "Pod", "v1", ("po",)),
    verbs=(*READS, "delete"),
    instead="pods are the copies of a DaemonSet: change that",
)
EVENTS = Resource(
    *("events", "event", "Event", "v1", ("ev",)), instead="events are written by fleetd alone"
)
REVISIONS = Resource(
    *("controllerrevisions", "controllerrevision", "ControllerRevision", "apps/v1"),
    instead="revisions follow from their DaemonSet: change that",
)
CONFIGMAPS = Resource(
    "configmaps", "configmap", "ConfigMap", "v1", ("cm",), verbs=(*READS, *WRITES)
)
SECRETS = Resource("secrets", "secret", "Secret", "v1", verbs=(*READS, *WRITES))

RESOURCES = (DAEMONSETS, REVISIONS, NODES, PODS, CONFIGMAPS, SECRETS, EVENTS)


def versions() -> dict[str, Any]:
    """What `/api` answers."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups() -> dict[str, Any]:
    """What `/apis` answers."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def group() -> dict[str, Any]:
    """What `/apis/apps` answers."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group()}


def resource_list(api_version: str) -> dict[str, Any]:
    """The APIResourceList of a group and version."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": [
            entry
            for resource in RESOURCES
            if resource.api_version == api_version
            for entry in _entries(resource)
        ],
    }


def _group() -> dict[str, Any]:
    version = {"groupVersion": "apps/v1", "version": "v1"}
    return {"name": "apps", "versions": [version], "preferredVersion": version}


def _entries(resource: Resource) -> Iterable[dict[str, Any]]:
    common = {"kind": resource.kind, "namespaced": resource.namespaced}
    yield {
        "name": resource.plural,
        "singularName": resource.singular,
        **common,
        "verbs": sorted(resource.verbs),
        **({"shortNames": list(resource.short)} if resource.short else {}),
    }
    if resource is DAEMONSETS:
        yield {"name": "daemonsets/status", "singularName": "", **common, "verbs": ["get"]}
