from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from fleetd.adapters.watching import Watching, look, places_of

OFTEN_S = 0.1
TEXT = "hosts: {a: {}}\n"


@asynccontextmanager
async def watching(
    *sources: Path, interval_s: float = 600.0
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """How to wait for the next cause. The files may be changed once this is entered."""
    watch = Watching([str(source) for source in sources], interval_s, look_s=OFTEN_S)
    told: asyncio.Queue[str] = asyncio.Queue()

    async def take() -> None:
        async with aclosing(watch.causes()) as causes:
            async for cause in causes:
                told.put_nowait(cause)

    taking = asyncio.create_task(take())
    async with asyncio.timeout(30):
        while watch.looked is None:
            await asyncio.sleep(0.01)
        try:
            yield told.get
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "here" / "hosts.yaml"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


def write(file: Path) -> None:
    file.write_text(TEXT * 2)


def rename_over(file: Path) -> None:
    beside = file.with_name(".hosts.yaml.swp")
    beside.write_text(TEXT * 2)
    beside.rename(file)


def rename_away(file: Path) -> None:
    """As an editor that keeps the old text beside the new one."""
    file.rename(file.with_name("hosts.yaml~"))
    file.write_text(TEXT)


def remove(file: Path) -> None:
    file.unlink()


def remove_all(file: Path) -> None:
    shutil.rmtree(file.parent)


def make_program(file: Path) -> None:
    file.chmod(0o755)


@pytest.mark.parametrize(
    "change",
    [write, rename_over, rename_away, remove, remove_all, make_program],
    ids=lambda change: change.__name__,
)
async def test_a_change_of_a_file_is_a_cause(file: Path, change: Callable[[Path], None]) -> None:
    async with watching(file) as cause:
        change(file)
        assert await cause() == f"{file}: changed"


async def test_a_directory_that_goes_is_watched_again_when_it_is_back(file: Path) -> None:
    async with watching(file) as cause:
        for _ in range(2):
            remove_all(file)
            await cause()
            file.parent.mkdir()
            file.write_text(TEXT)
            await cause()
            write(file)
            assert await cause() == f"{file}: changed"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param("mount/hosts.yaml", "mount/hosts.yaml", id="file"),
        pytest.param("mount", "mount/hosts.yaml", id="directory"),
        pytest.param("etc/hosts.yaml", "etc/hosts.yaml", id="by-another-link"),
    ],
)
async def test_a_link_that_is_turned_is_a_cause(tmp_path: Path, source: str, told: str) -> None:
    """As Kubernetes mounts a ConfigMap: hosts.yaml > ..data/hosts.yaml, ..data > ..version."""
    mount = tmp_path / "mount"
    for version in ("..1", "..2"):
        (mount / version).mkdir(parents=True)
        (mount / version / "hosts.yaml").write_text(TEXT)
    (mount / "..data").symlink_to("..1")
    (mount / "hosts.yaml").symlink_to("..data/hosts.yaml")
    (tmp_path / "etc").symlink_to(mount)
    async with watching(tmp_path / source) as cause:
        for version in ("..2", "..1"):
            (mount / "..next").symlink_to(version)
            (mount / "..next").rename(mount / "..data")
            assert await cause() == f"{tmp_path / told}: changed"


async def test_all_files_of_a_directory_count_but_hidden_ones(tmp_path: Path) -> None:
    async with watching(tmp_path) as cause:
        (tmp_path / "a.yaml").write_text(TEXT)
        assert await cause() == f"{tmp_path / 'a.yaml'}: changed"
        (tmp_path / ".a.yaml.swp").write_text(TEXT)
        (tmp_path / "b.yaml").write_text(TEXT)
        assert await cause() == f"{tmp_path / 'b.yaml'}: changed"


async def test_a_program_is_due_again_and_again(file: Path) -> None:
    make_program(file)
    async with watching(file, interval_s=0.2) as cause:
        assert [await cause(), await cause()] == [f"{file}: due"] * 2


async def test_what_changes_while_a_cause_is_dealt_with_is_the_next_one(file: Path) -> None:
    watch = Watching([str(file)], 600.0, look_s=OFTEN_S)
    async with asyncio.timeout(30), aclosing(watch.causes()) as causes:
        first = asyncio.ensure_future(anext(causes))
        while watch.looked is None:
            await asyncio.sleep(0.01)
        write(file)
        await first
        rename_over(file)
        assert await anext(causes) == f"{file}: changed"


def test_a_way_through_links_is_watched_wherever_it_can_be_turned(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    (top / "real" / "deep").mkdir(parents=True)
    (top / "real" / "deep" / "hosts.yaml").write_text(TEXT)
    (top / "links").mkdir()
    (top / "links" / "deep").symlink_to("../real/deep")
    (top / "hosts").symlink_to(top / "links" / "deep" / "hosts.yaml")
    assert places_of([top / "hosts"]) == {top, top / "links", top / "real" / "deep"}


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert tmp_path in places_of([loop])
    assert look([loop]).keys() == {str(loop)}


def test_what_is_not_there_is_awaited_in_what_is(tmp_path: Path) -> None:
    assert places_of([tmp_path / "not" / "there" / "hosts.yaml"]) == {tmp_path}
