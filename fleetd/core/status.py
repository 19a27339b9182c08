"""Counters and conditions of a DaemonSet, from the same places that the decisions are made on.

The counters have Kubernetes' meaning (K 126-138): a copy on a host that does not answer is neither
ready nor available any more, but still current and updated. `unknown` and the conditions are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fleetd.core.budget import Rules
from fleetd.core.placement import Place, Places
from fleetd.core.progress import Progress, name_some, why_not_available
from fleetd.core.records import Phase, RolloutState
from fleetd.core.world import SetState

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: `Progressing`, `Available` or `Degraded`, with the reason and a sentence."""

    type: Literal["Progressing", "Available", "Degraded"]
    status: Truth
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a DaemonSet after a pass. `holders` maps nodes not as wanted to why."""

    desired: int = 0
    current: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    unavailable: int = 0
    misscheduled: int = 0
    unknown: int = 0
    conditions: tuple[Condition, ...] = ()
    holders: Mapping[str, str] = field(default_factory=dict)


def status_of(state: SetState, places: Places, progress: Progress, rules: Rules) -> Status:
    """Count and judge, from what this pass saw."""
    other = places.other.values()
    fine = len(places.fine)
    wanted = [place for place in other if place.desired]
    desired = fine + len(wanted)
    copies = [copy for place in wanted if (copy := place.counted) is not None]
    available = fine + sum(copy.available for copy in copies)
    unknown = [place for place in wanted if place.unknown]
    holders = {place.name: why for place in other if (why := _why_held_up(state, place, rules))}
    down = {
        place.name: why_not_available(state, place)
        for place in wanted
        if place.known and not place.available
    }
    return Status(
        desired=desired,
        current=fine + sum(_is_current(place) for place in wanted),
        ready=fine + sum(copy.ready for copy in copies),
        updated=fine + sum(_revision(place) == state.revision for place in wanted),
        available=available,
        unavailable=desired - available,
        misscheduled=sum(place.eligibility.run is False and _is_current(place) for place in other),
        unknown=len(unknown),
        conditions=(
            _progressing(progress, desired, paused=state.paused),
            _available(desired, available, {p.name: p.sight.why for p in unknown}, down, rules),
            _degraded(progress, wanted, down),
        ),
        holders=holders,
    )


def _is_current(place: Place) -> bool:
    return place.copy is not None or (not place.known and place.remembered is not None)


def _revision(place: Place) -> str:
    if (copy := place.counted) is not None:
        return copy.revision
    return place.remembered.revision if place.remembered and not place.known else ""


def _why_held_up(state: SetState, place: Place, rules: Rules) -> str:
    """Why a place is not as it should be in the end, "" when it is.

    Under OnDelete a good copy of any revision is as it should be: it waits for its operator.
    """
    if place.node.held and (place.desired or place.copies):
        return "on hold"
    if not place.desired:
        if not _is_current(place):
            return "" if place.eligibility.run is False else place.eligibility.reason
        return f"has a copy although {place.eligibility.reason}"
    left_alone = rules.on_delete and place.available
    if not left_alone and (why := why_not_available(state, place)):
        return why
    if len(place.copies) > 1:
        return "has more than one copy"
    copy = place.copy
    return "; ".join(str(entry) for entry in copy.damage) if copy is not None else ""


def _progressing(progress: Progress, desired: int, *, paused: bool) -> Condition:
    record = progress.record
    match record.state:
        case RolloutState.COMPLETE:
            message = f"revision {record.revision} is rolled out"
            if paused:
                message += "; updates are paused"
            return Condition("Progressing", "False", "RolloutComplete", message)
        case RolloutState.FAILED:
            return Condition("Progressing", "False", "ProgressDeadlineExceeded", record.reason)
        case RolloutState.PAUSED:
            message = f"{record.finished} of {desired} nodes have revision {record.revision}"
            if progress.unfinished:
                message += f"; paused before {name_some(progress.unfinished)}"
            return Condition("Progressing", "Unknown", "RolloutPaused", message)
        case RolloutState.PROGRESSING:
            if progress.stalled:
                return Condition("Progressing", "False", "RolloutStalled", record.reason)
            message = f"{record.finished} of {desired} nodes have revision {record.revision}"
            if progress.unfinished:
                message += f"; waiting for {name_some(progress.unfinished)}"
            return Condition("Progressing", "True", "RollingUpdate", message)


def _available(
    desired: int,
    available: int,
    silent: Mapping[str, str],
    down: Mapping[str, str],
    rules: Rules,
) -> Condition:
    needed = max(0, desired - rules.max_unavailable)
    unknown = len(silent)
    message = f"{available} of {desired} available, {unknown} unknown, at least {needed} wanted"
    if available >= needed:
        return Condition("Available", "True", "MinimumAvailable", message)
    message += f"; not available: {name_some({**silent, **down})}"
    if available + unknown >= needed:
        return Condition("Available", "Unknown", "NodesUnknown", message)
    return Condition("Available", "False", "MinimumUnavailable", message)


def _degraded(progress: Progress, wanted: Sequence[Place], down: Mapping[str, str]) -> Condition:
    if progress.record.state is RolloutState.FAILED:
        return Condition("Degraded", "True", "RolloutFailed", progress.record.reason)
    broken = {
        place.name: down[place.name]
        for place in wanted
        if place.name in down and (place.copy is None or place.copy.phase is not Phase.STARTING)
    }
    if broken:
        return Condition("Degraded", "True", "NotAvailable", name_some(broken))
    silent = {place.name: place.sight.why for place in wanted if not place.known}
    if silent:
        return Condition("Degraded", "Unknown", "NodesUnknown", name_some(silent))
    return Condition("Degraded", "False", "AsExpected")
