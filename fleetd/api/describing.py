"""The texts of `describe`, in kubectl's layout (K 181), made from the shapes that `get` prints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fleetd.api import reading
from fleetd.api.describing_template import (
    block,
    container,
    pairs,
    placement,
    row,
    template,
    workload as told_workload,
)
from fleetd.api.reports import Query, Shape
from fleetd.core.key import Key
from fleetd.core.node import Inventory
from fleetd.core.records import StatusRecord
from fleetd.errors import InvalidInput, NotFound
from fleetd.ports import Store

WIDTH = 16
_EVENTS = 20
"""How many of the latest events are told."""

_STATE_FIELDS = (("reason", "Reason"), ("startedAt", "Started"), ("exitCode", "Exit Code"))
_COUNTS = (
    ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
    ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
    ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
    ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
    ("Number of Nodes Misscheduled", "numberMisscheduled"),
)


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
        words = {"daemonsets": "daemonsets.apps"}
        name = words.get(kind, kind)
        raise NotFound(f'{name} "{query.name}" not found' if query.name else f"no {kind} found")
    return "\n\n\n".join("\n".join(tellers[kind](store, shape)) for shape in found)


def _daemonset(store: Store, shape: Shape) -> list[str]:
    meta, spec, status = shape["metadata"], shape["spec"], shape["status"]
    key = Key(meta.get("namespace", "default"), meta["name"])
    pods = [
        pod
        for pod in reading.pods(store, Query(key.namespace))
        if pod["metadata"]["ownerReferences"][0]["name"] == key.name
    ]
    node_selector = pairs(spec["template"]["spec"].get("nodeSelector"))
    return [
        row("Name", key.name, WIDTH),
        row("Namespace", key.namespace, WIDTH),
        row("Selector", _selector(spec.get("selector") or {}), WIDTH),
        row("Node-Selector", ",".join(node_selector) or "<none>", WIDTH),
        *block("Labels", pairs(meta.get("labels")), WIDTH),
        *block("Annotations", pairs(meta.get("annotations"), ": "), WIDTH),
        *(f"{title}: {status[field]}" for title, field in _COUNTS),
        f"Pods Status:  {_phases(pods)}",
        *_conditions(status.get("conditions", ())),
        *_holders(store, key),
        "Pod Template:",
        *template(spec["template"]),
        *_events(store, key.namespace, key.name),
    ]


def _node(store: Store, shape: Shape) -> list[str]:
    meta, spec, status = shape["metadata"], shape["spec"], shape["status"]
    taints = [
        f"{taint['key']}{'=' + taint['value'] if taint.get('value') else ''}:{taint['effect']}"
        for taint in spec.get("taints", ())
    ]
    here = [
        pod for pod in reading.pods(store, Query(None)) if pod["spec"]["nodeName"] == meta["name"]
    ]
    about = status.get("nodeInfo", {})
    system = [row(_title(name), value, 28) for name, value in about.items()]
    return [
        row("Name", meta["name"], 20),
        *block("Roles", [",".join(_roles(meta.get("labels", {}))) or "<none>"], 20),
        *block("Labels", pairs(meta.get("labels")), 20),
        *block("Annotations", pairs(meta.get("annotations"), ": "), 20),
        row("CreationTimestamp", meta.get("creationTimestamp", "<unset>"), 20),
        *block("Taints", taints, 20),
        row("Unschedulable", str(spec.get("unschedulable", False)).lower(), 20),
        *_conditions(status["conditions"]),
        "Addresses:",
        *(f"  {row(each['type'], each['address'], 13)}" for each in status["addresses"]),
        "System Info:",
        *(f"  {line}" for line in system or ["<unknown>"]),
        f"Pods:{'':<15}({len(here)} in total)",
        *_table(
            ("Namespace", "Name", "Status", "Restarts", "Revision"),
            [
                (
                    pod["metadata"]["namespace"],
                    pod["metadata"]["name"],
                    pod["status"]["phase"],
                    str(sum(c["restartCount"] for c in pod["status"]["containerStatuses"])),
                    pod["metadata"]["labels"]["controller-revision-hash"],
                )
                for pod in here
            ],
        ),
        *_events(store, None, "", meta["name"]),
    ]


def _pod(store: Store, shape: Shape) -> list[str]:
    meta, spec, status = shape["metadata"], shape["spec"], shape["status"]
    owner = meta["ownerReferences"][0]["name"]
    address = f"/{status['hostIP']}" if status.get("hostIP") else ""
    lines = [
        row("Name", meta["name"], WIDTH),
        row("Namespace", meta["namespace"], WIDTH),
    ]
    if spec.get("priorityClassName"):
        lines.append(row("Priority Class", spec["priorityClassName"], WIDTH))
    lines += [
        row("Node", f"{spec['nodeName']}{address}", WIDTH),
        row("Start Time", status.get("startTime", "<unknown>"), WIDTH),
        *block("Labels", pairs(meta.get("labels")), WIDTH),
        *block("Annotations", pairs(meta.get("annotations"), ": "), WIDTH),
        row("Status", status["phase"], WIDTH),
    ]
    for field in ("reason", "message"):
        if status.get(field):
            lines.append(row(field.title(), status[field], WIDTH))
    if status.get("podIP"):
        lines += [row("IP", status["podIP"], WIDTH)]
    lines += [row("Controlled By", f"DaemonSet/{owner}", WIDTH), *_pod_containers(spec, status)]
    lines += _conditions(status["conditions"])
    lines += placement(spec, WIDTH)
    return lines + _events(store, meta["namespace"], owner, spec["nodeName"])


def _pod_containers(spec: Shape, status: Shape) -> list[str]:
    if "containers" not in spec:
        (state,) = status["containerStatuses"]
        return [*told_workload(spec), *_state(state)] if spec.get("systemd") else _state(state)
    lines: list[str] = []
    for title, field, states in (
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
    ):
        by_name = {state["name"]: state for state in status.get(states, ())}
        told = [
            line
            for each in spec.get(field, ())
            for line in container(each, _state(by_name.get(each["name"], {})))
        ]
        lines += [f"{title}:", *told] if told else []
    volumes = told_workload({"containers": (), "volumes": spec.get("volumes", ())})
    return [*lines, *volumes[1:]]


def _state(state: Mapping[str, Any]) -> list[str]:
    lines = []
    for kind, about in state.get("state", {}).items():
        lines.append(row("State", kind.title(), 16))
        for field, name in (
            ("reason", "Reason"),
            ("startedAt", "Started"),
            ("exitCode", "Exit Code"),
        ):
            if field in about:
                lines.append(row(f"  {name}", about[field], 16))
    lines.append(row("Ready", str(state.get("ready", False)), 16))
    lines.append(row("Restart Count", state.get("restartCount", 0), 16))
    return lines


def _selector(selector: Mapping[str, Any]) -> str:
    words = pairs(selector.get("matchLabels"))
    forms = {"Exists": "{key}", "DoesNotExist": "!{key}", "NotIn": "{key} notin ({values})"}
    for term in selector.get("matchExpressions", ()):
        form = forms.get(term["operator"], "{key} in ({values})")
        values = ",".join(term.get("values", ()))
        words.append(form.format(key=term["key"], values=values))
    return ",".join(words) or "<none>"


def _roles(labels: Mapping[str, str]) -> list[str]:
    mark = "node-role.kubernetes.io/"
    return sorted(key.removeprefix(mark) for key in labels if key.startswith(mark))


def _title(name: str) -> str:
    """`kernelVersion` as `Kernel Version`, `machineID` as `Machine ID`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return (
        words.replace("os ", "OS ", 1) if words.startswith("os ") else words[:1].upper() + words[1:]
    )


