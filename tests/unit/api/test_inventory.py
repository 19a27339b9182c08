from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from fleetd.api.inventory import TRIES, LiveInventory, off_thread
from fleetd.api.reading import SOURCES
from fleetd.core.node import Host, Inventory, Ssh
from fleetd.core.records import EventRecord, Setting
from fleetd.errors import InvalidInput, InventoryUnknown
from fleetd.ports import Put
from fleetd.testing.loop import LoopClock, run as run_virtually
from fleetd.testing.store import FakeStore

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    return run_virtually(main, seed=1)


def inventory(*names: str, source: str = "hosts.yaml") -> Inventory:
    hosts = tuple(Host(name, Ssh(f"{name}.test")) for name in sorted(names))
    return Inventory(hosts, (source,))


@dataclass
class Rig:
    """A live inventory over answers that are given one by one; the last one stays."""

    answers: list[Inventory | Exception]
    taken: list[Inventory] = field(default_factory=list)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    store: FakeStore = field(default_factory=FakeStore)
    reads: int = 0

    def emit(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))

    async def read(self) -> Inventory:
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def live(self, *names: str) -> LiveInventory:
        return LiveInventory(
            inventory(*names), self.read, self.store, LoopClock(), self, (self.taken.append,)
        )

    def events(self) -> list[tuple[str, str, int]]:
        return [(row.reason, row.message, row.count) for row in self.store.read(EventRecord)]


def causes(*words: str) -> AsyncIterator[str]:
    async def each() -> AsyncIterator[str]:
        for word in words:
            yield word

    return each()


def test_hosts_join_at_once() -> None:
    rig = Rig([inventory("a", "b")])
    live = rig.live("a")
    run(live.follow(causes("hosts.yaml: changed")))
    assert rig.taken == [live.now] == [inventory("a", "b")]
    assert rig.told == [("inventory_changed", {"joined": ["b"], "left": [], "changed": []})]
    assert rig.events() == [("InventoryChanged", "joined: b", 1)]
    assert rig.reads == 1


def test_another_address_is_a_change() -> None:
    moved = Inventory((Host("a", Ssh("192.0.2.9")),), ("hosts.yaml",))
    rig = Rig([moved])
    run(rig.live("a").again("SIGHUP"))
    assert rig.told == [("inventory_changed", {"joined": [], "left": [], "changed": ["a"]})]
    assert rig.taken == [moved]


def test_the_same_again_is_no_change() -> None:
    rig = Rig([inventory("a")])
    assert run(rig.live("a").again("due"))
    assert (rig.taken, rig.told, rig.events()) == ([], [], [])


def test_who_leaves_must_be_missing_twice() -> None:
    rig = Rig([inventory("a"), inventory("a")])
    live = rig.live("a", "b")
    run(live.again("changed"))
    assert rig.reads == 2
    assert rig.told == [("inventory_changed", {"joined": [], "left": ["b"], "changed": []})]
    assert rig.taken == [inventory("a")]


def test_a_file_that_is_half_written_lets_nobody_go() -> None:
    """Cut between two entries it is as good a file as any."""
    rig = Rig([inventory("a"), inventory("a", "b", "c")])
    live = rig.live("a", "b", "c")
    run(live.again("changed"))
    assert live.now == inventory("a", "b", "c")
    assert (rig.taken, rig.told) == ([], [])


def test_a_source_that_never_says_the_same_twice_is_not_believed() -> None:
    rig = Rig([inventory("a", f"x{number}") for number in range(TRIES + 1)])
    live = rig.live("a", "b")
    assert not run(live.again("due"))
    assert live.now == inventory("a", "b")
    assert [event for event, _ in rig.told] == ["inventory_failed"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InventoryUnknown("hosts.yaml: is empty"), id="unknown"),
        pytest.param(InvalidInput("hosts.yaml:3: not a map"), id="invalid"),
    ],
)
def test_what_cannot_be_read_changes_nothing_and_is_told_each_time(error: Exception) -> None:
    rig = Rig([error])
    live = rig.live("a", "b")
    run(live.follow(causes("changed", "due")))
    assert live.now == inventory("a", "b")
    assert rig.taken == []
    assert [event for event, _ in rig.told] == ["inventory_failed"] * 2
    assert rig.told[0][1]["why"] == str(error)
    assert rig.told[0][1]["cause"] == "changed"
    [(reason, message, count)] = rig.events()
    assert (reason, count) == ("InventoryFailed", 2)
    assert "hosts.yaml" in message


def test_a_source_that_fails_on_the_second_reading_lets_nobody_go() -> None:
    rig = Rig([inventory("a"), InventoryUnknown("gone")])
    live = rig.live("a", "b")
    assert not run(live.again("changed"))
    assert live.now == inventory("a", "b")
    assert live.failing


def test_that_it_can_be_read_again_is_told_once() -> None:
    rig = Rig([InventoryUnknown("exit 7"), inventory("a")])
    live = rig.live("a")
    run(live.follow(causes("due", "due", "due")))
    assert [event for event, _ in rig.told] == ["inventory_failed", "inventory_changed"]
    assert rig.taken == []
    assert not live.failing


def test_other_sources_than_those_of_the_state_are_not_taken() -> None:
    rig = Rig([inventory("z", source="other.yaml")])
    rig.store.commit([Put(Setting(SOURCES, "hosts.yaml"))])
    live = rig.live("a")
    assert not run(live.again("SIGHUP"))
    assert rig.taken == []
    assert "--new-inventory" in live.failing


def test_two_at_once_read_one_after_the_other_and_the_later_one_wins() -> None:
    rig = Rig([inventory("a", "b"), inventory("a", "b", "c")])
    live = rig.live("a")

    async def both() -> None:
        await asyncio.gather(live.again("changed"), live.again("SIGHUP"))

    run(both())
    assert live.now == inventory("a", "b", "c")
    assert [len(each.hosts) for each in rig.taken] == [2, 3]


def test_many_names_are_cut_in_the_event_only() -> None:
    names = [f"h{number:02}" for number in range(15)]
    rig = Rig([inventory(*names)])
    run(rig.live().again("changed"))
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
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)

    waiting = asyncio.create_task(off_thread(work))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    go_on.set()
