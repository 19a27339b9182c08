"""What a container may use, and how much it weighs beside others: resources and priority.

Amounts come out in the units that the kubelet computes them in. A priority preempts nobody here: it
is a weight among what competes for a processor, and a word to the kernel when memory runs out.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.core import quantity
from fleetd.core.pod import Container, PodSpec
from fleetd.workload.errors import RenderError

_ONE_CPU = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """None: not limited, or nothing said. CPU in thousandths of a processor, memory in bytes.

    `oom_score` is what the kernel adds to a process's badness, from -1000 to 1000 (a kubelet gives
    -997 to what is critical to its node).
    """

    cpu_milli: int | None = None
    memory: int | None = None
    share_milli: int | None = None
    oom_score: int | None = None


_PRIORITIES = {
    # Class: the least share of the processors, and the kernel's score.
    "system-node-critical": (10 * _ONE_CPU, -997),
    "system-cluster-critical": (5 * _ONE_CPU, -500),
}


def limits_of(spec: PodSpec, container: Container, path: str) -> Limits:
    """The limits of one container; `path` is its field path.

    A share is what is requested, or the limit where only that is set, as Kubernetes has it.

    Raises:
        RenderError: an amount is no quantity.
    """
    limit = _amount(container, "limits", "cpu", path)
    share = _amount(container, "requests", "cpu", path) or limit
    least, score = _PRIORITIES.get(spec.priority_class_name, (None, None))
    if least is not None:
        share = max(share or 0, least)
    return Limits(limit, _amount(container, "limits", "memory", path), share, score)


def _amount(container: Container, kind: str, name: str, path: str) -> int | None:
    resources = container.resources
    value = (resources.limits if kind == "limits" else resources.requests).get(name)
    if value is None:
        return None
    try:
        amount = quantity.milli(value) if name == "cpu" else quantity.whole(value)
    except ValueError as error:
        raise RenderError(f"{path}.resources.{kind}.{name}", f"{value!r} {error}") from error
    return amount or None  # zero means: no limit
