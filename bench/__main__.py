"""`python -m bench [NAME...]`: measure, and print a table of what was measured.

Nothing here fails for being slow: the table says which targets were met.
"""

from __future__ import annotations

import argparse
import sys

from bench import noop, planning, rollout, scrape, service, simulated, startup
from bench.measures import Measure, as_json, machine, table
from bench.options import Bench, Options

BENCHES: dict[str, tuple[Bench, str]] = {
    "startup": (startup.bench, "how soon commands answer that need no host"),
    "planning": (planning.bench, "deciding one pass, without any I/O"),
    "scrape": (scrape.bench, "metrics of many hosts: their memory and a scrape"),
    "simulated": (simulated.bench, "a pass over many simulated hosts, by real SSH on loopback"),
    "service": (service.bench, "`fleetd run` over many simulated hosts, by real SSH on loopback"),
    "noop": (noop.bench, "a pass that changes nothing, on real hosts (root, Debian)"),
    "rollout": (rollout.bench, "a new unit and an update of it, on real hosts (root, Debian)"),
}


def main() -> None:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="benches: " + "; ".join(f"{name}: {what}" for name, (_, what) in BENCHES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benches (else all)")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument(
        "--hosts",
        type=int,
        help=f"real ones, for each bench (else {default.hosts}); of service ({default.served})",
    )
    parser.add_argument("--quiet", type=float, default=default.quiet_s, help="seconds of idling")
    parser.add_argument("--simulated", type=int, default=default.simulated)
    parser.add_argument("--nodes", type=int, nargs="+", default=default.nodes, help="of planning")
    args = parser.parse_args()
    if unknown := set(args.names) - BENCHES.keys():
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    options = Options(
        rounds=args.rounds,
        hosts=args.hosts or default.hosts,
        served=args.hosts or default.served,
        quiet_s=args.quiet,
        simulated=args.simulated,
        nodes=tuple(args.nodes),
    )
    before = machine()
    measures: list[Measure] = []
    for name in args.names or BENCHES:
        print(f"{name}: {BENCHES[name][1]} ...", file=sys.stderr, flush=True)
        measures += BENCHES[name][0](options)
    if args.json:
        print(as_json(measures, before))
    else:
        print(table(measures))
        print(f"\n{', '.join(f'{name} {value}' for name, value in before.items())} at the start")


if __name__ == "__main__":
    main()
