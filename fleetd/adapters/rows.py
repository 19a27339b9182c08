"""Records as rows: which table a record lives in, and its fields as columns.

Apart from the store so that the mapping can be read, and tested against the schema, on its own.
Every column has the name of a field; `bool` is kept as 0 or 1, an enum as its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, Generic, TypeVar, get_type_hints

from fleetd.core import records
from fleetd.core.records import IDENTITY, Record
from fleetd.ports import AtLeast

R = TypeVar("R", bound=Record)
Value = str | int | float

TABLES: Mapping[type[Any], str] = {
    records.Setting: "settings",
    records.ObjectRecord: "objects",
    records.RevisionRecord: "revisions",
    records.SecretValue: "secret_values",
    records.BundleRecord: "bundles",
    records.ImageRecord: "images",
    records.NodeRecord: "nodes",
    records.InstanceRecord: "instances",
    records.StatusRecord: "statuses",
    records.RolloutRecord: "rollouts",
    records.PauseRecord: "pauses",
    records.TaintRecord: "taints",
    records.SlotRecord: "slots",
    records.RemovalRecord: "removals",
    records.EventRecord: "events",
    records.AuditRecord: "audit",
}


class Rows(Generic[R]):
    """The statements for one type of record, and the way between a record and its row."""

    def __init__(self, kind: type[R]) -> None:
        """Look at the fields of `kind` once."""
        hints = get_type_hints(kind)
        self._name = kind.__name__
        self._make: Callable[..., R] = kind
        self.columns = tuple(field.name for field in fields(kind))
        self._readers: tuple[Callable[[Any], object], ...] = tuple(
            hints[name] for name in self.columns
        )
        names = ", ".join(f'"{name}"' for name in self.columns)
        marks = ", ".join("?" for _ in self.columns)
        table = TABLES[kind]
        # Only names of our own classes and fields are formatted into SQL; values are always bound.
        self.put = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
        self._read = f"SELECT {names} FROM {table}"  # noqa: S608
        self._drop = f"DELETE FROM {table}"  # noqa: S608
        self._order = " ORDER BY " + ", ".join(f'"{name}"' for name in IDENTITY[kind])

    def values(self, record: R) -> tuple[Value, ...]:
        """The row of a record."""
        return tuple(_stored(getattr(record, name)) for name in self.columns)

    def record(self, row: tuple[Any, ...]) -> R:
        """The record of a row."""
        return self._make(*(read(value) for read, value in zip(self._readers, row, strict=True)))

    def read(self, where: Mapping[str, object]) -> tuple[str, tuple[Value, ...]]:
        """The statement that reads the rows with these values, in the order of their identity."""
        return self._read + self._condition(where) + self._order, _bound(where)

    def drop(self, where: Mapping[str, object]) -> tuple[str, tuple[Value, ...]]:
        """The statement that deletes the rows with these values."""
        return self._drop + self._condition(where), _bound(where)

    def _condition(self, where: Mapping[str, object]) -> str:
        unknown = sorted(set(where) - set(self.columns))
        if unknown:
            raise TypeError(f"{self._name} has no field {', '.join(unknown)}")
        tests = (
            f'"{name}" >= ?' if isinstance(value, AtLeast) else f'"{name}" = ?'
            for name, value in where.items()
        )
        return " WHERE " + " AND ".join(tests) if where else ""


def _bound(where: Mapping[str, object]) -> tuple[Value, ...]:
    return tuple(_stored(value) for value in where.values())


def _stored(value: object) -> Value:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, AtLeast):
        value = value.least
    if not isinstance(value, str | int | float):
        raise TypeError(f"a record holds text, numbers and booleans, not {type(value).__name__}")
    return int(value) if isinstance(value, bool) else value


ROWS: Mapping[type[Any], Rows[Any]] = {kind: Rows(kind) for kind in TABLES}
