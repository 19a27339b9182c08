"""What a run does while it does it: plain lines on stderr, or a live display on a terminal.

Takes the engine's events and is liberal about them: an event or a field that it does not know is
left out, because progress must never stop a run. All counting is in `Tally`, which prints nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetd.cli.text import line, plain, say
from fleetd.client import Progress

if TYPE_CHECKING:  # only for annotations: rich is imported when there is a terminal
    from rich.progress import Progress as Display, TaskID

Fields = Mapping[str, Any]
_COUNTS = (
    *("desired", "updated", "available", "unavailable", "unknown"),
    *("done", "in_flight", "failed", "skipped", "budget"),
)


@dataclass(slots=True)
class Count:
    """Where one DaemonSet stands; `counts` as the engine last told them, hosts by name."""

    counts: dict[str, int] = field(default_factory=dict)
    in_flight: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    @property
    def desired(self) -> int:
        """How many hosts are to have a copy."""
        return self.counts.get("desired", len(self.in_flight | self.done | self.failed))

    @property
    def finished(self) -> int:
        """How many of them are as wanted: of the new revision and available."""
        told = [self.counts[name] for name in ("updated", "available") if name in self.counts]
        return self.counts.get("done", min(told, default=len(self.done)))

    def text(self) -> str:
        """One line: hosts done, in flight, failed, skipped, and the budget."""
        words = [f"{self.finished} of {self.desired} done"]
        others = (
            ("in flight", max(len(self.in_flight), self.counts.get("in_flight", 0))),
            ("failed", max(len(self.failed), self.counts.get("failed", 0))),
            ("skipped", self.counts.get("skipped", self.counts.get("unknown", 0))),
        )
        words += [f"{number} {word}" for word, number in others if number]
        if "budget" in self.counts:
            # Hosts that do not answer use no budget unless an update took them away.
            down = self.counts.get("unavailable", 0) - self.counts.get("unknown", 0)
            words.append(f"{down} down (budget {self.counts['budget']})")
        return ", ".join(words)


@dataclass(slots=True)
class Tally:
    """The counts of all DaemonSets of a run, by `namespace/name`."""

    sets: dict[str, Count] = field(default_factory=dict)

    def take(self, event: str, fields: Fields) -> None:
        """Count one event."""
        match event:
            case "decided":
                statuses = fields.get("statuses")
                for name, told in statuses.items() if isinstance(statuses, Mapping) else ():
                    self._told(str(name), told)
            case "rollout":
                self._told(str(fields.get("daemonset", "")), fields)
            case "action_started" | "action_ended":
                self._moved(event, fields)
            case _:
                return

    def _told(self, name: str, told: object) -> None:
        if isinstance(told, Mapping):
            counts = {key: told[key] for key in _COUNTS if isinstance(told.get(key), int)}
            self.sets.setdefault(name, Count()).counts.update(counts)

    def _moved(self, event: str, fields: Fields) -> None:
        count = self.sets.setdefault(str(fields.get("daemonset", "")), Count())
        node = str(fields.get("node", ""))
        for hosts in (count.in_flight, count.done, count.failed):
            hosts.discard(node)
        if event == "action_started":
            count.in_flight.add(node)
        elif fields.get("outcome") == "done":
            count.done.add(node)
        else:
            count.failed.add(node)


def line_of(event: str, fields: Fields) -> str:
    """The plain line of an event; "" for one that is only counted."""
    node, message = fields.get("node", ""), fields.get("message") or ""
    match event:
        case "action_ended":
            why = fields.get("detail") or fields.get("reason") or ""
            ended = f"{fields.get('outcome', '')}" + (f": {message}" if message else "")
            what = f"{node}: {fields.get('action', '')} {fields.get('daemonset', '')}"
            return line(f"{what} ({why}): {ended}" if why else f"{what}: {ended}")
        case "image_pulling":
            images = fields.get("images") or fields.get("image") or ""
            names = ", ".join(map(str, images)) if isinstance(images, list | tuple) else images
            return line(f"{node}: pulling {names}")
        case "node_forgotten":
            return line(f"{node}: left the inventory, and is clean: forgotten")
        case _:
            return line(f"{node}: {message}") if node and message else ""


@dataclass(slots=True)
class PlainLines:
    """One line per action as it ends, and one per DaemonSet whenever its counts have changed."""

    tally: Tally = field(default_factory=Tally)
    said: dict[str, str] = field(default_factory=dict)

    def __call__(self, event: str, fields: Fields) -> None:
        """Take one event."""
        self.tally.take(event, fields)
        if text := line_of(event, fields):
            say(text)
        if event not in {"decided", "rollout"}:
            return
        for name, count in sorted(self.tally.sets.items()):
            now = count.text()
            # The first count is said only when there is something to do: cron stays quiet.
            news = name in self.said or count.finished < count.desired
            if news and self.said.get(name) != now:
                self.said[name] = now
                say(f"{name}: {now}")


@dataclass(slots=True)
class Live:
    """A bar for each DaemonSet; lines about hosts go above it."""

    display: Display
    tally: Tally = field(default_factory=Tally)
    bars: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, event: str, fields: Fields) -> None:
        """Take one event."""
        self.tally.take(event, fields)
        text = line_of(event, fields)
        if text and fields.get("outcome") != "done":
            self.display.console.print(plain(text), markup=False, highlight=False)
        for name, count in sorted(self.tally.sets.items()):
            if name not in self.bars:
                self.bars[name] = self.display.add_task(name, total=None, text="")
            self.display.update(
                self.bars[name],
                completed=count.finished,
                total=max(count.desired, 1),
                text=count.text(),
            )


@contextmanager
def reporting() -> Iterator[Progress]:
    """Progress for one run: live on a terminal, else plain lines."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield PlainLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Display, TextColumn, TimeElapsedColumn

    def text(of: str) -> TextColumn:
        return TextColumn(of, markup=False)

    with Display(
        text("{task.description}"),
        BarColumn(),
        text("{task.fields[text]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as display:
        yield Live(display)
