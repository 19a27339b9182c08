"""What must hold of any plan, for any fleet; and for each such property, planners that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from fleetd.core.actions import Keep, Mode, Reason, Remove, Repair, Start, Update, Wait
from fleetd.core.facts import Slot, Unknown
from fleetd.core.plan import Plan, plan
from fleetd.core.world import World
from tests.property.fleets import (
    EVENTS,
    TIMED,
    TOLERATED_S,
    Event,
    Fleet,
    Planner,
    heal,
    passes,
    walk,
)
from tests.unit.core.worlds import NOW, daemonset, rolling, seen

Property = Callable[[Planner, Fleet, list[Event], st.DataObject], None]


def nothing(fleet: Fleet, world: World, result: Plan) -> None:
    """Watch nothing."""


def never_two_copies(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """No action puts a copy beside another, but one of another revision to surge (I1, K 110)."""

    def watch(fleet: Fleet, world: World, result: Plan) -> None:
        copies = {host.name: host.copies for host in fleet.hosts}
        for action in result.actions:
            if isinstance(action, Start | Update):
                others = [copy for slot, copy in copies[action.node].items() if slot != action.slot]
                assert len(others) <= (1 if fleet.max_surge else 0), action
                assert all(copy.revision != action.revision for copy in others), action
                assert not others or isinstance(action, Start), action

    walk(fleet, planner, events, watch)


def within_the_budget(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """No action that stops a good copy leaves more than maxUnavailable down, for any cause (I2)."""

    def watch(fleet: Fleet, world: World, result: Plan) -> None:
        stopped = {action.node for action in result.actions if fleet.stops(action)}
        down = {
            host.name
            for host in fleet.hosts
            if fleet.desired(host)
            and not host.held
            and (not fleet.has_available(host) if host.visible else host.name in fleet.out)
        }
        # Where nothing may be down at all, one is repaired at a time.
        limit = max(1, fleet.max_unavailable)
        assert not stopped or len(stopped | down) <= limit, (stopped, down)
        if not fleet.max_unavailable:
            replaced = (Update, Remove)
            assert not any(
                isinstance(action, replaced) and fleet.stops(action) for action in result.actions
            )

    walk(fleet, planner, events, watch)


def within_the_surge(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """No good copy gets another one beside it when maxSurge nodes have one already (K 100)."""

    def watch(fleet: Fleet, world: World, result: Plan) -> None:
        hosts = {host.name: host for host in fleet.hosts}
        fresh = {
            action.node
            for action in result.actions
            if isinstance(action, Start) and fleet.has_available(hosts[action.node])
        }
        extra = {
            host.name
            for host in fleet.hosts
            if fleet.desired(host) and not host.held and fleet.extra(host)
        }
        assert not fresh or len(fresh | extra) <= fleet.max_surge, (fresh, extra)

    walk(fleet, planner, events, watch)


def tolerated_for_its_time(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """Under a limited toleration a copy runs for that time, and then not any more (K 18)."""

    def watch(fleet: Fleet, world: World, result: Plan) -> None:
        timed = {host.name: host for host in fleet.hosts if host.taint == TIMED and not host.left}
        for entry in result.decisions:
            host = timed.get(entry.node)
            if host is None or not host.visible or host.held:
                continue
            over = fleet.now >= host.since + TOLERATED_S
            if over:
                assert not isinstance(entry, Start | Update | Repair | Keep), entry
            else:
                assert entry.reason is not Reason.NOT_ELIGIBLE, entry
                assert not host.copies or result.wake_at is not None
                assert not host.copies or (result.wake_at or 0.0) <= host.since + TOLERATED_S

    walk(fleet, planner, events, watch)


def unknown_untouched(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """Nothing is done on a host that did not answer, half answered, or is on hold (I3)."""

    def watch(fleet: Fleet, world: World, result: Plan) -> None:
        out_of_bounds = {host.name for host in fleet.hosts if not host.visible or host.held}
        assert not out_of_bounds & {action.node for action in result.actions}

    walk(fleet, planner, events, watch)


def order_is_irrelevant(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """The same fleet told in another order gets the same plan."""
    walk(fleet, planner, events, nothing)
    world = fleet.world()
    (state,) = world.sets
    shuffled = replace(
        world,
        nodes=tuple(data.draw(st.permutations(world.nodes))),
        seen=dict(data.draw(st.permutations(list(world.seen.items())))),
        sets=(
            replace(
                state,
                slots=tuple(data.draw(st.permutations(state.slots))),
                instances=tuple(data.draw(st.permutations(state.instances))),
            ),
        ),
    )
    assert planner(shuffled, NOW) == planner(world, NOW)


def settled_plans_nothing(
    planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject
) -> None:
    """Once a pass calls the fleet settled, the next one does and writes nothing (I7)."""

    def watch(fleet: Fleet, world: World, result: Plan) -> None:
        if not result.settled:
            return
        fleet.commit(result)
        again = planner(fleet.world(), fleet.now + 1.0)
        assert again.actions == ()
        assert (again.slots, again.rollouts, again.instances, again.gone) == ((), (), (), ())

    walk(fleet, planner, events, nothing)
    heal(fleet)
    for _ in passes(fleet, planner, watch, bound=20 + 8 * len(fleet.hosts)):
        pass


def settles(planner: Planner, fleet: Fleet, events: list[Event], data: st.DataObject) -> None:
    """Healed, a fleet gets to one good copy of the target on each eligible host, within a bound."""
    walk(fleet, planner, events, nothing)
    heal(fleet)
    for _ in passes(fleet, planner, nothing, bound=10 + 4 * len(fleet.hosts)):
        pass
    for host in fleet.hosts:
        if fleet.desired(host):
            (copy,) = host.copies.values()
            assert copy.revision == fleet.revision
            assert fleet.available(copy)
            assert not copy.edited
            assert not copy.disabled
        elif host.taint != "a:NoSchedule" or host.left:
            assert not host.copies
    assert fleet.rollout is not None
    assert fleet.rollout.state == "complete"


def starts_beside(world: World, now: float) -> Plan:
    """Updates by starting the new copy in the other slot."""
    result = plan(world, now)
    return replace(
        result,
        decisions=tuple(
            Start(entry.node, entry.ds, Slot.B, entry.revision, entry.reason)
            if isinstance(entry, Update)
            else entry
            for entry in result.decisions
        ),
    )


def surges_without_end(world: World, now: float) -> Plan:
    """Starts another copy wherever one waits for a slot."""
    result = plan(world, now)
    target = world.sets[0].revision
    return replace(
        result,
        decisions=tuple(
            Start(entry.node, entry.ds, Slot.B, target, Reason.SURGE)
            if isinstance(entry, Wait) and entry.reason is Reason.NO_SLOT
            else entry
            for entry in result.decisions
        ),
    )


def takes_the_old_one_away_at_once(world: World, now: float) -> Plan:
    """Ends a surge before the new copy is available."""
    result = plan(world, now)
    (state,) = world.sets
    surging = {slot.node for slot in state.slots if slot.kind == "surge" and not slot.released}
    older = {
        name: copies.value.ledger.value
        for name, copies in world.seen.items()
        if not isinstance(copies, Unknown) and not isinstance(copies.value.ledger, Unknown)
    }
    return replace(
        result,
        decisions=tuple(
            Remove(
                entry.node,
                entry.ds,
                next(c.slot for c in older[entry.node] if c.revision != state.revision),
                Reason.REPLACED,
            )
            if isinstance(entry, Wait)
            and entry.node in surging
            and any(c.revision != state.revision for c in older[entry.node])
            else entry
            for entry in result.decisions
        ),
    )


def tolerates_for_ever(world: World, now: float) -> Plan:
    """Takes every taint for a new one."""
    nodes = tuple(replace(one, since=dict.fromkeys(one.taints, now)) for one in world.nodes)
    return plan(replace(world, nodes=nodes), now)


def has_no_patience(world: World, now: float) -> Plan:
    """Takes every taint for one as old as the world."""
    nodes = tuple(replace(one, since=dict.fromkeys(one.taints, 0.0)) for one in world.nodes)
    return plan(replace(world, nodes=nodes), now)


def knows_no_budget(world: World, now: float) -> Plan:
    """Updates whoever waits for a slot."""
    result = plan(world, now)
    target = world.sets[0].revision
    return replace(
        result,
        decisions=tuple(
            Update(entry.node, entry.ds, Slot.A, "", target, Reason.REVISION_CHANGED)
            if isinstance(entry, Wait) and entry.reason is Reason.NO_SLOT
            else entry
            for entry in result.decisions
        ),
    )


def repairs_without_slots(world: World, now: float) -> Plan:
    """Restarts whatever differs from its ledger, at once."""
    result = plan(world, now)
    edited = {
        name
        for name, said in world.seen.items()
        if not isinstance(said, Unknown)
        and not isinstance(said.value.files, Unknown)
        and said.value.files.value
    }
    return replace(
        result,
        decisions=tuple(
            Repair(entry.node, entry.ds, Slot.A, "", Mode.RESTART, Reason.DRIFT)
            if isinstance(entry, Wait) and entry.node in edited and entry.reason is Reason.NO_SLOT
            else entry
            for entry in result.decisions
        ),
    )


def forgets_slots(world: World, now: float) -> Plan:
    """Remembers no slot, so that a host that fell silent in its update is not missed."""
    return plan(replace(world, sets=tuple(replace(one, slots=()) for one in world.sets)), now)


def does_not_count_the_broken(world: World, now: float) -> Plan:
    """Spends the whole budget beside what is broken already, as Kubernetes once did (P 103)."""
    strict = plan(world, now)
    (state,) = world.sets
    broken = strict.statuses[state.key].desired - strict.statuses[state.key].available
    limit = int(state.daemonset.spec.update_strategy.rolling_update.max_unavailable)
    knobs = rolling(limit + broken, state.daemonset.spec.update_strategy.rolling_update.max_surge)
    loose = replace(state, daemonset=daemonset(updateStrategy=knobs))
    return plan(replace(world, sets=(loose,)), now)


def takes_silence_for_absence(world: World, now: float) -> Plan:
    """Reads no answer as an empty host."""
    answers = {
        name: seen() if isinstance(said, Unknown) else said for name, said in world.seen.items()
    }
    return plan(replace(world, seen=answers), now)


def ignores_holds(world: World, now: float) -> Plan:
    """Works on hosts that are on hold."""
    return plan(replace(world, nodes=tuple(replace(one, held=False) for one in world.nodes)), now)


def goes_by_input_order(world: World, now: float) -> Plan:
    """Gives its slots to whom it meets first."""
    result = plan(world, now)
    first = [node.name for node in world.nodes]
    return replace(
        result,
        decisions=tuple(sorted(result.decisions, key=lambda entry: first.index(entry.node))),
    )


def never_rests(world: World, now: float) -> Plan:
    """Makes sure of a good copy again and again."""
    result = plan(world, now)
    return replace(
        result,
        decisions=tuple(
            Repair(entry.node, entry.ds, Slot.A, "", Mode.RELOAD, Reason.DRIFT)
            if isinstance(entry, Keep)
            else entry
            for entry in result.decisions
        ),
    )


def keeps_writing(world: World, now: float) -> Plan:
    """Writes every record anew in each pass."""
    result = plan(world, now)
    records = tuple(replace(one, seen=now) for one in world.sets[0].instances)
    return replace(result, instances=result.instances or records)


def mends_what_is_to_be_replaced(world: World, now: float) -> Plan:
    """Restarts a copy of the old revision in place of updating it."""
    result = plan(world, now)
    return replace(
        result,
        decisions=tuple(
            Repair(
                entry.node, entry.ds, entry.slot, entry.from_revision, Mode.RESTART, Reason.DRIFT
            )
            if isinstance(entry, Update)
            else entry
            for entry in result.decisions
        ),
    )


def overlooks_a_host(world: World, now: float) -> Plan:
    """Never does anything on the first host."""
    result = plan(world, now)
    return replace(
        result,
        decisions=tuple(
            Keep(entry.node, entry.ds, Reason.UP_TO_DATE)
            if entry.node == "n0" and isinstance(entry, Start | Update | Repair | Remove)
            else entry
            for entry in result.decisions
        ),
    )


def prove(check: Property, planner: Planner, *, examples: int, phases: list[Phase]) -> None:
    """Try a property of a planner on random walks of random fleets, always the same ones."""

    @settings(
        max_examples=examples,
        phases=phases,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        size=st.integers(1, 6),
        limit=st.integers(0, 3),
        surge=st.integers(0, 2),
        events=EVENTS,
        data=st.data(),
    )
    def run(size: int, limit: int, surge: int, events: list[Event], data: st.DataObject) -> None:
        fleet = Fleet(size, limit, surge)
        walk(fleet, plan, [Event("nothing", 0)] * 3, nothing)
        check(planner, fleet, events, data)

    run()


PROPERTIES: dict[Property, list[Planner]] = {
    never_two_copies: [starts_beside, takes_silence_for_absence, surges_without_end],
    within_the_budget: [
        knows_no_budget,
        repairs_without_slots,
        forgets_slots,
        does_not_count_the_broken,
        takes_the_old_one_away_at_once,
    ],
    within_the_surge: [surges_without_end, forgets_slots],
    tolerated_for_its_time: [tolerates_for_ever, has_no_patience],
    unknown_untouched: [takes_silence_for_absence, ignores_holds],
    order_is_irrelevant: [goes_by_input_order],
    settled_plans_nothing: [never_rests, keeps_writing],
    settles: [mends_what_is_to_be_replaced, overlooks_a_host],
}


TITLES: dict[Property, str] = {
    never_two_copies: "K 110 never_two_copies",
    within_the_surge: "K 100 within_the_surge",
    tolerated_for_its_time: "K 18 tolerated_for_its_time",
}


@pytest.mark.parametrize(
    "check",
    [pytest.param(each, id=TITLES.get(each, each.__name__)) for each in PROPERTIES],
)
def test_property_holds(check: Property) -> None:
    prove(check, plan, examples=150, phases=[Phase.generate, Phase.shrink])


@pytest.mark.parametrize(
    ("check", "planner"),
    [
        pytest.param(check, planner, id=f"{check.__name__}-{planner.__name__}")
        for check, planners in PROPERTIES.items()
        for planner in planners
    ],
)
def test_property_catches(check: Property, planner: Planner) -> None:
    with pytest.raises(AssertionError):
        prove(check, planner, examples=2000, phases=[Phase.generate])
