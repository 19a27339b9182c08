"""The rules for where copies may run: selector, affinity, tolerations, taints (K 159-168)."""

from __future__ import annotations

from fleetd.core import names
from fleetd.core.findings import Findings
from fleetd.core.node import Taint
from fleetd.core.paths import child
from fleetd.core.pod import NodeSelectorRequirement, NodeSelectorTerm, Placement, Toleration


def check_placement(found: Findings, path: str, spec: Placement) -> None:
    """Everything of a template's spec that eligibility looks at."""
    if spec.node_name:
        found.check(f"{path}.nodeName", names.dns_subdomain, spec.node_name)
    for key, value in spec.node_selector.items():
        here = child(f"{path}.nodeSelector", key)
        if wrong := names.label_key(key):
            found.error(here, f"the key {key!r} {wrong}")
        if wrong := names.label_value(value):
            found.error(here, f"the value {value!r} {wrong}")
    affinity = spec.affinity.node_affinity if spec.affinity else None
    if affinity is not None and affinity.required is not None:
        here = f"{path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        terms = affinity.required.node_selector_terms
        if not terms:
            found.error(f"{here}.nodeSelectorTerms", "must have at least one term")
        for i, term in enumerate(terms):
            _term(found, f"{here}.nodeSelectorTerms[{i}]", term)
    for i, toleration in enumerate(spec.tolerations):
        _toleration(found, f"{path}.tolerations[{i}]", toleration)


def _term(found: Findings, path: str, term: NodeSelectorTerm) -> None:
    for i, expression in enumerate(term.match_expressions):
        _expression(found, f"{path}.matchExpressions[{i}]", expression)
    for i, field in enumerate(term.match_fields):
        here = f"{path}.matchFields[{i}]"
        if field.key != "metadata.name":
            found.error(f"{here}.key", f"{field.key!r} is no such field", "write metadata.name")
        if field.operator not in {"In", "NotIn"}:
            found.error(
                f"{here}.operator", f"{field.operator} is not for fields", "write In or NotIn"
            )
        if len(field.values) != 1:
            found.error(f"{here}.values", "a field takes exactly one value")
        for j, value in enumerate(field.values):
            found.check(f"{here}.values[{j}]", names.dns_subdomain, value)


def _expression(found: Findings, path: str, expression: NodeSelectorRequirement) -> None:
    found.check(f"{path}.key", names.label_key, expression.key)
    operator, values = expression.operator, expression.values
    if operator in {"In", "NotIn"} and not values:
        found.error(f"{path}.values", f"{operator} needs at least one value")
    elif operator in {"Exists", "DoesNotExist"} and values:
        found.error(f"{path}.values", f"{operator} takes no values")
    elif operator in {"Gt", "Lt"} and len(values) != 1:
        found.error(f"{path}.values", f"{operator} takes exactly one value")
    for i, value in enumerate(values):
        if operator in {"Gt", "Lt"} and not (value.isascii() and value.isdigit()):
            found.error(f"{path}.values[{i}]", f"{value!r} must be a whole number, not negative")
        else:
            found.check(f"{path}.values[{i}]", names.label_value, value)


def _toleration(found: Findings, path: str, toleration: Toleration) -> None:
    if toleration.key:
        found.check(f"{path}.key", names.label_key, toleration.key)
    elif toleration.operator != "Exists":
        message = "an empty key, which means all taints, needs the operator Exists"
        found.error(f"{path}.operator", message, "write operator: Exists, or a key")
    if toleration.operator == "Exists" and toleration.value:
        found.error(f"{path}.operator", "Exists takes no value", "leave value out, or write Equal")
    elif toleration.operator == "Equal" and (wrong := names.label_value(toleration.value)):
        found.error(f"{path}.operator", f"the value {toleration.value!r} {wrong}")
    elif toleration.operator in {"Gt", "Lt"} and not _int64(toleration.value):
        found.error(f"{path}.value", f"{toleration.operator} needs a whole number as its value")
    if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
        message = "is only for the effect NoExecute, which must be written out"
        found.error(f"{path}.tolerationSeconds", message)


def _int64(text: str) -> bool:
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    return plain and text != "-0" and -(1 << 63) <= int(text) < 1 << 63


EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def taint_of(key: str, value: str, effect: str) -> tuple[Taint | None, str]:
    """A taint of these parts (K 168), or what is wrong with them."""
    if wrong := names.label_key(key):
        return None, f"the key {key!r} {wrong}"
    if wrong := names.label_value(value):
        return None, f"the value {value!r} {wrong}"
    match effect:
        case "NoSchedule" | "PreferNoSchedule" | "NoExecute":
            return Taint(key, value, effect), ""
        case _:
            return None, f"the effect {effect!r} must be one of {', '.join(EFFECTS)}"


def taint_from_text(text: str) -> tuple[Taint | None, str]:
    """A taint written `key=value:effect` or `key:effect`, or what is wrong with it."""
    pair, colon, effect = text.rpartition(":")
    if not colon:
        return None, f"{text!r} must be written key=value:effect or key:effect"
    key, _, value = pair.partition("=")
    return taint_of(key, value, effect)
