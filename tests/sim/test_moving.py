"""Hosts that join, leave, move, change their names and are installed anew while the loop works."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleetd.api import rollouts
from fleetd.api.fleet import Fleet
from fleetd.api.reports import RunOptions
from fleetd.client.local import Local
from fleetd.core.actions import Reason
from fleetd.core.facts import HOST_KEY_CHANGED
from fleetd.core.node import Host, Inventory, Ssh
from fleetd.core.records import EventRecord, InstanceRecord, NodeRecord, RolloutState, SlotRecord
from fleetd.engine.loop import Loop
from fleetd.ports import Output, Scanned, Store
from fleetd.testing import loop
from fleetd.testing.fleet import FakeFleet, Fault, address
from fleetd.testing.hosts import SimHost
from fleetd.testing.units import Behaviour
from tests.sim.harness import AGENT, FLEET, Quiet, Sim, agent, unwatched

UNIT = "fleetd-default.agent.main.a.service"
UNREACHABLE = Fault(unreachable=True)
NEVER = {"--is=bad": Behaviour(never_starts=True)}
CHANGED = f"{HOST_KEY_CHANGED} in known_hosts (it shows another)"


class Site(FakeFleet):
    """Hosts at addresses; who is `strange` shows another host key than the pinned one."""

    def __init__(self, *names: str) -> None:
        self.strange: set[str] = set()
        self.visits: list[str] = []
        super().__init__(names, faults=NEVER)

    def move(self, name: str, where: str) -> None:
        """The machine of this name answers at another address, and no more at its old one."""
        self._at = {at: host for at, host in self._at.items() if host is not self.hosts[name]}
        self._at[where] = self.hosts[name]

    def also(self, name: str, where: str) -> None:
        """The machine of this name answers there, too."""
        self._at[where] = self.hosts[name]

    def install(self, name: str) -> SimHost:
        """Another machine takes the place and the address of this one."""
        host = self.add(name)
        host.machine_id = f"new-{name}"
        return host

    async def run(
        self, name: str, ssh: Ssh, stdin: bytes, *, timeout_s: float, limit: int = 4 << 20
    ) -> Output:
        if name in self.strange:
            await asyncio.sleep(0.05)
            return Output(None, error=CHANGED, sent=False)
        self.visits.append(name)
        return await super().run(name, ssh, stdin, timeout_s=timeout_s, limit=limit)


@dataclass
class Show:
    """A fleet with a loop at work. `names` maps who is in the inventory to where it is reached."""

    site: Site
    sim: Sim
    loop: Loop
    names: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def know(self, *names: str, **places: str) -> None:
        """The inventory has these hosts from now on, some of them at other addresses."""
        self.names = {**{name: address(name) for name in names}, **places}
        hosts = tuple(Host(name, Ssh(where)) for name, where in sorted(self.names.items()))
        self.loop.take_inventory(Inventory(hosts, ("test",)))

    def join(self, name: str) -> None:
        self.site.add(name)
        self.know(*self.names, name)

    def leave(self, *names: str) -> None:
        self.know(*(name for name in self.names if name not in names))

    async def settle(self, **more: Any) -> None:
        """Until nothing is left to be done."""
        await self.loop.perform(None, RunOptions(timeout_s=3600, **more), unwatched)

    def starts(self, name: str) -> int:
        """How often a copy was started on a machine."""
        return sum(each.event == "start" for each in self.site.hosts[name].history)

    def decision(self, name: str) -> str:
        assert self.loop.last is not None
        (found,) = [each for each in self.loop.last.plan.decisions if each.node == name]
        return found.reason.value

    def stands(self, revision: str, state: RolloutState) -> bool:
        """Whether this is what is rolled out, and how far it has come."""
        rollout = self.sim.rollout()
        return (rollout.revision, rollout.state) == (revision, state)

    def node(self, name: str) -> NodeRecord:
        (row,) = self.sim.store.read(NodeRecord, name=name)
        return row

    def events(self, name: str) -> list[str]:
        return [row.reason for row in self.sim.store.read(EventRecord) if row.node == name]

    async def until(self, holds: Callable[[], bool], within_s: float = 3600.0) -> None:
        """Until it holds, in virtual time."""
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.5)


@asynccontextmanager
async def shown(*names: str, version: str = "v1", **spec: Any) -> AsyncIterator[Show]:
    """A settled fleet of these hosts under a loop."""
    site = Site(*names)
    sim = Sim(site, names=list(names))
    sim.put(agent(version, **spec))
    async with sim.served() as made:
        show = Show(site, sim, made, {name: address(name) for name in names})
        made.audience.watchers.append(lambda event, fields: show.told.append((event, dict(fields))))
        await show.settle()
        yield show


def virtually(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story in virtual time, with several orders of what happens at once."""

    async def whole() -> None:
        await story()

    for seed in range(3):
        loop.run(whole(), seed=seed)


