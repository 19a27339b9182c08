"""Keeps an event stream open to every host, and wakes the loop by what it tells.

Level-triggered like all else: an event only says that it is time to look, and whatever a stream may
have missed, a look after each opening makes good. A stream counts as live once a line that was
asked for came through the host's journal, and for as long as such lines keep coming; a host whose
journal tells nothing is polled, and said to be. This is also what reconnects hosts: one that is
back is looked at as soon as its stream is live.

One light task per host. Nothing here knows what a look is; separate from the loop, so that a fleet
without streams is the same fleet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from fleetd.core.node import STREAMS_LABEL, Host, Inventory, Ssh
from fleetd.core.stream import EventKind, HostEvent, StreamState
from fleetd.engine.listening import BEAT_S, OPEN_S, Ended, Listening
from fleetd.engine.queue import Backoff
from fleetd.host.requests import Follow
from fleetd.host.wire import encode
from fleetd.ports import Clock, EventSink, Follows

GATHER_S = 0.03
"""What happens at once is told in several lines, and one look is enough for all of them: a second
one would hold up what the first has found."""
SAME_S = 0.1
"""Events of one kind of one unit are logged that far apart; each wakes the loop all the same."""
AGAIN = Backoff(1.0, 15.0)
"""The pause after a loss."""
DEAF = Backoff(15.0, 600.0)
"""The same for a host whose journal tells nothing."""
AT_ONCE = 64
"""How many streams are opened at a time."""
AT_ONCE_LOST = 32
"""The same for hosts that were not reached the last time, so that they delay nobody."""
STEADY_S = 60.0
"""A stream that lived that long was a good one: the next try after it comes soon."""
RESUMED_S = 600.0
"""After a longer loss a stream begins anew: the look tells all, and a backlog may be endless."""


class Watcher(Protocol):
    """What is told: the loop."""

    def wake(self, node: str, why: str) -> None:
        """Look at this host soon."""
        ...

    def note_stream(self, node: str, state: StreamState) -> None:
        """This is how the host is watched from now on; look at it when that begins or ends."""
        ...


class _Stream:
    """One host of the inventory, whatever becomes of its connections."""

    __slots__ = (
        *("cursor", "failures", "heard", "hurried", "last"),
        *("name", "off", "ssh", "state", "waking", "why"),
    )

    def __init__(self, name: str, ssh: Ssh, off: str) -> None:
        self.name = name
        self.ssh = ssh
        self.off = off
        """Why it is not to be followed; "" when it is."""
        self.state: StreamState | None = None
        self.why = ""
        self.cursor = ""
        self.heard = 0.0
        """When `cursor` was told, by our clock."""
        self.failures = 0
        self.hurried: asyncio.Event | None = None
        self.last: tuple[EventKind, str, float] | None = None
        self.waking: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class Following:
    """The streams of all hosts of the inventory. `run` until cancelled.

    `chance` keeps hosts that were lost together from being tried together; `enabled` False: every
    host is polled.
    """

    follows: Follows
    watcher: Watcher
    clock: Clock
    sink: EventSink
    chance: Random
    enabled: bool = True
    _streams: dict[str, _Stream] = field(default_factory=dict, init=False)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _group: asyncio.TaskGroup | None = field(default=None, init=False)
    _turns: asyncio.Semaphore = field(init=False)
    _turns_lost: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        """No stream is open yet."""
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._turns_lost = asyncio.Semaphore(AT_ONCE_LOST)

    @property
    def states(self) -> Mapping[str, tuple[StreamState, str]]:
        """How each host is watched, and why so."""
        return {
            name: (stream.state or StreamState.DOWN, stream.why)
            for name, stream in self._streams.items()
        }

    def take_inventory(self, inventory: Inventory) -> None:
        """Follow these hosts from now on, and no other."""
        wanted = {host.name: (host.ssh, self._off(host)) for host in inventory.hosts}
        for name, stream in list(self._streams.items()):
            if wanted.get(name) != (stream.ssh, stream.off):
                del self._streams[name]
                if task := self._tasks.pop(name, None):
                    task.cancel()
        for name, (ssh, off) in wanted.items():
            if name not in self._streams:
                self._streams[name] = stream = _Stream(name, ssh, off)
                if off:
                    self._tell(stream, StreamState.POLLING, off)
                else:
                    self._start(stream)

    def _off(self, host: Host) -> str:
        """Why this host is not to be followed; "" when it is."""
        if not self.enabled:
            return "streams are turned off"
        off = host.labels.get(STREAMS_LABEL) == "off"
        return f"its label {STREAMS_LABEL} is off" if off else ""

    def hurry(self, node: str) -> None:
        """The host was just reached: open its stream now, if that waits for its next try."""
        stream = self._streams.get(node)
        if stream is not None and stream.hurried is not None:
            stream.hurried.set()

    async def run(self) -> None:
        """Keep the streams open until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for stream in self._streams.values():
                    if not stream.off:
                        self._start(stream)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None
                self._tasks.clear()

    def _start(self, stream: _Stream) -> None:
        if self._group is not None:
            task = self._group.create_task(self._keep(stream), name=f"follow {stream.name}")
            self._tasks[stream.name] = task

    async def _keep(self, stream: _Stream) -> None:
        """Open the stream of one host, again and again."""
        while True:
            end = await self._listen(stream)
            stream.failures = 1 if end.lived_s >= STEADY_S else stream.failures + 1
            if end.state is StreamState.POLLING:
                stream.cursor = ""  # it may be what kept the journal from telling
            if end.silent:
                self.sink.emit("stream_replaced", node=stream.name, why=end.why)
            self._tell(stream, end.state, end.why)
            stream.hurried = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(stream)):
                    await stream.hurried.wait()
            stream.hurried = None

    def _pause(self, stream: _Stream) -> float:
        again = DEAF if stream.state is StreamState.POLLING else AGAIN
        return again.wait(stream.failures, self.chance)

    async def _listen(self, stream: _Stream) -> Ended:
        """Open the stream and take what it tells, to its end."""
        turns = self._turns_lost if stream.failures > 1 else self._turns
        await turns.acquire()
        listening = Listening(
            self.clock.monotonic,
            release=turns.release,
            on_live=lambda: self._tell(stream, StreamState.LIVE, "its journal tells"),
            on_event=lambda event, lag: self._event(stream, event, lag),
        )
        output = None
        try:
            async with asyncio.timeout(OPEN_S) as listening.timer:
                # Nobody holds on to the request: it is most of what a stream would weigh.
                output = await self.follows.follow(
                    stream.name,
                    stream.ssh,
                    encode(Follow(self._cursor(stream), BEAT_S), listening.nonce),
                    listening.take,
                )
        except TimeoutError:
            pass
        finally:
            listening.close()
        return listening.ended(output)

    def _cursor(self, stream: _Stream) -> str:
        recent = self.clock.monotonic() - stream.heard < RESUMED_S
        return stream.cursor if recent else ""

    def _event(self, stream: _Stream, event: HostEvent, lag: float | None) -> None:
        now = self.clock.monotonic()
        if event.cursor:
            stream.cursor, stream.heard = event.cursor, now
        if event.kind is EventKind.BEAT:
            return
        last, stream.last = stream.last, (event.kind, event.unit, now)
        if last is None or last[:2] != stream.last[:2] or now - last[2] > SAME_S:
            self.sink.emit("stream_event", node=stream.name, why=event.why, lag_s=lag)
        if stream.waking is None:
            loop = asyncio.get_running_loop()
            stream.waking = loop.call_later(GATHER_S, self._wake, stream, event.why)

    def _wake(self, stream: _Stream, why: str) -> None:
        stream.waking = None
        if self._streams.get(stream.name) is stream:
            self.watcher.wake(stream.name, why)

    def _tell(self, stream: _Stream, state: StreamState, why: str) -> None:
        if (stream.state, stream.why) != (state, why):
            self.sink.emit("stream", node=stream.name, state=str(state), why=why)
        if stream.state is not state:
            self.watcher.note_stream(stream.name, state)
        stream.state, stream.why = state, why
