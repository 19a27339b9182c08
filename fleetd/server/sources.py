"""The inventory of the service: read at the start, again when it moved, kept when it is in trouble.

An inventory that cannot be read, is wrong, or comes from other sources than the state knows leaves
the last good one in force (I3: nobody leaves because of a mistake), and says so. At the start there
is no last good one: what is *unknown* then is tried again until it is known, and no pass is run
before; what is *wrong* ends the start, since only a person can mend it.

Hosts join at once. That hosts *leave* is believed only when a second reading says the very same a
moment later: a file that is just being written over in place, or a program that is asked in the
middle of a change, looks like a farewell. How many may leave at once is for the guard of removals
to judge (see `core.guard`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from fleetd.api import reading
from fleetd.core.key import Key
from fleetd.core.node import Inventory
from fleetd.core.records import EventRecord
from fleetd.engine.recording import events
from fleetd.errors import FleetdError, InventoryUnknown, Refused
from fleetd.ports import Clock, EventSink, Store

RETRY_S = 10.0
"""How soon sources that failed are asked again; files that change are read at once anyway."""
AGAIN_S = 1.0
"""Between the two readings that must agree before a host counts as gone."""
TRIES = 5
NAMED = 10
"""As many names stand in an event; the log has them all."""

T = TypeVar("T")


@dataclass(slots=True)
class Sources:
    """The inventory in force.

    `read` reads the sources as they are now set, and may take long; `take` is given each inventory
    that differs from the one before. `store` is where people find what became of the inventory.
    """

    read: Callable[[], Inventory]
    take: Callable[[Inventory], None]
    clock: Clock
    sink: EventSink
    store: Store
    known: Inventory | None = None
    trouble: str = "the inventory was not read yet"
    """Why what is in force is not what the sources say; "" when it is."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an inventory is known."""
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    def inventory(self) -> Inventory:
        """The inventory in force; raises InventoryUnknown while there is none."""
        if self.known is None:
            raise InventoryUnknown(self.trouble)
        return self.known

    async def begin(self) -> None:
        """The first reading. Raises InvalidInput and Refused for what only a person can mend."""
        try:
            await self._read()
        except InventoryUnknown as error:
            self._failed(error)

    async def again(self) -> bool:
        """Read once more; whether what is in force now is what the sources say."""
        try:
            await self._read()
        except FleetdError as error:
            self._failed(error)
            return False
        return True

    async def retry(self) -> None:
        """Ask sources that failed until they answer; never ends."""
        while True:
            await self.clock.sleep(RETRY_S)
            if self.trouble:
                await self.again()

    async def _read(self) -> None:
        async with self._one:
            found = await self._settled()
            before, self.known = self.known, found
            mended, self.trouble = bool(before and self.trouble), ""
            self.sink.emit("inventory_read", hosts=len(found.hosts))
            joined, left, changed = differences(before, found)
            if before == found:
                if mended:
                    self._tell("InventoryRead", "it can be read again, and is as before")
                return
            self.sink.emit("inventory_changed", joined=joined, left=left, changed=changed)
            if before is not None:
                parts = {"joined": joined, "left": left, "changed": changed}
                told = [f"{word}: {_some(names)}" for word, names in parts.items() if names]
                self._tell("InventoryChanged", "; ".join(told) or "read from other sources")
            self.take(found)
            self.arrived.set()

    async def _settled(self) -> Inventory:
        """What the sources say; read until it stays the same, where a host would leave."""
        found = await off_thread(self.read)
        self._check(found)
        here = {host.name for host in self.known.hosts} if self.known else set()
        for _ in range(TRIES):
            if here <= {host.name for host in found.hosts}:
                return found
            await self.clock.sleep(AGAIN_S)
            before, found = found, await off_thread(self.read)
            if found == before:
                return found
        raise InventoryUnknown("the sources are being changed: no two readings agreed")

    def _check(self, found: Inventory) -> None:
        was = reading.sources(self.store)
        if was and was != found.sources:
            raise Refused(
                f"this state was last used with another inventory: {', '.join(was)}; now: "
                f"{', '.join(found.sources)}. Hosts that only the other one has would count as "
                "leaving; say `fleetd reconcile --new-inventory` with the service stopped if that "
                "is meant"
            )

    def _failed(self, error: FleetdError) -> None:
        text = str(error)
        if text != self.trouble:
            self.sink.emit("inventory_failed", why=text)
        self.trouble = text
        first = text.partition("\n")[0]
        self._tell("InventoryFailed", f"the last good one stays in force: {first}", warning=True)

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        now = self.clock.now()
        event = EventRecord.once(Key("", ""), "", reason, message, now, warning=warning)
        self.store.commit(events(self.store, [event]))


def differences(
    before: Inventory | None, after: Inventory
) -> tuple[list[str], list[str], list[str]]:
    """The names of the hosts that joined, that left, and that are there with other settings."""
    old = {host.name: host for host in before.hosts} if before else {}
    new = {host.name: host for host in after.hosts}
    return (
        sorted(new.keys() - old.keys()),
        sorted(old.keys() - new.keys()),
        sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


async def off_thread(work: Callable[[], T]) -> T:
    """Run what blocks on a thread of its own, which no shutdown waits for.

    A program that lists hosts may take a minute; the threads of the loop are joined at its end.
    """
    done: Future[T] = Future()

    def run() -> None:
        done.set_running_or_notify_cancel()  # from here on nobody can take it away from us
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is awaited
            done.set_exception(error)

    threading.Thread(target=run, name="read the inventory", daemon=True).start()
    return await asyncio.wrap_future(done)
