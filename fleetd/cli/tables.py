"""Kubectl's tables: which columns a kind has, and what stands in them.

Pure: objects in Kubernetes' shapes and the time in, text out. Objects may come from an older or
newer fleetd, so an absent field prints as `<none>` or `<unknown>` and never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetd.cli.kinds import Kind
from fleetd.cli.text import line
from fleetd.cli.times import age
from fleetd.client import Shape

NONE = "<none>"
_GAP = 3
_NARROWEST = 6  # kubectl's narrowest column, the gap included


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands under it: `cell(object, now)`. `wide`: only with `-o wide`."""

    heading: str
    cell: Callable[[Shape, float], str]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """How tables are drawn.

    `namespaces` puts NAMESPACE first; `prefix` writes names as `kind/name`, for several tables;
    `bare` leaves the headings out; `label_columns` are labels with a column each; `labels` shows
    them all.
    """

    wide: bool = False
    namespaces: bool = False
    prefix: bool = False
    bare: bool = False
    labels: bool = False
    label_columns: tuple[str, ...] = ()


def table(kind: Kind, objects: Sequence[Shape], now: float, look: Look | None = None) -> str:
    """One table with its heading."""
    headings, *rows = rows_of(kind, objects, now, look or Look())
    return grid(rows if look and look.bare else [headings, *rows])


def rows_of(kind: Kind, objects: Sequence[Shape], now: float, look: Look) -> list[list[str]]:
    """The cells of a table: the headings, and a row for each object."""
    columns = [column for column in COLUMNS[kind.plural] if look.wide or not column.wide]
    if look.namespaces and kind.namespaced:
        columns.insert(0, Column("NAMESPACE", lambda item, _: text(item, "metadata.namespace")))
    columns += [Column(key.rpartition("/")[2].upper(), _label(key)) for key in look.label_columns]
    if look.labels:
        columns.append(Column("LABELS", _pairs("metadata.labels")))
    headings = [column.heading for column in columns]
    at = headings.index("NAME") if look.prefix and "NAME" in headings else -1
    rows = [headings]
    for item in objects:
        cells = [column.cell(item, now) for column in columns]
        rows.append([f"{kind.prefix}/{c}" if i == at else c for i, c in enumerate(cells)])
    return rows


def grid(rows: Iterable[Sequence[str]], widths: list[int] | None = None) -> str:
    """Left-justified columns three blanks apart, never cut.

    `widths` are those of rows printed before, and are widened where a cell needs it.
    """
    lines = [[line(cell) for cell in row] for row in rows]
    fresh = [max(_NARROWEST, max(map(len, column)) + _GAP) for column in zip(*lines, strict=True)]
    if widths is not None:
        known = [*widths, *[0] * (len(fresh) - len(widths))]
        fresh = [max(pair) for pair in zip(known, fresh, strict=True)]
        widths[:] = fresh
    widths = fresh
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in lines
    )


def at(item: object, path: str) -> object:
    """The value at a dotted path of nested mappings; None when any part of it is missing."""
    for part in path.split("."):
        if not isinstance(item, Mapping):
            return None
        item = item.get(part)
    return item


def mapping(item: object, path: str) -> Mapping[str, object]:
    """The mapping at a path; empty when there is none."""
    value = at(item, path)
    return value if isinstance(value, Mapping) else {}


def items(item: object, path: str) -> list[object]:
    """The list at a path; empty when there is none."""
    value = at(item, path)
    return value if isinstance(value, list) else []


def text(item: object, path: str) -> str:
    """The scalar at a path as text; `<none>` when there is none."""
    value = at(item, path)
    return NONE if value in (None, "") else str(value)


def _field(path: str) -> Callable[[Shape, float], str]:
    return lambda item, _: text(item, path)


def _count(path: str) -> Callable[[Shape, float], str]:
    return lambda item, _: str(at(item, path) or 0)


def _since(path: str) -> Callable[[Shape, float], str]:
    return lambda item, now: age(str(at(item, path) or ""), now)


def _pairs(path: str) -> Callable[[Shape, float], str]:
    return lambda item, _: (
        ",".join(f"{key}={value}" for key, value in sorted(mapping(item, path).items())) or NONE
    )


def _label(key: str) -> Callable[[Shape, float], str]:
    return lambda item, _: str(mapping(item, "metadata.labels").get(key, ""))


def _selector(item: Shape, now: float) -> str:
    words = [_pairs("spec.selector.matchLabels")(item, now)]
    for term in items(item, "spec.selector.matchExpressions"):
        key, values = text(term, "key"), ",".join(map(str, items(term, "values")))
        match at(term, "operator"):
            case "In":
                words.append(f"{key} in ({values})")
            case "NotIn":
                words.append(f"{key} notin ({values})")
            case "Exists":
                words.append(key)
            case _:
                words.append(f"!{key}")
    return ",".join(word for word in words if word != NONE) or NONE


def _containers(item: Shape, _: float) -> str:
    # A `systemd:` workload has no containers: its unit stands where their names would.
    unit = at(item, "spec.template.spec.systemd.unit")
    named = [unit] if isinstance(unit, str) and "\n" not in unit else []
    found = items(item, "spec.template.spec.containers")
    return ",".join([text(container, "name") for container in found] or named) or NONE


def _images(item: Shape, _: float) -> str:
    found = items(item, "spec.template.spec.containers")
    return ",".join(text(container, "image") for container in found) or NONE


def _pod_ready(item: Shape, _: float) -> str:
    states = [bool(at(state, "ready")) for state in items(item, "status.containerStatuses")]
    return f"{sum(states)}/{max(len(states), len(items(item, 'spec.containers')))}"


