"""What changed, in order and with numbers: how a list and the watch that follows it lose nothing.

The hub hears of every commit, and some milliseconds later compares what the commits touched with
what it knew; every difference is an event with a version of its own. The last few thousand events
of each resource are kept. A watcher holds nothing but its place in them, so a slow one costs
nothing: when what it has not read yet is gone, it is told so (410 Expired) and lists anew.

Versions begin above those of every earlier run of the service, so that a version of an earlier one
is never taken for one of this: it has expired, too. An object's `resourceVersion` is that of its
last event. Nothing is computed for a resource before somebody asks for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fleetd.api.reports import Shape
from fleetd.core.key import Key
from fleetd.ports import Change
from fleetd.server.service import Service
from fleetd.server.shapes import Place, Shapes, all_shapes

KEPT = 8192
"""Events kept for each resource."""
DEBOUNCE_S = 0.02
"""How long commits are gathered before they are compared."""
SLICE = 250
"""Objects compared, and views made, before others have their turn."""
TOLD = 64
"""Events written at once."""
KEPT_BYTES = 64 << 20
"""And about so much of what they were made from."""
MADE = 256
"""Views of the last events that are held for the other watchers of a resource."""
RUN = 1 << 32
"""Room for the versions of one run of the service."""

Chosen = Callable[[Shape], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as last told: since which version, and since when what a writer says stands."""

    version: int
    written: int
    source: Any