def revision(sim: Sim, version: str, **spec: Any) -> str:
    return sim.put(agent(version, **spec))


FIVE = ("h1", "h2", "h3", "h4", "h5")


# ------------------------------------------------------------------------------ join and leave


def test_who_joins_gets_a_copy_and_who_leaves_is_left_clean() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            show.join("h6")
            await show.until(lambda: show.starts("h6") == 1)
            show.leave("h2")
            await show.until(lambda: not show.sim.store.read(NodeRecord, name="h2"))
            assert show.site.hosts["h2"].ledger == {}
            assert show.site.hosts["h2"].owner is None
            assert show.sim.store.read(InstanceRecord, node="h2") == ()
            await show.settle()
            assert [show.starts(name) for name in ("h1", "h3", "h4", "h5", "h6")] == [1] * 5

    virtually(story)


def test_who_left_and_does_not_answer_is_cleaned_when_it_is_back() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            show.site.fault("h2", UNREACHABLE)
            await show.until(lambda: bool(show.node("h2").unreachable))
            show.leave("h2")
            await asyncio.sleep(600)
            assert show.node("h2").left
            assert len(show.site.hosts["h2"].ledger) == 1
            show.site.heal("h2")
            await show.until(lambda: not show.sim.store.read(NodeRecord, name="h2"))
            assert show.site.hosts["h2"].ledger == {}

    virtually(story)


@dataclass(frozen=True)
class Stands:
    """How a rollout stands when a host joins, and what that host begins with."""

    version: str
    state: RolloutState
    gets: str
    pause: bool = False


STANDS = {
    "complete": Stands("v2", RolloutState.COMPLETE, "v2"),
    "failed": Stands("bad", RolloutState.FAILED, "v1"),
    "paused": Stands("v2", RolloutState.PAUSED, "v1", pause=True),
    "nobody finished yet": Stands("bad", RolloutState.PROGRESSING, "v1"),
}


@pytest.mark.parametrize("stands", STANDS.values(), ids=STANDS)
def test_who_joins_begins_with_what_the_rollout_calls_for(stands: Stands) -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            known = {"v1": show.sim.revisions()["h1"]}
            if stands.pause:
                rollouts.pause(show.sim.store, AGENT, now=show.loop.clock.now(), who="test")
            known[stands.version] = revision(show.sim, stands.version)
            await show.until(lambda: show.stands(known[stands.version], stands.state))
            show.join("h6")
            await show.until(lambda: "h6" in show.sim.revisions())
            assert show.sim.revisions()["h6"] == known[stands.gets]

    virtually(story)


def test_who_joins_when_one_has_finished_begins_with_the_target() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            target = revision(show.sim, "v2")
            await show.until(
                lambda: (
                    show.stands(target, RolloutState.PROGRESSING)
                    and show.sim.rollout().finished > 0
                )
            )
            show.join("h6")
            await show.until(lambda: "h6" in show.sim.revisions())
            assert show.sim.revisions()["h6"] == target
            await show.settle()
            assert show.starts("h6") == 1
            assert set(show.sim.revisions().values()) == {target}

    virtually(story)


