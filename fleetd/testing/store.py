"""The state in memory, held to the same contract as the one in SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from fleetd.core.records import IDENTITY, Record
from fleetd.ports import Change, Put

R = TypeVar("R", bound=Record)
Identity = tuple[Any, ...]


class FakeStore:
    """`ports.Store` without a disk; `commits` counts its transactions."""

    def __init__(self) -> None:
        """Start empty."""
        self.commits = 0
        self._version = 0
        self._rows: dict[tuple[type[Record], Identity], Record] = {}

    def read(self, kind: type[R], /, **where: Any) -> tuple[R, ...]:
        _check(kind, where)
        found = [
            (identity, record)
            for (_, identity), record in self._rows.items()
            if isinstance(record, kind) and _matches(record, where)
        ]
        return tuple(record for _, record in sorted(found, key=lambda row: row[0]))

    def commit(self, changes: Iterable[Change]) -> None:
        rows = dict(self._rows)
        for change in changes:
            if isinstance(change, Put):
                kind = type(change.record)
                identity = tuple(getattr(change.record, name) for name in IDENTITY[kind])
                rows[kind, identity] = change.record
            else:
                _check(change.kind, change.where)
                rows = {
                    place: record
                    for place, record in rows.items()
                    if place[0] is not change.kind or not _matches(record, change.where)
                }
        self._rows = rows
        self.commits += 1

    def next_version(self) -> int:
        self._version += 1
        return self._version

    def close(self) -> None:
        """Keep everything: there is nothing to release."""


def _check(kind: type[Any], where: Mapping[str, Any]) -> None:
    unknown = sorted(set(where) - {field.name for field in fields(kind)})
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(unknown)}")


def _matches(record: Record, where: Mapping[str, Any]) -> bool:
    return all(getattr(record, name) == value for name, value in where.items())
