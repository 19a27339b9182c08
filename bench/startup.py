"""How soon commands answer that need no host."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measures import Measure, Teller
from bench.options import Options
from bench.runs import FLEETD, run

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
        for turn in range(2 * options.rounds + 1):
            for what, argv in commands.items():
                wall_s = run(argv).wall_s
                if turn:
                    taken[what].append(wall_s)
    return [
        tell.median(what, samples, "s", target=TARGET_S if what.startswith("fleetd") else None)
        for what, samples in taken.items()
    ]
