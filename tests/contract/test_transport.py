"""What every Transport promises, on each stage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.conftest import Stage
from tests.contract.sshd import NAME


async def test_output_and_exit_status_come_back(stage: Stage) -> None:
    output = await stage.run("echo", "hello", "there")
    assert (output.status, output.error, output.sent) == (0, "", True)
    assert output.stdout.endswith(b"hello there\n")


async def test_a_failing_command_is_told_by_its_status(stage: Stage) -> None:
    output = await stage.run("exit", "7")
    assert (output.status, output.error) == (7, "")


async def test_bytes_that_are_no_text_come_back_unchanged(stage: Stage) -> None:
    output = await stage.run("echo", "a\udcffb")
    assert (output.status, output.stdout[-4:]) == (0, b"a\xffb\n")
    assert (await stage.run("echo", "still here")).status == 0


async def test_output_beyond_the_limit_is_no_end(stage: Stage) -> None:
    output = await stage.run("yes", "100000", limit=5000)
    assert output.status is None
    assert len(output.stdout) == 5000
    assert "5000 bytes" in output.error
    assert (await stage.run("echo", "still here")).status == 0


async def test_output_up_to_the_limit_is_whole(stage: Stage) -> None:
    output = await stage.run("yes", "100000", limit=201000)
    assert (output.status, output.stdout[-200000:]) == (0, b"y\n" * 100000)


async def test_a_host_that_dies_gives_no_status(stage: Stage) -> None:
    output = await stage.run("reboot")
    assert (output.status, output.sent) == (None, True)
    assert "lost" in output.error


async def test_a_run_that_takes_too_long_gives_no_status(stage: Stage) -> None:
    output = await stage.run("sleep", "30", timeout_s=0.3)
    assert (output.status, output.sent) == (None, True)
    assert "0.3 s" in output.error
    assert (await stage.run("echo", "still here")).status == 0


async def test_many_runs_at_once_all_end(stage: Stage) -> None:
    outputs = await asyncio.gather(*(stage.run("echo", str(number)) for number in range(15)))
    assert [output.status for output in outputs] == [0] * 15
    assert [int(output.stdout.split()[-1]) for output in outputs] == list(range(15))


async def test_after_many_cancelled_runs_the_host_still_answers(stage: Stage) -> None:
    for _ in range(3):
        runs = [asyncio.create_task(stage.run("sleep", "30")) for _ in range(5)]
        await asyncio.sleep(0.2)
        for run in runs:
            run.cancel()
        ended = await asyncio.gather(*runs, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) or end.status is None for end in ended)  # type: ignore[union-attr]
    assert (await stage.run("echo", "still here")).status == 0


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000], ids=str)
async def test_a_large_request_arrives_whole(stage: Stage, size: int) -> None:
    output = await stage.run("echo", "x" * size, limit=4 << 20)
    assert output.status == 0
    assert (
        output.stdout.endswith(b"\n" + b"x" * size + b"\n") or output.stdout == b"x" * size + b"\n"
    )


async def test_a_host_that_nobody_can_reach_is_told_so_and_nothing_was_sent(stage: Stage) -> None:
    stage.ssh = type(stage.ssh)("127.0.0.1", 1, "root", "", stage.ssh.known_hosts_file)
    output = await stage.run("echo", "hello")
    assert (output.status, output.sent) == (None, False)
    assert output.error


async def cut_into(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [0, 1, 3_000_000], ids=str)
async def test_an_upload_arrives_whole(stage: Stage, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    output = await stage.upload(data, cut_into(data, 100_000))
    assert (output.status, output.error) == (0, "")


async def test_an_upload_that_ends_early_is_not_taken(stage: Stage) -> None:
    data = b"x" * 1_000_000
    output = await stage.upload(data, cut_into(data[:-1], 100_000))
    assert output.status not in {0, None}


async def test_an_upload_to_nowhere_is_told_and_nothing_is_read(stage: Stage) -> None:
    stage.ssh = type(stage.ssh)("127.0.0.1", 1, "root", "", stage.ssh.known_hosts_file)
    output = await stage.upload(b"x", cut_into(b"x", 1))
    assert (output.status, output.sent) == (None, False)
    assert output.error


async def test_who_takes_output_slowly_is_sent_no_more_meanwhile(stage: Stage) -> None:
    taking: asyncio.Future[None] | None = None
    got = bytearray()

    async def gulp(data: bytes) -> None:
        await asyncio.sleep(0)
        got.extend(data)

    def take(data: bytes) -> asyncio.Future[None]:
        nonlocal taking
        assert taking is None or taking.done()
        taking = asyncio.ensure_future(gulp(data))
        return taking

    stdin = stage.stdin_of(("yes", "2000000"))
    ended = await stage.transport.stream(NAME, stage.ssh, stdin, take, lambda _: None)
    assert (ended.status, ended.error) == (0, "")
    assert got.count(b"y\n") == 2_000_000


async def test_who_stops_taking_output_may_leave(stage: Stage) -> None:
    stuck = asyncio.Event()

    def take(data: bytes) -> asyncio.Future[None]:
        stuck.set()
        return asyncio.get_running_loop().create_future()

    stdin = stage.stdin_of(("yes", "2000000"))
    running = asyncio.create_task(
        stage.transport.stream(NAME, stage.ssh, stdin, take, lambda _: None)
    )
    await stuck.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await stage.run("echo", "still here")).status == 0
