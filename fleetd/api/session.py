"""What a use case works with: the state, the way to the hosts, the inventory, and who we are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from fleetd.api.delete import finish
from fleetd.api.fleet import Fleet
from fleetd.api.reports import Progress, RunOptions
from fleetd.core.actions import Decision
from fleetd.core.meta import Key
from fleetd.core.node import Inventory
from fleetd.core.records import ObjectRecord
from fleetd.engine.audience import Audience
from fleetd.engine.executor import Executor, Fence
from fleetd.engine.held import Held, Pace
from fleetd.engine.images import Images
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.rendering import Rendering
from fleetd.engine.visits import Visits
from fleetd.engine.world import Worlds
from fleetd.ports import Clock, EventSink, Store, Transport


@dataclass(frozen=True, slots=True)
class Session:
    """One caller's hold on a fleet. `sink` is the log; progress is each run's own.

    `loop` is the service's, where there is one: it does the work of all runs.
    """

    store: Store
    transport: Transport
    clock: Clock
    sink: EventSink
    inventory: Inventory
    fleet: Fleet
    who: str
    loop: Loop | None = None

    def reconciler(
        self, scope: frozenset[Key] | None, options: RunOptions, progress: Progress
    ) -> Reconciler:
        """An engine for one run over these DaemonSets (None: all, and what is left behind).

        Beside a loop it begins with what that holds and has by a live stream; the rest it looks at.
        """
        sink = _Both(self.sink, progress)
        executor = self._executor(self.store, sink)
        made = Reconciler(
            store=self.store,
            inventory=self.inventory,
            visits=executor.visits,
            worlds=Worlds(self.store, self.fleet.id),
            executor=executor,
            clock=self.clock,
            sink=sink,
            scope=scope,
            confirm_removals=options.confirm_removals,
        )
        if self.loop is not None:
            made.seen = self.loop.fresh()
            made.looked = dict.fromkeys(made.seen, self.clock.monotonic())
            made.at = {name: at for name, at in self.loop.held.at.items() if name in made.seen}
        return made

    def open_loop(self, store: Memory, chance: Random, pace: Pace | None = None) -> Loop:
        """The loop of a service over this fleet; `store` is the session's, in memory."""

        def end_deletions(decisions: Sequence[Decision]) -> None:
            if any(row.deleting for row in store.read(ObjectRecord)):
                finish(store, decisions, None, now=self.clock.now(), who=self.who)

        audience = Audience(self.sink)
        return Loop(
            store=store,
            clock=self.clock,
            audience=audience,
            worlds=Worlds(store, self.fleet.id),
            executor=self._executor(store, audience),
            held=Held(chance, pace or Pace()),
            chance=chance,
            given=self.inventory,
            finish=end_deletions,
        )

    def _executor(self, store: Store, sink: EventSink) -> Executor:
        visits = Visits(self.transport, sink)
        rendering = Rendering(store)
        who = (self.fleet.id, self.fleet.term)
        images = Images(visits, rendering, store, self.clock, sink, *who)
        fence = Fence(self.fleet.id, self.fleet.key, self.fleet.term, self.who)
        return Executor(visits, rendering, images, fence, sink)


@dataclass(frozen=True, slots=True)
class _Both:
    """An event goes to the log and to whoever watches."""

    sink: EventSink
    progress: Progress

    def emit(self, event: str, **fields: Any) -> None:
        self.sink.emit(event, **fields)
        watched: Mapping[str, Any] = fields
        self.progress(event, watched)
