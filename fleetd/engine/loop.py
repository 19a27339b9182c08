"""The coordinator that never sleeps: looks, decides and acts, and never waits for one host.

Level-triggered, as a one-shot run is. What happens anywhere only makes a look or a decision come
sooner; a decision is a function of what is held of every host, the state and the time.

Invariants:
- One lane per host: it is looked at or acted upon, one thing at a time. What wakes it meanwhile is
  remembered once, however often it comes, and has it looked at again right after.
- Slots are durable before an order goes out. A host with a lane is *busy* (see `core.world`): it
  gets no other decision, and what was seen of it before frees no budget.
- A host whose answer to an order was lost is Unknown until it has been looked at again.
- Nothing here is needed to go on: killed anywhere, another loop over the same state takes over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Any

from fleetd.core.actions import Action, Decision, Start
from fleetd.core.facts import Known, Observation, Part
from fleetd.core.meta import Key
from fleetd.core.node import Inventory, Node
from fleetd.core.nodes import facts_of
from fleetd.core.plan import Plan, plan
from fleetd.core.records import NodeRecord, ObjectRecord, PauseRecord, RevisionRecord
from fleetd.core.stream import StreamState
from fleetd.core.survey import Sights
from fleetd.core.world import World
from fleetd.engine.audience import Audience
from fleetd.engine.executor import Executor, Step, ends_lane
from fleetd.engine.held import Held, unsettled
from fleetd.engine.lanes import Job, Lane, Lanes
from fleetd.engine.leaving import bid, done_with
from fleetd.engine.memory import Memory
from fleetd.engine.passes import (
    Pass,
    Place,
    Run,
    decision_fields,
    question,
    tell_apart,
    write_looks,
)
from fleetd.engine.performing import PATIENCE_S, Bounds, Performance
from fleetd.engine.queue import Timers
from fleetd.engine.recording import record_plan, record_steps
from fleetd.engine.roster import Roster
from fleetd.engine.tries import Tries
from fleetd.engine.visits import observation_of
from fleetd.engine.wishes import Wishes, concerned, kind_of
from fleetd.engine.world import Worlds
from fleetd.ports import Change, Clock, Put

DEBOUNCE_S = 0.02
"""So long between two decisions at least; and as long as the last one took."""
GATHER_S = 2.0
"""The first decision waits until all hosts were looked at, or no answer came for so long."""
SLOW_S = 10.0
"""A first start that takes longer holds the others up no more."""
AWAY = 3
"""A host that did not answer so often was away; then what failed there is tried at once."""
WRITE_S = 30.0
"""So long it may take until a look that brought nothing new is written down."""
OVERDUE_S = 1.0
"""What is due by the clock and waits for a host is decided on again no more often."""


@dataclass(slots=True)
class Loop:
    """See the module. `chance` spreads what would come at once.

    `finish` is called with the decisions of each plan, to end what waits for copies to be gone.
    """

    store: Memory
    clock: Clock
    audience: Audience
    worlds: Worlds
    executor: Executor
    held: Held
    chance: Random
    given: Inventory
    finish: Callable[[Sequence[Decision]], object]
    last: Pass | None = None
    """What the last decision was."""
    lanes: Lanes = field(init=False)
    tries: Tries = field(init=False)
    wishes: Wishes = field(init=False)
    timers: Timers = field(default_factory=Timers)
    sights: Sights = field(default_factory=Sights)
    roster: Roster = field(default_factory=Roster)
    nodes: dict[str, Node] = field(default_factory=dict)
    performances: list[Performance] = field(default_factory=list)
    due: asyncio.Event = field(default_factory=asyncio.Event)
    first: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first decision."""
    looked: int = 0
    """Looks since the last decision."""
    news: set[str] = field(default_factory=set)
    """Nodes of which something was seen that is not written down yet."""
    draining: bool = False
    parting: set[str] = field(default_factory=set)
    """Hosts that left, off which the last traces are just taken."""
    put_off: frozenset[str] = frozenset()
    """Nodes for which something was due in the last decision, had they not been busy."""

    def __post_init__(self) -> None:
        """Make what needs the loop itself."""
        self.lanes = Lanes(self._free)
        self.tries = Tries(self.clock, self.chance)
        self.wishes = Wishes(self._heed)

    # -- what others say -----------------------------------------------------------------------

    @property
    def seen(self) -> Mapping[str, Part[Observation]]:
        """What was seen last of each host."""
        return self.held.seen

    def fresh(self) -> dict[str, Part[Observation]]:
        """What is held of hosts that need no look: with a live stream, or silent a moment ago."""
        return {
            name: part
            for name, part in self.seen.items()
            if self.held.is_live(name) or self.held.is_silent(name)
        }

    @property
    def inventory(self) -> Inventory:
        """The inventory in force."""
        return self.given

    def take_inventory(self, inventory: Inventory) -> None:
        """Go on with another inventory: who is new, or has moved, is looked at first."""
        before = {host.name: host.ssh for host in self.given.hosts}
        self.given = inventory
        self._know()
        for host in inventory.hosts:
            if host.name in before and before[host.name] != host.ssh and host.name in self.seen:
                self.held.doubt(host.name, "its address has changed; not looked at there yet")
            if before.get(host.name) != host.ssh or host.name not in self.seen:
                self.wake(host.name, "inventory")
        self.wishes.said += 1
        self.decide_soon()

    def wake(self, node: str, why: str) -> None:
        """Look at this host as soon as possible; while it is busy, right after that."""
        if self.draining or not self.lanes.open or node not in self.nodes:
            return
        self.timers.cancel(node)
        self.lanes.look(self.nodes[node], why, self._look, silent=self.held.is_silent(node))

    def wake_all(self, why: str) -> None:
        """Look at every host, and decide."""
        for name in self.nodes:
            self.wake(name, why)
        self.decide_soon()

    def note_stream(self, node: str, state: StreamState) -> None:
        """Hear how a host is watched: that decides how often it is looked at unasked."""
        before = self.held.streams.get(node)
        self.held.streams[node] = state
        if before is state or node not in self.nodes:
            return
        if StreamState.LIVE in (before, state):
            # What happened before the stream began, or since it ended, nobody has told.
            self.wake(node, f"stream {state.value}")

    async def perform(
        self,
        scope: frozenset[Key] | None,
        options: Bounds,
        progress: Callable[[str, Mapping[str, Any]], None],
    ) -> Run:
        """Take part until the scope (None: everything) is settled, stuck, or its time is up.

        The work is the loop's own: whoever waits may go away.
        """
        await self.first.wait()
        assert self.last is not None
        performance = Performance(scope, options, progress)
        self.performances.append(performance)
        patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._hurry, performance)
        try:
            with self.audience.with_one(performance.hear):
                self.tries.forgive(scope)
                self._look_for(performance)
                self.decide_soon()
                return await performance.end(self.last)
        finally:
            patience.cancel()
            self.performances.remove(performance)

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing new; let orders under way end, for so long, and cut the rest.

        A cut is safe: whoever comes next looks first.
        """
        self.draining = True
        self.timers.clear()
        await self.lanes.drain(timeout_s)

    def decide_soon(self) -> None:
        """Have a decision made."""
        self.due.set()

    # -- the work ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        stop_listening = self.store.listen(self.wishes.hear)
        try:
            async with asyncio.TaskGroup() as group:
                self.lanes.group = group
                try:
                    await self._work()
                finally:
                    self.lanes.group = None
        finally:
            stop_listening()
            self.timers.clear()

    async def _work(self) -> None:
        self._know()
        self.wake_all("start")
        await self._gather()
        self.due.set()
        while True:
            await self.due.wait()
            self.due.clear()
            if self.draining or not self.lanes.open:
                continue
            began = self.clock.monotonic()
            self._decide()
            took = self.clock.monotonic() - began
            await self.clock.sleep(max(DEBOUNCE_S, took))

    async def _gather(self) -> None:
        """Wait for the first looks: half a fleet is no picture of it."""
        while any(name not in self.seen for name in self.nodes):
            self.due.clear()
            try:
                async with asyncio.timeout(GATHER_S):
                    await self.due.wait()
            except TimeoutError:
                return

    def _decide(self) -> None:
        began = self.clock.monotonic()
        with self.wishes.unheard():
            records = self._learn_nodes()
            nodes = self.roster.nodes(self.given, records)
            known = tell_apart(self.store, nodes, self.seen, self.clock.now())
            self._know(known.nodes)
            world = self._world(known.nodes, known.seen)
            decided = plan(world, self.clock.now(), self.sights)
            record_plan(self.store, decided, None, self.clock.now())
        self.last = Pass(decided, (), known.nodes, known.seen, known.notes)
        self.first.set()
        self.audience.emit("decided", **decision_fields(decided, world))
        self.finish(decided.decisions)
        begun = self._begin(decided)
        self._say_farewell(known.nodes, known.seen)
        self._look_later(decided)
        self.tries.tidy({action.ds for action in decided.actions})
        for performance in tuple(self.performances):
            performance.decided(self.last, world, self.tries, parting=bool(self.parting))
        self.audience.emit(
            "pass_ended",
            hosts=len(known.nodes),
            looked=self.looked,
            actions=begun,
            seconds=self.clock.monotonic() - began,
            queue=self.lanes.waiting,
        )
        self.looked = 0

    def _learn_nodes(self) -> Mapping[str, NodeRecord]:
        """Write down what was seen since the last decision; of who is forgotten, nothing."""
        self._know()
        met = [node for node in self.nodes.values() if node.name in self.seen]
        news, self.news = self.news, set()
        return write_looks(self.store, self.audience, met, self.seen, self.clock.now(), news)

    def _world(self, nodes: tuple[Node, ...], seen: Mapping[str, Part[Observation]]) -> World:
        confirmed = [one.bounds.confirm_removals for one in self.performances]
        confirm = max((number for number in confirmed if number is not None), default=None)
        world = self.worlds.world(nodes, seen, None, self.tries.failures(), confirm)
        return replace(world, looked=self.held.at, busy=self._busy(nodes))

    def _busy(self, nodes: Sequence[Node]) -> frozenset[str]:
        """The nodes with a lane, under whatever name; and leavers while a newcomer is unknown.

        A host that left may be the newcomer under its old name, which its machine-id will tell.
        """
        machines = {self.nodes[name].uid for name in self.lanes.busy if name in self.nodes} - {""}
        unmet = any(not node.left and node.name not in self.seen for node in nodes)
        return frozenset(
            node.name
            for node in nodes
            if node.name in self.lanes.busy or node.uid in machines or (node.left and unmet)
        )

    def _begin(self, decided: Plan) -> int:
        """Send what is due to its lanes; how many actions that were."""
        due: dict[str, list[Action]] = defaultdict(list)
        later: list[float] = []
        # Who has not failed yet comes first: one that fails for ever keeps nobody from a try.
        for action in sorted(decided.actions, key=self.tries.failed):
            if self.draining or action.node in self.lanes.busy:
                continue
            wait = self.tries.wait(action)
            if wait is None:
                due[action.node].append(action)
                self.tries.begin(action)
            elif wait < inf:
                later.append(wait)
        begun = 0
        for name, actions in due.items():
            if self.lanes.full:
                self.tries.give_back(actions)  # whoever ends has a decision made
                continue
            begun += len(actions)
            self.timers.cancel(name)
            self.lanes.act(self.nodes[name], self._acting(actions))
        self._decide_at(decided.wake_at, later)
        return begun

    def _decide_at(self, wake_at: float | None, later: Sequence[float]) -> None:
        """Have a decision made when time alone changes the answer."""
        waits = list(later)
        if wake_at is not None:
            wait = wake_at - self.clock.now()
            waits.append(wait + 0.001 if wait > 0 else OVERDUE_S)
        if waits:
            self.timers.set(Loop, min(waits), self.decide_soon)
        else:
            self.timers.cancel(Loop)

    def _say_farewell(self, nodes: Sequence[Node], seen: Mapping[str, Part[Observation]]) -> None:
        if not any(node.left for node in nodes):
            return
        busy = self._busy(nodes)
        free = [node for node in nodes if node.left and node.name not in busy]
        confirmed = [one.bounds.confirm_removals or 0 for one in self.performances]
        at_most = max(1, len(nodes) // 20, *confirmed)
        for node in done_with(free, seen, self.executor.fence.fleet, at_most=at_most):
            if not self.draining and self.tries.may(_purge(node.name)):
                self.parting.add(node.name)
                self.lanes.act(node, self._bidding)

    def _look_later(self, decided: Plan) -> None:
        """Set when each host is looked at next unless something happens."""
        restless, self.put_off = unsettled(decided.decisions)
        for name in self.held.rest(restless) | (self.nodes.keys() - self.timers.handles.keys()):
            self._rest(name)

    def _rest(self, name: str) -> None:
        """Look at a host again when its time has come."""
        if name in self.lanes.busy or name not in self.nodes or self.draining:
            return
        pause = self.held.pause(name, self.clock.now(), left=self.nodes[name].left)
        since = self.clock.monotonic() - self.held.looked.get(name, 0.0)
        wait = pause if self.held.restless.get(name) else pause - since
        self.timers.set(name, wait, lambda: self.wake(name, "due"))

    # -- what lanes do -------------------------------------------------------------------------

    async def _look(self, lane: Lane) -> None:
        node = lane.node
        (record,) = self.store.read(NodeRecord, name=node.name) or (None,)
        part = await self.executor.visits.look(node, question(self.worlds.fleet, record))
        known = self.nodes.get(node.name)
        if known is None:
            return
        if known.ssh != node.ssh:
            lane.again = "it is somewhere else now"
            return
        self.looked += 1
        news = self._take(node.name, part)
        waited = [performance.saw(node.name) for performance in self.performances]
        if news or any(waited):
            self.decide_soon()
        elif WRITE_S not in self.timers.handles:
            self.timers.set(WRITE_S, WRITE_S, self._write_down)

    def _write_down(self) -> None:
        """Keep when hosts were seen last, where nothing was to be decided for long."""
        if not self.draining:
            with self.wishes.unheard():
                self._learn_nodes()

    def _free(self, lane: Lane) -> None:
        """A lane has ended, and its host is not busy any more."""
        name = lane.node.name
        if lane.again:
            self.wake(name, lane.again)
        elif self.due.is_set() or name in self.put_off:
            self.decide_soon()  # and that says when it is looked at again
        else:
            self._rest(name)

    def _hurry(self, performance: Performance) -> None:
        performance.give_up_silent()
        self.decide_soon()

    def _take(self, name: str, part: Part[Observation]) -> bool:
        self.news.add(name)
        if self.held.silent.get(name, 0) >= AWAY and isinstance(part, Known):
            self.tries.forgive(None, node=name)
        return self.held.take(name, part, self.clock.now(), self.clock.monotonic())

    def _acting(self, actions: Sequence[Action]) -> Job:
        said = self.wishes.said

        async def act(lane: Lane) -> None:
            """One action after the other; each but the first only while all is as it was said."""
            left = list(actions)
            try:
                while left and (len(left) == len(actions) or self._may_go_on(said)):
                    step = await self._carry_out(lane, left.pop(0))
                    self._ended(lane, step)
                    if ends_lane(step):
                        break
            finally:
                self.tries.give_back(left)
                self.decide_soon()

        return act

    async def _carry_out(self, lane: Lane, action: Action) -> Step:
        (record,) = self.store.read(NodeRecord, name=lane.node.name) or (None,)
        facts = facts_of(record) if record else None
        slow = (Loop, action)
        if isinstance(action, Start):
            self.timers.set(slow, SLOW_S, lambda: self._widen(action.ds))
        try:
            return await self.executor.carry_out(action, lane.node, facts)
        finally:
            self.timers.cancel(slow)

    def _widen(self, ds: Key) -> None:
        self.tries.widen(ds)
        self.decide_soon()

    def _may_go_on(self, said: int) -> bool:
        return self.wishes.said == said and not self.draining

    def _ended(self, lane: Lane, step: Step) -> None:
        """An action has ended: take in what it showed; what is not known has to be looked at."""
        name = step.action.node
        with self.wishes.unheard():
            record_steps(self.store, (step,), self.clock.now(), who=self.executor.fence.who)
        self.tries.end(step)
        self.held.checks.pop(name, None)
        if isinstance(step.seen, Known):
            self._take(name, step.seen)
        else:
            lane.again = step.message or "what an order came to is not known"
            self.held.doubt(name, lane.again)
        for performance in self.performances:
            performance.stepped(step, doubtful=not isinstance(step.seen, Known))

    async def _bidding(self, lane: Lane) -> None:
        """Take the last traces off a host that left, and forget it."""
        name, part = lane.node.name, self.seen.get(lane.node.name)
        if part is None:
            return  # somebody else has forgotten it
        reply = await bid(self.store, self.executor, lane.node, part)
        if self.store.read(NodeRecord, name=name):
            self._take(name, observation_of(reply))
            self.tries.fail(_purge(name), "")
        else:
            self._know()
            self.audience.emit("node_forgotten", node=name)
        self.parting.discard(name)
        self.decide_soon()

    # -- what is known ------------------------------------------------------------------------

    def _know(self, nodes: Sequence[Node] | None = None) -> None:
        """Take the nodes there are; forget what is held of others."""
        if nodes is None:
            records = {row.name: row for row in self.store.read(NodeRecord)}
            nodes = self.roster.nodes(self.given, records)
        self.nodes = {node.name: node for node in nodes}
        for name in self.seen.keys() - self.nodes.keys():
            self.held.forget(name)
            self.timers.cancel(name)

    def _look_for(self, performance: Performance) -> None:
        """Wake the hosts of which a run needs to know more than is held."""
        wanted = [
            name
            for name in self.nodes
            if performance.scope is None or name not in self.seen or not self.held.is_live(name)
        ]
        silent = frozenset(name for name in wanted if self.held.is_silent(name))
        performance.want(frozenset(wanted), silent)
        for name in wanted:
            self.wake(name, "asked for")

    def _heed(self, change: Change) -> None:
        """Somebody has written something that matters."""
        kind = kind_of(change)
        if kind in (ObjectRecord, RevisionRecord):
            self.executor.rendering.forget()
        if kind in (ObjectRecord, RevisionRecord, PauseRecord):
            self.tries.forgive(concerned(change))
        self.decide_soon()
        if not isinstance(change, Put) and kind is NodeRecord:
            self.wake(str(change.where.get("name", "")), "forgotten")


def _purge(name: str) -> Place:
    """What the tries of a farewell are counted by."""
    return (name, Key("", ""), "Purge", "")