def _phases(pods: Sequence[Shape]) -> str:
    phases = [pod["status"]["phase"] for pod in pods]
    names = {"Running": "Running", "Pending": "Waiting", "Succeeded": "Succeeded"}
    told = [f"{phases.count(phase)} {name}" for phase, name in names.items()]
    told.append(f"{phases.count('Failed')} Failed")
    if phases.count("Unknown"):
        told.append(f"{phases.count('Unknown')} Unknown")
    return " / ".join(told)


def _conditions(conditions: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        (each["type"], each["status"], each.get("reason", ""), each.get("message") or "")
        for each in conditions
    ]
    return ["Conditions:", *_table(("Type", "Status", "Reason", "Message"), rows)]


def _holders(store: Store, key: Key) -> list[str]:
    """The hosts that are not as wanted, each with the reason."""
    rows = store.read(StatusRecord, namespace=key.namespace, name=key.name)
    shape: dict[str, Any] = json.loads(rows[0].status_json) if rows else {}
    holders: Mapping[str, str] = shape.get("holders", {})
    if not holders:
        return []
    return ["Nodes not as wanted:", *_table(("Node", "Why"), sorted(holders.items()))]


def _events(store: Store, namespace: str | None, name: str, node: str = "") -> list[str]:
    found = [
        event
        for event in reading.events(store, Query(namespace))
        if name in ("", event["involvedObject"]["name"])
        and (not node or event.get("source", {}).get("host", "") in _hosts(name, node))
    ]
    rows = [
        (
            event["type"],
            event["reason"],
            str(event["count"]),
            event["lastTimestamp"],
            event.get("source", {}).get("host", ""),
            event["message"],
        )
        for event in found[-_EVENTS:]
    ]
    if not rows:
        return ["Events:  <none>"]
    return ["Events:", *_table(("Type", "Reason", "Count", "Last Seen", "From", "Message"), rows)]


def _hosts(name: str, node: str) -> tuple[str, ...]:
    """Whose events count: of a pod also those of its DaemonSet that are of no host."""
    return ("", node) if name else (node,)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Kubectl's small tables: headings underlined, two blanks between columns."""
    if not rows:
        return []
    lines = [headings, ["-" * len(each) for each in headings], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    return [
        "  "
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
