"""A random walk over a fleet: faults, people and crashes while coordinators work; then all heals.

One seed gives one walk. A walk draws its fleet and its events first thing from its own generator,
so that what fleetd does never changes what happens to it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fleetd.api import rollouts
from fleetd.api.delete import delete
from fleetd.api.nodes import Nodes
from fleetd.api.reports import Marks, RunOptions
from fleetd.api.session import Session
from fleetd.core.facts import LedgerCopy
from fleetd.core.meta import Key
from fleetd.core.node import Host
from fleetd.core.records import (
    NodeRecord,
    RolloutRecord,
    SlotRecord,
)
from fleetd.engine.passes import Run
from fleetd.engine.reconciler import Reconciler
from fleetd.errors import NotFound
from fleetd.ports import Put, Store
from fleetd.testing.fleet import FakeFleet, address
from fleetd.testing.hosts import SimHost
from fleetd.testing.store import FakeStore
from fleetd.testing.units import NEVER_STARTS, Behaviour, SimUnit
from tests.sim.events import EVENTS, GOOD
from tests.sim.harness import Sim, agent
from tests.sim.oracle import Ear, Line, Oracle, Watched

Change = Callable[[Reconciler], Reconciler]
"""Makes a coordinator a wrong one, for tests of the oracle."""

BEHAVIOURS = {
    "--is=never": NEVER_STARTS,
    "--is=dies": Behaviour(dies_after_s=3),
    "--is=late": Behaviour(dies_after_s=40),
}
DEADLINE_S = 90
ALL = 1000
"""More hosts than any walk has."""


class Set(NamedTuple):
    """A DaemonSet of a walk: its budget, and which hosts it wants."""

    key: Key
    limit: int
    pod: Mapping[str, Any]
    surge: int = 0


SETS: tuple[tuple[Key, Mapping[str, Any]], ...] = (
    (Key("default", "agent"), {}),
    (Key("default", "web"), {"nodeSelector": {"role": "web"}}),
    (Key("system", "guard"), {"tolerations": [{"operator": "Exists"}]}),
)


class Stage(FakeFleet):
    """A fleet of watched hosts."""

    oracle: Oracle
    kind: type[Watched] = Watched

    def add(self, name: str) -> SimHost:
        """One more host, with a unit that is none of ours."""
        loop = asyncio.get_running_loop()
        host = self.kind(name, loop.time, faults=self.behaviours, registry=self.registry)
        host.oracle, host.names = self.oracle, frozenset({name})
        host.own_units["sshd.service"] = SimUnit(
            "sshd.service", name, fragment="/usr/lib/systemd/system/sshd.service", started_at=0.0
        )
        self.hosts[name] = self._at[address(name)] = host
        return host

    def rename(self, old: str, new: str) -> None:
        """The same machine under another name; the old address goes on to reach it."""
        host = self.hosts.pop(old)
        assert isinstance(host, Watched)
        host.name, host.names = new, host.names | {new}
        self.hosts[new] = self._at[address(new)] = host


@dataclass(slots=True)
class Walk:
    """One walk. `change` is what is wrong with its coordinators, `kind` with its hosts."""

    seed: int
    change: Change = lambda reconciler: reconciler
    kind: type[Watched] = Watched
    random: random.Random = field(init=False)
    sim: Sim = field(init=False)
    stage: Stage = field(init=False)
    oracle: Oracle = field(init=False)
    sets: dict[Key, Set] = field(init=False)
    version: dict[Key, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    taints: dict[str, str] = field(default_factory=dict)
    cordoned: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    term: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))
    coordinator: asyncio.Task[None] | None = None
    ghosts: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Set the fleet up; needs a running loop."""
        self.random = random.Random(self.seed)
        self.stage = Stage((), seed=self.seed, faults=BEHAVIOURS)
        self.stage.kind = self.kind
        self.sim = Sim(self.stage)
        chosen = SETS[: self.random.randint(1, 3)]
        self.sets = {key: Set(key, self.random.randint(1, 3), pod) for key, pod in chosen}
        for key, each in self.sets.items():
            surge = self.random.choice((0, 0, 1, 2))
            limit = 0 if surge and self.random.random() < 0.5 else each.limit
            self.sets[key] = each._replace(surge=surge, limit=limit)
        # Where nothing may be down, one is repaired at a time.
        limits = {key: max(1, each.limit) for key, each in self.sets.items()}
        surging = frozenset(key for key, each in self.sets.items() if each.surge)
        # A second coordinator with a state of its own cannot share a budget with the first.
        budget = self.random.random() < 0.8
        self.oracle = Oracle(self.sim.store, limits, self.counted, surging, budget)
        self.stage.oracle = self.oracle
        for _ in range(self.random.randint(3, 12)):
            self.join()
        for key in self.sets:
            self.release(key, GOOD)

    # What coordinators do.

    def start(self) -> None:
        """A new coordinator, with a higher term."""
        if self.coordinator is None:
            self.term += 1
            self.coordinator = asyncio.create_task(self._serve(self.sim.store, self.term))

    async def kill(self) -> None:
        """The coordinator dies, wherever it is."""
        if self.coordinator is not None:
            self.coordinator.cancel()
            await asyncio.wait([self.coordinator])
            if not self.coordinator.cancelled():
                self.coordinator.result()
            self.coordinator = None

    def haunt(self) -> None:
        """An older coordinator goes on with the state as it was."""
        if not self.oracle.budget:
            old = self.past()
            self.ghosts.append(asyncio.create_task(self._serve(old, self.term - 1)))

    def past(self) -> FakeStore:
        """The state as it is now, apart."""
        assert isinstance(self.sim.store, FakeStore)
        old = FakeStore()
        old._rows = dict(self.sim.store._rows)
        return old

    async def _serve(self, store: Store, term: int) -> None:
        while True:
            await self.coordinate(store, term, timeout_s=60)
            await asyncio.sleep(1)

    async def coordinate(
        self, store: Store, term: int, *, timeout_s: float, confirm: int | None = None
    ) -> Run:
        """A run of passes under the eyes of the oracle."""
        ear = Ear(term)

        def told(event: str, fields: Mapping[str, Any]) -> None:
            if event == "decided":
                self.oracle.on_decided(ear)

        session: Session = replace(
            self.sim.session(term), store=store, transport=Line(self.stage, self.oracle, ear)
        )
        options = RunOptions(confirm_removals=confirm)
        reconciler = self.change(session.reconciler(None, options, told))
        return await reconciler.converge(timeout_s)

    # What happens.

    async def happen(self) -> None:
        """Let things happen while a coordinator works."""
        self.start()
        for _ in range(self.random.randint(15, 30)):
            await asyncio.sleep(self.random.choice((0.0, 0.05, 0.4, 2, 6, 15, 40)))
            self.oracle.recover()
            await self.random.choice(EVENTS)(self)
            for task in (self.coordinator, *self.ghosts):
                if task is not None and task.done():
                    task.result()
        for ghost in self.ghosts:
            ghost.cancel()
        await self.kill()

    def host(self) -> Watched | None:
        """Any host of the inventory."""
        if not self.sim.names:
            return None
        host = self.stage.hosts[self.random.choice(sorted(self.sim.names))]
        assert isinstance(host, Watched)
        return host

    def join(self) -> None:
        """A host nobody has met."""
        name = f"h{next(self.numbers):02}"
        self.stage.add(name)
        self.sim.names.append(name)
        self.label(name, self.random.choice(("web", "db")))

    def release(self, key: Key, kind: str) -> None:
        """Another revision."""
        self.version[key] = f"{kind}{next(self.numbers)}"
        self.put(self.sim, key)

    def put(self, sim: Sim, key: Key) -> str:
        """Write the DaemonSet as it is now to a state."""
        each = self.sets[key]
        return sim.put(
            agent(
                self.version[key],
                key,
                pod=each.pod,
                updateStrategy={
                    "rollingUpdate": {"maxUnavailable": each.limit, "maxSurge": each.surge}
                },
                annotations={"fleetd/progress-deadline-seconds": str(DEADLINE_S)},
            )
        )

    @staticmethod
    def now() -> float:
        """What a coordinator's clock says."""
        return 1_700_000_000.0 + asyncio.get_running_loop().time()

    def remove(self, key: Key) -> None:
        """Delete a DaemonSet."""
        delete(
            self.sim.store, [("DaemonSet", key)], cascade="background", now=self.now(), who="test"
        )
        del self.version[key]
        self.oracle.forget(lambda ds, _: ds == key)

    def nodes(self) -> Nodes:
        """The verbs about nodes."""
        hosts: dict[str, Host] = {host.name: host for host in self.stage.inventory()}
        return Nodes(self.sim.store, hosts, now=0.0, who="test")

    def label(self, name: str, role: str) -> None:
        """Say what a host is for."""
        self.roles[name] = role
        self.nodes().mark(name, Marks("labels", (f"role={role}",), overwrite=True))

    def taint(self, name: str, effect: str) -> None:
        """Set the one taint of a host, or take it ("")."""
        if name in self.taints:
            self.nodes().taint(name, ["bad-"])
            del self.taints[name]
        if effect:
            self.nodes().taint(name, [f"bad:{effect}"])
            self.taints[name] = effect

    def cordon(self, name: str, *, on: bool) -> None:
        """Keep new copies away."""
        self.nodes().cordon(name, on=on)
        (self.cordoned.add if on else self.cordoned.discard)(name)

    def hold(self, name: str, *, on: bool) -> None:
        """Hands off."""
        self.nodes().hold(name, on=on)
        (self.held.add if on else self.held.discard)(name)

    # What is wanted.

    def wants(self, key: Key, name: str) -> bool:
        """Whether a host is to have a copy, by the documents."""
        if key not in self.version or name not in self.sim.names:
            return False
        owner = self.stage.hosts[name].owner
        if owner is not None and owner.fleet == "other":
            return False
        if key.name == "web" and self.roles[name] != "web":
            return False
        return key.name == "guard" or name not in self.taints

    def counted(self) -> Iterator[tuple[Key, SimHost]]:
        """The places that budgets count."""
        for key in self.sets:
            for name in self.sim.names:
                if self.wants(key, name) and name not in self.held:
                    yield key, self.stage.hosts[name]

    # After the storm.

    async def heal(self) -> None:
        """Nothing is wrong any more, but for bad revisions."""
        self.stage.heal()
        self.oracle.breaks.clear()
        for host in self.stage.hosts.values():
            host.cut_at = ""
        for name in [*self.sim.names, *self.held]:
            with suppress(NotFound):  # it left, and is forgotten
                self.hold(name, on=False)
        for key in self.version:
            rollouts.resume(self.sim.store, key, now=self.now(), who="test")
        for name in self.sim.names:
            self.cordon(name, on=False)
            if self.taints.get(name) == "NoSchedule":
                self.taint(name, "")
        await asyncio.sleep(120)  # until hosts have booted

    async def settle(self) -> Run:
        """One coordinator, in peace, until it is done."""
        self.term += 1
        return await self.coordinate(self.sim.store, self.term, timeout_s=3600, confirm=ALL)

    async def come_home(self) -> None:
        """Require the end state that the documents ask for; a failed rollout needs a good one."""
        await self.heal()
        run = await self.settle()
        broken = {
            key
            for key in self.version
            if not self.version[key].startswith(GOOD) or self.rollout(key).state != "complete"
        }
        for key in sorted(broken):
            good = self.version[key].startswith(GOOD)
            late = self.version[key].startswith("late")
            nobody = not any(self.wants(key, name) for name in self.sim.names)
            assert late or nobody or self.rollout(key).state == "failed", self.rollout(key)
            self.oracle.seen["failed, though good" if good else "failed"] += 1
            self.release(key, GOOD)
        if broken:
            run = await self.settle()
        assert run.ended == "settled", (run.ended, run.last.plan.decisions)
        for key in self.version:
            assert self.rollout(key).state == "complete", self.rollout(key)
        assert [slot for slot in self.sim.store.read(SlotRecord) if not slot.released] == []
        ours, fresh = self.ledgers(self.stage), await self.fresh()
        places = sorted({*ours, *fresh})
        places = [at for at in places if not self._haunted(at[0])]
        odd = {at: (ours.get(at), fresh.get(at)) for at in places if ours.get(at) != fresh.get(at)}
        assert not {at: two for at, two in odd.items() if not _alike(*two)}, odd
        for host in self.stage.hosts.values():
            if self._haunted(host.name):
                continue
            assert len({key for key, _ in host.ledger}) == len(host.ledger), host.name
        for host in self.stage.hosts.values():
            assert [path for path, file in host.files.items() if file.now != file.wrote] == []
        await self.rests()

    async def rests(self) -> None:
        """Require that another run does nothing."""
        await asyncio.sleep(60)
        before = self.dump()
        run = await self.settle()
        assert run.steps == ()
        assert self.dump() == before

    def rollout(self, key: Key) -> RolloutRecord:
        """The rollout of a DaemonSet."""
        return self.sim.rollout(key)

    async def fresh(self) -> Mapping[tuple[str, Key], LedgerCopy]:
        """The ledgers of a fleet that never knew anything but these documents."""
        sim = Sim(FakeFleet(sorted(self.sim.names), seed=1), names=self.sim.names)
        for name in self.sim.names:
            if (owner := self.stage.hosts[name].owner) and owner.fleet == "other":
                sim.fleet.hosts[name].owner = owner
            (record,) = self.sim.store.read(NodeRecord, name=name)
            fresh = NodeRecord(name, labels_json=record.labels_json, taints_json=record.taints_json)
            sim.store.commit([Put(fresh)])
        for key in self.version:
            self.put(sim, key)
        await sim.converge()
        return self.ledgers(sim.fleet)

    @staticmethod
    def ledgers(fleet: FakeFleet) -> Mapping[tuple[str, Key], LedgerCopy]:
        """What all hosts have."""
        return {
            (name, key): copy
            for name, host in fleet.hosts.items()
            for (key, _), copy in host.ledger.items()
            if host.owner is None or host.owner.fleet != "other"
        }

    def _haunted(self, name: str) -> bool:
        """Whether an older coordinator may have come back to a host after its farewell."""
        known = name in self.sim.names or self.sim.store.read(NodeRecord, name=name)
        return not self.oracle.budget and not known

    def dump(self) -> Any:
        """Everything on the hosts that fleetd could have changed."""
        return {
            name: (
                host.owner,
                dict(host.ledger),
                {path: file.now for path, file in host.files.items()},
                {unit: (each.started_at, each.enabled) for unit, each in host.units.items()},
            )
            for name, host in self.stage.hosts.items()
        }


def _alike(ours: LedgerCopy | None, fresh: LedgerCopy | None) -> bool:
    """Whether two copies differ by their slot alone: a surge swaps it."""
    if ours is None or fresh is None or ours.slot is fresh.slot:
        return ours == fresh
    one, other = (
        (copy.revision, copy.runtime, sorted(copy.units.values()), copy.complete, len(copy.files))
        for copy in (ours, fresh)
    )
    return one == other
