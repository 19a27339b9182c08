from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleetd.api.reading import SOURCES
from fleetd.core.node import Host, Inventory, Ssh
from fleetd.core.records import EventRecord, Setting
from fleetd.errors import FleetdError, InvalidInput, InventoryUnknown, Refused
from fleetd.ports import Put
from fleetd.server.sources import AGAIN_S, RETRY_S, TRIES, Sources, off_thread
from fleetd.testing.store import FakeStore


def inventory(*names: str, source: str = "hosts.yaml") -> Inventory:
    hosts = tuple(Host(name, Ssh(f"{name}.test")) for name in sorted(names))
    return Inventory(hosts, (source,))


@dataclass
class Rig:
    """An inventory over answers that are given one by one; the last one stays."""

    answers: list[Inventory | Exception]
    taken: list[Inventory] = field(default_factory=list)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    store: FakeStore = field(default_factory=FakeStore)
    slept: list[float] = field(default_factory=list)
    reads: int = 0

    def emit(self, event: str, **fields: Any) -> None:
        if event != "inventory_read":
            self.told.append((event, fields))

    def now(self) -> float:
        return 1000.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def read(self) -> Inventory:
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sources(self, *names: str) -> Sources:
        """The inventory in force has these hosts."""
        sources = Sources(self.read, self.taken.append, self, self, self.store)
        if names:
            sources.known, sources.trouble = inventory(*names), ""
            sources.arrived.set()
        return sources

    def events(self) -> list[tuple[str, str, int]]:
        return [(row.reason, row.message, row.count) for row in self.store.read(EventRecord)]


async def test_hosts_join_at_once() -> None:
    rig = Rig([inventory("a", "b")])
    sources = rig.sources("a")
    assert await sources.again()
    assert rig.taken == [sources.inventory()] == [inventory("a", "b")]
    assert rig.told == [("inventory_changed", {"joined": ["b"], "left": [], "changed": []})]
    assert rig.events() == [("InventoryChanged", "joined: b", 1)]
    assert rig.reads == 1


async def test_another_address_is_a_change() -> None:
    moved = Inventory((Host("a", Ssh("192.0.2.9")),), ("hosts.yaml",))
    rig = Rig([moved])
    await rig.sources("a").again()
    assert rig.told == [("inventory_changed", {"joined": [], "left": [], "changed": ["a"]})]
    assert rig.taken == [moved]


async def test_the_same_again_is_no_change() -> None:
    rig = Rig([inventory("a")])
    assert await rig.sources("a").again()
    assert (rig.taken, rig.told, rig.events()) == ([], [], [])


async def test_who_leaves_must_be_missing_twice() -> None:
    rig = Rig([inventory("a")])
    await rig.sources("a", "b").again()
    assert (rig.reads, rig.slept) == (2, [AGAIN_S])
    assert rig.told == [("inventory_changed", {"joined": [], "left": ["b"], "changed": []})]
    assert rig.taken == [inventory("a")]


async def test_a_file_that_is_half_written_lets_nobody_go() -> None:
    """Cut between two entries it is as good a file as any."""
    rig = Rig([inventory("a"), inventory("a", "b", "c")])
    sources = rig.sources("a", "b", "c")
    assert await sources.again()
    assert sources.inventory() == inventory("a", "b", "c")
    assert (rig.taken, rig.told) == ([], [])


async def test_a_source_that_never_says_the_same_twice_is_not_believed() -> None:
    rig = Rig([inventory("a", f"x{number}") for number in range(TRIES + 1)])
    sources = rig.sources("a", "b")
    assert not await sources.again()
    assert sources.inventory() == inventory("a", "b")
    assert [event for event, _ in rig.told] == ["inventory_failed"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InventoryUnknown("hosts.yaml: is empty"), id="unknown"),
        pytest.param(InvalidInput("hosts.yaml:3: not a map"), id="invalid"),
    ],
)
async def test_what_cannot_be_read_changes_nothing_and_says_so(error: FleetdError) -> None:
    rig = Rig([error])
    sources = rig.sources("a", "b")
    assert [await sources.again(), await sources.again()] == [False, False]
    assert sources.inventory() == inventory("a", "b")
    assert rig.taken == []
    assert rig.told == [("inventory_failed", {"why": str(error)})]
    [(reason, message, count)] = rig.events()
    assert (reason, count) == ("InventoryFailed", 2)
    assert "hosts.yaml" in message


