"""May a copy start on a node, and may one stay there: two answers, each with its reason (K 1-18).

Both are three-valued. Reachability, health and free resources are never looked at: a taint is the
only way in which a node says no.

tolerationSeconds are timed here, since no other component does it (K 18): of each NoExecute taint
the first toleration that covers it counts, and of these the shortest; the time begins when the
taint appeared on the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fleetd.core.node import Node, Taint
from fleetd.core.pod import NodeSelector, Placement, Toleration
from fleetd.core.selectors import (
    affinity_holds,
    describe,
    every,
    label_is_unknown,
    pair_holds,
    tolerates,
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
    """`run`: a copy may be started; `stay`: one that is there may remain. None: not known yet.

    `until` is when a limited toleration ends both, in UTC seconds; None: it is not limited.
    """

    run: bool | None
    stay: bool | None
    reason: str
    until: float | None = None


ELIGIBLE = Eligibility(run=True, stay=True, reason="eligible")
LEFT = Eligibility(run=False, stay=False, reason="the node has left the inventory")


def added_tolerations(*, host_network: bool) -> tuple[Toleration, ...]:
    """The tolerations that every DaemonSet has (K 12-14)."""
    pairs = (*_ADDED, _NETWORK) if host_network else _ADDED
    return tuple(
        Toleration.model_validate({"key": key, "operator": "Exists", "effect": effect})
        for key, effect in pairs
    )


def effective_tolerations(
    own: Iterable[Toleration], *, host_network: bool
) -> tuple[Toleration, ...]:
    """A template's tolerations with the added ones, which replace equal ones of its own (K 17)."""
    result = list(own)
    for added in added_tolerations(host_network=host_network):
        equal = [at for at, one in enumerate(result) if _names(one) == _names(added)]
        for at in equal:
            result[at] = added
        if not equal:
            result.append(added)
    return tuple(result)


def _names(toleration: Toleration) -> tuple[str, str, str, str]:
    return toleration.key, toleration.operator, toleration.value, toleration.effect


Limits = tuple[tuple[Taint, int], ...]
"""NoExecute taints that are tolerated for so many seconds only."""


class Gate:
    """Judges many nodes for one template; equal answers are worked out once.

    Only the labels that the template mentions and the taints can matter, so these are the memo's
    key, unless the template also looks at the node's name.
    """

    def __init__(self, spec: Placement, *, host_network: bool) -> None:
        """Take the placement fields of the template."""
        self._spec = spec
        self._tolerations = effective_tolerations(spec.tolerations, host_network=host_network)
        self._required = _required(spec)
        terms = self._required.node_selector_terms if self._required else []
        self._by_name = bool(spec.node_name) or any(term.match_fields for term in terms)
        self._keys = tuple(
            sorted({*spec.node_selector, *(e.key for t in terms for e in t.match_expressions)})
        )
        self._memo: dict[
            tuple[tuple[str | bool | None, ...], tuple[Taint, ...]], tuple[Eligibility, Limits]
        ] = {}

    def judge(self, node: Node, now: float) -> Eligibility:
        """May a copy run, may it stay, and why; at `now`, in UTC seconds."""
        if node.left:
            return LEFT
        found, limits = self._judge(node)
        return _timed(found, limits, node, now) if limits else found

    def _judge(self, node: Node) -> tuple[Eligibility, Limits]:
        if self._by_name:
            return self._work_out(node), self._limits(node)
        if node.unknown_labels:
            labels = tuple(label_is_unknown(node, k) or node.labels.get(k) for k in self._keys)
        else:
            labels = tuple(map(node.labels.get, self._keys))
        key = (labels, node.taints)
        if (known := self._memo.get(key)) is None:
            known = self._memo[key] = self._work_out(node), self._limits(node)
        return known

    def _limits(self, node: Node) -> Limits:
        firsts = (
            (taint, next((each for each in self._tolerations if tolerates(each, taint)), None))
            for taint in node.taints
            if taint.effect in STAY_EFFECTS
        )
        return tuple(
            (taint, max(0, first.toleration_seconds))
            for taint, first in firsts
            if first is not None and first.toleration_seconds is not None
        )

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


def judge(node: Node, spec: Placement, *, host_network: bool, now: float = 0.0) -> Eligibility:
    """Judge one node for one template."""
    return Gate(spec, host_network=host_network).judge(node, now)


def _timed(found: Eligibility, limits: Limits, node: Node, now: float) -> Eligibility:
    if found.stay is False:
        return found
    until, taint, seconds = min((node.since.get(t, now) + s, t, s) for t, s in limits)
    reason = f"taint {taint} is tolerated for {seconds} s"
    if now >= until:
        return Eligibility(run=False, stay=False, reason=f"{reason}, which are over")
    return replace(found, reason=reason if found.run else found.reason, until=until)


def _required(spec: Placement) -> NodeSelector | None:
    if spec.affinity is None or spec.affinity.node_affinity is None:
        return None
    return spec.affinity.node_affinity.required