def _pod_status(item: Shape, _: float) -> str:
    if at(item, "metadata.deletionTimestamp"):
        return "Terminating"
    if at(item, "status.phase") == "Pending" and (begun := _init_status(item)):
        return begun
    for status in items(item, "status.containerStatuses"):
        reason = at(status, "state.waiting.reason") or at(status, "state.terminated.reason")
        if reason:
            return str(reason)
    return str(at(item, "status.reason") or at(item, "status.phase") or "Unknown")


def _init_status(item: Shape) -> str:
    """How far the init containers are, as kubectl prints it; "" when they have done their part."""
    states = items(item, "status.initContainerStatuses")
    for done, state in enumerate(states):
        reason = at(state, "state.waiting.reason") or at(state, "state.terminated.reason")
        sidecar = at(state, "state.running") is not None and at(state, "ready")
        if reason == "Completed" or sidecar:
            continue
        troubled = reason and reason != "ContainerCreating"
        return f"Init:{reason}" if troubled else f"Init:{done}/{len(states)}"
    return ""


def _restarts(item: Shape, _: float) -> str:
    counts = [at(state, "restartCount") for state in items(item, "status.containerStatuses")]
    return str(sum(count for count in counts if isinstance(count, int)))


def _node_status(item: Shape, _: float) -> str:
    conditions = items(item, "status.conditions")
    ready = [entry for entry in conditions if at(entry, "type") == "Ready"]
    answers = bool(ready) and at(ready[0], "status") == "True"
    words = ["Unknown" if not ready else "Ready" if answers else "NotReady"]
    if ready and at(ready[0], "reason") == "HostKeyChanged":
        words.append("HostKeyChanged")
    if at(item, "spec.unschedulable"):
        words.append("SchedulingDisabled")
    if mapping(item, "metadata.annotations").get("fleetd/hold") == "true":
        words.append("Held")
    return ",".join(words)


def _roles(item: Shape, _: float) -> str:
    mark = "node-role.kubernetes.io/"
    labels = mapping(item, "metadata.labels")
    return ",".join(sorted(k.removeprefix(mark) for k in labels if k.startswith(mark))) or NONE


def _address(item: Shape, _: float) -> str:
    return next((text(entry, "address") for entry in items(item, "status.addresses")), NONE)


def _involved(item: Shape, _: float) -> str:
    return f"{text(item, 'involvedObject.kind').lower()}/{text(item, 'involvedObject.name')}"


def _controller(item: Shape, _: float) -> str:
    owners = items(item, "metadata.ownerReferences")
    return next((f"daemonset.apps/{text(owner, 'name')}" for owner in owners), NONE)


def _revision(item: Shape, _: float) -> str:
    return str(mapping(item, "metadata.labels").get("controller-revision-hash") or NONE)


def _data(item: Shape, _: float) -> str:
    return str(len(mapping(item, "data")) + len(mapping(item, "binaryData")))


_NAME = Column("NAME", _field("metadata.name"))
_AGE = Column("AGE", _since("metadata.creationTimestamp"))

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "daemonsets": (
        _NAME,
        Column("DESIRED", _count("status.desiredNumberScheduled")),
        Column("CURRENT", _count("status.currentNumberScheduled")),
        Column("READY", _count("status.numberReady")),
        Column("UP-TO-DATE", _count("status.updatedNumberScheduled")),
        Column("AVAILABLE", _count("status.numberAvailable")),
        Column("NODE SELECTOR", _pairs("spec.template.spec.nodeSelector")),
        _AGE,
        Column("CONTAINERS", _containers, wide=True),
        Column("IMAGES", _images, wide=True),
        Column("SELECTOR", _selector, wide=True),
    ),
    "pods": (
        _NAME,
        Column("READY", _pod_ready),
        Column("STATUS", _pod_status),
        Column("RESTARTS", _restarts),
        _AGE,
        Column("IP", _field("status.podIP"), wide=True),
        Column("NODE", _field("spec.nodeName"), wide=True),
        Column("REVISION", _revision, wide=True),
    ),
    "nodes": (
        _NAME,
        Column("STATUS", _node_status),
        Column("ROLES", _roles),
        _AGE,
        Column("VERSION", _field("status.nodeInfo.kubeletVersion")),
        Column("ADDRESS", _address, wide=True),
        Column("OS-IMAGE", _field("status.nodeInfo.osImage"), wide=True),
        Column("KERNEL-VERSION", _field("status.nodeInfo.kernelVersion"), wide=True),
        Column("CONTAINER-RUNTIME", _field("status.nodeInfo.containerRuntimeVersion"), wide=True),
    ),
    "events": (
        Column("LAST SEEN", _since("lastTimestamp")),
        Column("TYPE", _field("type")),
        Column("REASON", _field("reason")),
        Column("OBJECT", _involved),
        Column("SOURCE", _field("source.host"), wide=True),
        Column("MESSAGE", _field("message")),
        Column("FIRST SEEN", _since("firstTimestamp"), wide=True),
        Column("COUNT", _count("count"), wide=True),
        Column("NAME", _field("metadata.name"), wide=True),
    ),
    "audit": (
        Column("TIME", _field("time")),
        Column("WHO", _field("who")),
        Column("VERB", _field("verb")),
        Column("SUBJECT", _field("subject")),
        Column("NODE", _field("node")),
        Column("REVISION", _field("revision")),
        Column("OUTCOME", _field("outcome")),
        Column("DETAIL", _field("detail")),
    ),
    "controllerrevisions": (
        _NAME,
        Column("CONTROLLER", _controller),
        Column("REVISION", _field("revision")),
        _AGE,
    ),
    "configmaps": (_NAME, Column("DATA", _data), _AGE),
    "secrets": (_NAME, Column("TYPE", _field("type")), Column("DATA", _data), _AGE),
}
