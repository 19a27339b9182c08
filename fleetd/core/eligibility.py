"""May a copy start on a node, and may one stay there: two answers, each with its reason (K 1-18).

Both are three-valued. Reachability, health and free resources are never looked at: a taint is the
only way in which a node says no.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.core.node import Node, Taint
from fleetd.core.pod import NodeSelector, Placement, Toleration
from fleetd.core.selectors import (
    affinity_holds,
    describe,
    every,
    label_is_unknown,
    pair_holds,
    untolerated,
)

_ADDED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")

RUN_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
STAY_EFFECTS = frozenset({"NoExecute"})


@dataclass(frozen=True, slots=True)
class Eligibility:
    """`run`: a copy may be started; `stay`: one that is there may remain. None: not known yet."""

    run: bool | None
    stay: bool | None
    reason: str


ELIGIBLE = Eligibility(run=True, stay=True, reason="eligible")
LEFT = Eligibility(run=False, stay=False, reason="the node has left the inventory")


def added_tolerations(*, host_network: bool) -> tuple[Toleration, ...]:
    """The tolerations that every DaemonSet has (K 12-14)."""
    pairs = (*_ADDED, _NETWORK) if host_network else _ADDED
    return tuple(
        Toleration.model_validate({"key": key, "operator": "Exists", "effect": effect})
        for key, effect in pairs
    )


class Gate:
    """Judges many nodes for one template; equal answers are worked out once.

    Only the labels that the template mentions and the taints can matter, so these are the memo's
    key, unless the template also looks at the node's name.
    """

    def __init__(self, spec: Placement, *, host_network: bool) -> None:
        """Take the placement fields of the template."""
        self._spec = spec
        self._tolerations = (*spec.tolerations, *added_tolerations(host_network=host_network))
        self._required = _required(spec)
        terms = self._required.node_selector_terms if self._required else []
        self._by_name = bool(spec.node_name) or any(term.match_fields for term in terms)
        self._keys = tuple(
            sorted({*spec.node_selector, *(e.key for t in terms for e in t.match_expressions)})
        )
        self._memo: dict[tuple[tuple[str | bool | None, ...], tuple[Taint, ...]], Eligibility] = {}

    def judge(self, node: Node) -> Eligibility:
        """May a copy run, may it stay, and why."""
        if node.left:
            return LEFT
        if self._by_name:
            return self._work_out(node)
        labels = tuple(label_is_unknown(node, key) or node.labels.get(key) for key in self._keys)
        key = (labels, node.taints)
        if (known := self._memo.get(key)) is None:
            known = self._memo[key] = self._work_out(node)
        return known

    def _work_out(self, node: Node) -> Eligibility:
        spec = self._spec
        if spec.node_name and spec.node_name != node.name:
            return Eligibility(run=False, stay=False, reason=f"nodeName is {spec.node_name}")
        pairs = {
            key: pair_holds(node, key, value) for key, value in sorted(spec.node_selector.items())
        }
        for key, answer in pairs.items():
            if answer is False:
                wrong = f"nodeSelector {key}={spec.node_selector[key]} does not match"
                return Eligibility(run=False, stay=False, reason=wrong)
        required = affinity_holds(self._required, node)
        if required is False:
            return Eligibility(run=False, stay=False, reason=self._why_no_term())
        selected = every([*pairs.values(), required])
        if taint := untolerated(node.taints, self._tolerations, STAY_EFFECTS):
            return Eligibility(run=False, stay=False, reason=f"taint {taint} is not tolerated")
        if taint := untolerated(node.taints, self._tolerations, RUN_EFFECTS):
            return Eligibility(run=False, stay=selected, reason=f"taint {taint} is not tolerated")
        if selected is None:
            label = next(key for key in self._keys if label_is_unknown(node, key))
            return Eligibility(
                run=None, stay=None, reason=f"label {label} has not been observed yet"
            )
        return ELIGIBLE

    def _why_no_term(self) -> str:
        terms = self._required.node_selector_terms if self._required else []
        texts = [
            " and ".join(describe(entry) for entry in (*term.match_fields, *term.match_expressions))
            for term in terms
        ]
        wanted = "; or ".join(text or "an empty term" for text in texts) or "no terms"
        return f"required node affinity does not match ({wanted})"


def judge(node: Node, spec: Placement, *, host_network: bool) -> Eligibility:
    """Judge one node for one template."""
    return Gate(spec, host_network=host_network).judge(node)


def _required(spec: Placement) -> NodeSelector | None:
    if spec.affinity is None or spec.affinity.node_affinity is None:
        return None
    return spec.affinity.node_affinity.required
