"""A small simulated fleet that carries out plans.

It knows the truth about every copy, which the planner only sees through observations; what an
oracle calls stopped, available or out is worked out from that truth, never by the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from fleetd.core.actions import Action, Mode, Reason, Remove, Repair, Start, Update
from fleetd.core.facts import Known, Observation, Slot, Unknown
from fleetd.core.node import Node
from fleetd.core.plan import Plan
from fleetd.core.records import InstanceRecord, RolloutRecord, SlotKind, SlotRecord
from fleetd.core.world import SetState, World
from tests.unit.core.worlds import (
    AGENT,
    FLEET,
    SILENT,
    Box,
    daemonset,
    edited,
    node,
    observation,
    rolling,
)

Planner = Callable[[World, float], Plan]
MIN_READY_S = 10.0
TIMED = "t:NoExecute"
"""A taint that the copies tolerate for TOLERATED_S."""
TOLERATED_S = 30
TOLERATION = {
    "key": "t",
    "operator": "Exists",
    "effect": "NoExecute",
    "tolerationSeconds": TOLERATED_S,
}


@dataclass(slots=True)
class SimCopy:
    """The truth about a copy."""

    revision: str
    started: float
    alive: bool = True
    complete: bool = True
    edited: bool = False
    disabled: bool = False


@dataclass(slots=True)
class SimHost:
    """The truth about a host."""

    name: str
    copies: dict[Slot, SimCopy] = field(default_factory=dict)
    silent: bool = False
    half: bool = False
    taint: str = ""
    since: float = 0.0
    held: bool = False
    left: bool = False

    def node(self) -> Node:
        taints = (self.taint,) if self.taint else ()
        plain = node(self.name, *taints, held=self.held, left=self.left)
        return replace(plain, since=dict.fromkeys(plain.taints, self.since))

    @property
    def visible(self) -> bool:
        return not self.silent and not self.half


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a host before a pass, and what goes wrong in the pass after it."""

    kind: str
    host: int
    fault: str = "none"
    victim: int = 0
    wait_s: float = 12.0


KINDS = (
    *("nothing", "nothing", "release", "release", "bad-release", "die", "edit", "disable", "wipe"),
    *(
        "silence",
        "silence",
        "half",
        "speak",
        "speak",
        "extra",
        "hold",
        "unhold",
        "taint",
        "soft-taint",
    ),
    *("untaint", "leave", "join", "timed-taint", "timed-taint", "ask"),
)
EVENTS = st.lists(
    st.builds(
        Event,
        kind=st.sampled_from(KINDS),
        host=st.integers(0, 5),
        fault=st.sampled_from(("none", "none", "none", "lost", "cut", "cut-and-silent")),
        victim=st.integers(0, 5),
        wait_s=st.sampled_from((1.0, 12.0, 40.0)),
    ),
    max_size=25,
)


