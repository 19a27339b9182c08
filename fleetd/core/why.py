"""Why a DaemonSet does on a node what it does: the plan's reasons in words, for `fleetd why`."""

from __future__ import annotations

from collections.abc import Iterator

from fleetd.core.actions import (
    Decision,
    Held,
    Keep,
    Remove,
    Repair,
    Skipped,
    Start,
    UnknownHost,
    Update,
    Wait,
)
from fleetd.core.copies import Copy
from fleetd.core.meta import Key
from fleetd.core.placement import Place, sight_of
from fleetd.core.plan import Plan
from fleetd.core.survey import look_closely
from fleetd.core.world import World


def explain(node: str, ds: Key, world: World, result: Plan, now: float) -> tuple[str, ...]:
    """Lines about one pair; empty for a node or DaemonSet that is not in the world.

    `result` is the plan of the same world at the time `now`.
    """
    nodes = [one for one in world.nodes if one.name == node]
    states = [state for state in world.sets if state.key == ds]
    if not nodes or not states:
        return ()
    state = states[0]
    sight = sight_of(world.seen.get(node), world.fleet, world.looked.get(node, now))
    place = look_closely(state, nodes[0], sight, now)
    lines = [f"{ds} on {node}", f"  eligible: {_eligible(place, now)}", f"  host: {_host(place)}"]
    lines += [f"  copy: {text}" for text in _copies(place)]
    decided = [entry for entry in result.decisions if (entry.node, entry.ds) == (node, ds)]
    lines += [f"  decision: {describe(entry)}" for entry in decided]
    if failure := state.failures.get(node):
        lines.append(f"  last failure: {failure}")
    progressing = result.statuses[ds].conditions[0]
    rollout = f"{progressing.reason}" + (f": {progressing.message}" if progressing.message else "")
    lines.append(f"  rollout: revision {state.revision}, {rollout}")
    return tuple(lines)


def describe(decision: Decision) -> str:
    """A decision as a person reads it, with its reason."""
    reason = f"{_what(decision)} ({decision.reason})"
    return f"{reason}: {decision.detail}" if decision.detail else reason


def _what(decision: Decision) -> str:
    match decision:
        case Start():
            return f"start revision {decision.revision}"
        case Update():
            return f"update from revision {decision.from_revision} to {decision.revision}"
        case Repair():
            return f"repair ({decision.mode})"
        case Remove():
            return "remove" if decision.slot is None else f"remove slot {decision.slot}"
        case Keep():
            return "keep"
        case Wait():
            return "wait"
        case UnknownHost():
            return "nothing, the host's state is unknown"
        case Held():
            return "nothing, the node is on hold"
        case Skipped():
            return "nothing"


def _eligible(place: Place, now: float) -> str:
    run, stay, reason = place.eligibility.run, place.eligibility.stay, place.eligibility.reason
    if run is None:
        return f"not known yet, {reason}"
    if run:
        until = place.eligibility.until
        return "yes" if until is None else f"yes, for {max(0.0, until - now):.0f} s more: {reason}"
    return f"no, {reason}" + ("; a copy that is there may stay" if stay else "")


def _host(place: Place) -> str:
    held = ", on hold" if place.node.held else ""
    if place.known:
        return f"answers{held}"
    return f"{place.sight.reason}: {place.sight.why}{held}"


def _copies(place: Place) -> Iterator[str]:
    for copy in place.copies:
        yield _copy(copy)
        yield from (f"{entry}" for entry in copy.damage)
        yield from (f"in the place of {unit}" for unit in copy.replaced)
        yield from (f"drop-in that is not fleetd's, left alone: {path}" for path in copy.foreign)
    last = place.remembered
    if not place.known and last is not None:
        yield f"last seen: revision {last.revision}, {last.phase}"
    elif place.known and not place.copies:
        yield "none"


def _copy(copy: Copy) -> str:
    state = "available" if copy.available else "ready" if copy.ready else "not ready"
    text = f"slot {copy.slot}, revision {copy.revision or 'unknown'}, {copy.phase}, {state}"
    return f"{text}; {copy.message}" if copy.message and not copy.damage else text
