"""What is measured of each host, kept in columns and written out as text.

One object of a metrics library for each series would cost 6 KB per host, and a second for a scrape
of 5,000. Here a host is a row of a few arrays, and its lines are formatted directly: 0.4 KB and
40 ms. Separate from the other metrics for that reason alone.

Invariants: what is not known is not shown as good (a host that no visit has reached is 0 in
`reachable`, and has no time at which it was seen); series of a host end when it leaves.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

BUCKETS: Final = (0.1, 0.5, 2.5, 10.0, 60.0)
"""Upper bounds of a host's visits in seconds: a look, a look at a busy host, and orders. Few, since
each is a series per host; `fleetd_visit_duration_seconds` has finer ones for the fleet."""
STATES: Final = ("live", "polling", "down")
"""Of a stream; a host whose stream was never spoken of has none of them."""
OFF: Final = "off"
"""Of a stream that is not wanted: it is in none of the states."""
_SAID = (*STATES, OFF)
_WIDTH = len(BUCKETS) + 1

HELP: Final[Mapping[str, tuple[str, str]]] = {
    "fleetd_host_reachable": (
        "gauge",
        "1 when the host answered the last visit; 0 when it did not, or was not visited yet.",
    ),
    "fleetd_host_last_seen_timestamp_seconds": (
        "gauge",
        "When the host last answered a visit, in seconds since the epoch.",
    ),
    "fleetd_host_held": ("gauge", "1 for a host that `fleetd hold` keeps hands off."),
    "fleetd_host_quarantined": (
        "gauge",
        "1 for a host that shows another host key than the pinned one.",
    ),
    "fleetd_host_visit_duration_seconds": (
        "histogram",
        "Duration of visits to the host, the connection included.",
    ),
    "fleetd_host_ssh_reconnects_total": (
        "counter",
        "SSH connections to the host after the first one.",
    ),
    "fleetd_host_drift_repaired_total": (
        "counter",
        "Drift repaired on the host, by kind.",
    ),
    "fleetd_host_stream_state": (
        "gauge",
        "1 for the state in which the host's event stream is, 0 for the others; all 0 when off.",
    ),
}


class HostMetrics:
    """The rows of all hosts that were spoken of, and their text."""

    def __init__(self) -> None:
        """Start with no hosts."""
        self._rows: dict[str, int] = {}
        self._seen = array("d")
        self._seconds = array("d")
        self._visits = array("I")
        """`_WIDTH` numbers for each host, not cumulative."""
        self._reconnects = array("I")
        self._reachable = bytearray()
        self._connected = bytearray()
        self._streams = bytearray()
        """0 where nothing was said, else 1 + the place in `_SAID`."""
        self._repairs: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._quarantined: set[str] = set()

    def remember(self, name: str, seen: float) -> None:
        """Take over when an earlier run saw the host; 0: never."""
        self._seen[self._row(name)] = seen

    def visited(self, name: str, seconds: float, now: float, *, answered: bool) -> None:
        """Take one visit that has just ended."""
        row = self._row(name)
        self._visits[row * _WIDTH + bisect_left(BUCKETS, seconds)] += 1
        self._seconds[row] += seconds
        self._reachable[row] = answered
        if answered:
            self._seen[row] = now
            self._quarantined.discard(name)

    def connected(self, name: str, *, again: bool) -> None:
        """Take a new connection; `again`: there was one before."""
        row = self._row(name)
        self._connected[row] = 1
        self._reconnects[row] += again

    def disconnected(self, name: str) -> None:
        """Take the end of a connection."""
        self._connected[self._row(name)] = 0

    def stream(self, name: str, state: str) -> None:
        """Take the state of a stream, one of `STATES` or `OFF`."""
        self._streams[self._row(name)] = 1 + _SAID.index(state)

    def quarantined(self, name: str) -> None:
        """Take a host that is not to be trusted until a visit to it is answered again."""
        self._quarantined.add(name)

    def repaired(self, name: str, kinds: Iterable[str]) -> None:
        """Count drift that was repaired."""
        counts = self._repairs[name]
        for kind in kinds:
            counts[kind] = counts.get(kind, 0) + 1

    @property
    def connections(self) -> int:
        """How many hosts have a connection."""
        return sum(self._connected)

    def keep(self, names: Collection[str]) -> None:
        """Forget all other hosts."""
        wanted = set(names)
        self._quarantined &= wanted
        for name in self._repairs.keys() - wanted:
            del self._repairs[name]
        if self._rows.keys() <= wanted:
            return
        rows = [(name, row) for name, row in self._rows.items() if name in wanted]
        self._rows = {name: place for place, (name, _) in enumerate(rows)}
        chosen = [row for _, row in rows]
        self._seen = array("d", (self._seen[row] for row in chosen))
        self._seconds = array("d", (self._seconds[row] for row in chosen))
        self._reconnects = array("I", (self._reconnects[row] for row in chosen))
        for flags in (self._reachable, self._connected, self._streams):
            flags[:] = bytes(flags[row] for row in chosen)
        visits = (self._visits[row * _WIDTH : (row + 1) * _WIDTH] for row in chosen)
        self._visits = array("I", (count for counts in visits for count in counts))

    def snapshot(self) -> HostMetrics:
        """A copy that events do not change any more: a few memory copies, whatever the fleet."""
        taken = HostMetrics()
        taken._rows = dict(self._rows)
        taken._seen, taken._seconds = self._seen[:], self._seconds[:]
        taken._visits, taken._reconnects = self._visits[:], self._reconnects[:]
        taken._reachable, taken._streams = self._reachable[:], self._streams[:]
        taken._repairs.update((name, dict(counts)) for name, counts in self._repairs.items())
        taken._quarantined = set(self._quarantined)
        return taken

    def text(self, names: Iterable[str], held: Collection[str]) -> str:
        """The lines of these hosts, in Prometheus' text format; `held` are those on hold."""
        hosts = [(f'{{node="{escaped(name)}"', self._rows.get(name, -1), name) for name in names]
        met = [(label, row, name) for label, row, name in hosts if row >= 0]
        told = {
            "fleetd_host_reachable": self._reachables(hosts),
            "fleetd_host_last_seen_timestamp_seconds": (
                f"fleetd_host_last_seen_timestamp_seconds{label}}} {self._seen[row]:.3f}\n"
                for label, row, _ in met
                if self._seen[row]
            ),
            "fleetd_host_held": _marks("fleetd_host_held", hosts, held),
            "fleetd_host_quarantined": _marks("fleetd_host_quarantined", hosts, self._quarantined),
            "fleetd_host_visit_duration_seconds": self._histograms(met),
            "fleetd_host_ssh_reconnects_total": (
                f"fleetd_host_ssh_reconnects_total{label}}} {self._reconnects[row]}\n"
                for label, row, _ in met
            ),
            "fleetd_host_drift_repaired_total": (
                f'fleetd_host_drift_repaired_total{label},kind="{escaped(kind)}"}} {count}\n'
                for label, _, name in hosts
                for kind, count in sorted(self._repairs.get(name, {}).items())
            ),
            "fleetd_host_stream_state": (
                f'fleetd_host_stream_state{label},state="{state}"}} {int(now == place)}\n'
                for label, row, _ in met
                if (now := self._streams[row])
                for place, state in enumerate(STATES, 1)
            ),
        }
        return "".join(
            line
            for family, (kind, text) in HELP.items()
            for line in (f"# HELP {family} {text}\n# TYPE {family} {kind}\n", *told[family])
        )

    def _reachables(self, hosts: Sequence[tuple[str, int, str]]) -> Iterator[str]:
        for label, row, _ in hosts:
            yield f"fleetd_host_reachable{label}}} {self._reachable[row] if row >= 0 else 0}\n"

    def _histograms(self, met: Sequence[tuple[str, int, str]]) -> Iterator[str]:
        family = "fleetd_host_visit_duration_seconds"
        bounds = [f',le="{bound}"}} ' for bound in (*BUCKETS, "+Inf")]
        for label, row, _ in met:
            total = 0
            bucket = f"{family}_bucket{label}"
            counts = self._visits[row * _WIDTH : (row + 1) * _WIDTH]
            for bound, count in zip(bounds, counts, strict=True):
                total += count
                yield f"{bucket}{bound}{total}\n"
            yield f"{family}_sum{label}}} {self._seconds[row]!r}\n{family}_count{label}}} {total}\n"

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = len(self._rows)
            self._seen.append(0.0)
            self._seconds.append(0.0)
            self._visits.extend((0,) * _WIDTH)
            self._reconnects.append(0)
            for flags in (self._reachable, self._connected, self._streams):
                flags.append(0)
        return row


def escaped(value: str) -> str:
    """A label's value as the text format wants it."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _marks(
    family: str, hosts: Iterable[tuple[str, int, str]], marked: Collection[str]
) -> Iterator[str]:
    for label, _, name in hosts:
        if name in marked:
            yield f"{family}{label}}} 1\n"
