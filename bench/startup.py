"""How soon commands answer that need no host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measures import Measure, Teller
from bench.options import Options
from bench.runs import FLEETD, Failed, run
from fleetd.client.wire import listens

TARGET_S = 0.35
UNIT = """\
apiVersion: fleetd/v1
kind: DaemonSet
metadata: {name: bench}
spec:
  template:
    spec:
      systemd:
        unit: |
          [Service]
          ExecStart=/bin/sleep infinity
"""


def _measure(
    commands: dict[str, list[str | Path]], taken: dict[str, list[float]], rounds: int
) -> None:
    for turn in range(2 * rounds + 1):
        for what, argv in commands.items():
            wall_s = run(argv).wall_s
            if turn:
                taken[what].append(wall_s)


@contextmanager
def _service(state: Path, inventory: Path) -> Iterator[None]:
    """A service over that state, once it answers."""
    words = [*map(str, FLEETD), "--state", str(state), "-i", str(inventory), "run"]
    environment = {name: v for name, v in os.environ.items() if not name.startswith("FLEETD_")}
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            while not listens(str(state / "fleetd.sock")):
                if process.poll() is not None:
                    raise Failed(f"fleetd run ended with {process.returncode}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def bench(options: Options) -> list[Measure]:
    tell = Teller("startup")
    with TemporaryDirectory() as made:
        directory = Path(made)
        state, spec, inventory = directory / "state", directory / "ds.yaml", directory / "inv.yaml"
        spec.write_text(UNIT)
        # An address that nothing answers at: the DaemonSet is stored, and wants one host.
        inventory.write_text("hosts: {nowhere: {address: 127.0.0.1, ssh: {port: 1}}}\n")
        kept = ("--state", state)
        run([*FLEETD, "-i", inventory, *kept, "apply", "--no-wait", "--max-unreachable=1", spec])
        commands: dict[str, list[str | Path]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "fleetd version": [*FLEETD, "version"],
            "fleetd get ds": [*FLEETD, *kept, "get", "ds"],
        }
        taken: dict[str, list[float]] = {what: [] for what in commands}
        _measure(commands, taken, options.rounds)
        asked = {"fleetd get ds, by the service": commands["fleetd get ds"]}
        taken |= {what: [] for what in asked}
        with _service(state, inventory):
            _measure(asked, taken, options.rounds)
    return [
        tell.median(what, samples, "s", target=TARGET_S if what.startswith("fleetd") else None)
        for what, samples in taken.items()
    ]
