from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from fleetd.core.node import STREAMS_LABEL, Host, Inventory, Ssh
from fleetd.core.stream import Budget, EventKind, StreamState
from fleetd.engine.following import AGAIN, AT_ONCE, DEAF, Following
from fleetd.engine.listening import BEAT_S, CANARY_S, GRACE_S, OPEN_S
from fleetd.host.replies import begin_mark
from fleetd.host.requests import Follow
from fleetd.host.wire import decode
from fleetd.ports import Follows, Output
from fleetd.testing.fleet import KEEPALIVE_S, FakeFleet, Fault, address
from fleetd.testing.loop import LoopClock, run
from fleetd.testing.units import Behaviour, SimUnit

UNIT = "fleetd-default.agent.main.a.service"


@dataclass
class Heard:
    """What a loop and a log would hear, each with its time."""

    wakes: list[tuple[str, str]] = field(default_factory=list)
    states: list[tuple[str, StreamState]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def wake(self, node: str, why: str) -> None:
        self.wakes.append((node, why))

    def note_stream(self, node: str, state: StreamState) -> None:
        self.states.append((node, state))

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def whys(self, node: str = "web") -> list[str]:
        return [why for name, why in self.wakes if name == node]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]


@asynccontextmanager
async def following(
    follows: Follows, inventory: Inventory, *, enabled: bool = True
) -> AsyncIterator[tuple[Following, Heard]]:
    heard = Heard()
    streams = Following(follows, heard, LoopClock(), heard, Random(1), enabled=enabled)
    streams.take_inventory(inventory)
    running = asyncio.create_task(streams.run())
    yield streams, heard
    running.cancel()
    await asyncio.wait([running])


def inventory(*names: str, **labels: str) -> Inventory:
    return Inventory(tuple(Host(name, Ssh(address(name)), labels) for name in names), ())


def with_agent(fleet: FakeFleet, behaviour: Behaviour | None = None) -> SimUnit:
    host = fleet.hosts["web"]
    unit = SimUnit(UNIT, "web", f"/etc/systemd/system/{UNIT}", enabled=True)
    if behaviour:
        unit.behaviour = behaviour
    host.units[UNIT] = unit
    unit.start(host.uptime_s)
    return unit


def played(main: Callable[[], Awaitable[None]], seed: int = 1) -> None:
    """Play it in virtual time."""

    async def whole() -> None:
        await main()

    run(whole(), seed=seed)


def test_a_stream_is_live_once_its_journal_has_told() -> None:
    async def main() -> None:
        async with following(FakeFleet(["web"]), inventory("web")) as (streams, heard):
            assert streams.states["web"][0] is StreamState.DOWN
            await asyncio.sleep(1)
            assert heard.states == [("web", StreamState.LIVE)]
            assert heard.of("stream") == [
                {"node": "web", "state": "live", "why": "its journal tells"}
            ]
            assert streams.states["web"] == (StreamState.LIVE, "its journal tells")

    played(main)


DAMAGES: dict[str, tuple[Callable[[FakeFleet], None], list[str]]] = {
    "crash": (lambda fleet: fleet.hosts["web"].crash(UNIT), [f"process exited: {UNIT}"]),
    "stop": (lambda fleet: fleet.hosts["web"].stop(UNIT), [f"unit stopped: {UNIT}"]),
    "disable": (lambda fleet: fleet.hosts["web"].disable(UNIT), ["systemd reloads"]),
    "mask": (
        lambda fleet: fleet.hosts["web"].mask(UNIT),
        ["systemd reloads", f"unit stopped: {UNIT}"],
    ),
}


@pytest.mark.parametrize(("damage", "whys"), DAMAGES.values(), ids=DAMAGES)
def test_what_happens_on_a_host_wakes_the_loop_for_it(
    damage: Callable[[FakeFleet], None], whys: list[str]
) -> None:
    async def main() -> None:
        fleet = FakeFleet(["web", "db"])
        with_agent(fleet)
        async with following(fleet, inventory("web", "db")) as (_, heard):
            await asyncio.sleep(1)
            assert heard.wakes == []
            damage(fleet)
            await asyncio.sleep(0.1)
            assert heard.whys() == whys[:1]  # one look is enough
            assert heard.whys("db") == []
            told = [(fields["node"], fields["why"]) for fields in heard.of("stream_event")]
            assert told == [("web", why) for why in whys]

    played(main)


