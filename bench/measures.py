"""What a bench tells: numbers, each with its samples and, where there is one, a target."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measure:
    """One number. `target` is the most that it may be; None: it is only told."""

    bench: str
    what: str
    value: float
    unit: str
    target: float | None = None
    samples: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.value <= self.target else "MISSED"


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes the measures of one bench."""

    bench: str

    def value(self, what: str, value: float, unit: str, *, target: float | None = None) -> Measure:
        return Measure(self.bench, what, value, unit, target)

    def median(
        self, what: str, samples: Sequence[float], unit: str, *, target: float | None = None
    ) -> Measure:
        return Measure(self.bench, what, median(samples), unit, target, tuple(samples))

    def ratio(
        self,
        what: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        *,
        target: float | None = None,
    ) -> Measure:
        """The median of the ratios of runs that were made side by side."""
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        return self.median(what, ratios, "x", target=target)


def machine() -> dict[str, str | int | float]:
    """What the numbers depend on; a high load means that others were measured too."""
    return {
        "cores": os.cpu_count() or 0,
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def table(measures: Sequence[Measure]) -> str:
    """The measures as a table in Markdown."""
    rows: list[tuple[str, ...]] = [("bench", "what", "median", "least", "most", "target", "")]
    rows += [
        (
            measure.bench,
            measure.what,
            f"{measure.value:.4g} {measure.unit}",
            f"{min(measure.samples):.4g}" if measure.samples else "",
            f"{max(measure.samples):.4g}" if measure.samples else "",
            "" if measure.target is None else f"{measure.target:g} {measure.unit}",
            measure.verdict,
        )
        for measure in measures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    lines = (
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(f"| {line} |" for line in lines)


def as_json(measures: Sequence[Measure], before: dict[str, str | int | float]) -> str:
    told = [{**asdict(measure), "verdict": measure.verdict} for measure in measures]
    return json.dumps({"machine": before, "measures": told}, indent=2)
