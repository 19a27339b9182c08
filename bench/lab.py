"""Real hosts to measure on, and the two programs that are measured on them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.runs import FLEETD, Ran, run
from tests.e2e.lab import Entry, Fleet, HostSpec
from tests.e2e.lab.machine import in_netns

AT_ONCE = 256
"""As many hosts at once as a pass of fleetd looks at."""


def specs(count: int) -> list[HostSpec]:
    return [HostSpec(f"node-{number:02}") for number in range(1, count + 1)]


@dataclass(frozen=True, slots=True)
class Bed:
    """Some hosts of a lab, with a state and an inventory of their own."""

    fleet: Fleet
    directory: Path
    names: tuple[str, ...]

    @classmethod
    def of(cls, fleet: Fleet, directory: Path, names: Iterable[str]) -> Bed:
        directory.mkdir()
        bed = cls(fleet, directory, tuple(names))
        entries = [Entry(fleet[name]) for name in bed.names]
        fleet.write_inventory(directory / "inventory.yaml", entries)
        return bed

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def fleetd(self, *words: str | Path) -> Ran:
        """Run fleetd on these hosts, from the fleet's network."""
        settings = ("-i", self.directory / "inventory.yaml", "--state", self.state)
        return self._run([*FLEETD, *settings, *words])

    def bare(self, command: str, stdin: bytes = b"") -> Ran:
        """Run one command line on these hosts by the plain loop, from the fleet's network."""
        given, job = self.directory / "stdin", self.directory / "job.json"
        given.write_bytes(stdin)
        job.write_text(
            json.dumps(
                {
                    "hosts": [self.fleet[name].ip for name in self.names],
                    "port": 22,
                    "user": "fleet",
                    "identity": str(self.fleet.client_key),
                    "known_hosts": str(self.fleet.known_hosts),
                    "command": command,
                    "stdin": str(given),
                    "at_once": AT_ONCE,
                }
            )
        )
        return self._run([sys.executable, Path(__file__).with_name("bare.py"), job])

    def _run(self, argv: Sequence[str | Path]) -> Ran:
        return run([*in_netns(self.fleet.netns), *argv])
