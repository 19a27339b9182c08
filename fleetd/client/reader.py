"""What the state alone can tell: the client of `get`, `describe` and `rollout history`.

Apart from `Local` so that these verbs start at once: nothing of the engine, of the models of
documents or of SSH is imported, and the inventory is read for nodes only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetd.api import reading
from fleetd.api.reports import Query, Revision, Shape
from fleetd.core.key import Key
from fleetd.core.node import Inventory
from fleetd.ports import Store


@dataclass(frozen=True, slots=True)
class Reader:
    """Answers from the state as the last look at the hosts left it."""

    store: Store
    inventory: Callable[[], Inventory]

    async def get(self, kind: str, query: Query) -> list[Shape]:
        """Objects of a kind."""
        return reading.get(self.store, self.inventory, kind, query)

    async def describe(self, kind: str, query: Query) -> str:
        """The text of `describe`."""
        from fleetd.api import describing  # noqa: PLC0415  (loads YAML)

        return describing.describe(self.store, self.inventory, kind, query)

    async def history(self, namespace: str, name: str) -> tuple[Revision, ...]:
        """The known revisions, oldest first."""
        return reading.revisions(self.store, Key(namespace, name))
