"""The life of the service, in virtual time: no signals, no sockets, no systemd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleetd.server.life import BEAT_S, DRAIN_S, Life, Part
from fleetd.testing.loop import LoopClock, run


@dataclass
class Systemd:
    """Remembers what it was told and when, in seconds of the loop."""

    watchdog_s: float = 0.0
    told: list[tuple[float, str]] = field(default_factory=list)

    def _tell(self, word: str) -> None:
        self.told.append((asyncio.get_running_loop().time(), word))

    def ready(self) -> None:
        self._tell("ready")

    def status(self, text: str) -> None:
        self._tell(f"status {text}")

    def reloading(self) -> None:
        self._tell("reloading")

    def stopping(self) -> None:
        self._tell("stopping")

    def alive(self) -> None:
        self._tell("alive")

    def extend(self, seconds: float) -> None:
        self._tell(f"extend {seconds:g}")

    def words(self, *but: str) -> list[str]:
        return [word for _, word in self.told if not word.startswith(but)]

    def times(self, word: str) -> list[float]:
        return [at for at, told in self.told if told == word]


class Sink:
    def emit(self, event: str, **fields: Any) -> None:
        pass


async def nothing(*_: object) -> None:
    pass


async def forever() -> None:
    await asyncio.Event().wait()


def life(
    systemd: Systemd,
    *,
    read_again: Callable[[], Awaitable[object]] = nothing,
    drain: Callable[[float], Awaitable[None]] = nothing,
) -> Life:
    return Life(systemd, LoopClock(), Sink(), lambda: "well", read_again, drain)


def live(
    one: Callable[[], Life],
    *then: tuple[float, Callable[[Life], None]],
    parts: list[Part] | None = None,
) -> float:
    """Run a life to its end, with things done to it at seconds; when it ended."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        made = one()
        for after_s, act in then:
            loop.call_at(after_s, act, made)
        await made.run([("part", forever)] if parts is None else parts)
        return loop.time()

    return run(main(), seed=1)


def test_it_is_ready_once_all_parts_have_begun_and_ends_when_it_is_told() -> None:
    systemd = Systemd()
    assert live(lambda: life(systemd), (3.0, Life.end)) == 3.0
    assert systemd.words("status", "extend") == ["ready", "stopping"]
    assert systemd.times("ready") == [0.0]


def test_the_heart_beats_three_times_within_what_the_watchdog_bears() -> None:
    systemd = Systemd(watchdog_s=6.0)
    live(lambda: life(systemd), (7.0, Life.end))
    assert systemd.times("alive") == [0.0, 2.0, 4.0, 6.0]


def test_without_a_watchdog_nobody_is_told_of_the_heart_but_of_the_state() -> None:
    systemd = Systemd()
    live(lambda: life(systemd), (12.0, Life.end))
    assert systemd.times("alive") == []
    assert set(systemd.times("status well")) == {0.0, BEAT_S, 2 * BEAT_S}


@dataclass
class Draining:
    """What is in flight takes some seconds to end."""

    seconds: float
    ended: list[float] = field(default_factory=list)
    cut: list[float] = field(default_factory=list)

    async def __call__(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cut.append(loop.time())
            raise
        self.ended.append(loop.time())


def begin(systemd: Systemd, takes_s: float, *then: tuple[float, Callable[[Life], None]]) -> bool:
    """Begin a life with work that takes some seconds; whether it may go on."""

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        made = life(systemd)
        for after_s, act in then:
            loop.call_at(after_s, act, made)
        return await made.begin(asyncio.sleep(takes_s))

    return run(main(), seed=1)


def test_a_long_start_is_told_to_go_on() -> None:
    systemd = Systemd()
    assert begin(systemd, 12.0)
    assert systemd.times(f"extend {3 * BEAT_S:g}") == [0.0, BEAT_S, 2 * BEAT_S]
    assert systemd.words("status", "extend") == []


def test_a_start_ends_when_it_is_told() -> None:
    assert not begin(Systemd(), 1e6, (3.0, Life.end))


def test_what_is_in_flight_may_end_and_systemd_is_told_that_it_takes_time() -> None:
    systemd, draining = Systemd(), Draining(12.0)
    ended = live(lambda: life(systemd, drain=draining), (1.0, Life.end))
    assert ended == 13.0
    assert draining.ended == [13.0]
    assert systemd.times(f"extend {3 * BEAT_S:g}") != []


def test_what_does_not_end_within_the_bound_is_cut() -> None:
    draining = Draining(1e6)
    ended = live(lambda: life(Systemd(), drain=draining), (1.0, Life.end))
    assert ended == 1.0 + DRAIN_S
    assert draining.cut == [ended]


def test_a_second_wish_to_end_cuts_at_once() -> None:
    draining = Draining(1e6)
    ended = live(
        lambda: life(Systemd(), drain=draining), (1.0, Life.end), (4.0, Life.end), (5.0, Life.end)
    )
    assert ended == 4.0
    assert draining.cut == [4.0]


def test_parts_go_on_while_work_in_flight_ends_and_are_cancelled_then() -> None:
    cancelled: list[float] = []

    async def part() -> None:
        try:
            await forever()
        finally:
            cancelled.append(asyncio.get_running_loop().time())

    live(lambda: life(Systemd(), drain=Draining(7.0)), (1.0, Life.end), parts=[("answers", part)])
    assert cancelled == [8.0]


async def fails() -> None:
    await asyncio.sleep(2.0)
    raise LookupError("lost")


async def stops() -> None:
    await asyncio.sleep(2.0)


@pytest.mark.parametrize(
    ("part", "error"),
    [pytest.param(fails, LookupError, id="fails"), pytest.param(stops, RuntimeError, id="stops")],
)
def test_a_part_that_fails_ends_all(
    part: Callable[[], Coroutine[Any, Any, None]], error: type[Exception]
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        live(lambda: life(Systemd()), parts=[("broken", part), ("whole", forever)])
    assert caught.group_contains(error)


def test_a_reload_is_announced_and_over_when_it_is() -> None:
    systemd = Systemd()

    async def slow() -> None:
        await asyncio.sleep(3.0)

    live(
        lambda: life(systemd, read_again=slow),
        (10.0, Life.reload),
        (10.0, Life.reload),
        (20.0, Life.end),
    )
    assert systemd.words("status", "extend") == ["ready", "reloading", "ready", "stopping"]
    assert systemd.times("reloading") == [10.0]
    assert systemd.times("ready") == [0.0, 13.0]


def test_a_wish_to_reload_during_a_reload_is_another_reload() -> None:
    systemd, read = Systemd(), []

    async def slow() -> None:
        read.append(asyncio.get_running_loop().time())
        await asyncio.sleep(3.0)

    live(
        lambda: life(systemd, read_again=slow),
        (10.0, Life.reload),
        (11.0, Life.reload),
        (20.0, Life.end),
    )
    assert read == [10.0, 13.0]


def test_the_end_does_not_wait_for_a_reload() -> None:
    ended = live(lambda: life(Systemd(), read_again=forever), (10.0, Life.reload), (12.0, Life.end))
    assert ended == 12.0
