"""The pass, and passes until the fleet is settled.

A pass observes, decides, writes down what it is about to do, acts, and ends with what it saw. It is
a function of the state and the hosts alone: cut anywhere and run again, it goes on. Slots and
rollouts are durable before the first order goes out.

Between the passes of one run only those hosts are looked at again that may have moved; every host
at least each `FULL_LOOK_S`. A host that did not answer is looked at in the background, so that it
delays nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fleetd.core.actions import Action, Reason, Wait
from fleetd.core.facts import Known, Observation, Part, Unknown
from fleetd.core.meta import Key
from fleetd.core.node import Inventory, Node
from fleetd.core.nodes import facts_of, nodes_of
from fleetd.core.plan import Plan, plan
from fleetd.core.records import NodeRecord
from fleetd.core.survey import Sights
from fleetd.core.world import World
from fleetd.engine.executor import Executor, Outcome, Step
from fleetd.engine.leaving import farewell
from fleetd.engine.passes import (
    Pass,
    Place,
    Run,
    decision_fields,
    is_hopeless,
    place_of,
    question,
    tell_apart,
    within,
    write_looks,
)
from fleetd.engine.recording import record_plan, record_steps
from fleetd.engine.visits import Visits, observation_of
from fleetd.engine.world import Worlds
from fleetd.host.replies import Ok
from fleetd.host.requests import Observe
from fleetd.ports import Clock, EventSink, Store

FULL_LOOK_S = 30.0
SHORTEST_S = 0.5
LONGEST_S = 3.0


@dataclass(slots=True)
class _Try:
    failed: int
    done: int
    after: float
    message: str

    @property
    def hopeless(self) -> bool:
        return is_hopeless(self.failed, self.done)


@dataclass(slots=True)
class Reconciler:
    """Runs passes over one fleet. One Reconciler is one run: it holds what the run has seen."""

    store: Store
    inventory: Inventory
    visits: Visits
    worlds: Worlds
    executor: Executor
    clock: Clock
    sink: EventSink
    scope: frozenset[Key] | None = None
    confirm_removals: int | None = None
    seen: dict[str, Part[Observation]] = field(default_factory=dict)
    looked: dict[str, float] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    """When that was: `looked` is monotonic, `at` is UTC."""
    sights: Sights = field(default_factory=Sights)
    tries: dict[Place, _Try] = field(default_factory=dict)
    background: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)
    """Nodes whose last observation is no longer to be trusted."""
    world: World | None = None
    """What the last pass decided on."""

    async def once(self, *, act: bool = True) -> Pass:
        """One pass; without `act` it ends before the first order (over a store that forgets)."""
        records: Mapping[str, NodeRecord] = {row.name: row for row in self.store.read(NodeRecord)}
        await self._look(nodes_of(self.inventory, records.values()), records)
        met = nodes_of(self.inventory, self.store.read(NodeRecord))
        records = write_looks(self.store, self.sink, met, self.seen, self.clock.now())
        # Facts just learnt are labels already, so that a new host is decided on in its first pass.
        met = nodes_of(self.inventory, records.values())
        identified = tell_apart(self.store, met, self.seen, self.clock.now())
        nodes = identified.nodes
        decided = self._decide(nodes, identified.seen)
        record_plan(self.store, decided, self.scope, self.clock.now())
        self._tell(decided)
        if not act:
            return Pass(decided, (), nodes, identified.seen, identified.notes)
        steps = await self._act(decided, nodes, records)
        record_steps(self.store, steps, self.clock.now(), who=self.executor.fence.who)
        at_most = max(1, len(nodes) // 20, self.confirm_removals or 0)
        farewells = await farewell(
            self.store, self.executor, nodes, identified.seen, at_most=at_most
        )
        for name, reply in farewells.items():
            if isinstance(reply, Ok):
                self.sink.emit("node_forgotten", node=name)
            else:
                self._take({name: observation_of(reply)})
        return Pass(decided, steps, nodes, identified.seen, identified.notes)

    async def converge(self, timeout_s: float | None) -> Run:
        """Passes until nothing is left to do, time is up, or only hopeless actions remain."""
        end = None if timeout_s is None else self.clock.monotonic() + timeout_s
        steps: list[Step] = []
        try:
            while True:
                done = await self.once()
                steps += done.steps
                if done.plan.settled and not self.moving:
                    return Run(done, tuple(steps), "settled")
                if self._stuck(done):
                    return Run(done, tuple(steps), "stuck")
                pause = self._pause(done)
                if end is not None and self.clock.monotonic() + pause >= end:
                    return Run(done, tuple(steps), "time")
                await self.clock.sleep(pause)
        finally:
            for task in self.background.values():
                task.cancel()

    # -- observing ---------------------------------------------------------------------------

    async def _look(self, nodes: tuple[Node, ...], records: Mapping[str, NodeRecord]) -> None:
        now = self.clock.monotonic()
        due = [node for node in nodes if self._due(node.name, now)]
        lost = [node for node in due if isinstance(self.seen.get(node.name), Unknown)]
        for node in lost:
            if node.name not in self.background:
                self.background[node.name] = asyncio.create_task(
                    self._look_again(node, records), name=f"look again at {node.name}"
                )
        here = [node for node in due if node not in lost]
        self.sink.emit("looking", hosts=len(here), unreachable=len(lost))
        found = await self.visits.observe(here, lambda node: self._request(node, records))
        self._take(found)
        self.moving.difference_update(found)

    async def _look_again(self, node: Node, records: Mapping[str, NodeRecord]) -> None:
        found = await self.visits.observe((node,), lambda node: self._request(node, records))
        self._take(found)
        self.moving.discard(node.name)
        del self.background[node.name]

    def _take(self, found: Mapping[str, Part[Observation]]) -> None:
        """Hold what was just seen, with the time."""
        self.seen.update(found)
        self.looked.update(dict.fromkeys(found, self.clock.monotonic()))
        self.at.update(dict.fromkeys(found, self.clock.now()))

    def _due(self, name: str, now: float) -> bool:
        if name in self.moving or name not in self.seen:
            return True
        age = now - self.looked[name]
        return age > (FULL_LOOK_S if isinstance(self.seen[name], Known) else FULL_LOOK_S / 3)

    def _request(self, node: Node, records: Mapping[str, NodeRecord]) -> Observe:
        return question(self.worlds.fleet, records.get(node.name))

    # -- deciding and acting -----------------------------------------------------------------

    def _decide(self, nodes: tuple[Node, ...], seen: Mapping[str, Part[Observation]]) -> Plan:
        failures: dict[Key, dict[str, str]] = {}
        for (node, ds, *_), tried in self.tries.items():
            if tried.message:
                failures.setdefault(ds, {})[node] = tried.message
        world = self.worlds.world(nodes, seen, self.scope, failures, self.confirm_removals)
        world = replace(world, looked=self.at)
        self.world = world
        return within(plan(world, self.clock.now(), self.sights), self.scope)

    async def _act(
        self, decided: Plan, nodes: tuple[Node, ...], records: Mapping[str, NodeRecord]
    ) -> tuple[Step, ...]:
        now = self.clock.monotonic()
        ready = [action for action in decided.actions if self._may_try(action, now)]
        facts = {name: facts for name, row in records.items() if (facts := facts_of(row))}
        steps = await self.executor.execute(ready, {node.name: node for node in nodes}, facts)
        for step in steps:
            self._learn(step)
        self.moving.update(
            item.node
            for item in decided.decisions
            if isinstance(item, Wait) and item.reason is Reason.STARTING
        )
        return steps

    def _may_try(self, action: Action, now: float) -> bool:
        tried = self.tries.get(place_of(action))
        return tried is None or (not tried.hopeless and tried.after <= now)

    def _learn(self, step: Step) -> None:
        """Take in what a step showed; what moved is to be looked at again."""
        node = step.action.node
        if step.seen is not None and isinstance(step.seen, Known):
            self._take({node: step.seen})
        if step.outcome is Outcome.LOST:
            # Not known any more: it is looked at in the background, and the others go on.
            self.seen[node] = Unknown(step.message)
        if step.outcome is Outcome.NOT_TRIED:
            return
        self.moving.add(node)
        place = place_of(step.action)
        before = self.tries.get(place, _Try(0, 0, 0.0, ""))
        if step.outcome is Outcome.DONE:
            # Done and due again: what is put right there does not stay right.
            self.tries[place] = _Try(0, before.done + 1, 0.0, "")
            return
        failed = before.failed + 1
        again = self.clock.monotonic() + 2.0**failed
        self.tries[place] = _Try(failed, before.done, again, step.message)

    def _stuck(self, done: Pass) -> bool:
        """Whether nothing but given-up actions keeps the fleet from being settled."""
        given_up = [
            action
            for action in done.plan.actions
            if (tried := self.tries.get(place_of(action))) and tried.hopeless
        ]
        starting = any(
            isinstance(item, Wait) and item.reason in (Reason.STARTING, Reason.SLOW_START)
            for item in done.plan.decisions
        )
        return (
            bool(given_up)
            and len(given_up) == len(done.plan.actions)
            and not starting
            and not self.background
        )

    def _pause(self, done: Pass) -> float:
        if done.steps:
            return SHORTEST_S
        wake_at = done.plan.wake_at
        rest = LONGEST_S / 3 if wake_at is None else wake_at - self.clock.now()
        return min(max(rest, SHORTEST_S), LONGEST_S)

    def _tell(self, decided: Plan) -> None:
        if self.world is not None:
            self.sink.emit("decided", **decision_fields(decided, self.world))
