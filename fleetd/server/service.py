"""What the HTTP side needs of the running service, and nothing else of it.

Apart from the application so that whoever joins the parts, and every test, can make one by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fleetd.client.local import Local
from fleetd.core.node import Inventory
from fleetd.ports import Change, Store
from fleetd.server.peers import Peer


class Heard(Store, Protocol):
    """A store that tells what it has committed."""

    def listen(self, callback: Callable[[tuple[Change, ...]], None]) -> Callable[[], None]:
        """Call back after each durable commit, in this loop; returns what ends that."""
        ...


class Wakes(Protocol):
    """The engine's loop, as far as a request may disturb it."""

    def wake_all(self, why: str) -> None:
        """Ask for a full pass."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service.

    `inventory` is the one in force now. `client` makes the client of one request: it acts, and is
    audited, as that peer. `scrape` reads the metrics as they are now; what it returns only formats
    them, as Prometheus' text, and may run on another thread. `ready` maps the name of each check to
    what is missing, "" where nothing is.
    """

    loop: Wakes
    store: Heard
    inventory: Callable[[], Inventory]
    client: Callable[[Peer], Local]
    scrape: Callable[[], Callable[[], bytes]]
    ready: Callable[[], Mapping[str, str]]