def test_a_crash_loop_wakes_each_time_and_is_told_as_it_goes_on() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        with_agent(fleet, Behaviour(dies_after_s=3, restart_s=5))
        async with following(fleet, inventory("web")) as (_, heard):
            await asyncio.sleep(25)
            exits = [why for why in heard.whys() if why.startswith("process exited")]
            starts = [why for why in heard.whys() if why.startswith("unit started")]
            assert (len(exits), len(starts)) == (3, 3)

    played(main)


def test_a_reboot_is_a_loss_and_then_a_live_stream_again() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        with_agent(fleet)
        async with following(fleet, inventory("web")) as (_, heard):
            await asyncio.sleep(100)
            fleet.hosts["web"].reboot(down_s=30)
            await asyncio.sleep(29)
            assert [state for _, state in heard.states] == [StreamState.LIVE, StreamState.DOWN]
            await asyncio.sleep(1 + AGAIN.longest)
            assert heard.states[-1] == ("web", StreamState.LIVE)
            assert f"unit started: {UNIT}" in heard.whys()  # from the journal of the new boot

    played(main)


def test_after_a_loss_nothing_that_the_journal_kept_is_missed() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        with_agent(fleet)
        async with following(fleet, inventory("web")) as (_, heard):
            await asyncio.sleep(10)
            fleet.fault("web", Fault(unreachable=True))
            await asyncio.sleep(KEEPALIVE_S + 1)
            assert heard.states[-1] == ("web", StreamState.DOWN)
            fleet.hosts["web"].stop(UNIT)
            assert heard.wakes == []
            fleet.heal("web")
            await asyncio.sleep(AGAIN.longest + 1)
            assert heard.states[-1] == ("web", StreamState.LIVE)
            assert heard.whys() == [f"unit stopped: {UNIT}"]

    played(main)


def test_after_a_long_loss_a_stream_begins_anew() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        with_agent(fleet)
        async with following(fleet, inventory("web")) as (_, heard):
            await asyncio.sleep(10)
            fleet.fault("web", Fault(unreachable=True))
            await asyncio.sleep(KEEPALIVE_S + 1)
            fleet.hosts["web"].stop(UNIT)
            await asyncio.sleep(3600)
            fleet.heal("web")
            await asyncio.sleep(AGAIN.longest + 1)
            assert heard.states[-1] == ("web", StreamState.LIVE)
            assert heard.wakes == []

    played(main)


def test_a_host_whose_journal_tells_nothing_is_polled_and_tried_again_later() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.hosts["web"].journal.deaf = True
        async with following(fleet, inventory("web")) as (_, heard):
            await asyncio.sleep(CANARY_S + 1)
            assert heard.states == [("web", StreamState.POLLING)]
            (told,) = heard.of("stream")
            assert told["why"] == "its journal tells nothing"
            fleet.hosts["web"].journal.deaf = False
            await asyncio.sleep(DEAF.longest + 1)
            assert heard.states[-1] == ("web", StreamState.LIVE)

    played(main)


def test_a_journal_that_falls_silent_is_noticed_and_its_stream_replaced() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        async with following(fleet, inventory("web")) as (_, heard):
            await asyncio.sleep(BEAT_S * 10 + 10)
            assert [state for _, state in heard.states] == [StreamState.LIVE]
            fleet.hosts["web"].journal.deaf = True
            await asyncio.sleep(BEAT_S + GRACE_S + 1)
            assert heard.of("stream_replaced") == [
                {"node": "web", "why": "its journal fell silent"}
            ]
            assert heard.states[-1] == ("web", StreamState.DOWN)
            await asyncio.sleep(CANARY_S + 3)
            assert heard.states[-1] == ("web", StreamState.POLLING)
            fleet.hosts["web"].journal.deaf = False
            await asyncio.sleep(DEAF.longest)
            assert heard.states[-1] == ("web", StreamState.LIVE)

    played(main)


def test_beats_wake_nobody_and_are_few() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        async with following(fleet, inventory("web")) as (streams, heard):
            await asyncio.sleep(24 * 3600)
            assert heard.wakes == []
            assert len(heard.events) == 1
            assert streams.states["web"][0] is StreamState.LIVE

    played(main)


