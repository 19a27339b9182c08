"""`rollout status`: kubectl's sentences about a rollout (K 171-173), while somebody drives it.

We drive it ourselves unless another fleetd holds the state: then we follow what it writes there,
and take over should it leave before the end. Other than kubectl this ends when a rollout has
failed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleetd.cli.report import Form
from fleetd.cli.tables import at, items
from fleetd.cli.text import say, write
from fleetd.cli.verbs import Invocation
from fleetd.cli.watching import INTERVAL_S
from fleetd.client import Query, Report, RunOptions, Shape
from fleetd.errors import NotConverged, NotFound, Refused, StateHeld

TRY_AGAIN_S = 5.0
"""How long somebody else's work is followed before we ask for the state again."""

_BLOCKED = {"ProgressDeadlineExceeded", "RolloutPaused"}


def drive(
    invocation: Invocation, namespace: str, name: str, form: Form, options: RunOptions
) -> int:
    """Bring a rollout to its end, or only say where it stands; the exit code.

    Raises:
        NotFound: there is no such DaemonSet, or it was deleted meanwhile.
        Refused: it is updated by hand (OnDelete).
        NotConverged: time ran out while another fleetd was at work.
    """
    ends = time.monotonic() + options.timeout_s if options.timeout_s else None
    heard = _Heard(f"{namespace}/{name}", name)
    _checked(_daemonset(invocation, namespace, name), name)
    following = False
    while True:
        left = max(1.0, ends - time.monotonic()) if ends else None
        now = replace(options, timeout_s=left)
        try:
            return _carried(invocation, namespace, name, form, now, heard)
        except StateHeld as held:
            if not following:
                say(f"note: {held}; following it")
            following = True
        code = _follow(invocation, namespace, name, heard, ends)
        if code is not None:
            return code


class _Heard:
    """Says each sentence once, as the counts of passes come in."""

    def __init__(self, daemonset: str, name: str) -> None:
        self._daemonset = daemonset
        self._name = name
        self._said = ""

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        statuses = fields.get("statuses") if event == "decided" else None
        told = statuses.get(self._daemonset) if isinstance(statuses, Mapping) else None
        if isinstance(told, Mapping):
            counts = [told.get(word, 0) for word in ("desired", "updated", "available")]
            text, done = sentence(self._name, *counts)
            if not done:
                self.say(text)

    def say(self, text: str) -> None:
        """Print it, unless it was the last thing said."""
        if text != self._said:
            write(text)
        self._said = text


def _carried(
    invocation: Invocation,
    namespace: str,
    name: str,
    form: Form,
    options: RunOptions,
    heard: _Heard,
) -> int:
    def ended(report: Report) -> str:
        if options.wait:
            return ""
        return next((standing(shape)[0] for shape in report.daemonsets), "")

    code = invocation.carry_out(
        lambda client, progress: client.rollout_status(namespace, name, options, progress),
        form,
        options,
        mutating=options.wait,
        listen=heard,
        also=ended,
    )
    if code == 0 and form == "text" and options.wait:
        write(f'daemon set "{name}" successfully rolled out')
    return code


def _follow(
    invocation: Invocation, namespace: str, name: str, heard: _Heard, ends: float | None
) -> int | None:
    """Say where it stands for a while; the exit code once it has ended."""
    until = time.monotonic() + TRY_AGAIN_S
    while time.monotonic() < until:
        shape = _daemonset(invocation, namespace, name, deleted=True)
        text, done = standing(shape)
        heard.say(text)
        if done:
            return 0
        if reason := _blocked(shape):
            say(f"problem: {namespace}/{name}: {reason}")
            return 3
        if ends is not None and time.monotonic() > ends:
            raise NotConverged("timed out waiting for the condition")
        time.sleep(INTERVAL_S)
    return None


def standing(shape: Shape) -> tuple[str, bool]:
    """Kubectl's sentence about a DaemonSet, and whether the rollout is done (K 171)."""
    if _number(shape, "metadata.generation") > _number(shape, "status.observedGeneration"):
        return "Waiting for daemon set spec update to be observed...", False
    words = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    return sentence(
        str(at(shape, "metadata.name")), *(_number(shape, f"status.{word}") for word in words)
    )


def sentence(name: str, desired: int, updated: int, available: int) -> tuple[str, bool]:
    """The same, from the counts."""
    waiting = f'Waiting for daemon set "{name}" rollout to finish:'
    if updated < desired:
        return f"{waiting} {updated} out of {desired} new pods have been updated...", False
    if available < desired:
        return f"{waiting} {available} of {desired} updated pods are available...", False
    return f'daemon set "{name}" successfully rolled out', True


def _daemonset(
    invocation: Invocation, namespace: str, name: str, *, deleted: bool = False
) -> Shape:
    found = invocation.look(lambda reads: reads.get("daemonsets", Query(namespace, name)))
    if not found:
        raise NotFound(
            "object has been deleted" if deleted else f'daemonsets.apps "{name}" not found'
        )
    return found[0]


def _checked(shape: Shape, name: str) -> None:
    if at(shape, "spec.updateStrategy.type") == "OnDelete":
        raise Refused(
            "rollout status is only available for RollingUpdate strategy type; "
            f"{name} has OnDelete: `fleetd get pods -o wide` shows the revisions"
        )


def _blocked(shape: Shape) -> str:
    for condition in items(shape, "status.conditions"):
        if at(condition, "reason") in _BLOCKED:
            return f"{at(condition, 'reason')}: {at(condition, 'message')}"
    return ""


def _number(shape: Shape, path: str) -> int:
    value = at(shape, path)
    return value if isinstance(value, int) else 0
