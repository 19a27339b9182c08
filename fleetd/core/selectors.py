"""Label selectors, node selector terms, and tolerations against taints (K 23-45).

Answers about a node are three-valued: True, False, or None while a label that decides has never
been observed. Nothing here raises: documents are validated before, and a malformed term does not
hold (K 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleetd.core.meta import LabelSelector, LabelSelectorRequirement
from fleetd.core.node import DRAINED, Node, Taint
from fleetd.core.pod import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration

FACT_LABELS = "facts.fleetd/"
"""The prefix of labels made from facts; which there are is known only once the host was seen."""

_INT64 = range(-(2**63), 2**63)
_LABEL_INTEGER = re.compile(r"[+-]?[0-9]+")
_TAINT_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


def holds(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Whether labels match; an empty selector matches everything."""
    pairs = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return pairs and all(
        _compare(entry, labels.get(entry.key)) for entry in selector.match_expressions
    )


def every(answers: Iterable[bool | None]) -> bool | None:
    """AND of three values: False wins over unknown."""
    answers = tuple(answers)
    if False in answers:
        return False
    return None if None in answers else True


def label_is_unknown(node: Node, key: str) -> bool:
    """Whether nobody can say yet if the node has this label, and with which value."""
    if key in node.labels:
        return False
    never_seen = bool(node.unknown_labels)
    return key in node.unknown_labels or (never_seen and key.startswith(FACT_LABELS))


def pair_holds(node: Node, key: str, value: str) -> bool | None:
    """One pair of a nodeSelector: an empty value needs the label with an empty value (K 30)."""
    return None if label_is_unknown(node, key) else node.labels.get(key) == value


def affinity_holds(selector: NodeSelector | None, node: Node) -> bool | None:
    """Required node affinity: absent holds everywhere, without terms nowhere (K 31, 32)."""
    if selector is None:
        return True
    answers = [_term_holds(term, node) for term in selector.node_selector_terms]
    if True in answers:
        return True
    return None if None in answers else False


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """One toleration against one taint (K 23-28). The drain's own has to be named."""
    if taint.key == DRAINED.key and not toleration.key:
        return False
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator:
        case "Exists":
            return True
        case "Equal":
            return toleration.value == taint.value
        case "Gt":
            return _compare_taint(taint.value, toleration.value) > 0
        case "Lt":
            return _compare_taint(taint.value, toleration.value) < 0


def untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Toleration], effects: frozenset[str]
) -> Taint | None:
    """The first taint with one of the effects that no toleration covers (K 29)."""
    tolerations = tuple(tolerations)
    for taint in taints:
        if taint.effect in effects and not any(tolerates(each, taint) for each in tolerations):
            return taint
    return None


def describe(requirement: NodeSelectorRequirement) -> str:
    """An expression as a person writes it."""
    values = ",".join(requirement.values)
    return f"{requirement.key} {requirement.operator}" + (f" ({values})" if values else "")


def _term_holds(term: NodeSelectorTerm, node: Node) -> bool | None:
    if not term.match_expressions and not term.match_fields:
        return False  # K 33
    fields = [_field_holds(field, node) for field in term.match_fields]
    labels = [
        None if label_is_unknown(node, entry.key) else _compare(entry, node.labels.get(entry.key))
        for entry in term.match_expressions
    ]
    return every([*fields, *labels])


def _field_holds(field: NodeSelectorRequirement, node: Node) -> bool:
    if field.key != "metadata.name" or len(field.values) != 1:  # K 39
        return False
    if field.operator not in {"In", "NotIn"}:
        return False
    return (field.values[0] == node.name) == (field.operator == "In")


def _compare(
    requirement: NodeSelectorRequirement | LabelSelectorRequirement, value: str | None
) -> bool:
    """One expression against the label's value, None when there is no such label (K 34-38)."""
    operator, values = requirement.operator, requirement.values
    match operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return bool(values) and (value is None or value not in values)
        case "Exists":
            return value is not None and not values
        case "DoesNotExist":
            return value is None and not values
        case "Gt" | "Lt":
            have = _int64(value)
            bound = _int64(values[0]) if len(values) == 1 else None
            if have is None or bound is None or values[0].startswith(("-", "+")):
                return False
            return have > bound if operator == "Gt" else have < bound


def _int64(text: str | None) -> int | None:
    if text is None or not _LABEL_INTEGER.fullmatch(text, 0, 64):
        return None
    return number if (number := int(text)) in _INT64 else None


def _compare_taint(taint: str, toleration: str) -> int:
    """The sign of taint minus toleration; 0 also when either is no plain integer (K 27)."""
    if not (_TAINT_INTEGER.fullmatch(taint, 0, 20) and _TAINT_INTEGER.fullmatch(toleration, 0, 20)):
        return 0
    left, right = int(taint), int(toleration)
    if left not in _INT64 or right not in _INT64:
        return 0
    return (left > right) - (left < right)