def test_a_host_out_of_reach_is_tried_with_growing_pauses() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.fault("web", Fault(unreachable=True))
        tried: list[float] = []

        class Counting:
            async def follow(self, *args: Any) -> Output:
                tried.append(asyncio.get_running_loop().time())
                return await fleet.follow(*args)

        async with following(Counting(), inventory("web")) as (_, heard):
            await asyncio.sleep(3600)
            assert [state for _, state in heard.states] == [StreamState.DOWN]
            assert heard.of("stream")[0]["why"] == "web: no answer in time (simulated)"
        pauses = [after - before for before, after in pairwise(tried)]
        assert pauses[0] < 2
        assert max(pauses) <= AGAIN.longest + 0.1
        assert 3600 / AGAIN.longest < len(tried) < 3600 / (AGAIN.longest / 2) + 10

    played(main)


def test_a_host_that_was_just_reached_is_followed_at_once() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web"])
        fleet.fault("web", Fault(unreachable=True))
        async with following(fleet, inventory("web")) as (streams, heard):
            await asyncio.sleep(600)
            fleet.heal("web")
            streams.hurry("web")
            streams.hurry("nobody")
            await asyncio.sleep(0.2)
            assert heard.states[-1] == ("web", StreamState.LIVE)

    played(main)


def test_streams_can_be_turned_off_for_all_and_for_one() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web", "db"])
        off = Inventory(
            (
                Host("db", Ssh(address("db")), {STREAMS_LABEL: "off"}),
                Host("web", Ssh(address("web"))),
            ),
            (),
        )
        async with following(fleet, off) as (streams, _):
            await asyncio.sleep(1)
            assert streams.states["db"] == (StreamState.POLLING, "its label fleetd/streams is off")
            assert streams.states["web"][0] is StreamState.LIVE
            streams.take_inventory(inventory("web", "db"))
            await asyncio.sleep(1)
            assert {state for state, _ in streams.states.values()} == {StreamState.LIVE}
            streams.take_inventory(off)
            await asyncio.sleep(1)
            assert streams.states["db"][0] is StreamState.POLLING
        async with following(fleet, inventory("web"), enabled=False) as (streams, heard):
            await asyncio.sleep(1)
            assert streams.states["web"] == (StreamState.POLLING, "streams are turned off")
            assert heard.states == [("web", StreamState.POLLING)]

    played(main)


def test_streams_follow_the_inventory() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web", "db", "new"])
        with_agent(fleet)
        async with following(fleet, inventory("web", "db")) as (streams, heard):
            await asyncio.sleep(1)
            streams.take_inventory(inventory("db", "new"))
            await asyncio.sleep(1)
            assert set(streams.states) == {"db", "new"}
            assert ("new", StreamState.LIVE) in heard.states
            assert heard.states.count(("db", StreamState.LIVE)) == 1
            fleet.hosts["web"].stop(UNIT)
            await asyncio.sleep(0.1)
            assert heard.wakes == []

    played(main)


def test_a_host_that_moved_is_followed_where_it_is_now() -> None:
    async def main() -> None:
        fleet = FakeFleet(["web", "elsewhere"])
        moved = Inventory((Host("web", Ssh(address("elsewhere"))),), ())
        async with following(fleet, inventory("web")) as (streams, heard):
            await asyncio.sleep(1)
            streams.take_inventory(moved)
            await asyncio.sleep(1)
            fleet.hosts["web"].journal.note(EventKind.STOPPED, UNIT)
            await asyncio.sleep(0.1)
            assert heard.wakes == []
            fleet.hosts["elsewhere"].journal.note(EventKind.STOPPED, UNIT)
            await asyncio.sleep(0.1)
            assert len(heard.wakes) == 1

    played(main)


@dataclass
class Talking:
    """A host that says what it is told to, and then ends so, or never."""

    says: Callable[[str], list[bytes]]
    end: Output | None = None
    calls: int = 0
    cancelled: int = 0
    most: int = 0
    open: int = 0

    async def follow(
        self, name: str, ssh: Ssh, stdin: bytes, on_stdout: Callable[[bytes], None]
    ) -> Output:
        self.calls += 1
        nonce, request = decode(stdin)
        assert isinstance(request, Follow)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(0.1)
            for data in self.says(nonce):
                on_stdout(data)
            if self.end is not None:
                return self.end
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1


