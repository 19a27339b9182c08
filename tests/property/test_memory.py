"""What makes planning fast changes no plan: neither the memory of sights nor the first glance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from fleetd.core.copies import Copy, judge_view
from fleetd.core.eligibility import ELIGIBLE
from fleetd.core.facts import ContainerSeen, Slot
from fleetd.core.glance import glance
from fleetd.core.hostview import HostView, read
from fleetd.core.instances import remember, tells
from fleetd.core.placement import Place, Places, Sight
from fleetd.core.plan import Plan, plan
from fleetd.core.records import InstanceRecord, Phase as CopyPhase
from fleetd.core.survey import Sights
from fleetd.core.world import SetState, World
from tests.property.fleets import EVENTS, Event, Fleet
from tests.unit.core.worlds import AGENT, NOW, Box, daemonset, node, observation

ALWAYS = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
MANY = settings(ALWAYS, max_examples=5000, phases=[Phase.generate])
MIN_READY_S = 10.0

LOOKS = st.lists(st.integers(0, 63), min_size=1, max_size=6)
"""Which hosts are looked at before a pass, and which are busy, as bits."""


class Remembering:
    """Plans with a memory, as a service does."""

    def __init__(self) -> None:
        self.memory = Sights()
        self.before: World | None = None

    def __call__(self, world: World, now: float) -> Plan:
        told = self.tell(world, self.before or world)
        self.before = world
        return plan(told, now, self.memory)

    def tell(self, world: World, before: World) -> World:
        return world


class KnowsHostsByName(Remembering):
    """Takes a host that it has seen for seen, whatever it says now."""

    def tell(self, world: World, before: World) -> World:
        return replace(world, seen={**world.seen, **before.seen}, looked=before.looked)


class OverlooksNodes(Remembering):
    def tell(self, world: World, before: World) -> World:
        return replace(world, nodes=before.nodes)


class OverlooksTargets(Remembering):
    def tell(self, world: World, before: World) -> World:
        (now,), (then,) = world.sets, before.sets
        return replace(world, sets=(replace(now, revision=then.revision),))


class OverlooksRecords(Remembering):
    def tell(self, world: World, before: World) -> World:
        (now,), (then,) = world.sets, before.sets
        return replace(world, sets=(replace(now, instances=then.instances),))


class OverlooksRequests(Remembering):
    def tell(self, world: World, before: World) -> World:
        (now,), (then,) = world.sets, before.sets
        return replace(world, sets=(replace(now, slots=then.slots),))


class OverlooksOrders(Remembering):
    def tell(self, world: World, before: World) -> World:
        return replace(world, busy=frozenset())


class ForgetsTheTime(Remembering):
    """Takes what was said long ago for said now."""

    def tell(self, world: World, before: World) -> World:
        return replace(world, looked={})


def stroll(planner: Remembering, fleet: Fleet, events: list[Event], looks: list[int]) -> None:
    """Let things happen while only some of the hosts are looked at before each pass."""
    held = dict(fleet.world().seen)
    looked = dict.fromkeys(held, fleet.now)
    calm = [(Event("nothing", 0), 63)] * 3
    for event, look in (*calm, *zip(events, cycle(looks), strict=False)):
        fleet.happen(event)
        fresh = {host.name for at, host in enumerate(fleet.hosts) if look >> at & 1}
        world = fleet.world()
        held.update({name: world.seen[name] for name in fresh})
        looked.update(dict.fromkeys(fresh, fleet.now))
        busy = frozenset(name for name in held if name not in fresh and event.fault == "lost")
        world = replace(world, seen=dict(held), looked=dict(looked), busy=busy)
        result = plan(world, fleet.now)
        assert planner(world, fleet.now) == result
        fleet.commit(result)
        fleet.carry_out([action for action in result.actions if action.node in fresh], event)
        fleet.now += event.wait_s


def try_memory(planner: Callable[[], Remembering], how: settings) -> None:
    @how
    @given(
        size=st.integers(1, 6),
        limit=st.integers(0, 3),
        surge=st.integers(0, 2),
        events=EVENTS,
        looks=LOOKS,
    )
    def run(size: int, limit: int, surge: int, events: list[Event], looks: list[int]) -> None:
        stroll(planner(), Fleet(size, limit, surge), events, looks)

    run()


def test_a_memory_changes_no_plan() -> None:
    try_memory(Remembering, ALWAYS)


@pytest.mark.parametrize(
    "planner",
    [
        pytest.param(each, id=each.__name__)
        for each in (
            KnowsHostsByName,
            OverlooksNodes,
            OverlooksTargets,
            OverlooksRecords,
            OverlooksRequests,
            OverlooksOrders,
            ForgetsTheTime,
        )
    ],
)
def test_a_memory_that_is_out_of_date_is_caught(planner: type[Remembering]) -> None:
    with pytest.raises(AssertionError):
        try_memory(planner, MANY)


def test_a_memory_holds_what_is_in_the_world_and_no_more() -> None:
    memory = Sights()
    plan(Fleet(6, 1).world(), 0.0, memory)
    world = Fleet(2, 1).world()
    plan(world, 0.0, memory)
    nodes, sights = memory.take(replace(world, nodes=world.nodes[:1]), 0.0)
    assert [node.name for node in nodes] == ["n0"]
    assert sights.keys() == {"n0"}
    memory.take(replace(world, sets=()), 0.0)
    with pytest.raises(KeyError):
        memory.kept(AGENT)


ODD = {
    "age": (-1.0, 3.0, 12.0),
    "active": ("activating", "failed", "inactive", "reloading"),
    "sub": ("auto-restart", "exited", "start-post"),
    "restarts": (1, 7),
    "stamp": ("", "r0"),
    "complete": (False,),
    "load": ("masked", "not-found", "error"),
    "file_state": ("disabled", "masked-runtime", "static"),
    "need_reload": (True,),
    "probe": (True, False),
    "probe_message": ("restarted: it hung", "no route"),
    "passing_for": (1.0, 60.0),
    "probed": (True,),
    "drop_ins": (("/etc/systemd/system/x.d/y.conf",), ("/usr/lib/systemd/system/x.d/y.conf",)),
    "target": ("disabled", "static", "masked"),
    "slot": (Slot.B,),
    "ledgered": (False,),
}
PLAIN = {each.name: each.default for each in fields(Box) if each.default is not MISSING}
ROSY = PLAIN | {"probe": True}
ENGINES = st.sampled_from(("", "running", "running", "stopped", "foreign", "gone"))


TOLD: dict[str, Any] = {
    "slot": "b",
    "revision": "r0",
    "bundle": "another",
    "phase": "Starting",
    "ready": False,
    "available": False,
    "restarts": 9,
    "message": "no route",
    "started": 1.0,
    "created": 0.0,
    "members_json": "[]",
}
"""What the state may have of a copy otherwise than it is."""


def boxes(always: str) -> st.SearchStrategy[Box]:
    """Units with up to four odd things about them, this one always among them ("": none)."""
    certain = {always} & ODD.keys()
    return st.sets(st.sampled_from(sorted(ODD)), max_size=4 - len(certain)).flatmap(
        lambda names: st.builds(
            Box, **{name: st.sampled_from(ODD[name]) for name in sorted(names | certain)}
        )
    )


def view_of(box: Box, engine: str) -> HostView:
    name = box.unit.removesuffix(".service")
    container = ContainerSeen("c1", name, engine == "running", engine != "foreign", AGENT, box.slot)
    there = (container,) if engine != "gone" else ()
    view = read(observation(box, engine=there if engine else None))
    assert isinstance(view, HostView)
    return view


def close_look(view: HostView) -> tuple[Copy, ...]:
    return judge_view(view, AGENT, MIN_READY_S)


def told_of(view: HostView) -> InstanceRecord:
    """What the state has once a copy was seen: of what is there, or of what is in order."""
    copies = close_look(view) or close_look(view_of(Box(), ""))
    place = Place(node("n0"), ELIGIBLE, Sight(view, NOW), copies)
    changed, _ = remember(SetState(daemonset(), "r1"), Places({}, {"n0": place}), NOW)
    return changed[0]


def is_plain(copy: Copy) -> bool:
    """Whether it is available, and there is nothing else to say of it than where it runs."""
    return copy == Copy(
        *(copy.ds, copy.slot, copy.revision),
        running_revision=copy.revision,
        bundle=copy.bundle,
        phase=CopyPhase.RUNNING,
        ready=True,
        available=True,
        active=True,
        active_for_s=copy.active_for_s,
        restarts=copy.restarts,
        members=copy.members,
    )


def try_glance(how: settings, overlooked: str = "", unread: str = "") -> None:
    """Compare glances with close looks.

    What is `overlooked` on the host is as it should be to the glance, and what is `unread` in the
    state is as on the host to it.
    """
    changes = st.just(unread) if overlooked or unread else st.sampled_from(("", *TOLD))

    @how
    @given(box=boxes(overlooked), engine=ENGINES, change=changes)
    def run(box: Box, engine: str, change: str) -> None:
        rosy = replace(box, **{overlooked: ROSY[overlooked]}) if overlooked in ROSY else box
        shown = view_of(rosy, "running" if overlooked == "engine" else engine)
        read_out = told_of(shown)
        told = replace(read_out, **{change: TOLD[change]}) if change else read_out
        if glance(Sight(shown, NOW), AGENT, read_out if unread else told, MIN_READY_S):
            (copy,) = close_look(view_of(box, engine))
            assert is_plain(copy)
            assert tells(told, copy, NOW)

    run()


def test_a_glance_says_what_a_close_look_says() -> None:
    try_glance(settings(ALWAYS, max_examples=800))


@pytest.mark.parametrize("overlooked", [*(name for name in ODD if name != "ledgered"), "engine"])
def test_a_glance_that_overlooks_something_is_caught(overlooked: str) -> None:
    with pytest.raises(AssertionError):
        try_glance(MANY, overlooked)


@pytest.mark.parametrize("unread", TOLD)
def test_a_glance_that_takes_the_state_for_granted_is_caught(unread: str) -> None:
    with pytest.raises(AssertionError):
        try_glance(MANY, unread=unread)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param(Box(), id="plain"),
        pytest.param(Box(probed=True, probe=True, passing_for=30.0), id="probed"),
        pytest.param(Box(target="disabled"), id="grouped"),
        pytest.param(Box(restarts=3), id="started-again-once"),
        pytest.param(Box(drop_ins=("/usr/lib/systemd/system/service.d/a.conf",)), id="vendor"),
    ],
)
def test_a_glance_is_enough_for_what_is_in_order(box: Box) -> None:
    view = view_of(box, "running")
    assert glance(Sight(view, NOW), AGENT, told_of(view), MIN_READY_S)


def test_what_is_to_replace_units_of_the_host_is_looked_at_closely() -> None:
    units = daemonset(annotations={"fleetd/replaces": "old.service"}).replaces
    view = view_of(Box(), "")
    assert not glance(Sight(view, NOW), AGENT, told_of(view), MIN_READY_S, units)
