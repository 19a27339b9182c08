"""Random walks: safe in any storm, home after it. And wrong coordinators and hosts, all caught.

A failing walk is had again alone by its number: `pytest tests/sim/test_chaos.py -k 'home[17]'`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.actions import Action, Keep, Mode, Reason, Repair, Update
from fleetd.core.facts import HostFacts, Known, Observation, Part, Slot, Unknown
from fleetd.core.node import Node
from fleetd.core.plan import Plan
from fleetd.core.world import World
from fleetd.engine.executor import Executor, Outcome, Step
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.visits import Visits
from fleetd.engine.world import Worlds
from fleetd.host.replies import Refused
from fleetd.host.requests import Apply, Load, Observe, Pull, Purge, Remove
from fleetd.testing import loop
from fleetd.testing.images import Place
from tests.sim.oracle import Invariant, Watched
from tests.sim.walk import Change, Walk

SEEDS = range(40)
REGRESSIONS: tuple[int, ...] = ()
"""Seeds beyond those that once failed."""


def right(reconciler: Reconciler) -> Reconciler:
    """Nothing is wrong with it."""
    return reconciler


async def storm(seed: int, change: Change = right, kind: type[Watched] = Watched) -> None:
    await Walk(seed, change, kind).happen()


async def whole(seed: int, change: Change = right, kind: type[Watched] = Watched) -> None:
    walk = Walk(seed, change, kind)
    await walk.happen()
    await walk.come_home()


@pytest.mark.parametrize("seed", [*SEEDS, *REGRESSIONS])
def test_a_fleet_is_safe_in_a_storm_and_comes_home(seed: int) -> None:
    loop.run(whole(seed), seed=seed)


# Wrong ones: each of these breaks the invariant that it is listed under.


class Limitless(Worlds):
    """Knows no budget."""

    def world(self, *args: Any) -> World:
        world = super().world(*args)
        return replace(world, sets=tuple(replace(one, daemonset=_free(one)) for one in world.sets))


def _free(one: Any) -> Any:
    document = one.daemonset.model_dump(by_alias=True)
    document["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = "100%"
    return type(one.daemonset).model_validate(document)


class Forgetful(Worlds):
    """Remembers no slot that was taken."""

    def world(self, *args: Any) -> World:
        world = super().world(*args)
        return replace(world, sets=tuple(replace(one, slots=()) for one in world.sets))


class Blinkered(Worlds):
    """Never looks at the first host."""

    def world(self, nodes: tuple[Node, ...], *args: Any) -> World:
        return super().world(nodes[1:], *args)


class Slotless(Reconciler):
    """Restarts whatever waits for a slot because it differs from its ledger."""

    def _decide(self, nodes: tuple[Node, ...], seen: Mapping[str, Part[Observation]]) -> Plan:
        decided = Reconciler._decide(self, nodes, seen)
        return replace(decided, slots=())


class Restless(Reconciler):
    """Makes sure of good copies again and again."""

    def _decide(self, nodes: tuple[Node, ...], seen: Mapping[str, Part[Observation]]) -> Plan:
        decided = Reconciler._decide(self, nodes, seen)
        revisions = {state.key: state.revision for state in self.world.sets} if self.world else {}
        return replace(
            decided,
            settled=False,
            decisions=tuple(
                Repair(item.node, item.ds, Slot.A, revisions[item.ds], Mode.RELOAD, Reason.DRIFT)
                if isinstance(item, Keep) and item.reason is Reason.UP_TO_DATE
                else item
                for item in decided.decisions
            ),
        )


class Doubling(Executor):
    """Starts the new copy beside the old one."""

    async def _act(self, action: Action, node: Node, facts: HostFacts | None) -> Step:
        if isinstance(action, Update):
            other = replace(action, slot=Slot.B)
            return replace(await Executor._act(self, other, node, facts), action=action)
        return await Executor._act(self, action, node, facts)


class Heedless(Executor):
    """Goes on with a host whose answer was lost, as if it had been a good one."""

    async def execute(
        self, actions: Sequence[Action], nodes: Mapping[str, Node], facts: Mapping[str, HostFacts]
    ) -> tuple[Step, ...]:
        alone = [await Executor.execute(self, [action], nodes, facts) for action in actions]
        return tuple(step for steps in alone for step in steps)


class Lazy(Executor):
    """Says that repairs are done, and does none."""

    async def _act(self, action: Action, node: Node, facts: HostFacts | None) -> Step:
        if isinstance(action, Repair):
            return Step(action, Outcome.DONE)
        return await Executor._act(self, action, node, facts)


class Gullible(Visits):
    """Takes silence for an empty host."""

    async def observe(
        self,
        nodes: Iterable[Node],
        request: Callable[[Node], Observe],
        *,
        at_once: int = 256,
    ) -> dict[str, Part[Observation]]:
        seen = await Visits.observe(self, nodes, request, at_once=at_once)
        known = [part for part in seen.values() if isinstance(part, Known)]
        if not known:
            return seen
        empty = replace(
            known[0].value, ledger=Known(()), units=Known(()), files=Known(()), engine=Known(())
        )
        return {
            name: Known(replace(empty, clock=Unknown("not told"), owner=Known(None)))
            if isinstance(part, Unknown)
            else part
            for name, part in seen.items()
        }


class Obedient(Watched):
    """A host that obeys anybody."""

    def _refusal(self, request: Apply | Remove | Purge | Pull | Load) -> Refused | None:
        self.owner = None
        return Watched._refusal(self, request)


class Sweeping(Watched):
    """A host on which a removal takes more than it should."""

    def _remove(self, place: Place) -> tuple[str, ...]:
        told = Watched._remove(self, place)
        self.own_units["sshd.service"].stop()
        return told


def worlds(kind: type[Worlds]) -> Change:
    return lambda was: replace(was, worlds=kind(was.worlds.store, was.worlds.fleet))


def executor(kind: type[Executor]) -> Change:
    def change(was: Reconciler) -> Reconciler:
        one = was.executor
        return replace(
            was, executor=kind(one.visits, one.rendering, one.images, one.fence, one.sink)
        )

    return change


def reconciler(kind: type[Reconciler]) -> Change:
    return lambda was: kind(
        *(was.store, was.inventory, was.visits, was.worlds, was.executor),
        *(was.clock, was.sink, was.scope, was.confirm_removals),
    )


def visits(kind: type[Visits]) -> Change:
    return lambda was: replace(was, visits=kind(was.visits.transport))


WRONG_COORDINATORS = [
    pytest.param(executor(Doubling), Invariant.ONE_COPY, id="doubling"),
    pytest.param(worlds(Limitless), Invariant.BUDGET, id="limitless"),
    pytest.param(worlds(Forgetful), Invariant.BUDGET, id="forgetful"),
    pytest.param(reconciler(Slotless), Invariant.BUDGET, id="slotless"),
    pytest.param(visits(Gullible), Invariant.KNOWN, id="gullible"),
    pytest.param(executor(Heedless), Invariant.KNOWN, id="heedless"),
    pytest.param(worlds(Blinkered), None, id="blinkered"),
    pytest.param(reconciler(Restless), None, id="restless"),
    pytest.param(executor(Lazy), None, id="lazy"),
]
WRONG_HOSTS = [
    pytest.param(Obedient, Invariant.FENCED, id="obedient"),
    pytest.param(Sweeping, Invariant.FOREIGN, id="sweeping"),
]


def breaks(story: Coroutine[Any, Any, None], seed: int) -> set[Invariant | None]:
    """What a walk finds broken; None: the end state."""
    try:
        loop.run(story, seed=seed)
    except (AssertionError, BaseExceptionGroup) as error:
        return {getattr(one, "invariant", None) for one in _leaves(error)}
    return set()


def _leaves(error: BaseException) -> Iterator[AssertionError]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        assert isinstance(error, AssertionError), error
        yield error


@pytest.mark.parametrize(("change", "invariant"), WRONG_COORDINATORS)
def test_a_wrong_coordinator_is_caught(change: Change, invariant: Invariant | None) -> None:
    walk = whole if invariant is None else storm
    assert any(invariant in breaks(walk(seed, change), seed) for seed in SEEDS)


@pytest.mark.parametrize(("kind", "invariant"), WRONG_HOSTS)
def test_a_wrong_host_is_caught(kind: type[Watched], invariant: Invariant) -> None:
    assert any(invariant in breaks(storm(seed, kind=kind), seed) for seed in SEEDS)
