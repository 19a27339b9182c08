"""The judge of the soak finds what is wrong: each row is a good history with one thing wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.e2e.lab.timeline import Overlap, Run
from tests.e2e.verdict import Agent, Compared, Fault, History, Silence, judge

ALIVE = math.inf
READY = 2.0


def life(version: str, start: float, end: float = ALIVE, *, killed: bool = False) -> Run:
    """From start to end; of one that was killed the end is known less well."""
    return Run(version, start, end - 0.1 if killed else end, end)


#: Three hosts go from v1 to v2 one by one; d joins later; a is cut off for a while and rebooted.
AGENT = Agent(
    "agent",
    budget=1,
    min_ready=READY,
    lives={
        "a": (life("v1", 0, 20), life("v2", 21, 61), life("v2", 65)),
        "b": (life("v1", 0, 24), life("v2", 25)),
        "c": (life("v1", 0, 28), life("v2", 29)),
        "d": (life("v2", 40),),
    },
)
GOOD = History(
    agents=(AGENT,),
    members={**dict.fromkeys("abc", ((0.0, ALIVE),)), "d": ((39.0, ALIVE),)},
    faults=(Fault("reboot", "a", 60.9, 64.0, kills=True), Fault("edit", "b", 70, 70)),
    silences=(Silence("a", 80, 90, quiet=True, listed=True),),
    foreign=(Compared("a", {"unit": "1"}, {"unit": "1"}),),
    settled=(Compared("a", {"ledger": "1"}, {"ledger": "1"}),),
    versions={"agent": "v2"},
)


def with_lives(**lives: tuple[Run, ...]) -> History:
    return replace(GOOD, agents=(replace(AGENT, lives={**AGENT.lives, **lives}),))


def two_at_once() -> History:
    return replace(GOOD, agents=(replace(AGENT, overlaps=(Overlap("b", 26.0, "v2"),)),))


def stopped_too_early() -> History:
    """The second host is stopped when the new copy of the first has run for one second."""
    return with_lives(b=(life("v1", 0, 22), life("v2", 23)))


def stopped_beside_a_broken_one() -> History:
    """A version that dies each time: the next host is stopped all the same."""
    dying = tuple(life("v2", at, at + 1, killed=True) for at in range(21, 60, 2))
    return with_lives(a=(life("v1", 0, 20), *dying, life("v2", 65)))


def stopped_by_a_repair() -> History:
    """An edit kills nothing: the restart is fleetd's, and comes while another host is down."""
    return with_lives(
        b=(life("v1", 0, 24), life("v2", 25, 70), life("v2", 71)),
        c=(life("v1", 0, 28), life("v2", 29, 70.5), life("v2", 72)),
    )


def touched_while_silent() -> History:
    return with_lives(a=(life("v1", 0, 20), life("v2", 21, 61), life("v2", 65, 85), life("v2", 86)))


def started_anew_after_the_silence() -> History:
    lives = (life("v1", 0, 20), life("v2", 21, 61), life("v2", 65, 79.99), life("v2", 89.5))
    return with_lives(a=lives)


def joined_with_the_untested() -> History:
    """The rollout of v3 has no finished host when e joins."""
    return replace(
        with_lives(
            c=(life("v1", 0, 28), life("v2", 29, 100), life("v3", 101)), e=(life("v3", 102),)
        ),
        members={**GOOD.members, "e": ((101.5, ALIVE),)},
        versions={},
    )


CAUGHT = {
    "two at once": (two_at_once(), "two copies"),
    "stopped too early": (stopped_too_early(), "down by fleetd on a, b"),
    "beside a broken one": (stopped_beside_a_broken_one(), "down by fleetd on a, b"),
    "by a repair": (stopped_by_a_repair(), "down by fleetd on b, c"),
    "touched while silent": (touched_while_silent(), "only silent"),
    "anew after the silence": (started_anew_after_the_silence(), "only silent"),
    "silent and not listed": (
        replace(GOOD, silences=(Silence("a", 80, 90, quiet=False, listed=False),)),
        "taken for gone",
    ),
    "untested joiner": (joined_with_the_untested(), "e: joined with v3"),
    "foreign thing gone": (replace(GOOD, foreign=(Compared("a", {"x": "1"}, {}),)), "is nothing"),
    "not quiet": (
        replace(GOOD, settled=(Compared("a", {"ledger": "1"}, {"ledger": "2"}),)),
        "not quiet: ledger",
    ),
    "not mended": (
        replace(GOOD, unmended=(Fault("edit", "b", 70, 70),)),
        "edit was never put right",
    ),
    "wrong version in the end": (replace(GOOD, versions={"agent": "v3"}), "should be v3"),
    "dead in the end": (with_lives(d=(life("v2", 40, 100),)), "d: agent should be v2"),
}


def test_a_good_history_is_good() -> None:
    assert judge(GOOD) == []


@pytest.mark.parametrize(("history", "words"), CAUGHT.values(), ids=CAUGHT)
def test_what_is_wrong_is_found(history: History, words: str) -> None:
    found = judge(history)
    assert any(words in each for each in found), found


def test_a_stop_by_a_fault_takes_no_budget() -> None:
    both = with_lives(
        b=(life("v1", 0, 24), life("v2", 25, 61), life("v2", 66)),
        c=(life("v1", 0, 28), life("v2", 29, 61), life("v2", 66)),
    )
    killed = tuple(Fault("reboot", host, 60.9, 64.0, kills=True) for host in "abc")
    assert judge(replace(both, faults=killed)) == []
    assert judge(replace(both, faults=killed[:1])) != []


def test_a_copy_that_never_was_good_takes_no_budget() -> None:
    """What was down already costs nothing to stop, even while another host is down."""
    down = (life("v1", 0, 15, killed=True), life("v1", 18, 20.5), life("v2", 25))
    assert judge(with_lives(b=down)) == []


def test_a_host_that_leaves_takes_no_budget_any_more() -> None:
    gone = with_lives(
        d=(life("v2", 40, 70),), c=(life("v1", 0, 28), life("v2", 29, 71), life("v2", 72))
    )
    left = {**GOOD.members, "d": ((39.0, 69.0),)}
    assert judge(replace(gone, members=left)) == []
    assert judge(gone) != []
