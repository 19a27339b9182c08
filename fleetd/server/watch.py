"""A watch: the events of a collection as lines of JSON, for one reader.

It holds nothing but how far its reader is. What no longer is among the kept events when the reader
comes for it ends the watch with 410 Expired, and a reader that takes nothing at all is cut off by
its connection, so that no reader ever holds up the service.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from fleetd.api.reports import Shape
from fleetd.server.hub import Collection, Event, Hub, Wanted
from fleetd.server.status import Failure

BOOKMARK_S = 60.0
"""How often a quiet watch says how far it is, when its reader wants to know."""
INITIAL = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends what was there at first."""


@dataclass(slots=True)
class Watch:
    """One watch. `ending` is set when the server ends; `seconds` bounds it anyway."""

    hub: Hub
    collection: Collection
    wanted: Wanted
    ending: asyncio.Event
    seconds: float
    bookmarks: bool = False

    async def first(self, *, marked: bool) -> AsyncIterator[bytes]:
        """All that is there, as if it were new, then what happens; `marked`: a line between."""
        await self.collection.settle()
        version, entries = self.collection.snapshot(self.wanted.namespace)
        async for view in self.collection.views(entries, self.wanted):
            yield _line("ADDED", view)
        if marked:
            yield self._bookmark(version, {INITIAL: "true"})
        async for lines in self.after(version):
            yield lines

    async def after(self, version: int) -> AsyncIterator[bytes]:
        """What happens after a version, until time is up, the server ends, or it has expired."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        marked = loop.time()
        ended = asyncio.ensure_future(self.ending.wait())
        ended.add_done_callback(lambda _: self.hub.wake())
        try:
            while self.collection.holds(version):
                if events := self.collection.after(version):
                    version = events[-1].version
                    if told := b"".join(self._lines(events)):
                        yield told
                    await asyncio.sleep(0)  # nobody waits for a watcher that has much to read
                    continue
                version = self.hub.version
                now = loop.time()
                over = ended.done() or now >= deadline
                if self.bookmarks and (over or now - marked >= BOOKMARK_S):
                    marked = now
                    yield self._bookmark(version, {})
                if over:
                    return
                await self._quiet(deadline - now)
            expired = Failure(410, "too slow: what came next is not kept any more; list anew")
            yield _line("ERROR", expired.status)
        finally:
            ended.cancel()

    async def _quiet(self, seconds: float) -> None:
        """Wait for news; see now and then whether something changed that is no commit."""
        shapes = self.collection.shapes
        if not await self.hub.news(min(seconds, BOOKMARK_S, shapes.look_s)) and shapes.turned():
            self.hub.stir()

    def _lines(self, events: list[Event]) -> Iterator[bytes]:
        for event in events:
            if self.wanted.namespace in (None, event.namespace) and (told := self._told(event)):
                yield _line(*told)

    def _told(self, event: Event) -> tuple[str, Shape] | None:
        """What an event means to this reader: objects also come and go by what is chosen."""
        before, after = (self._chosen(view) for view in self._views(event))
        if after is not None:
            return ("ADDED" if before is None else "MODIFIED"), after
        return None if before is None else ("DELETED", before)

    def _views(self, event: Event) -> tuple[Shape | None, Shape | None]:
        return self.collection.views_of(event, reveal=self.wanted.reveal)

    def _chosen(self, view: Shape | None) -> Shape | None:
        return view if view is not None and self.wanted.takes(view) else None

    def _bookmark(self, version: int, annotations: dict[str, str]) -> bytes:
        resource = self.collection.shapes.resource
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if annotations:
            metadata["annotations"] = annotations
        told = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return _line("BOOKMARK", told)


def _line(kind: str, thing: Shape) -> bytes:
    return json.dumps({"type": kind, "object": thing}, separators=(",", ":")).encode() + b"\n"
