"""Which unit of a pod starts after which, and what goes down with what.

Containers are bound to the holder: without its namespaces they are nothing, and when it comes back
all start again in order. They require the init containers before them, which stay active once they
have ended well, so that a container that dies alone starts alone. A sidecar is only wanted: its
restarts are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetd.workload.container import Kind, Launch
from fleetd.workload.holder import has_holder, holder_unit
from fleetd.workload.names import result_path, stamp_path
from fleetd.workload.quoting import exec_word, sh_word

_BOOT = "multi-user.target"
_LATE = (
    # A boot has not ended before what it wants has started; an init container may take for ever.
    "DefaultDependencies=no",
    "Requires=sysinit.target",
    "After=sysinit.target basic.target",
    "Conflicts=shutdown.target",
    "Before=shutdown.target",
)
_START_S = 120
_AWAIT = (
    'until read -r i word why <{0} && read -r _ now <{1} && [ "$i" = "$now" ] && '
    'case "$word $why" in "fail startup"* | "fail probes have"*) false ;; esac; do sleep 1; done'
)


@dataclass(frozen=True, slots=True)
class Order:
    """Lines for `[Unit]` and for the end of `[Service]`, and what wants the unit."""

    lines: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    wanted_by: str = _BOOT


def order(this: Launch, pod: Sequence[Launch]) -> Order:
    """The place of one container among all of the pod, which come in the order of their start."""
    holder = holder_unit(this.copy.ds, this.copy.slot)
    held = has_holder(this.spec)
    lines = [f"BindsTo={holder}", f"After={holder}"] if held else []
    if not held and this.spec.init_containers:
        lines += _LATE
    for other in pod[: pod.index(this)]:
        if other.kind is Kind.INIT:
            lines += [f"Requires={other.unit}", f"After={other.unit}"]
        elif other.kind is Kind.SIDECAR:
            lines += [f"Wants={other.unit}", f"After={other.unit}"]
    if this.kind is Kind.INIT:
        # Its end starts those that wait for it, also when it was tried again by itself.
        lines += [f"Wants={other.unit}" for other in pod[pod.index(this) + 1 :]]
    return Order(tuple(lines), tuple(_startups(this, pod)), holder if held else _BOOT)


def _startups(this: Launch, pod: Sequence[Launch]) -> Iterator[str]:
    """A sidecar has started once its startup probe has passed; those after it wait for that."""
    longest = _START_S
    for other in pod[: pod.index(this)]:
        probe = other.container.startup_probe
        if other.kind is not Kind.SIDECAR or probe is None:
            continue
        yield f"ExecStartPre=/bin/sh -c {exec_word(_AWAIT.format(*_told(other)))}"
        longest += probe.initial_delay_seconds + probe.period_seconds * probe.failure_threshold
    if longest > _START_S and this.kind is not Kind.INIT:
        yield f"TimeoutStartSec={longest}"


def _told(other: Launch) -> tuple[str, str]:
    return sh_word(result_path(other.unit)), sh_word(stamp_path(other.unit))