@dataclass(frozen=True, slots=True)
class Event:
    """A difference: the sources before and after, None where there was or is no object."""

    version: int
    namespace: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a watcher or a list asks for; `chosen` None: everything."""

    namespace: str | None = None
    chosen: Chosen | None = None
    reveal: bool = False

    def takes(self, view: Shape) -> bool:
        """Whether an object is asked for."""
        return self.chosen is None or self.chosen(view)


class Hub:
    """All collections of a service, on one sequence of versions."""

    def __init__(self, service: Service) -> None:
        """Begin to listen; the collections fill when they are asked for."""
        self._store = service.store
        self.version = 0
        shapes = all_shapes(service.store, service.inventory)
        self.collections: Mapping[str, Collection] = {
            plural: Collection(self, made) for plural, made in shapes.items()
        }
        self._changes: list[Change] = []
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self.close = service.store.listen(self._hear)

    def next_version(self) -> int:
        """A version above all others."""
        if not self.version:
            self.version = self._store.next_version() * RUN
        self.version += 1
        return self.version

    def stir(self) -> None:
        """Sort what was heard to those whom it concerns; tell what is due now, go on later."""
        changes, self._changes = tuple(self._changes), []
        begun = [each for each in self.collections.values() if each.begun]
        for collection in begun:
            try:
                collection.hear(changes)
                collection.tell(SLICE)
            except Exception as error:  # noqa: BLE001 - one that fails must not silence the others
                collection.forget()
                told = {"message": "watching what changes failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)
        if any(collection.behind for collection in begun):
            self._later(0.0)

    async def news(self, timeout_s: float) -> bool:
        """Wait until there are events, at most so long; False when time was up."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._news.wait()
        except TimeoutError:
            return False

    def wake(self) -> None:
        """Have all who wait for news look."""
        self._news.set()
        self._news = asyncio.Event()

    def _hear(self, changes: tuple[Change, ...]) -> None:
        if any(collection.begun for collection in self.collections.values()):
            self._changes += changes
            self._later(DEBOUNCE_S)

    def _later(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self.stir()


class Collection:
    """The objects of one resource as last told, and the last events about them."""

    def __init__(self, hub: Hub, shapes: Shapes[Any]) -> None:
        """Empty, until `begin`."""
        self.shapes = shapes
        self.resource = shapes.resource
        self.begun = False
        self._hub = hub
        self._entries: dict[Place, Entry] = {}
        self._events: deque[Event] = deque()
        self._weight = 0
        self._made: dict[tuple[int, bool], tuple[Shape | None, Shape | None]] = {}
        self._dirty: set[Place] = set()
        self._floor = 0
        self._beginning = asyncio.Lock()

    @property
    def behind(self) -> bool:
        """Whether there is something to compare yet."""
        return bool(self._dirty)

    # -- taking in ---------------------------------------------------------------------------

    async def settle(self) -> None:
        """Compare all that was heard by now; at the first time, take in what is there."""
        async with self._beginning:
            if not self.begun:
                self.begun = True  # from here on changes are heard
                try:
                    await self._begin(self._hub.next_version())
                except BaseException:
                    self.forget()
                    raise
        self._hub.stir()
        while self._dirty:
            await asyncio.sleep(0)
            self._hub.stir()
        if not self.begun:
            raise RuntimeError(f"what became of {self.shapes.resource.plural} cannot be told")

    async def _begin(self, version: int) -> None:
        for number, place in enumerate(tuple(self.shapes.places()), 1):
            source = self.shapes.source(place)
            if source is not None:
                self._entries.setdefault(place, Entry(version, version, source))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        self._floor = self._hub.version

    def forget(self) -> None:
        """Begin anew when somebody asks; whoever watches has to list again."""
        self.begun = False
        self._entries.clear()
        self._events.clear()
        self._made.clear()
        self._dirty.clear()
        self._weight = 0
        self._floor = self._hub.next_version()
        self._hub.wake()

    def hear(self, changes: tuple[Change, ...]) -> None:
        """Note what the changes touch."""
        self._dirty |= self.shapes.touched(changes, self._entries.keys())

    def tell(self, most: int) -> None:
        """Compare up to so many objects, and make events of the differences."""
        places = sorted(islice(self._dirty, most))
        self._dirty.difference_update(places)
        before = self._hub.version
        for place in places:
            self._compare(place)
        if self._hub.version > before:
            self._hub.wake()

    def _compare(self, place: Place) -> None:
        known = self._entries.get(place)
        before = known.source if known else None
        after = self.shapes.source(place)
        if before == after:
            return
        version = self._hub.next_version()
        if after is None:
            del self._entries[place]
        else:
            same = known and self.shapes.essence(known.source) == self.shapes.essence(after)
            written = known.written if known and same else version
            self._entries[place] = Entry(version, written, after)
        self._keep(Event(version, self.shapes.namespace(place), before, after))

    def _keep(self, event: Event) -> None:
        self._events.append(event)
        self._weight += self._weigh(event)
        while len(self._events) > KEPT or (self._weight > KEPT_BYTES and len(self._events) > 1):
            gone = self._events.popleft()
            self._weight -= self._weigh(gone)
            self._floor = gone.version

    def _weigh(self, event: Event) -> int:
        return sum(self.shapes.weight(each) for each in (event.before, event.after) if each)

    # -- telling -----------------------------------------------------------------------------

    def find(self, key: Key) -> Entry | None:
        """The object of this name, as of the last `settle`."""
        found = (self._entries.get(place) for place in self.shapes.named(key))
        return next((entry for entry in found if entry), None)

    def present(self, entry: Entry, *, reveal: bool) -> Shape:
        """An object as it is shown."""
        return self.view(entry.source, entry.version, reveal=reveal)

    def snapshot(self, namespace: str | None) -> tuple[int, list[Entry]]:
        """All objects as of the last `settle`, in order, and the version that they are of."""
        places = sorted(
            place for place in self._entries if namespace in (None, self.shapes.namespace(place))
        )
        return self._hub.version, [self._entries[place] for place in places]

    async def views(self, entries: Sequence[Entry], wanted: Wanted) -> AsyncIterator[Shape]:
        """What these objects look like, as far as they are wanted; others have their turn."""
        for number, entry in enumerate(entries, 1):
            view = self.present(entry, reveal=wanted.reveal)
            if wanted.takes(view):
                yield view
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def holds(self, version: int) -> bool:
        """Whether everything after a version is still known."""
        return self._floor <= version <= self._hub.version

    def after(self, version: int) -> list[Event]:
        """The next events after a version, a few at once; none where nothing has happened."""
        found: deque[Event] = deque(maxlen=TOLD)
        for event in reversed(self._events):
            if event.version <= version:
                break
            found.appendleft(event)
        return list(found)

    def views_of(self, event: Event, *, reveal: bool) -> tuple[Shape | None, Shape | None]:
        """What an object looked like before an event and after it; made once for all watchers."""
        place = (event.version, reveal)
        if place not in self._made:
            while len(self._made) >= MADE:
                del self._made[next(iter(self._made))]
            before, after = (
                None if source is None else self.view(source, event.version, reveal=reveal)
                for source in (event.before, event.after)
            )
            self._made[place] = (before, after)
        return self._made[place]

    def view(self, source: Any, version: int, *, reveal: bool) -> Shape:  # noqa: ANN401 - see shapes
        """What is made from a source, as of a version."""
        view = self.shapes.view(source, reveal=reveal)
        view["metadata"]["resourceVersion"] = str(version)
        return view
