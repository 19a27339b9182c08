from __future__ import annotations

import asyncio
from random import Random

from fleetd.core.actions import Reason, Remove, Start
from fleetd.core.facts import Slot
from fleetd.core.meta import Key
from fleetd.engine.executor import Outcome, Step
from fleetd.engine.queue import Backoff, Ramp, Timers
from fleetd.engine.tries import HOPELESS, REPEAT_S, REPEATS, Tries
from fleetd.testing import loop

DS = Key("default", "agent")
OTHER = Key("default", "other")


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def start(node: str, revision: str = "r1", ds: Key = DS) -> Start:
    return Start(node, ds, Slot.A, revision, Reason.MISSING)


def tries() -> tuple[Tries, Hand]:
    clock = Hand()
    return Tries(clock, Random(1)), clock


def test_waits_grow_to_a_limit_and_chance_shortens_them_by_up_to_half() -> None:
    backoff, chance = Backoff(1.0, 15.0), Random(7)
    for number, longest in enumerate((1, 2, 4, 8, 15, 15), 1):
        waits = {backoff.wait(number, chance) for _ in range(200)}
        assert longest / 2 <= min(waits) < longest * 0.6
        assert longest * 0.9 < max(waits) <= longest


def test_a_wait_after_very_many_tries_is_as_long_as_any() -> None:
    assert 150 <= Backoff(1.0, 300.0).wait(10_000_000, Random(1)) <= 300


def test_what_fails_together_does_not_come_again_together() -> None:
    chance = Random(3)
    assert len({round(Backoff(8.0, 60.0).wait(1, chance), 1) for _ in range(30)}) > 15


def test_a_ramp_grows_by_one_with_each_that_goes_well() -> None:
    ramp = Ramp()
    for expected in (2, 3, 4):
        ramp.begin()
        ramp.end(good=True, again=0.0)
        assert ramp.room == expected


def test_a_ramp_closes_when_the_first_fails_and_only_narrows_later() -> None:
    first, later = Ramp(), Ramp(room=8, good=7, running=1)
    first.begin()
    first.end(good=False, again=50.0)
    later.end(good=False, again=50.0)
    assert (first.room, first.after) == (1, 50.0)
    assert (later.room, later.after) == (4, 0.0)


def test_a_timer_that_is_set_again_moves() -> None:
    called: list[float] = []

    async def story() -> None:
        timers, clock = Timers(), asyncio.get_running_loop().time
        timers.set("a", 10, lambda: called.append(clock()))
        timers.set("a", 20, lambda: called.append(clock()))
        timers.set("b", 15, lambda: called.append(clock()))
        timers.cancel("b")
        timers.cancel("nobody")
        await asyncio.sleep(100)
        assert timers.handles == {}

    loop.run(story(), seed=1)
    assert called == [20]


def test_a_timer_may_set_itself_again() -> None:
    called: list[float] = []

    async def story() -> None:
        timers, clock = Timers(), asyncio.get_running_loop().time

        def again() -> None:
            called.append(clock())
            timers.set("a", 10, again)

        again()
        await asyncio.sleep(25)
        timers.clear()
        await asyncio.sleep(100)

    loop.run(story(), seed=1)
    assert called == [0, 10, 20]


def test_one_start_at_a_time_until_one_went_well() -> None:
    known, _ = tries()
    assert known.wait(start("h1")) is None
    known.begin(start("h1"))
    assert known.wait(start("h2")) == float("inf")
    assert known.wait(start("h2", ds=OTHER)) is None
    known.end(Step(start("h1"), Outcome.DONE))
    known.begin(start("h2"))
    assert known.wait(start("h3")) is None


def test_a_slow_start_makes_room_for_one_beside_it() -> None:
    known, _ = tries()
    known.begin(start("h1"))
    known.widen(DS)
    assert known.wait(start("h2")) is None


def test_what_was_given_back_takes_no_room() -> None:
    known, _ = tries()
    known.begin(start("h1"))
    known.give_back([start("h1"), Remove("h1", DS, None, Reason.DELETED)])
    assert known.wait(start("h2")) is None


def test_a_failure_has_to_wait_and_others_need_not() -> None:
    known, clock = tries()
    gone = Remove("h1", DS, None, Reason.DELETED)
    known.end(Step(gone, Outcome.FAILED, "busy"))
    assert known.failures() == {DS: {"h1": "busy"}}
    assert 1.0 <= (known.wait(gone) or 0) <= 2.0
    assert known.wait(Remove("h2", DS, None, Reason.DELETED)) is None
    clock.time += 2
    assert known.wait(gone) is None
    known.end(Step(gone, Outcome.DONE))
    assert known.failures() == {}


def test_another_revision_and_a_word_from_people_are_tried_at_once() -> None:
    known, _ = tries()
    known.begin(start("h1"))
    known.end(Step(start("h1"), Outcome.FAILED, "no"))
    assert known.wait(start("h1")) is not None
    assert known.failed(start("h1")) == 1
    assert known.failed(start("h1", "r2")) == 0
    known.forgive({OTHER})
    assert known.wait(start("h1")) is not None
    known.forgive(None)
    assert known.wait(start("h1")) is None


def test_starts_that_all_fail_are_hopeless_and_one_that_goes_well_is_hope() -> None:
    known, clock = tries()
    for number in range(HOPELESS):
        assert known.hopeless() == frozenset()
        known.begin(start(f"h{number}"))
        known.end(Step(start(f"h{number}"), Outcome.FAILED))
    assert known.hopeless() == {DS}
    assert known.closed() == {DS}
    clock.time += 100
    assert known.closed() == frozenset()
    known.begin(start("h0"))
    known.end(Step(start("h0"), Outcome.DONE))
    assert known.hopeless() == frozenset()


def test_what_is_done_again_and_again_has_to_wait_unless_it_was_right_for_a_while() -> None:
    known, clock = tries()
    gone = Remove("h1", DS, None, Reason.DELETED)
    for _ in range(REPEATS):
        assert known.wait(gone) is None
        known.end(Step(gone, Outcome.DONE))
        clock.time += 1
    known.end(Step(gone, Outcome.DONE))
    assert known.wait(gone)
    clock.time += REPEAT_S + 10
    known.end(Step(gone, Outcome.DONE))
    assert known.wait(gone) is None


def test_what_is_long_over_is_forgotten() -> None:
    known, clock = tries()
    known.begin(start("h1"))
    known.end(Step(start("h1"), Outcome.FAILED, "no"))
    known.tidy({DS})
    assert known.tries
    assert known.ramps
    clock.time += 10_000
    known.tidy(set())
    assert not known.tries
    assert not known.ramps
