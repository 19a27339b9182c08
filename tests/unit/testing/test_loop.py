from __future__ import annotations

import asyncio
import time

import pytest

from fleetd.testing.loop import LoopClock, Stalled, run


async def trace() -> list[int]:
    done: list[int] = []

    async def work(number: int) -> None:
        await asyncio.sleep(1)
        done.append(number)
        await asyncio.sleep(number)
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(work(number))
    return done


def test_equal_seeds_give_equal_orders_and_others_differ() -> None:
    traces = [tuple(run(trace(), seed=seed)) for seed in (1, 1, 2, 3)]
    assert traces[0] == traces[1]
    assert len(set(traces)) == 3


def test_time_passes_only_where_everything_waits() -> None:
    async def main() -> tuple[float, float]:
        clock = LoopClock(epoch=1000.0)
        await clock.sleep(3600)
        return clock.monotonic(), clock.now()

    began = time.monotonic()
    assert run(main(), seed=0) == (3600.0, 4600.0)
    assert time.monotonic() - began < 60


def test_timeouts_end_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(1000)
        return asyncio.get_running_loop().time()

    assert run(main(), seed=0) == 100.0


def test_a_deadlock_is_told() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled):
        run(main(), seed=0)
