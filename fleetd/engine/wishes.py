"""What people want, heard the moment they have said it: the rows of the state that only they write.

The loop writes to the same state, slots and records of nodes among it; what it writes itself it
does not hear, or it would never come to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fleetd.core.meta import Key
from fleetd.core.records import (
    NodeRecord,
    ObjectRecord,
    PauseRecord,
    RemovalRecord,
    RevisionRecord,
    SlotRecord,
)
from fleetd.ports import Change, Put

HEEDED = frozenset(
    {ObjectRecord, RevisionRecord, PauseRecord, SlotRecord, NodeRecord, RemovalRecord}
)


@dataclass(slots=True)
class Wishes:
    """Listens to a `Memory`; `heed` is called with each change that somebody else has made."""

    heed: Callable[[Change], None]
    said: int = 0
    """Rises with each of them."""
    quiet: bool = False

    def hear(self, changes: tuple[Change, ...]) -> None:
        """Take what was committed."""
        if self.quiet:
            return
        for change in changes:
            if kind_of(change) in HEEDED:
                self.said += 1
                self.heed(change)

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """What is committed within is the loop's own."""
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False


def kind_of(change: Change) -> type[object]:
    """The kind of record that a change is about."""
    return type(change.record) if isinstance(change, Put) else change.kind


def concerned(change: Change) -> frozenset[Key] | None:
    """The DaemonSet that a change is about; None where it may be about any."""
    if not isinstance(change, Put):
        return None
    match change.record:
        case (
            ObjectRecord(kind="DaemonSet", namespace=namespace, name=name)
            | RevisionRecord(namespace=namespace, name=name)
            | PauseRecord(namespace=namespace, name=name)
        ):
            return frozenset({Key(namespace, name)})
        case _:
            return None
