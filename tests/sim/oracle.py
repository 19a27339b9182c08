"""What must hold whatever happens, judged by the truth about the hosts and not by fleetd's view.

The oracle stands beside the hosts: it sees every order as a host carries it out, and every answer
that a coordinator got before. `Invariant` names what is checked; a broken one raises `Broken`.

ONE_COPY (I1)
    At no moment of any host's history are copies of one DaemonSet alive in two slots, but for
    copies of two revisions of a DaemonSet that surges.

BUDGET (I2)
    A copy is *good* when its main units have run for MIN_READY_S, started by the revision that the
    host's ledger names, both in truth and by what the coordinator knew when it decided: what it saw
    down already costs nothing (K 92).
    An order that stops a good copy needs an open slot in the state; and after it, these together
    are at most maxUnavailable: the copies that were good when an order stopped them and have not
    been up for MIN_READY_S since, and those that the coordinator knew to be down when it decided
    and that are down still, for whatever reason (P 103). Only hosts that counted when it decided
    are counted: in the inventory, eligible and not on hold. Removals from hosts that are not
    eligible are no part of it, nor is what becomes of a DaemonSet that was deleted.

KNOWN (I3)
    A coordinator sends an order that changes something only to a host whose last answer it could
    read whole.

FOREIGN (I4)
    The units that the host had before, and all of a host that obeys another fleet, stay as they
    are.

FENCED (I5)
    The term of a host never falls while it is owned, and an order of another fleet or of an older
    term than the host's changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from fleetd.core.facts import Known, LedgerCopy, Observation, Role, UnitState
from fleetd.core.meta import Key
from fleetd.core.node import Ssh
from fleetd.core.records import ObjectRecord, SlotRecord
from fleetd.engine.visits import observation_of
from fleetd.host.replies import Failed, Ok, Refused, Reply, parse
from fleetd.host.requests import Apply, Purge, Remove, Request
from fleetd.host.wire import decode
from fleetd.ports import Output, Store
from fleetd.testing.fleet import FakeFleet
from fleetd.testing.hosts import SimHost

MIN_READY_S = 10.0

Order = Apply | Remove | Purge
Copy = tuple[Key, str]
"""A DaemonSet on a machine, by machine-id: names may change."""


class Invariant(Enum):
    """What is checked."""

    ONE_COPY = "I1"
    BUDGET = "I2"
    KNOWN = "I3"
    FOREIGN = "I4"
    FENCED = "I5"


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: Invariant, what: str) -> None:
        super().__init__(f"{invariant.value}: {what}")
        self.invariant = invariant


class Knew(NamedTuple):
    """What a coordinator went by; see `Ear`."""

    good: frozenset[Copy]
    down: frozenset[Copy]
    counted: frozenset[Copy]


@dataclass(slots=True)
class Ear:
    """What one coordinator was told: it lives and dies with it."""

    term: int
    readable: dict[str, bool] = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)
    up: dict[Copy, bool] = field(default_factory=dict)
    """Copies that the last answer of their host showed, and whether they were good then."""
    good: frozenset[Copy] = frozenset()
    """Those that were good when it decided last."""
    down: frozenset[Copy] = frozenset()
    """And those that were not."""
    counted: frozenset[Copy] = frozenset()
    """Those that its decision had to count."""
    knew: dict[tuple[str, str], Knew] = field(default_factory=dict)
    """What it knew when it decided on an action, by DaemonSet and node: an order may be under way
    while it decides on others."""

    def hear(self, name: str, reply: Reply) -> None:
        """Take in the last answer of a host."""
        seen = observation_of(reply)
        if isinstance(reply, Ok) and reply.observation is None:
            return
        self.readable[name] = isinstance(seen, Known) and _whole(seen.value)
        self.up = {
            place: good for place, good in self.up.items() if place[1] != self.machines.get(name)
        }
        if self.readable[name] and isinstance(seen, Known):
            self._see(name, seen.value)

    def _see(self, name: str, seen: Observation) -> None:
        clock, ledger, units = seen.clock, seen.ledger, seen.units
        assert isinstance(clock, Known)
        assert isinstance(ledger, Known)
        assert isinstance(units, Known)
        self.machines[name] = machine = clock.value.machine_id
        states = {unit.id: unit for unit in units.value}
        self.up |= {(copy.ds, machine): _good(copy, states.get) for copy in ledger.value}


@dataclass(slots=True)
class Line:
    """One coordinator's way to the hosts: a Transport that the oracle listens to."""

    fleet: FakeFleet
    oracle: Oracle
    ear: Ear

    async def run(
        self, name: str, ssh: Ssh, stdin: bytes, *, timeout_s: float, limit: int = 4 << 20
    ) -> Output:
        """Run as the fleet does."""
        nonce, request = decode(stdin)
        if isinstance(request, Order):
            self.oracle.on_sent(self.ear, name)
            self.oracle.ears[request.term] = self.ear
        output = await self.fleet.run(name, ssh, stdin, timeout_s=timeout_s, limit=limit)
        if isinstance(request, Order) and name in self.oracle.breaks:
            self.oracle.breaks.remove(name)
            output = Output(None, error="the connection was lost (while the host worked)")
        self.ear.hear(name, parse(output, nonce, request))
        return output

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Oracle:
    """The checks, over one fleet. `limits`: maxUnavailable by DaemonSet."""

    store: Store
    limits: Mapping[Key, int]
    counted: Callable[[], Iterable[tuple[Key, SimHost]]]
    """The hosts that count for each DaemonSet now, by the documents."""
    surging: frozenset[Key] = frozenset()
    """DaemonSets with a maxSurge."""
    budget: bool = True
    """Whether budgets are to be kept: two coordinators with a state each cannot."""
    breaks: set[str] = field(default_factory=set)
    """Hosts of which the connection is lost in their next order."""
    ears: dict[int, Ear] = field(default_factory=dict)
    out: dict[Copy, SimHost] = field(default_factory=dict)
    """Good copies that an order stopped, and that are not good again yet."""
    seen: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often what was met: for tests that want a walk to have been one."""

    def on_sent(self, ear: Ear, name: str) -> None:
        """An order leaves its coordinator."""
        if not ear.readable.get(name, False):
            raise Broken(Invariant.KNOWN, f"an order to {name}, whose last answer was not read")

    def on_decided(self, ear: Ear, actions: Iterable[Mapping[str, str]] = ()) -> None:
        """A coordinator has decided; `actions` as its event tells them."""
        self.recover()
        ear.counted = frozenset((ds, host.machine_id) for ds, host in self.counted())
        ear.good = frozenset(place for place, good in ear.up.items() if good)
        ear.down = frozenset(ear.up) - ear.good
        knew = Knew(ear.good, ear.down, ear.counted)
        ear.knew.update(((each["daemonset"], each["node"]), knew) for each in actions)

    def on_order(self, host: Watched, order: Order, carry_out: Callable[[], Reply]) -> Reply:
        """A host carries out an order: look before and after."""
        self.recover()
        keys = {order.ds} if isinstance(order, Remove) else set()
        keys |= {order.bundle.ds} if isinstance(order, Apply) else set()
        good = {ds: slots for ds in keys if (slots := good_slots(host, ds))}
        owner, foreign, before = host.owner, _foreign(host), (len(host.history), dict(host.ledger))
        obeys = owner is None or (owner.fleet == order.fleet and owner.term <= order.term)
        try:
            reply = carry_out()
        finally:
            self.seen[type(order).__name__] += 1
            # Judged even where the power fails in the middle: what was done stays done.
            if not obeys and (len(host.history), host.ledger) != before:
                raise Broken(Invariant.FENCED, f"{host.name} obeyed term {order.term}")
            if owner and host.owner and host.owner.term < owner.term:
                raise Broken(Invariant.FENCED, f"the term of {host.name} fell")
            if _foreign(host) != foreign:
                raise Broken(Invariant.FOREIGN, f"foreign units of {host.name} changed")
            never_two_copies(host, self.surging)
            for ds, slots in good.items():
                # A power cut while another copy starts beside it is nobody's order to stop it.
                beside = isinstance(order, Apply) and order.bundle.slot not in slots
                if not beside and not is_good(host, ds):
                    self._stopped(host, ds, order)
        self.seen[type(reply).__name__] += 1
        return reply

    def recover(self) -> None:
        """Forget copies that are good again."""
        for place, host in list(self.out.items()):
            if is_good(host, place[0]):
                del self.out[place]

    def forget(self, gone: Callable[[Key, str], bool]) -> None:
        """Some copies that are out count no more."""
        self.out = {place: host for place, host in self.out.items() if not gone(*place)}

    def _stopped(self, host: Watched, ds: Key, order: Order) -> None:
        """An order has stopped a copy that was good in truth."""
        if isinstance(order, Remove) and order.slot is None:
            return
        if not self.store.read(ObjectRecord, namespace=ds.namespace, name=ds.name):
            return  # deleted while the order was under way, and its budget with it
        ear = self.ears[order.term]
        place = (ds, host.machine_id)
        now = Knew(ear.good, ear.down, ear.counted)
        knew = next((ear.knew[str(ds), n] for n in host.names if (str(ds), n) in ear.knew), now)
        if place not in knew.good or not self.budget:
            return
        self.seen["stopped"] += 1
        self.out[place] = host
        slots = self.store.read(SlotRecord, namespace=ds.namespace, name=ds.name, released=0.0)
        if not host.names & {slot.node for slot in slots}:
            raise Broken(Invariant.BUDGET, f"{ds} on {host.name} was stopped without a slot")
        hosts = {each.machine_id: each for _, each in self.counted()} | {host.machine_id: host}
        down = {place} | (set(self.out) & knew.counted)
        down |= {
            other
            for other in knew.down & knew.counted
            if other[1] in hosts and not is_good(hosts[other[1]], ds)
        }
        names = sorted(
            hosts[machine].name for key, machine in down if key == ds and machine in hosts
        )
        if len(names) > self.limits[ds]:
            raise Broken(
                Invariant.BUDGET, f"{ds}: {names} are down, maxUnavailable is {self.limits[ds]}"
            )


class Watched(SimHost):
    """A host that carries orders out under the eyes of an oracle."""

    oracle: Oracle
    names: frozenset[str] = frozenset()
    """Every name that it ever had: an order may be under way while it gets another."""

    def visit(self, request: Request) -> tuple[Ok | Failed | Refused, float]:
        """As any host, watched."""
        if not isinstance(request, Order):
            return super().visit(request)
        took = 0.0

        def carry_out() -> Ok | Failed | Refused:
            nonlocal took
            reply, took = super(Watched, self).visit(request)
            return reply

        reply = self.oracle.on_order(self, request, carry_out)
        assert isinstance(reply, Ok | Failed | Refused)
        return reply, took


def never_two_copies(host: SimHost, surging: frozenset[Key] = frozenset()) -> None:
    """Check ONE_COPY over all that ever happened on a host."""
    alive: defaultdict[Key, dict[str, str]] = defaultdict(dict)
    for moment in host.history:
        copies = alive[moment.ds]
        if moment.event == "start":
            copies[moment.slot] = moment.revision
        else:
            copies.pop(moment.slot, None)
        revisions = 2 if moment.ds in surging else 1
        if len(copies) > min(revisions, len(set(copies.values()))):
            raise Broken(Invariant.ONE_COPY, f"{host.name}, {moment.time:.1f} s: {moment.ds} twice")


def is_good(host: SimHost, ds: Key) -> bool:
    """Whether a copy of a DaemonSet has run for MIN_READY_S, in truth."""
    return bool(good_slots(host, ds))


def good_slots(host: SimHost, ds: Key) -> frozenset[str]:
    """The slots of the copies that have."""
    if not host.up:
        return frozenset()
    now = host.uptime_s

    def state(name: str) -> UnitState | None:
        return host.units[name].state(now) if name in host.units else None

    return frozenset(
        slot for (key, slot), copy in host.ledger.items() if key == ds and _good(copy, state)
    )


def _good(copy: LedgerCopy, state: Callable[[str], UnitState | None]) -> bool:
    """Whether its main units have run for MIN_READY_S, started by what the ledger says."""
    units = [state(name) for name in _mains(copy.units)]
    return bool(units) and all(
        unit is not None
        and unit.active == "active"
        and unit.stamp_revision == copy.revision
        and (unit.active_for_s or 0.0) >= MIN_READY_S
        for unit in units
    )


def _mains(units: Mapping[str, Role]) -> list[str]:
    return [name for name, role in units.items() if role is Role.MAIN]


def _whole(seen: Observation) -> bool:
    return all(
        isinstance(part, Known) for part in (seen.clock, seen.owner, seen.ledger, seen.units)
    )


def _foreign(host: SimHost) -> Any:
    """What is not ours on a host."""
    used = {name for copy in host.ledger.values() for name in copy.units}
    return {
        name: (unit.enabled, unit.masked, unit.started_at, unit.result)
        for name, unit in sorted(host.own_units.items())
        if name not in used
    }
