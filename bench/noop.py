"""A pass that changes nothing on real hosts, beside a plain loop that runs the same script there.

Both are whole programs, from their start to their end, run by turns; the loop gets the very bytes
that fleetd sends.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.lab import Bed, specs
from bench.measures import Measure, Teller
from bench.options import Options
from bench.runs import Ran
from bench.startup import UNIT
from fleetd.adapters.store import SqliteStore
from fleetd.api.fleet import known_fleet
from fleetd.host.carrier import LINE
from fleetd.host.requests import Observe
from fleetd.host.wire import encode
from tests.e2e.lab import Fleet

TARGET_RATIO = 1.5
TARGET_MS_PER_HOST = 8.0
TARGET_FIXED_S = 0.6


def bench(options: Options) -> list[Measure]:
    hosts = specs(options.hosts + 1)
    with TemporaryDirectory() as made, Fleet(hosts) as fleet:
        directory = Path(made)
        first, *others = (spec.name for spec in hosts)
        one = Bed.of(fleet, directory / "one", [first])
        many = Bed.of(fleet, directory / "many", others)
        spec = directory / "ds.yaml"
        spec.write_text(UNIT)
        for bed in (one, many):
            bed.fleetd("apply", spec)
        programs = {
            "fleetd reconcile": lambda: many.fleetd("reconcile"),
            "bare loop, same script": lambda: many.bare(LINE, _observe(many)),
            "bare loop, true": lambda: many.bare("true"),
            "fleetd reconcile, 1 host": lambda: one.fleetd("reconcile"),
        }
        runs: dict[str, list[Ran]] = {what: [] for what in programs}
        for turn in range(options.rounds + 1):
            # The order turns round, so that nobody always comes after the same other.
            for what in sorted(programs, reverse=turn % 2 == 0):
                ran = programs[what]()
                if turn:
                    runs[what].append(ran)
    return _told(runs, options.hosts)


def _observe(bed: Bed) -> bytes:
    """The bytes that fleetd sends to each of these hosts, whose facts it knows."""
    store = SqliteStore(bed.state / "state.db", readonly=True)
    try:
        fleet = known_fleet(store)
    finally:
        store.close()
    assert fleet
    return encode(Observe(fleet.id, engine=True, facts=False), "be9c" * 4)


def _told(runs: dict[str, list[Ran]], count: int) -> list[Measure]:
    tell = Teller("noop")
    wall = {what: [ran.wall_s for ran in rans] for what, rans in runs.items()}
    cpu = {what: [ran.cpu_s for ran in rans] for what, rans in runs.items()}
    ours, same, nothing, single = runs
    slope = (median(cpu[ours]) - median(cpu[single])) / (count - 1)
    fixed = median(cpu[single]) - slope
    return [
        *(tell.median(f"{what}, {count} hosts", wall[what], "s") for what in (ours, same, nothing)),
        tell.ratio("fleetd / same script", wall[ours], wall[same], target=TARGET_RATIO),
        tell.ratio("fleetd / true", wall[ours], wall[nothing]),
        tell.median(f"CPU: {ours}, {count} hosts", cpu[ours], "s"),
        tell.median(f"CPU: {same}, {count} hosts", cpu[same], "s"),
        tell.median(f"CPU: {single}", cpu[single], "s"),
        tell.value("CPU for each host", slope * 1000, "ms", target=TARGET_MS_PER_HOST),
        tell.value("CPU of the start-up", fixed, "s", target=TARGET_FIXED_S),
    ]
