"""What a container is told of its own limits and requests: resourceFieldRef.

The amount is told in units of a divisor, rounded up. A limit that is not set is what the host has,
which the launcher asks the host for at each start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from fleetd.core import quantity
from fleetd.core.pod import Container, PodSpec, Quantity, ResourceFieldRef
from fleetd.workload.errors import RenderError
from fleetd.workload.names import STATE_DIR
from fleetd.workload.text import Text

_CAPACITY = {
    # What tells the host's amount, and how much (of a cpu, in bytes) its number counts by.
    "cpu": ("getconf _NPROCESSORS_ONLN", 1),
    "memory": (r"sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo", 1024),
    "ephemeral-storage": (rf"df -Pk {STATE_DIR} | sed -n '2s/^[^ ]* *\([0-9]*\) .*/\1/p'", 1024),
}


def resource_text(
    spec: PodSpec, own: Container | None, ref: ResourceFieldRef, variable: str, path: str
) -> tuple[Text, tuple[str, ...]]:
    """The number, and the lines of a shell that compute `variable` where only the host knows it.

    `own` is the container that is meant where the reference names none.

    Raises:
        RenderError: there is no such container, or an amount is no quantity.
    """
    kind, _, name = ref.resource.partition(".")
    resources = _container(spec, own, ref.container_name, path).resources
    divisor = _amount({"divisor": ref.divisor}, "divisor", path) or Fraction(1)
    amount = _amount(resources.limits, name, path)
    if kind == "requests" and name in resources.requests:
        amount = _amount(resources.requests, name, path)
    if kind == "limits" and not amount and name in _CAPACITY:
        command, unit = _CAPACITY[name]
        ratio = unit / divisor
        told = f"({variable} * {ratio.numerator} + {ratio.denominator - 1}) / {ratio.denominator}"
        return Text.variable(variable), (f"{variable}=$({command})", f"{variable}=$(({told}))")
    return Text(str(math.ceil(amount / divisor))), ()


def limit_of_memory(spec: PodSpec) -> int | None:
    """What all containers of the pod together may use, in bytes; None where one has no limit."""
    limits = [_amount(each.resources.limits, "memory", each.name) for each in spec.containers]
    return math.ceil(sum(limits)) if all(limits) else None


def _container(spec: PodSpec, own: Container | None, name: str, path: str) -> Container:
    if not name and own is not None:
        return own
    for container in (*spec.containers, *spec.init_containers):
        if container.name == name:
            return container
    raise RenderError(f"{path}.containerName", f"there is no container {name!r}")


def _amount(amounts: Mapping[str, Quantity], name: str, path: str) -> Fraction:
    if name not in amounts:
        return Fraction(0)
    try:
        return quantity.parse(amounts[name])
    except ValueError as error:
        raise RenderError(f"{path}.{name}", f"{amounts[name]!r} {error}") from error
