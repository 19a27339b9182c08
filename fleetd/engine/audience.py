"""One place where the engine tells what it does: the log hears everything, runs what concerns them.

Apart from the sink of the log since runs come and go while the loop works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fleetd.ports import EventSink

Watcher = Callable[[str, Mapping[str, Any]], None]
"""Takes engine events as they happen: a snake_case name and plain values."""


@dataclass(slots=True)
class Audience:
    """Implements `ports.EventSink` over the log and over whoever watches just now."""

    log: EventSink
    watchers: list[Watcher] = field(default_factory=list)

    def emit(self, event: str, **fields: Any) -> None:
        """Hand an event on to all of them."""
        self.log.emit(event, **fields)
        for watcher in tuple(self.watchers):
            watcher(event, fields)

    @contextmanager
    def with_one(self, watcher: Watcher) -> Iterator[None]:
        """Have one more listen for a while."""
        self.watchers.append(watcher)
        try:
            yield
        finally:
            self.watchers.remove(watcher)