def test_who_joins_a_fleet_that_never_ran_anything_is_as_good_as_the_others() -> None:
    async def story() -> None:
        async with shown("h1", version="bad") as show:
            show.join("h2")
            await show.until(lambda: "h2" in show.sim.revisions())

    virtually(story)


# ----------------------------------------------------------------------------------- the guard


def test_half_an_inventory_removes_nothing_until_somebody_confirms() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            show.leave("h3", "h4", "h5")
            await asyncio.sleep(3600)
            assert len(show.sim.revisions()) == 5
            assert show.decision("h3") == Reason.REMOVAL_GUARD
            assert [show.starts(name) for name in FIVE] == [1] * 5
            await show.settle(confirm_removals=3)
            await show.until(lambda: len(show.sim.store.read(NodeRecord)) == 2)
            assert sorted(show.sim.revisions()) == ["h1", "h2"]

    virtually(story)


def test_a_source_that_is_whole_again_has_cost_nothing() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            show.leave("h2", "h3", "h4", "h5")
            await asyncio.sleep(120)
            show.know(*FIVE)
            await show.settle()
            assert [show.starts(name) for name in FIVE] == [1] * 5
            assert not any(row.left for row in show.sim.store.read(NodeRecord))

    virtually(story)


def test_hosts_that_leave_one_by_one_while_others_are_guarded_stay() -> None:
    """What was refused at once is not had in small pieces."""

    async def story() -> None:
        async with shown(*FIVE) as show:
            for name in ("h5", "h4"):
                show.site.fault(name, UNREACHABLE)
            await show.until(lambda: bool(show.node("h4").unreachable))
            show.leave("h4", "h5")
            await asyncio.sleep(60)
            show.leave("h3")
            await asyncio.sleep(600)
            assert len(show.sim.revisions()) == 5

    virtually(story)


# ------------------------------------------------------------------------------------ identity


def test_another_address_restarts_nothing() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            show.site.move("h2", "elsewhere.fake")
            show.know("h1", "h3", "h4", "h5", h2="elsewhere.fake")
            await show.settle()
            assert show.starts("h2") == 1
            assert len(show.site.hosts["h2"].ledger) == 1
            assert '"elsewhere.fake"' in show.node("h2").ssh_json
            # It is the way by which it is looked after from now on.
            show.site.hosts["h2"].stop(UNIT)
            show.loop.wake("h2", "test")
            await show.until(lambda: show.starts("h2") == 2)

    virtually(story)


def test_another_name_is_the_same_node() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            before = show.node("h2")
            show.site.also("h2", address("web"))
            show.know("h1", "h3", "h4", "h5", "web")
            await show.settle()
            assert show.starts("h2") == 1
            assert show.sim.store.read(NodeRecord, name="h2") == ()
            assert show.node("web").machine_id == before.machine_id
            assert show.node("web").joined == before.joined
            (copy,) = show.sim.store.read(InstanceRecord, node="web")
            assert copy.available

    virtually(story)


def test_one_machine_under_two_names_is_refused_under_both() -> None:
    async def story() -> None:
        async with shown("h1", "h2") as show:
            show.site.also("h1", address("twin"))
            show.know("h1", "h2", "twin")
            await show.until(lambda: show.decision("h1") == Reason.UNREACHABLE)
            revision(show.sim, "v2")
            await asyncio.sleep(600)
            assert show.decision("twin") == Reason.UNREACHABLE
            assert show.starts("h1") == 1
            assert "h1 and twin are one machine" in show.node("h1").unreachable
            assert "h1 and twin are one machine" in show.node("twin").unreachable
            show.know("h1", "h2")
            await show.until(lambda: not show.node("h1").unreachable)
            await show.settle()
            assert len(set(show.sim.revisions().values())) == 1
            assert show.starts("h1") == 2
            assert len(show.site.hosts["h1"].ledger) == 1

    virtually(story)


# ---------------------------------------------------------------------------------- quarantine


