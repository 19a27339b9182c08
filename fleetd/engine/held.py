"""What the loop holds of each host: what was seen last, how it is watched, when to look again.

Invariants:
- An observation that a look only confirms stays the very same object, with the time at which it was
  made; so what was judged of it need not be judged again, and ages count from the right moment.
- A host whose journal tells of what happens is looked at seldom, and not in step with others; one
  with a copy that is not available is looked at more often than its stream alone would ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from fleetd.core.actions import Decision, Reason, Wait
from fleetd.core.facts import Clock, Known, Observation, Part, UnitState, Unknown
from fleetd.core.stream import StreamState
from fleetd.engine.queue import Backoff
from fleetd.engine.visits import is_whole

SILENT = Backoff(1.0, 15.0)
"""Looks at a host that did not answer."""
GONE = Backoff(1.0, 300.0)
"""Looks at one that left the inventory and does not answer."""
CHECK = Backoff(1.0, 30.0, 1.2)
"""Looks at a host with a copy that is not available, where no stream tells how it fares."""
WATCHED_CHECK = Backoff(4.0, 60.0, 1.5)
"""The same where one does: readiness is written to a file, and no journal tells of that."""
MARGIN_S = 0.05
"""A copy that is available at a moment is looked at just after it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a quiet host is looked at, in seconds: with a live stream, and without."""

    full_look_s: float = 900.0
    poll_s: float = 30.0


@dataclass(slots=True)
class Held:
    """All that is held, by the names of nodes. `at` is UTC, `looked` monotonic seconds."""

    chance: Random
    pace: Pace
    seen: dict[str, Part[Observation]] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    looked: dict[str, float] = field(default_factory=dict)
    streams: dict[str, StreamState] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    """Looks in a row that brought nothing to decide on."""
    restless: dict[str, float] = field(default_factory=dict)
    """Nodes with a copy that is not available; when time alone may do it, in UTC (0: unknown)."""
    checks: dict[str, int] = field(default_factory=dict)
    """Looks in a row at restless ones."""

    def take(self, name: str, part: Part[Observation], now: float, moment: float) -> bool:
        """Take in what a look brought, at `now` UTC and `moment`; whether it is news."""
        self.looked[name] = moment
        if isinstance(part, Known) and is_whole(part.value):
            self.silent.pop(name, None)
        else:
            self.silent[name] = self.silent.get(name, 0) + 1
        if name in self.restless:
            self.checks[name] = self.checks.get(name, 0) + 1
        elif _confirms(self.seen.get(name), part):
            return False
        self.seen[name] = part
        self.at[name] = now
        return True

    def doubt(self, name: str, why: str) -> None:
        """What was seen of a host is not to be trusted any more."""
        self.seen[name] = Unknown(why)
        self.at.pop(name, None)

    def rest(self, restless: Mapping[str, float]) -> frozenset[str]:
        """Take the nodes that are restless now; those that have just become so, or are no more."""
        changed = frozenset(
            name
            for name in restless.keys() | self.restless.keys()
            if restless.get(name) != self.restless.get(name)
        )
        self.restless = dict(restless)
        for name in self.checks.keys() - restless.keys():
            del self.checks[name]
        return changed

    def forget(self, name: str) -> None:
        """There is no such node any more."""
        tables: tuple[dict[str, object], ...] = (
            *(self.seen, self.at, self.looked, self.streams),  # type: ignore[assignment]
            *(self.silent, self.restless, self.checks),
        )
        for table in tables:
            table.pop(name, None)

    def is_live(self, name: str) -> bool:
        """Whether the host's stream tells of what happens there."""
        return self.streams.get(name) is StreamState.LIVE

    def is_silent(self, name: str) -> bool:
        """Whether it did not answer last time, and nothing says that it is back."""
        return isinstance(self.seen.get(name), Unknown) and not self.is_live(name)

    def pause(self, name: str, now: float, *, left: bool) -> float:
        """Seconds from its last look to the next, unless something happens; `now` is UTC."""
        if tries := self.silent.get(name, 0):
            return (GONE if left else SILENT).wait(tries, self.chance)
        live = self.is_live(name)
        if name not in self.restless:
            whole = self.pace.full_look_s if live else self.pace.poll_s
            return whole * (1.0 - self.chance.random() / 4)
        grown = (WATCHED_CHECK if live else CHECK).wait(self.checks.get(name, 0) + 1, self.chance)
        until = self.restless[name]
        if not until:
            return grown
        ready = max(until - now, 0.0) + MARGIN_S
        return ready if live else min(ready, grown)


def unsettled(decisions: Iterable[Decision]) -> tuple[dict[str, float], frozenset[str]]:
    """What a plan leaves open.

    The nodes with a copy that is not available, and when time alone may do it (0: unknown); and the
    nodes for which something was due, had they not been busy.
    """
    restless: dict[str, float] = {}
    busy: set[str] = set()
    for entry in decisions:
        if entry.reason is Reason.UP_TO_DATE:
            continue  # nearly all of them
        match entry.reason:
            case Reason.STARTING if isinstance(entry, Wait):
                times = (restless.get(entry.node, 0.0), entry.until)
                restless[entry.node] = min(filter(None, times), default=0.0)
            case Reason.ROLLOUT_FAILED | Reason.NOT_AVAILABLE:
                restless.setdefault(entry.node, 0.0)
            case Reason.BUSY:
                busy.add(entry.node)
            case _:
                continue
    return restless, frozenset(busy)


def _confirms(old: Part[Observation] | None, new: Part[Observation]) -> bool:
    """Whether a look only showed that time has gone on."""
    if isinstance(old, Unknown) or isinstance(new, Unknown) or old is None:
        return old == new
    one, two = old.value, new.value
    told = two.facts is None or two.facts == one.facts
    same = (one.owner, one.ledger, one.files, one.engine) == (
        *(two.owner, two.ledger, two.files, two.engine),
    )
    return told and same and _timeless(one) == _timeless(two)


def _timeless(seen: Observation) -> tuple[object, object]:
    """Who answered, and its units, without how long anything has lasted."""
    clock, units = seen.clock, seen.units
    return (
        _who(clock.value) if isinstance(clock, Known) else clock,
        tuple(map(_state, units.value)) if isinstance(units, Known) else units,
    )


def _who(clock: Clock) -> tuple[str, str]:
    return clock.machine_id, clock.boot_id


def _state(unit: UnitState) -> tuple[UnitState, bool]:
    return replace(unit, active_for_s=None, passing_for_s=None), unit.active_for_s is None
