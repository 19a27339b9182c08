"""The texts of `describe`, in kubectl's layout (K 181), made from the shapes that `get` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fleetd.api import reading
from fleetd.api.reports import Query, Shape
from fleetd.core.key import Key
from fleetd.core.node import Inventory
from fleetd.core.records import StatusRecord
from fleetd.documents.yaml import dump
from fleetd.errors import InvalidInput, NotFound
from fleetd.ports import Store

WIDTH = 16


def describe(store: Store, inventory: Callable[[], Inventory], kind: str, query: Query) -> str:
    """Everything about one object, or each of them, with its events.

    Raises:
        NotFound: there is none.
        InvalidInput: this kind is not described.
    """
    tellers = {"daemonsets": _daemonset, "nodes": _node, "pods": _pod}
    if kind not in tellers:
        raise InvalidInput(f"{kind} cannot be described; {', '.join(tellers)} can")
    found = reading.get(store, inventory, kind, query)
    if not found:
        raise NotFound(f'{kind} "{query.name}" not found' if query.name else f"no {kind} found")
    return "\n\n".join("\n".join(tellers[kind](store, shape)) for shape in found)


def _daemonset(store: Store, shape: Shape) -> list[str]:
    meta, spec, status = shape["metadata"], shape["spec"], shape["status"]
    template = spec["template"]
    key = Key(meta.get("namespace", "default"), meta["name"])
    pods = [
        pod
        for pod in reading.pods(store, Query(key.namespace))
        if pod["metadata"]["ownerReferences"][0]["name"] == key.name
    ]
    lines = [
        _row("Name", key.name),
        _row("Namespace", key.namespace),
        _row("Selector", _pairs(spec.get("selector", {}).get("matchLabels", {}))),
        _row("Node-Selector", _pairs(template["spec"].get("nodeSelector", {}))),
        _row("Labels", _pairs(meta.get("labels", {}))),
        _row("Annotations", _pairs(meta.get("annotations", {}))),
        f"Desired Number of Nodes Scheduled: {status['desiredNumberScheduled']}",
        f"Current Number of Nodes Scheduled: {status['currentNumberScheduled']}",
        f"Number of Nodes Scheduled with Up-to-date Pods: {status['updatedNumberScheduled']}",
        f"Number of Nodes Scheduled with Available Pods: {status['numberAvailable']}",
        f"Number of Nodes Misscheduled: {status['numberMisscheduled']}",
        f"Pods Status:  {_phases(pods)}",
        "Conditions:",
        *_conditions(status.get("conditions", ())),
        *_holders(store, key),
        "Pod Template:",
        *_indented(template),
    ]
    return lines + _events(store, key.namespace, key.name)


def _node(store: Store, shape: Shape) -> list[str]:
    meta, spec, status = shape["metadata"], shape["spec"], shape["status"]
    taints = [
        f"{taint['key']}{'=' + taint['value'] if taint.get('value') else ''}:{taint['effect']}"
        for taint in spec.get("taints", ())
    ]
    lines = [
        _row("Name", meta["name"]),
        _row("Labels", _pairs(meta.get("labels", {}))),
        _row("Annotations", _pairs(meta.get("annotations", {}))),
        _row("Taints", ", ".join(taints) or "<none>"),
        _row("Unschedulable", str(spec.get("unschedulable", False)).lower()),
        "Conditions:",
        *_conditions(status["conditions"]),
        "Addresses:",
        *(f"  {address['type']}: {address['address']}" for address in status["addresses"]),
        "System Info:",
        *(f"  {name}: {value}" for name, value in status.get("nodeInfo", {}).items()),
    ]
    here = [
        pod for pod in reading.pods(store, Query(None)) if pod["spec"]["nodeName"] == meta["name"]
    ]
    lines.append(f"Pods: ({len(here)} in total)")
    for pod in here:
        about = pod["metadata"]
        lines.append(f"  {about['namespace']}/{about['name']}  {pod['status']['phase']}")
    return lines


def _pod(store: Store, shape: Shape) -> list[str]:
    meta, status = shape["metadata"], shape["status"]
    lines = [
        _row("Name", meta["name"]),
        _row("Namespace", meta["namespace"]),
        _row("Node", shape["spec"]["nodeName"]),
        _row("Start Time", status.get("startTime", "<unknown>")),
        _row("Labels", _pairs(meta.get("labels", {}))),
        _row("Status", status["phase"]),
        _row("Message", status.get("message", "") or "<none>"),
        _row("Controlled By", f"DaemonSet/{meta['ownerReferences'][0]['name']}"),
        "Conditions:",
        *_conditions(status["conditions"]),
        "Containers:",
    ]
    for container in status["containerStatuses"]:
        lines.append(f"  {container['name']}:")
        lines.append(f"    Image: {container['image'] or '<none>'}")
        lines.append(f"    Ready: {container['ready']}")
        lines.append(f"    Restart Count: {container['restartCount']}")
    owner = meta["ownerReferences"][0]["name"]
    return lines + _events(store, meta["namespace"], owner, shape["spec"]["nodeName"])


def _row(name: str, value: str) -> str:
    return f"{name + ':':<{WIDTH}}{value}"


def _pairs(pairs: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(pairs.items())) or "<none>"


def _phases(pods: Sequence[Shape]) -> str:
    phases = [pod["status"]["phase"] for pod in pods]
    names = {"Running": "Running", "Pending": "Waiting", "Succeeded": "Succeeded"}
    told = [f"{phases.count(phase)} {name}" for phase, name in names.items()]
    told.append(f"{phases.count('Failed')} Failed")
    if phases.count("Unknown"):
        told.append(f"{phases.count('Unknown')} Unknown")
    return " / ".join(told)


def _conditions(conditions: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = []
    for condition in conditions:
        words = [condition["type"], condition["status"], condition.get("reason", "")]
        said = condition.get("message") or ""
        lines.append("  " + "  ".join(filter(None, [*words, said])))
    return lines or ["  <none>"]


def _holders(store: Store, key: Key) -> list[str]:
    """The hosts that are not as wanted, each with the reason."""
    rows = store.read(StatusRecord, namespace=key.namespace, name=key.name)
    shape: dict[str, Any] = json.loads(rows[0].status_json) if rows else {}
    holders: Mapping[str, str] = shape.get("holders", {})
    if not holders:
        return []
    return ["Nodes not as wanted:", *(f"  {node}: {why}" for node, why in sorted(holders.items()))]


def _indented(template: Mapping[str, Any]) -> list[str]:
    return [f"  {line}".rstrip() for line in dump(dict(template)).splitlines()]


def _events(store: Store, namespace: str, name: str, node: str = "") -> list[str]:
    rows = [
        event
        for event in reading.events(store, Query(namespace, name))
        if not node or event.get("source", {}).get("host", "") in ("", node)
    ]
    if not rows:
        return ["Events: <none>"]
    lines = ["Events:", "  Type     Reason            Count  Host        Message"]
    for event in rows[-20:]:
        host = event.get("source", {}).get("host", "")
        lines.append(
            f"  {event['type']:<8} {event['reason']:<17} {event['count']:<6} {host:<11} "
            f"{event['message']}"
        )
    return lines