def test_a_machine_that_was_installed_anew_is_left_alone_until_it_is_enrolled() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            old = show.site.hosts["h2"]
            new = show.site.install("h2")
            show.site.strange.add("h2")
            show.loop.wake("h2", "the connection was lost")
            await show.until(lambda: show.decision("h2") == Reason.QUARANTINED)
            assert show.node("h2").quarantined
            target = revision(show.sim, "v2")
            show.site.visits.clear()
            await asyncio.sleep(3600)
            assert "h2" not in show.site.visits
            assert (new.ledger, new.history, new.owner) == ({}, [], None)
            assert {show.sim.revisions()[name] for name in FIVE if name != "h2"} == {target}
            assert [fields["node"] for event, fields in show.told if event == "quarantined"] == [
                "h2"
            ]
            assert show.events("h2").count("HostKeyChanged") == 1

            show.site.strange.clear()
            await show.until(lambda: "h2" in show.sim.revisions())
            await show.settle()
            # A start of the target, not an update from what the old machine had.
            assert [each.event for each in new.history] == ["start"]
            assert show.sim.revisions()["h2"] == target
            assert show.node("h2").machine_id == new.machine_id != old.machine_id
            assert "MachineReplaced" in show.events("h2")
            slots = show.sim.store.read(SlotRecord, node="h2")
            assert all(slot.released for slot in slots)

    virtually(story)


class Console:
    """Host keys as an operator pins them: then the host is no stranger any more."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def scan(self, name: str, ssh: Ssh) -> Scanned:
        return Scanned("ssh-ed25519 AAAA", "SHA256:x")

    def pin(self, name: str, ssh: Ssh, key: str) -> bool:
        self.site.strange.discard(name)
        return True


@dataclass
class Known:
    """A state, as a client wants it."""

    store: Store
    fleet: Fleet | None = FLEET


def test_who_is_enrolled_is_looked_at_at_once() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            show.site.strange.add("h2")
            show.loop.wake("h2", "the connection was lost")
            await show.until(lambda: show.node("h2").quarantined)
            await asyncio.sleep(3600)
            client = Local(
                state=Known(show.sim.store),
                transport=show.site,
                streams=show.site,
                keys=Console(show.site),
                clock=show.loop.clock,
                sink=Quiet(),
                sources=("test",),
                who="test",
                stdin=io.BytesIO(),
                fresh_id=lambda: "id",
                fresh_key=lambda: b"key",
                read=lambda: show.loop.inventory,
                loop=show.loop,
            )
            done = await client.enroll(["h2"], every=False, accept=True, progress=unwatched)
            assert done == (("h2", "pinned SHA256:x"),)
            await show.until(lambda: not show.node("h2").quarantined, within_s=1.0)

    virtually(story)


def test_a_machine_replaced_in_the_middle_of_its_update_holds_up_nobody() -> None:
    async def story() -> None:
        async with shown(*FIVE) as show:
            target = revision(show.sim, "v2")
            await show.until(lambda: bool(show.sim.store.read(SlotRecord, node="h1")), 60)
            show.site.install("h1")
            show.site.strange.add("h1")
            show.loop.wake("h1", "the connection was lost")
            await show.until(lambda: show.node("h1").quarantined)
            await asyncio.sleep(60)
            show.site.strange.clear()
            await show.until(lambda: set(show.sim.revisions().values()) == {target})
            await show.settle()
            assert show.sim.rollout().state is RolloutState.COMPLETE
            assert len(show.sim.revisions()) == 5

    virtually(story)


def test_who_shows_the_pinned_key_again_was_the_same_all_along() -> None:
    """Somebody else answered at its address for a while."""

    async def story() -> None:
        async with shown(*FIVE) as show:
            show.site.strange.add("h2")
            show.loop.wake("h2", "the connection was lost")
            await show.until(lambda: show.node("h2").quarantined)
            await asyncio.sleep(600)
            show.site.strange.clear()
            await show.until(lambda: not show.node("h2").quarantined)
            await show.settle()
            assert show.starts("h2") == 1
            assert "MachineReplaced" not in show.events("h2")

    virtually(story)
