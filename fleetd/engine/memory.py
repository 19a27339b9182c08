"""The state of a service: read from memory, written through, and its listeners told.

There is one writer per state, and in a service it is this process; so what was read or written here
once is what the state holds. A decision over ten thousand hosts reads two hundred thousand copies:
they are kept as the records they are, in order, by DaemonSet.

A commit is durable before memory has it, and in memory before listeners hear of it; one that fails
changes nothing here. What grows without end and decides nothing, the audit, is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Generic, cast

from fleetd.core.records import IDENTITY, AuditRecord, EventRecord, ObjectRecord, Record
from fleetd.ports import AtLeast, Change, Put, R, Store

Listener = Callable[[tuple[Change, ...]], None]
_Place = tuple[Any, ...]


class Memory:
    """Implements `ports.Store` over the store that is the truth, of which it is the only user."""

    def __init__(self, store: Store) -> None:
        """Take the store; each kind of record is read from it once, when first asked for."""
        self._store = store
        self._tables: dict[type[Record], _Table[Any]] = {}
        self._listeners: list[Listener] = []

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        """All records of a type whose columns equal `where`, ordered by identity."""
        if kind is AuditRecord:
            return self._store.read(kind, **where)
        return self._table(kind).read(where)

    def commit(self, changes: Iterable[Change]) -> None:
        """Write all changes as one durable transaction, then tell the listeners."""
        whole = tuple(changes)
        self._store.commit(whole)
        for change in whole:
            kind = type(change.record) if isinstance(change, Put) else change.kind
            table = self._tables.get(kind)
            if table is None:
                continue  # never read yet: the store has it
            if isinstance(change, Put):
                table.put(change.record)
            else:
                table.drop(change.where)
        for listener in tuple(self._listeners):
            listener(whole)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call back after each durable commit, with its changes; what is returned ends that."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def next_version(self) -> int:
        """A number above every earlier one: for resourceVersion."""
        return self._store.next_version()

    def close(self) -> None:
        """Release the store."""
        self._store.close()

    def _table(self, kind: type[R]) -> _Table[R]:
        # Typed per kind by hand: a mapping cannot say that a key's type is its value's parameter.
        plain = cast("type[Record]", kind)
        if plain not in self._tables:
            self._tables[plain] = _Table(plain, self._store.read(kind))
        return cast("_Table[R]", self._tables[plain])


class _Table(Generic[R]):
    """The records of one kind. `lead` are the first columns of their identity, which group them."""

    def __init__(self, kind: type[Record], rows: Iterable[R]) -> None:
        self._columns = frozenset(field.name for field in fields(kind))
        self._kind = kind.__name__
        self._identity = IDENTITY[kind]
        if self._identity[:2] == ("namespace", "name"):
            self._lead = self._identity[:2]
        elif kind is EventRecord:
            self._lead = self._identity[:-1]  # all but the message: what is told apart or combined
        else:
            self._lead = self._identity[:1] if kind is ObjectRecord else ()
        self._groups: dict[_Place, _Group[R]] = {}
        self._all: tuple[R, ...] | None = None
        for row in rows:
            self.put(row)

    def read(self, where: Mapping[str, Any]) -> tuple[R, ...]:
        if unknown := sorted(where.keys() - self._columns):
            raise TypeError(f"{self._kind} has no field {', '.join(unknown)}")
        if not where:
            return self._whole()
        if any(isinstance(value, AtLeast) for value in where.values()):
            return tuple(row for row in self._whole() if _matches(row, where))
        if all(column in where for column in self._identity):
            place = tuple(where[column] for column in self._identity)
            group = self._groups.get(place[: len(self._lead)])
            row = group.rows.get(place) if group else None
            return (row,) if row is not None and _matches(row, where) else ()
        if not all(column in where for column in self._lead):
            return tuple(row for row in self._whole() if _matches(row, where))
        group = self._groups.get(tuple(where[column] for column in self._lead))
        rest = {column: value for column, value in where.items() if column not in self._lead}
        found = group.ordered() if group else ()
        return tuple(row for row in found if _matches(row, rest)) if rest else found

    def put(self, row: R) -> None:
        place = tuple(getattr(row, column) for column in self._identity)
        lead = place[: len(self._lead)]
        if lead not in self._groups:
            self._groups[lead] = _Group()
        self._groups[lead].put(place, row)
        self._all = None

    def drop(self, where: Mapping[str, Any]) -> None:
        for row in self.read(where):
            place = tuple(getattr(row, column) for column in self._identity)
            lead = place[: len(self._lead)]
            self._groups[lead].drop(place)
            if not self._groups[lead].rows:
                del self._groups[lead]
        self._all = None

    def _whole(self) -> tuple[R, ...]:
        if self._all is None:
            self._all = tuple(self._rows())
        return self._all

    def _rows(self) -> Iterator[R]:
        for _, group in sorted(self._groups.items(), key=lambda item: item[0]):
            yield from group.ordered()


class _Group(Generic[R]):
    """Records with the same lead; put in order when asked for, and kept so until one changes."""

    def __init__(self) -> None:
        self.rows: dict[_Place, R] = {}
        self._order: list[_Place] | None = None
        self._ordered: tuple[R, ...] | None = None

    def put(self, place: _Place, row: R) -> None:
        if place not in self.rows and self._order is not None:
            self._order.append(place)
        self.rows[place] = row
        self._ordered = None

    def drop(self, place: _Place) -> None:
        del self.rows[place]
        self._order = self._ordered = None

    def ordered(self) -> tuple[R, ...]:
        if self._ordered is None:
            if self._order is None:
                self._order = list(self.rows)
            self._order.sort()  # what was in order already costs one comparison each
            self._ordered = tuple(map(self.rows.__getitem__, self._order))
        return self._ordered


def _matches(row: object, where: Mapping[str, Any]) -> bool:
    return all(getattr(row, column) == value for column, value in where.items())
