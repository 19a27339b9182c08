"""One rolling update, killed at every point where it touches the world, and started again.

A point is each side of a commit and of a visit, and each sleep: whatever lies between two points
leaves no trace outside the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fleetd.api.reports import RunOptions
from fleetd.core.node import Ssh
from fleetd.core.records import SlotRecord
from fleetd.ports import Change, Output, R, Store, Transport
from fleetd.testing import loop
from fleetd.testing.loop import LoopClock
from tests.sim.harness import AGENT, Sim, agent
from tests.sim.oracle import Ear, Line, Oracle
from tests.sim.walk import Stage

HOSTS = 3
LIMIT = 1
PARTS = 4
IN_PLACE = {"maxUnavailable": LIMIT}
SURGE = {"maxUnavailable": 0, "maxSurge": 1}


class Killed(BaseException):
    """The process is gone."""


@dataclass(slots=True)
class Fuse:
    """Counts points, and kills at one of them (0: at none)."""

    at: int = 0
    passed: int = 0

    def burn(self) -> None:
        self.passed += 1
        if 0 < self.at <= self.passed:  # who is gone does nothing any more
            raise Killed


@dataclass(slots=True)
class FusedStore:
    store: Store
    fuse: Fuse

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        return self.store.read(kind, **where)

    def commit(self, changes: Iterable[Change]) -> None:
        self.fuse.burn()
        self.store.commit(changes)
        self.fuse.burn()

    def next_version(self) -> int:
        return self.store.next_version()

    def close(self) -> None:
        self.store.close()


@dataclass(slots=True)
class FusedTransport:
    transport: Transport
    fuse: Fuse

    async def run(
        self, name: str, ssh: Ssh, stdin: bytes, *, timeout_s: float, limit: int = 4 << 20
    ) -> Output:
        self.fuse.burn()
        output = await self.transport.run(name, ssh, stdin, timeout_s=timeout_s, limit=limit)
        self.fuse.burn()
        return output

    async def close(self) -> None:
        await self.transport.close()


@dataclass(slots=True)
class FusedClock(LoopClock):
    fuse: Fuse = field(default_factory=Fuse)

    def __post_init__(self) -> None:
        LoopClock.__init__(self)

    async def sleep(self, seconds: float) -> None:
        self.fuse.burn()
        await LoopClock.sleep(self, seconds)


@dataclass(slots=True)
class Update:
    """A fleet that is about to be updated."""

    sim: Sim
    oracle: Oracle
    rolling: Mapping[str, int]
    term: int = 0

    @classmethod
    def ready(cls, rolling: Mapping[str, int]) -> Update:
        stage = Stage(())
        sim = Sim(stage)
        oracle = Oracle(
            sim.store,
            {AGENT: LIMIT},
            lambda: [(AGENT, host) for host in stage.hosts.values()],
            surging=frozenset({AGENT} if "maxSurge" in rolling else ()),
        )
        stage.oracle = oracle
        sim.names = [f"h{number}" for number in range(1, HOSTS + 1)]
        for name in sim.names:
            stage.add(name)
        return cls(sim, oracle, rolling)

    async def run(self, fuse: Fuse) -> bool:
        """One coordinator, from its start to its end; whether it left the fleet settled."""
        self.term += 1
        ear = Ear(self.term)
        session = replace(
            self.sim.session(self.term),
            store=FusedStore(self.sim.store, fuse),
            transport=FusedTransport(Line(self.sim.fleet, self.oracle, ear), fuse),
            clock=FusedClock(fuse=fuse),
        )

        def told(event: str, fields: Any) -> None:
            if event == "decided":
                self.oracle.on_decided(ear)

        try:
            run = await session.reconciler(None, RunOptions(), told).converge(900)
        except Killed:
            return False
        except BaseExceptionGroup as group:
            _, others = group.split(Killed)
            if others:
                raise others from None
            return False
        return run.ended == "settled"

    def put(self, version: str) -> str:
        return self.sim.put(agent(version, updateStrategy={"rollingUpdate": dict(self.rolling)}))


async def killed_at(
    rolling: Mapping[str, int], point: int, kind: type[Update] = Update
) -> tuple[int, Any]:
    """Update a fleet, killed at a point; how many points there were, and the end state."""
    update = kind.ready(rolling)
    update.put("v1")
    assert await update.run(Fuse())
    second = update.put("v2")
    fuse = Fuse(point)
    first_try = await update.run(fuse)
    assert first_try is (point == 0)
    assert await update.run(Fuse())
    assert set(update.sim.revisions().values()) == {second}
    assert update.sim.rollout().state == "complete"
    assert [slot for slot in update.sim.store.read(SlotRecord) if not slot.released] == []
    assert update.oracle.seen["stopped"] == (0 if rolling is SURGE else HOSTS)
    return fuse.passed, {name: host.ledger for name, host in update.sim.fleet.hosts.items()}


@pytest.fixture(scope="module", params=[IN_PLACE, SURGE], ids=["in-place", "surge"])
def rolling(request: pytest.FixtureRequest) -> Mapping[str, int]:
    knobs: Mapping[str, int] = request.param
    return knobs


@pytest.fixture(scope="module")
def undisturbed(rolling: Mapping[str, int]) -> tuple[int, Any]:
    return loop.run(killed_at(rolling, 0), seed=0)


def test_the_update_has_many_points(undisturbed: tuple[int, Any]) -> None:
    points, ledgers = undisturbed
    assert points > 10 * HOSTS
    assert len(ledgers) == HOSTS


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_anywhere_it_ends_as_if_it_had_not_been(
    rolling: Mapping[str, int], undisturbed: tuple[int, Any], part: int
) -> None:
    points, ledgers = undisturbed
    for point in range(1 + part, points + 1, PARTS):
        try:
            _, after = loop.run(killed_at(rolling, point), seed=0)
        except BaseException as error:
            error.add_note(f"killed at point {point} of {points}")
            raise
        assert after == ledgers, f"killed at point {point} of {points}"
