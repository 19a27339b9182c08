"""`-w`: what has changed since the last look at the state, printed as kubectl prints it.

A watch polls the state, read-only, each time anew: so it follows whatever pass, service or other
terminal writes there, and holds nothing open between two looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleetd.cli.kinds import Kind
from fleetd.cli.output import Format, Found, custom_table, print_objects
from fleetd.cli.tables import Look, grid, rows_of
from fleetd.cli.text import json_of, put, write, yaml_of
from fleetd.client import Shape

INTERVAL_S = 0.5
_SHARE = 5
"""A look that takes long is followed by a pause this many times as long."""

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class News:
    """One object that came (ADDED), changed (MODIFIED) or went (DELETED)."""

    event: str
    kind: Kind
    item: Shape


def news(looks: Iterator[Found], *, only: bool = False) -> Iterator[list[News]]:
    """What is new in each look; with `only`, not what was there at the first."""
    before: Mapping[Place, tuple[Kind, Shape]] = {}
    for number, found in enumerate(looks):
        now = {_place(kind, item): (kind, item) for kind, items in found for item in items}
        fresh = [
            News("MODIFIED" if place in before else "ADDED", kind, item)
            for place, (kind, item) in now.items()
            if place not in before or before[place][1] != item
        ]
        fresh += [News("DELETED", *before[place]) for place in before if place not in now]
        before = now
        yield [] if only and number == 0 else fresh


def polled(look: Callable[[], Found]) -> Iterator[Found]:
    """Looks without end; a slow state is asked less often."""
    while True:
        began = time.monotonic()
        yield look()
        time.sleep(max(INTERVAL_S, _SHARE * (time.monotonic() - began)))


@dataclass(slots=True)
class Printer:
    """Prints news as they come, in any output format; a table has its heading once."""

    form: Format
    look: Look
    events: bool = False
    rows: dict[Place, list[str]] = field(default_factory=dict)
    widths: list[int] = field(default_factory=list)
    headed: bool = False

    def show(self, fresh: Sequence[News]) -> None:
        """Print them."""
        if self.form.tabular:
            self._tables([entry for entry in fresh if self._shows(entry)])
            return
        for entry in fresh:
            self._object(entry)

    def _shows(self, entry: News) -> bool:
        """Whether the row of an object has changed: a heartbeat alone is no news to a reader."""
        place = _place(entry.kind, entry.item)
        (_, row) = rows_of(entry.kind, [entry.item], 0.0, self._look)
        if entry.event == "DELETED":
            self.rows.pop(place, None)
            return True
        if self.rows.get(place) == row:
            return False
        self.rows[place] = row
        return True

    @property
    def _look(self) -> Look:
        return replace(self.look, wide=self.form.name == "wide")

    def _tables(self, fresh: Sequence[News]) -> None:
        lines: list[list[str]] = []
        for entry in fresh:
            headings, row = rows_of(entry.kind, [entry.item], time.time(), self._look)
            if not self.headed and not self.look.bare:
                lines.append(["EVENT", *headings] if self.events else headings)
            self.headed = True
            lines.append([entry.event, *row] if self.events else row)
        if lines:
            write(grid(lines, self.widths))

    def _object(self, entry: News) -> None:
        if self.events and self.form.name in {"json", "yaml"}:
            told = {"type": entry.event, "object": entry.item}
            if self.form.name == "json":
                write(json_of(told))
            else:
                put(f"---\n{yaml_of(told)}")
        elif self.form.name == "custom-columns":
            first, self.headed = not self.headed, True
            headings = first and not self.look.bare
            write(custom_table(self.form.argument, [entry.item], headings=headings))
        else:
            if self.form.name == "yaml":
                put("---\n")
            print_objects([(entry.kind, [entry.item])], self.form, "", single=True)


def _place(kind: Kind, item: Shape) -> Place:
    meta = item["metadata"]
    return kind.plural, meta.get("namespace", ""), meta["name"]
