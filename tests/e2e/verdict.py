"""What a recorded history of a fleet must not show, whatever was done to the fleet meanwhile.

Pure: a history goes in, sentences about what is wrong in it come out, so that a history with a
known fault shows that it would be caught. It is judged by what the hosts recorded, never by what
fleetd believes.

    at most one   no copy of an agent found another one of it running on its host
    budget        at no stop of a good copy that fleetd made were more hosts without one by
                  fleetd's doing than maxUnavailable allows; a host counts until a copy has lived
                  there for minReadySeconds
    unknown       a silent host keeps its place and its copy, through the silence and after it
    untested      a host that joins begins with no version that no host has proved
    foreign       what fleetd did not make is as it was
    quiet         when all is settled nothing changes any more
    mended        each damage was put right
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.e2e.lab.timeline import Overlap, Run

TICK_S = 0.05
"""Two clocks' ticks, and what a shell takes to write a line."""
STALE_S = 5.0
"""A copy that was not good until so shortly before was stopped for what had been seen of it."""

Lives = Mapping[str, tuple[Run, ...]]
Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to a host, from `begin` to `end`; `kills`: copies may end by it."""

    kind: str
    host: str
    begin: float
    end: float
    kills: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which a host did not answer, up to when it was seen to answer again.

    `quiet`: nothing else was going on then. `listed`: its copies stood in the state all the while.
    """

    host: str
    begin: float
    end: float
    quiet: bool
    listed: bool


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of the fleet: what its DaemonSet allows, and what its copies recorded."""

    name: str
    budget: int
    min_ready: float
    lives: Lives
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """Something that should not have changed on a host: what it was, and what it is."""

    host: str
    before: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class History:
    """All that was recorded. `members`: from when to when each host was in the inventory."""

    agents: tuple[Agent, ...]
    members: Mapping[str, tuple[Window, ...]]
    faults: tuple[Fault, ...] = ()
    silences: tuple[Silence, ...] = ()
    foreign: tuple[Compared, ...] = ()
    settled: tuple[Compared, ...] = ()
    unmended: tuple[Fault, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    """The version that each agent should have in the end, on all members."""


def judge(history: History) -> list[str]:
    """What is wrong, one sentence each; empty for a good history."""
    found: list[str] = []
    for agent in history.agents:
        found += _overlaps(agent)
        found += _budget(agent, history)
        found += _silences(agent, history)
        found += _joiners(agent, history)
        found += _ends(agent, history)
    found += _unlisted(history)
    found += _changed("foreign", history.foreign)
    found += _changed("not quiet", history.settled)
    found += [
        f"{_at(each.begin)} {each.host}: {each.kind} was never put right"
        for each in history.unmended
    ]
    return found


def _overlaps(agent: Agent) -> Iterator[str]:
    for each in agent.overlaps:
        yield f"{_at(each.at)} {each.host}: two copies of {agent.name} at once ({each.version})"


@dataclass(frozen=True, slots=True)
class _Down:
    """A host without a good copy by fleetd's doing."""

    host: str
    begin: float
    end: float


def _budget(agent: Agent, history: History) -> Iterator[str]:
    downs = [down for host in agent.lives for down in _downs(agent, host, history)]
    for down in sorted(downs, key=lambda down: down.begin):
        there = sorted({o.host for o in downs if o.begin <= down.begin < o.end})
        if len(there) > agent.budget:
            names = ", ".join(there)
            yield f"{_at(down.begin)} {down.host}: {agent.name} down by fleetd on {names}"


def _downs(agent: Agent, host: str, history: History) -> Iterator[_Down]:
    lives = agent.lives[host]
    for number, life in enumerate(lives):
        stopped = life.last == life.end < math.inf
        good = life.end - life.start >= agent.min_ready + STALE_S
        member = _window(history.members.get(host, ()), life.end)
        if not stopped or not good or member is None or _by_fault(history, host, life.end):
            continue
        yield _Down(host, life.end, min(_good_again(agent, lives[number + 1 :]), member[1]))


def _good_again(agent: Agent, later: tuple[Run, ...]) -> float:
    for life in later:
        if life.end - life.start >= agent.min_ready:
            return life.start + agent.min_ready
    return math.inf


def _by_fault(history: History, host: str, at: float) -> bool:
    return any(
        fault.kills and fault.host == host and fault.begin - TICK_S <= at <= fault.end + TICK_S
        for fault in history.faults
    )


def _silences(agent: Agent, history: History) -> Iterator[str]:
    for silence in history.silences:
        if not silence.quiet:
            continue
        lives = agent.lives.get(silence.host, ())
        moments = [*(life.start for life in lives), *(life.end for life in lives)]
        for at in moments:
            if silence.begin - TICK_S < at < silence.end and not _by_fault(
                history, silence.host, at
            ):
                yield f"{_at(at)} {silence.host}: {agent.name} was touched, though only silent"


def _unlisted(history: History) -> Iterator[str]:
    for silence in history.silences:
        if not silence.listed:
            yield f"{_at(silence.begin)} {silence.host}: silent, and its copies taken for gone"


def _joiners(agent: Agent, history: History) -> Iterator[str]:
    first = min((life.start for each in agent.lives.values() for life in each), default=math.inf)
    for host, windows in history.members.items():
        for begin, end in windows:
            new = next((r for r in agent.lives.get(host, ()) if begin <= r.start < end), None)
            # Before any rollout is over, there is nothing else to begin with.
            if new is None or begin <= first or _proved(agent, new):
                continue
            yield f"{_at(new.start)} {host}: joined with {new.version}, which nobody had proved"


def _proved(agent: Agent, new: Run) -> bool:
    return any(
        life.version == new.version and life.start + agent.min_ready < min(life.last, new.start)
        for lives in agent.lives.values()
        for life in lives
    )


def _ends(agent: Agent, history: History) -> Iterator[str]:
    wanted = history.versions.get(agent.name)
    for host, windows in history.members.items() if wanted else ():
        last = agent.lives.get(host, ())[-1:]
        there = bool(last) and last[0].end == math.inf
        version = last[0].version if there else "none"
        if windows and windows[-1][1] == math.inf and version != wanted:
            yield f"{host}: {agent.name} should be {wanted} in the end, and is {version}"


def _changed(what: str, compared: tuple[Compared, ...]) -> Iterator[str]:
    for each in compared:
        for name in sorted(each.before.keys() | each.after.keys()):
            was, now = each.before.get(name, "nothing"), each.after.get(name, "nothing")
            if was != now:
                yield f"{each.host}: {what}: {name} was {was}, is {now}"


def _window(windows: tuple[Window, ...], at: float) -> Window | None:
    return next((window for window in windows if window[0] <= at < window[1]), None)


def _at(at: float) -> str:
    return f"[{at:.2f}]"
