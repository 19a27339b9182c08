"""When to read the inventory again: its files have changed, or its programs are due.

The kernel's notices, by the library watchfiles, only make us look sooner; whether anything has
changed is told by the files themselves: which there are, and inode, size and times of each. So
nothing hangs on the form of a change. An editor that renames, a link that is turned, alone or in a
whole directory (as Kubernetes mounts a ConfigMap), a directory that goes and comes back, and a
file system without notices are all the same: after a moment of quiet, the files are others than
before. Separate from the reading, which may take long and may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

from watchfiles import awatch

INTERVAL_S = 60.0
"""How often programs are asked."""
LOOK_S = 2.0
"""How often the files are looked at without a notice."""
QUIET_MS = 100
"""A change is over when nothing has come for so long..."""
BUSY_MS = 1000
"""... or has come all the time for so long."""
LINKS = 40
"""As many links as the kernel follows (ELOOP)."""

Looked = dict[str, tuple[int, ...]]
"""Each file of the sources, and what tells one state of it from another."""


class Watching:
    """Watches the sources of an inventory: files, directories and programs, by absolute paths."""

    def __init__(
        self, sources: Sequence[str], interval_s: float = INTERVAL_S, *, look_s: float = LOOK_S
    ) -> None:
        """Take the sources, how often programs are due, and how often to look without notices."""
        self._sources = tuple(Path(source) for source in sources)
        self._interval_s = interval_s
        self._look_s = min(look_s, interval_s)
        self.looked: Looked | None = None
        """What the files were when they were last looked at; None before the first look."""

    async def causes(self) -> AsyncGenerator[str, None]:
        """Why to read again, each time there is a reason; never ends by itself.

        Whoever takes them may take long: what changes meanwhile is the next one.
        """
        self.looked = before = await asyncio.to_thread(look, self._sources)
        due = time.monotonic() + self._interval_s
        while True:
            places = await asyncio.to_thread(places_of, self._sources)
            async with contextlib.aclosing(self._moments(places)) as moments:
                async for _ in moments:
                    now = await asyncio.to_thread(look, self._sources)
                    if now != before:
                        cause = _told(before, now)
                        self.looked = before = now
                        yield cause
                        due = time.monotonic() + self._interval_s
                    elif time.monotonic() >= due:
                        if programs := [path for path in now if os.access(path, os.X_OK)]:
                            yield f"{', '.join(programs)}: due"
                        due = time.monotonic() + self._interval_s
                    if await asyncio.to_thread(places_of, self._sources) != places:
                        break

    async def _moments(self, places: frozenset[Path]) -> AsyncGenerator[None, None]:
        """When to look: after notices, and without them now and then."""
        notices = awatch(
            *places,
            watch_filter=None,
            step=QUIET_MS,
            debounce=BUSY_MS,
            rust_timeout=int(self._look_s * 1000),
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        )
        try:
            async with contextlib.aclosing(notices):
                async for _ in notices:
                    yield
        except (OSError, RuntimeError):
            # A place has just gone, or the kernel has no notices left to give.
            await asyncio.sleep(self._look_s)
            yield


def look(sources: Sequence[Path]) -> Looked:
    """What is there now; what cannot be looked at is there in another way."""
    found: Looked = {}
    for source in sources:
        found[str(source)] = _state(source)
        with contextlib.suppress(OSError):
            entries = sorted(source.iterdir()) if source.is_dir() else []
            found |= {str(path): _state(path) for path in entries if not path.name.startswith(".")}
    return found


def _state(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    if path.is_dir():
        return (stat.st_dev, stat.st_ino)  # its entries speak for themselves
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def places_of(sources: Sequence[Path]) -> frozenset[Path]:
    """The directories in which a change would make the sources others."""
    places: set[Path] = set()
    for source in sources:
        places.update(_on_the_way(source))
        with contextlib.suppress(OSError):
            for path in source.iterdir() if source.is_dir() else ():
                if path.is_symlink():
                    places.update(_on_the_way(path))
    return frozenset(place for place in places if place.is_dir())


def _on_the_way(path: Path, links: int = LINKS) -> Iterator[Path]:
    """Where a path leads: the directory of each link on its way, and where it ends."""
    at = Path(path.anchor or ".")
    for number, part in enumerate(path.parts[1:], start=2):
        if part == "..":
            at = at.parent  # what is behind us has no links any more
            continue
        directory, at = at, at / part
        if at.is_symlink() and links:
            yield directory
            target = directory / at.readlink()
            yield from _on_the_way(target.joinpath(*path.parts[number:]), links - 1)
            return
        if not at.exists():
            yield directory
            return
    yield at.parent
    if at.is_dir():
        yield at


def _told(before: Looked, now: Looked) -> str:
    """The files that are not as they were, in a sentence."""
    changed = sorted(
        path for path in before.keys() | now.keys() if before.get(path) != now.get(path)
    )
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{', '.join(changed[:3])}{more}: changed"
