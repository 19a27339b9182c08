"""What the test agents' logs prove: overlaps, and how many hosts were without an agent at once.

Nothing is sampled: a copy writes its start and its stop by the one boot clock that all hosts share,
and a lock tells when two ran at once. Only the end of a copy that was killed is known no better
than by two bounds, its last beat and its successor's start; a power cut that the lab made itself
closes them. Clock ticks are 10 ms, so what is closer than that counts as one moment, for the worse.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final, Self

from tests.e2e.lab.host import Host
from tests.e2e.lab.machine import LabError, boottime

#: A copy that beat this shortly before a power cut (s) lived until the cut: five beats.
_ALIVE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a copy: it ended between `last` and `end`, equal when the moment is known.

    Both are infinite while it lives.
    """

    version: str
    start: float
    last: float
    end: float = math.inf


@dataclass(frozen=True, slots=True)
class Overlap:
    """A copy that found another one running on its host."""

    host: str
    at: float
    version: str


@dataclass(frozen=True, slots=True)
class Peak:
    """The worst moment of a window: which hosts were without an available agent, and when."""

    hosts: frozenset[str] = frozenset()
    at: float = 0.0

    @property
    def count(self) -> int:
        return len(self.hosts)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lives of the copies on each host, in order, and the overlaps among them."""

    runs: Mapping[str, tuple[Run, ...]]
    overlaps: tuple[Overlap, ...]

    @classmethod
    def read(cls, hosts: Iterable[Host], lock: str = "lock") -> Self:
        """Read the logs of one agent from outside, whatever state its hosts are in.

        `lock` is the name of its lock file in /var/lib/lab-agent. A host without a log has had no
        copy. Raises LabError with file and line on a log that no agent wrote.
        """
        runs: dict[str, tuple[Run, ...]] = {}
        overlaps: list[Overlap] = []
        for host in hosts:
            file = host.agent_logs / lock
            held = _held(file)  # before the log is read: one that ends now has not ended yet
            log = file.with_name(f"{lock}.log")
            lives, clashes = parse(host.name, log.read_text() if log.exists() else "", str(log))
            lives = [_cut(life, host.cuts) for life in lives]
            if lives and held and lives[-1].end == math.inf:
                lives[-1] = replace(lives[-1], last=math.inf)
            elif lives and lives[-1].end == math.inf:
                lives[-1] = replace(lives[-1], end=boottime())
            runs[host.name] = tuple(lives)
            overlaps += clashes
        return cls(runs, tuple(overlaps))

    def versions(self, host: str) -> list[str]:
        """Versions of the copies that ran on a host, in order, repetitions left out."""
        return [version for version, _ in groupby(run.version for run in self.runs[host])]

    def peak(
        self, since: float, until: float, *, min_ready: float = 0.0, proven: bool = False
    ) -> Peak:
        """The moment in [since, until) when most hosts had no available copy.

        A copy is available from `min_ready` seconds after its start. Of a killed copy the earliest
        possible end counts, with `proven` the latest: what has certainly been.
        """
        spans = {
            host: [
                (run.start + min_ready, run.end if proven else run.last)
                for run in runs
                if (run.end if proven else run.last) > run.start + min_ready
            ]
            for host, runs in self.runs.items()
        }
        # The set of missing hosts grows only at the window's start and when a copy ends.
        ends = {end for each in spans.values() for _, end in each if since < end < until}
        worst = Peak(at=since)
        for at in sorted({since, *ends}):
            missing = frozenset(
                host
                for host, each in spans.items()
                if not any(start < at < end for start, end in each)
            )
            if len(missing) > worst.count:
                worst = Peak(missing, at)
        return worst


def parse(host: str, text: str, origin: str) -> tuple[list[Run], list[Overlap]]:
    """The lives and overlaps that one log tells; a life without a stop ends before the next."""
    runs: list[Run] = []
    overlaps: list[Overlap] = []
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case ["start", at, copy, version]:
                if runs and runs[-1].end == math.inf:
                    runs[-1] = replace(runs[-1], end=float(at))
                runs.append(Run(version, float(at), float(at)))
                current = copy
            case ["beat", at, copy] if copy == current:
                runs[-1] = replace(runs[-1], last=float(at))
            case ["stop", at, copy] if copy == current:
                runs[-1] = replace(runs[-1], last=float(at), end=float(at))
            case ["beat" | "stop", at, _] if runs:
                overlaps.append(Overlap(host, float(at), "(its lock file was replaced)"))
            case ["overlap", at, _, version]:
                overlaps.append(Overlap(host, float(at), version))
            case ["refuse", _, _, _]:
                pass
            case _:
                raise LabError(f"{origin}:{number}: not a line of the test agent: {line!r}")
    return runs, overlaps


def _cut(run: Run, cuts: Iterable[float]) -> Run:
    """Close the bounds of a life that a power cut ended."""
    for cut in sorted(cuts):
        if run.last <= cut < run.end:
            alive = cut - run.last <= _ALIVE
            return replace(run, last=cut if alive else run.last, end=cut)
    return run


def _held(file: Path) -> bool:
    """Whether anybody holds the lock; asked of the kernel, not tried, which would disturb."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return False
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    fields = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[1] == "FLOCK" and wanted in line for line in fields)