class Fleet:
    """Hosts, what the state remembers, and a clock."""

    def __init__(self, size: int, max_unavailable: int, max_surge: int = 0) -> None:
        self.now = 1000.0
        self.max_unavailable = max_unavailable if max_unavailable or max_surge else 1
        self.max_surge = max_surge
        self.hosts = [SimHost(f"n{index}") for index in range(size)]
        self.revision = "r0"
        self.bad: set[str] = set()
        self.releases = 0
        self.rollout: RolloutRecord | None = None
        self.slots: dict[tuple[str, str], SlotRecord] = {}
        self.instances: dict[tuple[str, str], InstanceRecord] = {}
        self.out: set[str] = set()
        self.surged: set[str] = set()
        """Hosts on which a second copy was started, and that were not seen with one since."""
        self.confirmed: int | None = None
        self._daemonset = daemonset(
            updateStrategy=rolling(self.max_unavailable, max_surge),
            template={"tolerations": [TOLERATION]},
        )

    def available(self, copy: SimCopy) -> bool:
        up = copy.alive and copy.complete and copy.revision not in self.bad
        return up and self.now - copy.started >= MIN_READY_S

    def desired(self, host: SimHost) -> bool:
        """Whether a copy should run there now."""
        if host.left:
            return False
        if host.taint == TIMED:
            return self.now < host.since + TOLERATED_S
        return not host.taint

    def extra(self, host: SimHost) -> bool:
        """Whether it has, as far as can be known, a second copy that is of no use yet."""
        if not host.visible:
            return host.name in self.surged
        serves = any(
            self.available(copy) and copy.revision == self.revision for copy in host.copies.values()
        )
        return len(host.copies) > 1 and self.has_available(host) and not serves

    def has_available(self, host: SimHost) -> bool:
        return any(self.available(copy) for copy in host.copies.values())

    def world(self) -> World:
        state = SetState(
            self._daemonset,
            self.revision,
            self.rollout,
            tuple(self.slots.values()),
            tuple(self.instances.values()),
        )
        return World(
            tuple(host.node() for host in self.hosts),
            (state,),
            {host.name: self._say(host) for host in self.hosts},
            FLEET,
            confirm_removals=self.confirmed,
        )

    def happen(self, event: Event) -> None:
        if event.kind in {"release", "bad-release"}:
            self.releases += 1
            self.revision = f"r{self.releases}"
            if event.kind == "bad-release":
                self.bad.add(self.revision)
            return
        host = self.hosts[event.host % len(self.hosts)]
        if event.kind == "ask":
            if host.copies and not host.held:
                asked = SlotRecord(*AGENT, host.name, "", SlotKind.DELETE, self.now)
                self.slots[host.name, ""] = asked
            return
        if event.kind == "timed-taint" and host.taint != TIMED:
            host.taint, host.since = TIMED, self.now
        _happen_to_host(host, event.kind)
        if host.copies:
            _happen_to_copies(host.copies, event.kind)

    def commit(self, result: Plan) -> None:
        for record in result.rollouts:
            self.rollout = record
        for slot in result.slots:
            self.slots[slot.node, slot.revision] = slot
        for seen in result.instances:
            self.instances[seen.node, seen.slot] = seen
        for gone in result.gone:
            self.instances.pop((gone.node, gone.slot), None)

    def carry_out(self, actions: Sequence[Action], event: Event) -> None:
        by_name = {host.name: host for host in self.hosts}
        for index, action in enumerate(actions):
            host = by_name[action.node]
            if self.stops(action):
                self.out.add(host.name)
            if isinstance(action, Start) and action.reason is Reason.SURGE:
                self.surged.add(host.name)
            struck = index == event.victim % len(actions)
            if struck and event.fault == "lost":
                continue
            self._act(host, action)
            if struck and event.fault.startswith("cut"):
                for copy in host.copies.values():
                    copy.alive = copy.complete = False
                host.silent = event.fault == "cut-and-silent"

    def stops(self, action: Action) -> bool:
        """Whether an action takes down an available copy."""
        (host,) = (host for host in self.hosts if host.name == action.node)
        if isinstance(action, Start) or (
            isinstance(action, Repair) and action.mode != Mode.RESTART
        ):
            return False
        if action.slot is None:
            return False
        rest = [copy for slot, copy in host.copies.items() if slot != action.slot]
        return self.has_available(host) and not any(self.available(copy) for copy in rest)

    def _act(self, host: SimHost, action: Action) -> None:
        match action:
            case Start() | Update():
                host.copies[action.slot] = SimCopy(action.revision, self.now)
            case Repair():
                self._mend(host.copies[action.slot], action.mode)
            case Remove():
                for slot in [action.slot] if action.slot else list(host.copies):
                    del host.copies[slot]

    def _mend(self, copy: SimCopy, mode: Mode) -> None:
        if mode is Mode.RESTART or not copy.alive:
            copy.started = self.now
        if mode is not Mode.RELOAD:
            copy.alive = copy.complete = True
        copy.edited = copy.edited and mode is not Mode.RESTART
        copy.disabled = False

    def _say(self, host: SimHost) -> Known[Observation] | Unknown:
        if host.silent:
            return SILENT
        boxes = [self._box(slot, copy) for slot, copy in host.copies.items()]
        changed = tuple(
            edited(box.path)
            for box, copy in zip(boxes, host.copies.values(), strict=True)
            if copy.edited
        )
        what = observation(*boxes, files=changed)
        return Known(replace(what, ledger=Unknown("cut short")) if host.half else what)

    def _box(self, slot: Slot, copy: SimCopy) -> Box:
        box = Box(
            copy.revision,
            slot=slot,
            age=self.now - copy.started,
            complete=copy.complete,
            file_state="disabled" if copy.disabled else "enabled",
        )
        if not copy.alive:
            return replace(box, active="failed", sub="failed")
        if copy.revision in self.bad:
            return replace(box, active="activating", sub="auto-restart", restarts=3)
        return box


def _happen_to_host(host: SimHost, kind: str) -> None:
    match kind:
        case "silence":
            host.silent = True
        case "half":
            host.half = True
        case "speak":
            host.silent = host.half = False
        case "hold" | "unhold":
            host.held = kind == "hold"
        case "taint" | "soft-taint" | "untaint":
            effects = {"taint": "a:NoExecute", "soft-taint": "a:NoSchedule", "untaint": ""}
            host.taint = effects[kind]
        case "leave" | "join":
            host.left = kind == "leave"
        case _:
            pass


def _happen_to_copies(copies: dict[Slot, SimCopy], kind: str) -> None:
    first = next(iter(copies.values()))
    match kind:
        case "die":
            first.alive = False
        case "edit":
            first.edited = True
        case "disable":
            first.disabled = True
        case "wipe":
            copies.clear()
        case "extra":
            copies.setdefault(Slot.B, replace(first))
        case _:
            pass


Watch = Callable[[Fleet, World, Plan], None]


def walk(fleet: Fleet, planner: Planner, events: Sequence[Event], watch: Watch) -> None:
    """Let things happen, plan, watch, act; and again."""
    for event in events:
        fleet.happen(event)
        step(fleet, planner, event, watch)


def step(fleet: Fleet, planner: Planner, event: Event, watch: Watch) -> Plan:
    """One pass, with the faults of the event."""
    for host in fleet.hosts:
        if host.visible and fleet.has_available(host):
            fleet.out.discard(host.name)
        if host.visible and len(host.copies) < 2:
            fleet.surged.discard(host.name)
    world = fleet.world()
    result = planner(world, fleet.now)
    watch(fleet, world, result)
    fleet.commit(result)
    fleet.carry_out(result.actions, event)
    fleet.now += event.wait_s
    return result


def heal(fleet: Fleet) -> None:
    """Bring every host back, and release something good."""
    for host in fleet.hosts:
        host.silent = host.half = host.held = False
    fleet.confirmed = len(fleet.hosts)
    fleet.happen(Event("release", 0))


def passes(fleet: Fleet, planner: Planner, watch: Watch, bound: int) -> Iterator[Plan]:
    """Passes without faults until one says that all is settled; fails after too many."""
    for _ in range(bound):
        result = step(fleet, planner, Event("nothing", 0), watch)
        yield result
        if result.settled:
            return
    raise AssertionError(f"not settled after {bound} passes")
