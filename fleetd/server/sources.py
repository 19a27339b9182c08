"""The inventory of the service: read at the start, again when it moved, kept when it is in trouble.

An inventory that cannot be read, is wrong, or comes from other sources than the state knows leaves
the last good one in force (I3: nobody leaves because of a mistake), and says so. At the start there
is no last good one: what is *unknown* then is tried again until it is known, and no pass is run
before; what is *wrong* ends the start, since only a person can mend it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fleetd.core.node import Inventory
from fleetd.errors import FleetdError, InventoryUnknown
from fleetd.ports import Clock, EventSink

RETRY_S = 10.0
"""How soon sources that failed are asked again; files that change are read at once anyway."""


@dataclass(slots=True)
class Sources:
    """The inventory in force.

    `read` reads the sources as they are now set, and may take long; `take` is given each inventory
    that differs from the one before.
    """

    read: Callable[[], Inventory]
    take: Callable[[Inventory], None]
    clock: Clock
    sink: EventSink
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
            found = await asyncio.to_thread(self.read)
            before, self.known, self.trouble = self.known, found, ""
            if before == found:
                return
            self.sink.emit("inventory_changed", **_differences(before, found))
            self.take(found)
            self.arrived.set()

    def _failed(self, error: FleetdError) -> None:
        text = str(error)
        if text != self.trouble:
            self.sink.emit("inventory_failed", why=text)
        self.trouble = text


def _differences(before: Inventory | None, after: Inventory) -> dict[str, list[str]]:
    old = {host.name: host for host in before.hosts} if before else {}
    new = {host.name: host for host in after.hosts}
    return {
        "joined": sorted(new.keys() - old.keys()),
        "left": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
