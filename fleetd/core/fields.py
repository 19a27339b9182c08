"""Every field of a DaemonSet and its Pod, and what fleetd does with it: one table.

Each field is in one of four lists. *Honoured*: it does here what it does in Kubernetes. *Emulated*:
the same effect by other means. *Ignored*: it has no effect here, which a note says. *Refused*: it
would change what runs, and this fleetd cannot do it yet. Nothing that changes what runs is ever
ignored in silence.

The rows are text, one field per line, so that the table can be read, and printed by `explain
--fields`:

    name  type  list  [values]  note

The optional JSON list of values: for a refused field, values that ask for nothing and are accepted;
for an ignored field, the only values that may be ignored. A note that starts with `-` is not told
to users at each apply. Types: string, int, bool, quantity, intOrString, mode, any, `[]T`, `map[T]`,
or a section.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from fleetd.core.fields_table import TABLE

Plain: TypeAlias = Any
"""Plain data as JSON knows it: null, booleans, numbers, strings, lists, maps with string keys."""


class Disposition(StrEnum):
    """What happens to a field."""

    HONOURED = "honoured"
    EMULATED = "emulated"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """One row of the table. `silent`: ignoring it is not worth a note at each apply."""

    name: str
    type: str
    disposition: Disposition
    values: tuple[Plain, ...] = ()
    note: str = ""
    silent: bool = False

    @property
    def kept(self) -> bool:
        """Whether the field reaches the models."""
        return self.disposition in {Disposition.HONOURED, Disposition.EMULATED}


Section = Mapping[str, Field]
_ROW = re.compile(
    r"(\S+)\s+(\S+)\s+(honoured|emulated|ignored|refused)(?:\s+(\[.*?\])(?=\s|$))?\s*(.*)"
)


def _read(table: str) -> dict[str, Section]:
    sections: dict[str, dict[str, Field]] = {}
    rows: dict[str, Field] = {}
    for line in filter(None, map(str.strip, table.splitlines())):
        if line.startswith("# "):
            name, _, parent = line[2:].partition(" < ")
            rows = sections[name] = dict(sections[parent]) if parent else {}
            continue
        row = _ROW.fullmatch(line)
        assert row, f"bad row: {line}"
        field, kind, disposition, values, note = row.groups()
        rows[field] = Field(
            name=field,
            type=kind,
            disposition=Disposition(disposition),
            values=tuple(json.loads(values)) if values else (),
            note=note.removeprefix("-").strip(),
            silent=note.startswith("-"),
        )
    return dict(sections)


SECTIONS: Mapping[str, Section] = _read(TABLE)


def asks_for_nothing(value: Plain, field: Field) -> bool:
    """Whether a value is as good as none: empty, or what Kubernetes defaults to."""
    if value is None or value in ({}, [], ""):
        return True
    return any(value == known and type(value) is type(known) for known in field.values)


def rows(root: str = "DaemonSet") -> list[tuple[str, Field]]:
    """All fields of a section as (dotted path, row), depth first; none below a refused field."""
    found: list[tuple[str, Field]] = []

    def walk(section: str, path: str) -> None:
        for field in SECTIONS[section].values():
            below = field.type.removeprefix("[]")
            here = f"{path}.{field.name}" if path else field.name
            found.append((here + "[]" * (below != field.type), field))
            if below in SECTIONS and field.disposition is not Disposition.REFUSED:
                walk(below, found[-1][0])

    walk(root, "")
    return found
