"""A run that takes part in the loop: what `apply --wait` or `reconcile` is inside the service.

It asks for nothing to be done; the loop does all that is due anyway. It waits until what it asked
to be looked at was looked at, and then, with each decision, for the end of its own scope: settled,
stuck, its time over, or (where it does not wait) everything tried once. What it counts is its own,
so that many can run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fleetd.core.actions import Action, Reason, Start, Wait
from fleetd.core.meta import Key
from fleetd.core.records import RolloutState
from fleetd.core.world import World
from fleetd.engine.audience import Watcher
from fleetd.engine.executor import Outcome, Step
from fleetd.engine.passes import (
    Pass,
    Place,
    Run,
    decision_fields,
    is_hopeless,
    place_of,
    within,
)
from fleetd.engine.tries import Tries

PATIENCE_S = 10.0
"""So long a run waits for a look at hosts that did not answer before it began."""
HEARD = frozenset({"action_started", "action_ended", "node_forgotten"})
IMAGES = frozenset({"image_pulling", "image_ready", "image_not_asked"})


class Bounds(Protocol):
    """How a run is bounded; times in seconds, None: not at all."""

    @property
    def wait(self) -> bool:
        """Whether to wait until the scope is settled, or only for what can be done now."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """When to give up waiting."""
        ...

    @property
    def confirm_removals(self) -> int | None:
        """How many removals were agreed to."""
        ...


@dataclass(slots=True)
class Performance:
    """One run. The loop calls `want`, `saw`, `stepped` and `decided`; the caller awaits `end`."""

    scope: frozenset[Key] | None
    bounds: Bounds
    progress: Watcher
    wanted: set[str] = field(default_factory=set)
    """Nodes to be looked at before anything is concluded."""
    silent: frozenset[str] = frozenset()
    """Those of them that did not answer before."""
    failed: dict[Place, int] = field(default_factory=dict)
    done: dict[Place, int] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    acting: set[str] = field(default_factory=set)
    """Nodes on which an action of the scope is under way."""
    left: set[Place] | None = None
    """What the first decision found to be done, and was not tried yet."""
    last: Pass | None = None
    result: asyncio.Future[Run] = field(default_factory=asyncio.Future)

    def want(self, wanted: frozenset[str], silent: frozenset[str]) -> None:
        """Take what is to be looked at first; `silent` did not answer last time."""
        self.wanted, self.silent = set(wanted), silent
        self.progress("looking", {"hosts": len(wanted - silent), "unreachable": len(silent)})

    def give_up_silent(self) -> None:
        """Wait for no look any more at hosts that did not answer before."""
        self.wanted -= self.silent

    def hear(self, event: str, fields: Mapping[str, Any]) -> None:
        """Hand on the events of the scope."""
        node = fields.get("node", "")
        if event in HEARD:
            told = self.scope is None or str(fields.get("daemonset")) in map(str, self.scope)
        else:
            told = event in IMAGES and node in self.acting
        if told:
            if event == "action_started":
                self.acting.add(node)
            elif event == "action_ended":
                self.acting.discard(node)
            self.progress(event, fields)

    def saw(self, node: str) -> bool:
        """A host was looked at; whether this run has waited for that."""
        if node not in self.wanted:
            return False
        self.wanted.discard(node)
        return True

    def stepped(self, step: Step, *, doubtful: bool) -> None:
        """An action has ended; `doubtful`: the host has to be looked at before anybody knows."""
        if self.scope is not None and step.action.ds not in self.scope:
            return
        self.steps.append(step)
        place = place_of(step.action)
        if step.outcome is Outcome.DONE:
            self.done[place] = self.done.get(place, 0) + 1
            self.failed.pop(place, None)
        else:
            self.failed[place] = self.failed.get(place, 0) + 1
        if self.left is not None:
            self.left.discard(place)
        if doubtful:
            self.wanted.add(step.action.node)

    def decided(self, last: Pass, world: World, tries: Tries, *, parting: bool) -> None:
        """The loop has decided.

        `parting`: traces are just taken off hosts that left, which belongs to a run over
        everything.
        """
        decided = within(last.plan, self.scope)
        self.last = replace(last, plan=decided)
        self.progress("decided", decision_fields(decided, world))
        self.wanted &= {node.name for node in last.nodes}  # others were forgotten meanwhile
        if self.wanted or self.result.done() or (parting and self.scope is None):
            return
        if not self.bounds.wait:
            self._count_down(decided.actions, world.busy, tries.closed())
            if not self.left:
                self._end("once")
        elif self._settled(world):
            self._end("settled")
        elif self._stuck(decided.actions, tries.hopeless()):
            self._end("stuck")

    async def end(self, before: Pass) -> Run:
        """The run, when it has ended; `before` is the last pass before it began."""
        try:
            async with asyncio.timeout(self.bounds.timeout_s):
                return await self.result
        except TimeoutError:
            self.last = self.last or replace(before, plan=within(before.plan, self.scope))
            return Run(self.last, self._all_steps(), "time")

    def _end(self, ended: str) -> None:
        assert self.last is not None
        self.result.set_result(Run(self.last, self._all_steps(), ended))

    def _all_steps(self) -> tuple[Step, ...]:
        """What was done, and what was due last and not tried."""
        tried = {place_of(step.action) for step in self.steps}
        due = self.last.plan.actions if self.last else ()
        why = "waiting until the first copies start"
        rest = [Step(one, Outcome.NOT_TRIED, why) for one in due if place_of(one) not in tried]
        return (*self.steps, *rest)

    def _count_down(
        self, actions: tuple[Action, ...], busy: frozenset[str], closed: frozenset[Key]
    ) -> None:
        """What of the first decision is still to be tried, and may be before long."""
        due = {place_of(action) for action in actions}
        if self.left is None:
            self.left = due
        self.left = {
            place
            for place in self.left
            if place[0] in busy or (place in due and place[1] not in closed)
        }

    def _settled(self, world: World) -> bool:
        """As `Plan.settled`, for the scope alone."""
        assert self.last is not None
        decided = self.last.plan
        waiting = any(
            isinstance(entry, Wait) and entry.reason in {Reason.STARTING, Reason.BUSY}
            for entry in decided.decisions
        )
        return not waiting and not decided.actions and not self._is_rolling(world)

    def _is_rolling(self, world: World) -> bool:
        assert self.last is not None
        after = {Key(row.namespace, row.name): row for row in self.last.plan.rollouts}
        for state in world.sets:
            record = after.get(state.key, state.rollout)
            concerned = self.scope is None or state.key in self.scope
            if not concerned or record is None or record.reason:
                continue
            on_delete = state.daemonset.spec.update_strategy.type == "OnDelete"
            if record.state is RolloutState.PROGRESSING and not on_delete:
                return True
        return False

    def _stuck(self, actions: tuple[Action, ...], hopeless: frozenset[Key]) -> bool:
        """Whether nothing but given-up actions keeps the scope from being settled."""
        assert self.last is not None
        moving = any(
            isinstance(entry, Wait)
            and entry.reason in {Reason.STARTING, Reason.SLOW_START, Reason.BUSY}
            for entry in self.last.plan.decisions
        )
        given_up = all(
            self._is_hopeless(action) or (isinstance(action, Start) and action.ds in hopeless)
            for action in actions
        )
        return bool(actions) and not moving and given_up

    def _is_hopeless(self, action: Action) -> bool:
        place = place_of(action)
        return is_hopeless(self.failed.get(place, 0), self.done.get(place, 0))
