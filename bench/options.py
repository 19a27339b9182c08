"""How much a run of the benches is to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.measures import Measure


@dataclass(frozen=True, slots=True)
class Options:
    """`rounds`: how often each program is run, by turns; `quiet_s`: how long idling is measured.

    The rest are sizes of fleets.
    """

    rounds: int = 7
    hosts: int = 40
    simulated: int = 1000
    served: int = 500
    quiet_s: float = 30.0
    nodes: tuple[int, ...] = (1_000, 10_000)


Bench = Callable[[Options], list[Measure]]
