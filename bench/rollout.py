"""A new unit on real hosts and one update of it, beside a plain loop that does just the steps.

The loop writes one unit file, reloads, enables and starts (or restarts): no lock, no check, no undo
and no look at what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.lab import Bed, specs
from bench.measures import Measure, Teller
from bench.options import Options
from bench.runs import Ran
from tests.e2e.lab import Fleet

SPEC = """\
apiVersion: fleetd/v1
kind: DaemonSet
metadata: {{name: bench}}
spec:
  updateStrategy: {{rollingUpdate: {{maxUnavailable: 100%}}}}
  template:
    spec:
      systemd:
        unit: |
          [Service]
          Environment=VERSION={version}
          ExecStart=/bin/sleep infinity
          [Install]
          WantedBy=multi-user.target
"""
BARE = "sudo -n sh -s"
UNIT = "bare-bench.service"
FILE = f"/etc/systemd/system/{UNIT}"
WRITE = """\
cat >{file} <<'END'
[Service]
Environment=VERSION={version}
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
"""
START = WRITE.format(file=FILE, version=1) + f"systemctl --quiet enable --now {UNIT}\n"
UPDATE = WRITE.format(file=FILE, version=2) + f"systemctl restart {UNIT}\n"
REMOVE = f"systemctl --quiet disable --now {UNIT}\nrm {FILE}\nsystemctl daemon-reload\n"


def bench(options: Options) -> list[Measure]:
    hosts = specs(options.hosts)
    runs: dict[str, list[Ran]] = {}
    with TemporaryDirectory() as made, Fleet(hosts) as fleet:
        directory = Path(made)
        bed = Bed.of(fleet, directory / "bed", [spec.name for spec in hosts])
        versions = [directory / f"v{number}.yaml" for number in (1, 2)]
        for number, file in enumerate(versions, 1):
            file.write_text(SPEC.format(version=number))
        for _ in range(max(3, options.rounds // 2)):
            steps: dict[str, Callable[[], Ran]] = {
                "fleetd apply, new unit": lambda: bed.fleetd("apply", versions[0]),
                "fleetd apply, update": lambda: bed.fleetd("apply", versions[1]),
                "": lambda: bed.fleetd("delete", "ds", "bench", "--confirm-removals=1000"),
                "bare loop, new unit": lambda: bed.bare(BARE, START.encode()),
                "bare loop, update": lambda: bed.bare(BARE, UPDATE.encode()),
                " ": lambda: bed.bare(BARE, REMOVE.encode()),
            }
            for what, step in steps.items():
                runs.setdefault(what, []).append(step())
    tell = Teller("rollout")
    told: list[Measure] = []
    for job in ("new unit", "update"):
        ours, bare = runs[f"fleetd apply, {job}"], runs[f"bare loop, {job}"]
        for what, rans in ((f"fleetd apply, {job}", ours), (f"bare loop, {job}", bare)):
            told.append(
                tell.median(f"{what}, {len(hosts)} hosts", [ran.wall_s for ran in rans], "s")
            )
        told.append(tell.ratio(f"{job}: ratio", [r.wall_s for r in ours], [r.wall_s for r in bare]))
        told.append(tell.median(f"CPU: fleetd apply, {job}", [ran.cpu_s for ran in ours], "s"))
    return told
