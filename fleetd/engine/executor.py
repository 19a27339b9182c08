"""Carries a plan out: one ordered lane per host, all hosts side by side, a slow start.

The first failure on a host, or half an answer, ends that host's lane for this pass; other hosts go
on. New copies are started slowly (K 60): one at first, and twice as many with each round that
goes well. When the first ones fail, the starts of that DaemonSet end for this pass, so that a
broken image does not hit a whole fleet at once. Nothing is concluded from a lost reply: the host is
observed again by the next pass.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleetd.core.actions import Action, Mode, Remove, Repair, Start, Update
from fleetd.core.facts import HostFacts, Known, Observation, Part
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.records import FLEETD
from fleetd.engine.images import Images
from fleetd.engine.rendering import CannotRender, Rendering
from fleetd.engine.visits import Visits, is_whole, observation_of
from fleetd.host import requests
from fleetd.host.replies import Failed, Lost, Ok, Refused, Reply, reason
from fleetd.ports import EventSink

_Act = Callable[[Action], Coroutine[None, None, bool]]


class Outcome(StrEnum):
    """How an action ended. LOST: nothing is known, the next pass looks."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"
    NOT_TRIED = "not-tried"


@dataclass(frozen=True, slots=True)
class Step:
    """One action and what became of it; `seen` is what the host showed at the end of the visit.

    `notes` are sentences about what was done to units that are the host's own.
    """

    action: Action
    outcome: Outcome
    message: str = ""
    seen: Part[Observation] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fence:
    """Who gives the orders: the fleet, its key, the term of this writer, and who asked it to."""

    fleet: str
    key: str
    term: int
    who: str = FLEETD


@dataclass(slots=True)
class Executor:
    """Carries out the actions of one pass; `facts` holds what each host last told of itself."""

    visits: Visits
    rendering: Rendering
    images: Images
    fence: Fence
    sink: EventSink
    lanes: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def execute(
        self, actions: Sequence[Action], nodes: Mapping[str, Node], facts: Mapping[str, HostFacts]
    ) -> tuple[Step, ...]:
        """Carry out all actions; the steps come in the order of the actions."""
        broken: dict[str, str] = {}
        steps: dict[Action, Step] = {}

        async def act(action: Action) -> bool:
            async with self.lanes[action.node]:
                if action.node in broken:
                    steps[action] = Step(action, Outcome.NOT_TRIED, broken[action.node])
                    return False
                node = nodes[action.node]
                step = await self.carry_out(action, node, facts.get(node.name))
            steps[action] = step
            if why := ends_lane(step):
                broken[action.node] = why
            return step.outcome is Outcome.DONE

        starts: dict[Key, list[Start]] = defaultdict(list)
        async with asyncio.TaskGroup() as group:
            for action in actions:
                if isinstance(action, Start):
                    starts[action.ds].append(action)
                else:
                    group.create_task(act(action), name=f"act {action.node}")
            for batch in starts.values():
                group.create_task(_slow_start(batch, act, steps), name=f"start {batch[0].ds}")
        return tuple(steps[action] for action in actions)

    async def carry_out(self, action: Action, node: Node, facts: HostFacts | None) -> Step:
        """Carry out one action, and tell of it."""
        self.sink.emit("action_started", **describe(action))
        step = await self._act(action, node, facts)
        self.sink.emit(
            "action_ended", **describe(action), outcome=step.outcome.value, message=step.message
        )
        return step

    async def _act(self, action: Action, node: Node, facts: HostFacts | None) -> Step:
        if isinstance(action, Remove):
            away = requests.Remove(self.fence.fleet, self.fence.term, action.ds, action.slot)
            return _step(action, await self.visits.send(node, away))
        if facts is None:
            return Step(action, Outcome.LOST, "the host has not told what it is yet")
        try:
            profile = self.rendering.profile(action.ds, action.revision, node, facts)
        except CannotRender as error:
            return Step(action, Outcome.FAILED, str(error))
        if not isinstance(action, Repair):
            problem = await self.images.ensure(action.ds, action.revision, node, profile)
            if problem is not None:
                return _step(action, problem)
        try:
            bundle = self.rendering.bundle(
                action.ds, action.revision, action.slot, profile, mends=_mended(action)
            )
            secrets = self.rendering.secrets(bundle)
            values = self.rendering.values(
                action.ds, action.revision, action.slot, node, self.fence.fleet
            )
            replaces = self.rendering.daemonset(action.ds, action.revision).replaces
        except CannotRender as error:
            return Step(action, Outcome.FAILED, str(error))
        order = requests.Apply(
            fleet=self.fence.fleet,
            fleet_key=self.fence.key,
            term=self.fence.term,
            bundle=bundle,
            values=values,
            # What a new revision needs (restart, reload, nothing) is told by the files it changes.
            mode=action.mode if isinstance(action, Repair) else Mode.START,
            secrets=secrets,
            replaces=replaces,
        )
        reply = await self.visits.send(node, order)
        if isinstance(reply, Failed) and reply.step == "image" and isinstance(action, Repair):
            # Somebody took the image away; a repair that needs none asks no registry.
            problem = await self.images.ensure(action.ds, action.revision, node, profile)
            reply = problem or await self.visits.send(node, order)
        return _step(action, reply)


async def _slow_start(waiting: Sequence[Start], act: _Act, steps: dict[Action, Step]) -> None:
    """Start one copy; each that starts makes room for one more beside it, so the number doubles.

    While none has started, a failure ends it: it may be the workload. Later on one is taken for the
    host's own, and halves the room.
    """
    left = deque(waiting)
    running: set[asyncio.Task[bool]] = set()
    room, started, ended = 1, 0, False
    try:
        while running or (left and not ended):
            while left and not ended and len(running) < room:
                start = left.popleft()
                running.add(asyncio.create_task(act(start), name=f"start {start.node}"))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for good in (task.result() for task in done):
                started += good
                room = room + 1 if good else max(1, room // 2)
                ended = ended or not started
    finally:
        for task in running:
            task.cancel()
    for start in left:
        steps[start] = Step(start, Outcome.NOT_TRIED, "waiting until the first copies start")


def _step(action: Action, reply: Reply) -> Step:
    seen = observation_of(reply)
    match reply:
        case Ok(notes=notes):
            return Step(action, Outcome.DONE, "; ".join(notes), seen, notes)
        case Failed():
            return Step(action, Outcome.FAILED, reason(reply), seen)
        case Refused():
            return Step(action, Outcome.REFUSED, reason(reply))
        case Lost():
            return Step(action, Outcome.LOST, reason(reply))


def ends_lane(step: Step) -> str:
    """Why nothing more is done on a host before another look at it; "" when more may be done."""
    if step.outcome is not Outcome.DONE:
        return "an earlier step failed here"
    if not (isinstance(step.seen, Known) and is_whole(step.seen.value)):
        return "the answer to an earlier step was not whole"
    return ""


def _mended(action: Start | Update | Repair) -> str:
    """The node whose own bundle a repair needs; "" for what is put there anew."""
    return action.node if isinstance(action, Repair) else ""


def describe(action: Action) -> dict[str, str]:
    """The plain words of an action, for events and for `-o json`."""
    words = {
        "node": action.node,
        "daemonset": str(action.ds),
        "action": type(action).__name__.lower(),
        "reason": action.reason.value,
    }
    if action.detail:
        words["detail"] = action.detail
    if isinstance(action, Start | Update | Repair):
        words["revision"] = action.revision
    if isinstance(action, Update):
        words["from"] = action.from_revision
    return words
