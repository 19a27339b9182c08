"""One pass over many simulated hosts: real SSH on loopback, served by a process of its own.

That process shares the cores with fleetd, and takes about as much CPU for its end of each
handshake as fleetd does for the other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measures import Measure, Teller
from bench.options import Options
from bench.runs import FLEETD, Failed, run

TARGET_S = 12.0
TARGET_MB = 250.0
SPEC = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: bench}
spec:
  selector: {matchLabels: {app: bench}}
  template:
    metadata: {labels: {app: bench}}
    spec:
      containers: [{name: main, image: "example/agent:v1"}]
"""


def bench(options: Options) -> list[Measure]:
    tell = Teller("simulated")
    with TemporaryDirectory() as made, _served(options.simulated, Path(made)) as inventory:
        spec = Path(made) / "ds.yaml"
        spec.write_text(SPEC)
        fleetd = (*FLEETD, "-i", inventory, "--state", Path(made) / "state")
        run([*fleetd, "apply", spec])
        runs = [run([*fleetd, "reconcile"]) for _ in range(max(3, options.rounds // 2))]
    many = options.simulated == Options().simulated
    what = f"fleetd reconcile, {options.simulated} hosts"
    return [
        tell.median(what, [ran.wall_s for ran in runs], "s", target=TARGET_S if many else None),
        tell.median(f"{what}: CPU of the coordinator", [ran.cpu_s for ran in runs], "s"),
        tell.median(
            f"{what}: its peak memory",
            [ran.peak_mb for ran in runs],
            "MB",
            target=TARGET_MB if many else None,
        ),
    ]


@contextmanager
def _served(count: int, directory: Path) -> Iterator[Path]:
    """The inventory of a running simulated fleet."""
    argv = [sys.executable, "-m", "fleetd.testing", f"--hosts={count}", f"--dir={directory}"]
    with subprocess.Popen(
        [*argv, "--pull-seconds=0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise Failed("the simulated hosts did not come up")
        try:
            yield directory / "inventory.yaml"
        finally:
            process.stdin.close()
