"""What a use case works with: the state, the way to the hosts, the inventory, and who we are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetd.api.fleet import Fleet
from fleetd.api.reports import Progress, RunOptions
from fleetd.core.meta import Key
from fleetd.core.node import Inventory
from fleetd.engine.executor import Executor, Fence
from fleetd.engine.images import Images
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.rendering import Rendering
from fleetd.engine.visits import Visits
from fleetd.engine.world import Worlds
from fleetd.ports import Clock, EventSink, Store, Transport


@dataclass(frozen=True, slots=True)
class Session:
    """One caller's hold on a fleet. `sink` is the log; progress is each run's own."""

    store: Store
    transport: Transport
    clock: Clock
    sink: EventSink
    inventory: Inventory
    fleet: Fleet
    who: str

    def reconciler(
        self, scope: frozenset[Key] | None, options: RunOptions, progress: Progress
    ) -> Reconciler:
        """An engine for one run over these DaemonSets (None: all, and what is left behind)."""
        sink = _Both(self.sink, progress)
        visits = Visits(self.transport)
        rendering = Rendering(self.store)
        who = (self.fleet.id, self.fleet.term)
        images = Images(visits, rendering, self.store, self.clock, sink, *who)
        fence = Fence(self.fleet.id, self.fleet.key, self.fleet.term)
        return Reconciler(
            store=self.store,
            inventory=self.inventory,
            visits=visits,
            worlds=Worlds(self.store, self.fleet.id),
            executor=Executor(visits, rendering, images, fence, sink),
            clock=self.clock,
            sink=sink,
            scope=scope,
            confirm_removals=options.confirm_removals,
        )


@dataclass(frozen=True, slots=True)
class _Both:
    """An event goes to the log and to whoever watches."""

    sink: EventSink
    progress: Progress

    def emit(self, event: str, **fields: Any) -> None:
        self.sink.emit(event, **fields)
        watched: Mapping[str, Any] = fields
        self.progress(event, watched)