def begun(*more: bytes) -> Callable[[str], list[bytes]]:
    return lambda nonce: [b"Welcome!\n", f"{begin_mark(nonce)}\n".encode(), *more]


BEAT = b'{"UNIT":"fleetd_watch-1-beat.service"}\n'
TALKS: dict[str, tuple[Talking, StreamState, str]] = {
    "never begins": (Talking(lambda _: [b"Welcome!\n"]), StreamState.DOWN, "did not begin"),
    "begins for another": (
        Talking(lambda _: [b"FLEETD1 00000000 BEGIN\n", BEAT]),
        StreamState.DOWN,
        "did not begin",
    ),
    "beats before it begins": (Talking(lambda _: [BEAT]), StreamState.DOWN, "did not begin"),
    "no journal": (
        Talking(begun(b"said\tNo journal files were found.\n")),
        StreamState.POLLING,
        "tells nothing: No journal files were found.",
    ),
    "ends at once": (
        Talking(begun(b"said\tno systemd-run\n"), Output(0)),
        StreamState.POLLING,
        "no systemd-run",
    ),
    "ends without a word": (Talking(begun(), Output(0)), StreamState.POLLING, "cannot be read"),
    "sudo refuses": (
        Talking(lambda _: [], Output(1, stderr=b"sudo: a password is required\n")),
        StreamState.DOWN,
        "sudo: a password is required",
    ),
    "floods": (
        Talking(begun(BEAT, b"x" * (Budget.BURST + 1))),
        StreamState.POLLING,
        "too much at once",
    ),
    "floods before it begins": (
        Talking(lambda _: [b"x" * (Budget.BURST + 1)]),
        StreamState.POLLING,
        "too much at once",
    ),
}


@pytest.mark.parametrize(("talking", "state", "why"), TALKS.values(), ids=TALKS)
def test_a_host_that_cannot_be_followed_is_said_to_be(
    talking: Talking, state: StreamState, why: str
) -> None:
    async def main() -> None:
        async with following(talking, inventory("web")) as (_, heard):
            await asyncio.sleep(OPEN_S + CANARY_S + 5)
            told = [fields for fields in heard.of("stream") if fields["state"] != "live"]
            assert told[0]["state"] == state
            assert why in told[0]["why"]
            if talking.end:
                assert talking.cancelled == 0
        assert talking.open == 0
        if not talking.end:
            assert talking.cancelled == talking.calls

    played(main)


def test_a_stream_that_lives_for_moments_is_not_opened_without_end() -> None:
    async def main() -> None:
        talking = Talking(begun(BEAT), Output(None, error="lost"))
        async with following(talking, inventory("web")) as (_, heard):
            await asyncio.sleep(600)
            assert heard.states[:3] == [
                ("web", StreamState.LIVE),
                ("web", StreamState.DOWN),
                ("web", StreamState.LIVE),
            ]
        assert talking.calls < 60

    played(main)


def test_streams_are_opened_so_many_at_a_time() -> None:
    async def main() -> None:
        talking = Talking(lambda _: [])
        names = [f"h{number}" for number in range(AT_ONCE * 2)]
        async with following(talking, inventory(*names)):
            await asyncio.sleep(1)
            assert talking.open == AT_ONCE
        assert talking.most == AT_ONCE
        ready = Talking(begun())
        async with following(ready, inventory(*names)):
            await asyncio.sleep(1)
            assert ready.open == len(names)

    played(main)


def test_hosts_out_of_reach_delay_nobody() -> None:
    async def main() -> None:
        dead = [f"dead{number}" for number in range(AT_ONCE * 3)]
        live = FakeFleet(["web"])
        silent = Talking(lambda _: [])

        class Both:
            async def follow(self, name: str, *args: Any) -> Output:
                chosen: Follows = live if name == "web" else silent
                return await chosen.follow(name, *args)

        async with following(Both(), inventory(*dead)) as (streams, heard):
            await asyncio.sleep(OPEN_S * 20)
            streams.take_inventory(inventory("web", *dead))
            await asyncio.sleep(1)
            assert ("web", StreamState.LIVE) in heard.states

    played(main)
