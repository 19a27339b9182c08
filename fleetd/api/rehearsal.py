"""A store that forgets: what a dry run writes is seen by its own reads and by nobody else.

So a dry run is the real code over another store, and cannot drift from what apply does. Tables are
copied when they are first written to, except the audit, which may be long and only grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from fleetd.core.records import IDENTITY, AuditRecord, Record
from fleetd.ports import Change, Drop, Put, R, Store

Place = tuple[Any, ...]


class Rehearsal:
    """Implements `ports.Store` over another store that is only read."""

    def __init__(self, store: Store) -> None:
        """Take the store to read from."""
        self._store = store
        self._rows: dict[type[Record], dict[Place, Record]] = {}
        self._versions = 0

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        """As the real store would answer after the rehearsed commits."""
        _check(kind, where)
        changed = self._rows.get(cast("type[Record]", kind))
        if changed is None:
            return self._store.read(kind, **where)
        rows = dict(changed)
        if kind is AuditRecord:
            rows |= {_place(row): row for row in self._store.read(AuditRecord, **where)}
        return tuple(
            row
            for _, row in sorted(rows.items(), key=lambda item: item[0])
            if isinstance(row, kind)
            and all(getattr(row, column) == value for column, value in where.items())
        )

    def commit(self, changes: Iterable[Change]) -> None:
        """Remember the changes for later reads: all of them, or none."""
        whole = list(changes)
        for change in whole:
            if isinstance(change, Drop):
                _check(change.kind, change.where)
        for change in whole:
            if isinstance(change, Put):
                self._table(type(change.record))[_place(change.record)] = change.record
            else:
                self._drop(change)

    def next_version(self) -> int:
        """A number above what this rehearsal gave before; not the real store's."""
        self._versions += 1
        return self._versions

    def close(self) -> None:
        """Nothing to release: the real store is its owner's."""

    def _drop(self, change: Drop) -> None:
        table = self._table(change.kind)
        for place, row in list(table.items()):
            if all(getattr(row, column) == value for column, value in change.where.items()):
                del table[place]

    def _table(self, kind: type[Record]) -> dict[Place, Record]:
        if kind not in self._rows:
            copied = () if kind is AuditRecord else self._store.read(kind)
            self._rows[kind] = {_place(row): row for row in copied}
        return self._rows[kind]


def _check(kind: type[Any], where: Mapping[str, Any]) -> None:
    unknown = sorted(set(where) - {field.name for field in fields(kind)})
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(unknown)}")


def _place(record: Record) -> Place:
    return tuple(getattr(record, column) for column in IDENTITY[type(record)])
