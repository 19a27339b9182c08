"""Label and field selectors as text: which objects are meant, in kubectl's two small languages.

Pure: text in, a predicate over objects in Kubernetes' shapes out. Apart from `selectors`, whose
models must not be loaded by `get`, and which know no text form. The command line and the API read
the same languages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fleetd.core.names import label_key, label_value
from fleetd.errors import InvalidInput

Shape = dict[str, Any]
Chosen = Callable[[Shape], bool]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "spec.restartPolicy", "status.phase"),
    "nodes": ("spec.unschedulable",),
    "secrets": ("type",),
    "events": (
        *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name"),
        *("reason", "type", "source.component", "source.host"),
    ),
}
"""What can be asked for besides metadata.name and metadata.namespace, by kind."""

_KEY = r"(?P<key>[^\s!=,()<>]+)"
_SET = re.compile(_KEY + r"\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_PAIR = re.compile(_KEY + r"\s*(?P<operator>==|=|!=|<|>)\s*(?P<value>[^\s=!,()<>]*)")
_THERE = re.compile(r"(?P<operator>!?)\s*" + _KEY)


def by_labels(text: str) -> Chosen:
    """A label selector: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas.

    As in Kubernetes, `!=` and `notin` also hold where there is no such label. Raises InvalidInput.
    """
    rules = [_label_rule(part, text) for part in _parts(text)]

    def chosen(item: Shape) -> bool:
        labels = _at(item, "metadata.labels")
        labels = labels if isinstance(labels, Mapping) else {}
        return all(holds(labels.get(key)) for key, holds in rules)

    return chosen


def by_fields(text: str, plural: str) -> Chosen:
    """A field selector: `spec.nodeName=web-01,status.phase!=Running`. Raises InvalidInput."""
    known = ("metadata.name", *(("metadata.namespace",) if plural != "nodes" else ()))
    known = (*known, *FIELDS.get(plural, ()))
    rules = []
    for part in filter(None, map(str.strip, text.split(","))):
        path, operator, value = _field_rule(part)
        if path not in known:
            raise InvalidInput(
                f"{plural} cannot be selected by the field {path}; they can by {', '.join(known)}"
            )
        rules.append((path, operator != "!=", value))

    def chosen(item: Shape) -> bool:
        return all((_field(item, path) == value) == equal for path, equal, value in rules)

    return chosen


def _parts(text: str) -> list[str]:
    """The requirements: cut at commas that are outside of parentheses."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label_rule(part: str, whole: str) -> tuple[str, Callable[[object], bool]]:
    if found := _SET.fullmatch(part):
        values = {value.strip() for value in found["values"].split(",")}
        key, inside = found["key"], found["operator"] == "in"
        _check(key, values, whole)
        return key, lambda have: (have in values) == inside
    if found := _PAIR.fullmatch(part):
        key, operator, value = found["key"], found["operator"], found["value"]
        _check(key, {value}, whole)
        if operator in "<>":
            return key, _compared(operator, value, whole)
        return key, lambda have: (have == value) == (operator != "!=")
    if found := _THERE.fullmatch(part):
        _check(found["key"], set(), whole)
        absent = bool(found["operator"])
        return found["key"], lambda have: (have is None) == absent
    raise InvalidInput(
        f"{part!r} in the selector {whole!r} cannot be read: write KEY=VALUE, KEY!=VALUE, "
        "KEY in (A,B), KEY notin (A,B), KEY or !KEY"
    )


def _compared(operator: str, bound: str, whole: str) -> Callable[[object], bool]:
    if not bound.isdecimal():
        raise InvalidInput(f"{bound!r} in the selector {whole!r} is not a whole number")

    def holds(have: object) -> bool:
        number = int(have) if isinstance(have, str) and re.fullmatch(r"-?\d+", have) else None
        if number is None:
            return False
        return number > int(bound) if operator == ">" else number < int(bound)

    return holds


def _check(key: str, values: set[str], whole: str) -> None:
    if wrong := label_key(key):
        raise InvalidInput(f"the selector {whole!r}: the key {key!r} {wrong}")
    for value in sorted(values):
        if wrong := label_value(value):
            raise InvalidInput(f"the selector {whole!r}: the value {value!r} {wrong}")


def _field_rule(part: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"([^=!]+?)\s*(==|!=|=)\s*(.*)", part)
    if found is None:
        raise InvalidInput(f"{part!r} is no field selector: write FIELD=VALUE or FIELD!=VALUE")
    return found[1], found[2], found[3]


def _field(item: Shape, path: str) -> str:
    value = _at(item, path)
    if path == "spec.unschedulable":
        return "true" if value else "false"
    return "" if value is None else str(value)


def _at(item: object, path: str) -> object:
    """The value at a dotted path; None when any part of it is missing."""
    for part in path.split("."):
        if not isinstance(item, Mapping):
            return None
        item = item.get(part)
    return item
