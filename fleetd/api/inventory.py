"""The inventory of a service that runs: read again whenever there is a reason to.

What cannot be read whole is not known: the inventory that was known before stays in force, nobody
leaves, and people are told. Hosts join at once. That hosts *leave* is believed only when a second
reading says the very same a moment later: a file that is just being written over in place, or a
program that is asked in the middle of a change, looks like a farewell. How many may leave at once
is for the guard of removals to judge (see `core.guard`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from fleetd.api.reading import sources
from fleetd.core.key import Key
from fleetd.core.node import Host, Inventory
from fleetd.core.records import EventRecord
from fleetd.engine.recording import events
from fleetd.errors import FleetdError, InventoryUnknown
from fleetd.ports import Clock, EventSink, Store

AGAIN_S = 1.0
"""Between the two readings that must agree before a host counts as gone."""
TRIES = 5
NAMED = 10
"""As many names stand in an event; a log has them all."""
T = TypeVar("T")
Taker = Callable[[Inventory], None]


async def off_thread(work: Callable[[], T]) -> T:
    """Run what blocks on a thread of its own, which no shutdown waits for.

    A program that lists hosts may take a minute; the loop's own threads are joined at the end.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  # one of the two is there
        else:
            done.set_exception(error)

    def run() -> None:
        result, trouble = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            trouble = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, trouble)

    threading.Thread(target=run, name="read the inventory", daemon=True).start()
    return await done


@dataclass(slots=True)
class LiveInventory:
    """The inventory in force, and those who take each new one.

    `read` reads all sources, off the loop's thread. `takers` are called in their order, on the
    loop's thread, each time that the inventory has changed.
    """

    now: Inventory
    read: Callable[[], Awaitable[Inventory]]
    store: Store
    clock: Clock
    sink: EventSink
    takers: tuple[Taker, ...] = ()
    failing: str = ""
    """What was wrong with the sources at the last reading; "" when nothing was."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def follow(self, causes: AsyncIterable[str]) -> None:
        """Read again at each cause, until there are no more."""
        async for cause in causes:
            await self.again(cause)

    async def again(self, cause: str) -> bool:
        """Read the sources now; whether they could be read. Of several callers one at a time."""
        async with self._turn:
            try:
                fresh = await self._settled()
            except FleetdError as error:
                self._failed(cause, str(error))
                return False
            self._take(fresh)
            return True

    async def _settled(self) -> Inventory:
        """The inventory as it is now, read twice where hosts would leave."""
        fresh = await self.read()
        self._check_sources(fresh)
        here = {host.name for host in self.now.hosts}
        for _ in range(TRIES):
            if here <= {host.name for host in fresh.hosts}:
                return fresh
            await self.clock.sleep(AGAIN_S)
            before, fresh = fresh, await self.read()
            if fresh == before:
                return fresh
        raise InventoryUnknown("the sources are being changed: no two readings agreed")

    def _check_sources(self, fresh: Inventory) -> None:
        was = sources(self.store)
        if was and was != fresh.sources:
            raise InventoryUnknown(
                f"this state was last used with another inventory: {', '.join(was)}; now: "
                f"{', '.join(fresh.sources)}. Say `fleetd reconcile --new-inventory` if that is "
                "meant"
            )

    def _failed(self, cause: str, why: str) -> None:
        self.failing = why
        self.sink.emit("inventory_failed", why=why, cause=cause)
        first = why.partition("\n")[0]
        self._tell("InventoryFailed", f"the inventory of before stays: {first}", warning=True)

    def _take(self, fresh: Inventory) -> None:
        joined, left, changed = difference(self.now, fresh)
        recovered, self.failing = bool(self.failing), ""
        if not (joined or left or changed or recovered):
            return
        self.now = fresh
        self.sink.emit("inventory_changed", joined=joined, left=left, changed=changed)
        parts = {"joined": joined, "left": left, "changed": changed}
        text = "; ".join(f"{word}: {_some(names)}" for word, names in parts.items() if names)
        self._tell("InventoryChanged", text or "can be read again", warning=False)
        if joined or left or changed:
            for take in self.takers:
                take(fresh)

    def _tell(self, reason: str, message: str, *, warning: bool) -> None:
        event = EventRecord.once(
            Key("", ""), "", reason, message, self.clock.now(), warning=warning
        )
        self.store.commit(events(self.store, [event]))


def difference(old: Inventory, new: Inventory) -> tuple[list[str], list[str], list[str]]:
    """The names of the hosts that are new, gone, and there with other settings."""
    before: Mapping[str, Host] = {host.name: host for host in old.hosts}
    after = {host.name: host for host in new.hosts}
    return (
        [name for name in after if name not in before],
        [name for name in before if name not in after],
        [name for name, host in after.items() if name in before and before[name] != host],
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