async def test_a_source_that_fails_on_the_second_reading_lets_nobody_go() -> None:
    rig = Rig([inventory("a"), InventoryUnknown("gone")])
    sources = rig.sources("a", "b")
    assert not await sources.again()
    assert sources.inventory() == inventory("a", "b")
    assert "gone" in sources.trouble


async def test_that_it_can_be_read_again_is_told_once() -> None:
    rig = Rig([InventoryUnknown("exit 7"), inventory("a")])
    sources = rig.sources("a")
    for _ in range(3):
        await sources.again()
    assert [(reason, count) for reason, _, count in rig.events()] == [
        ("InventoryFailed", 1),
        ("InventoryRead", 1),
    ]
    assert (rig.taken, sources.trouble) == ([], "")


async def test_other_sources_than_those_of_the_state_are_not_taken() -> None:
    rig = Rig([inventory("z", source="other.yaml")])
    rig.store.commit([Put(Setting(SOURCES, "hosts.yaml"))])
    sources = rig.sources("a")
    assert not await sources.again()
    assert rig.taken == []
    assert "--new-inventory" in sources.trouble


async def test_the_start_ends_where_only_a_person_can_mend_it() -> None:
    with pytest.raises(InvalidInput, match="not a map"):
        await Rig([InvalidInput("not a map")]).sources().begin()
    rig = Rig([inventory("z", source="other.yaml")])
    rig.store.commit([Put(Setting(SOURCES, "hosts.yaml"))])
    with pytest.raises(Refused):
        await rig.sources().begin()


async def test_the_start_waits_for_what_is_unknown() -> None:
    rig = Rig([InventoryUnknown("exit 7"), InventoryUnknown("exit 7"), inventory("a")])
    sources = rig.sources()
    await sources.begin()
    with pytest.raises(InventoryUnknown, match="exit 7"):
        sources.inventory()
    assert not sources.arrived.is_set()
    retrying = asyncio.create_task(sources.retry())
    async with asyncio.timeout(30):
        await sources.arrived.wait()
    retrying.cancel()
    assert sources.inventory() == inventory("a")
    assert rig.slept[:2] == [RETRY_S, RETRY_S]


async def test_two_at_once_read_one_after_the_other_and_the_later_one_wins() -> None:
    rig = Rig([inventory("a", "b"), inventory("a", "b", "c")])
    sources = rig.sources("a")
    await asyncio.gather(sources.again(), sources.again())
    assert sources.inventory() == inventory("a", "b", "c")
    assert [len(each.hosts) for each in rig.taken] == [2, 3]


async def test_many_names_are_cut_in_the_event_only() -> None:
    names = [f"h{number:02}" for number in range(15)]
    rig = Rig([inventory("a", *names)])
    await rig.sources("a").again()
    assert rig.told[0][1]["joined"] == names
    [(_, message, _)] = rig.events()
    assert message.endswith("h09 and 5 more")


async def test_work_off_the_thread_brings_its_result_or_its_error() -> None:
    here = threading.current_thread()
    assert await off_thread(threading.current_thread) is not here

    def fail() -> None:
        raise InventoryUnknown("no")

    with pytest.raises(InventoryUnknown, match="no"):
        await off_thread(fail)


async def test_work_that_is_not_awaited_any_more_holds_up_nobody() -> None:
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)
        over.set()

    waiting = asyncio.create_task(off_thread(work))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert not over.is_set()
    go_on.set()
