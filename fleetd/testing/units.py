"""A systemd unit in simulated time: its state is computed from when it was started, not ticked.

`Behaviour` says what the program in it does. Restarts follow `Restart=always` with a pause, as
fleetd's units do (P 60-62): a crash loop never reaches `failed`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fleetd.core.facts import UnitState


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a program fares after each start."""

    never_starts: bool = False
    dies_after_s: float | None = None
    ready_after_s: float = 0.0
    """Its probe fails before; `inf` for ever."""
    restart_s: float = 5.0


HEALTHY = Behaviour()
NEVER_STARTS = Behaviour(never_starts=True)


@dataclass(slots=True)
class SimUnit:
    """One unit on one host. Times are the host's uptime in seconds."""

    name: str
    host: str
    fragment: str = ""
    behaviour: Behaviour = HEALTHY
    revision: str = ""
    """What its text would stamp at the next start."""
    enabled: bool = False
    masked: bool = False
    static: bool = False
    """Whether its text says nothing of when it starts."""
    oneshot: bool = False
    """It has run to its end as soon as it is started, and stays active."""
    probed: bool = False
    drop_ins: tuple[str, ...] = ()
    need_reload: bool = False
    result: str = "success"
    started_at: float | None = None
    stamp: str = ""
    _starts: int = 0
    _restarts: int = 0
    _invocation_of: tuple[tuple[int, int], str] = ((0, 0), "")

    def start(self, now: float) -> None:
        """Start or restart it, as an administrator does: NRestarts begins at 0 (P 61)."""
        if self.masked:
            return
        self._starts += 1
        self._restarts = 0
        self.result = "success"
        self.started_at = now
        self.stamp = self.revision

    def stop(self) -> None:
        """Stop it and leave it stopped."""
        self.started_at = None

    def fail(self) -> None:
        """It gives up, as a borrowed unit without Restart= does."""
        self.started_at = None
        self.result = "exit-code"

    def crash(self, now: float) -> None:
        """Its main process dies now; systemd starts it again after its pause."""
        if self.started_at is None:
            return
        self._starts += 1
        self._restarts += 1
        self.started_at = now + self.behaviour.restart_s
        self.stamp = self.revision

    def running(self, now: float) -> bool:
        """Whether its main process is alive."""
        return self.state(now).active == "active"

    def next_change(self, now: float) -> float | None:
        """When it changes next by itself: starts, dies, or becomes ready; None: never."""
        if self.started_at is None or now < self.started_at:
            return self.started_at
        pause, lives = self.behaviour.restart_s, self.behaviour.dies_after_s
        if self.behaviour.never_starts:
            return self.started_at + ((now - self.started_at) // pause + 1) * pause
        _, since = self._phase(now)
        if lives is not None:
            cycle = (now - self.started_at) // (lives + pause)
            begun = self.started_at + cycle * (lives + pause)
            return begun + lives if since is not None else begun + lives + pause
        ready = self.started_at + self.behaviour.ready_after_s
        return ready if self.probed and now < ready < float("inf") else None

    def state(self, now: float) -> UnitState:
        """What `systemctl show` would tell."""
        cycle, since = self._phase(now)
        known = bool(self.fragment) or self.started_at is not None
        invocation = self._invocation(cycle) if self.started_at is not None else ""
        active_for = None if since is None else max(0.0, now - since)
        alive = active_for is not None
        looping = self.started_at is not None and not alive
        failed = self.started_at is None and self.result != "success"
        stamped = self.started_at is not None and bool(self.stamp) and (alive or cycle > 0)
        probe = None
        if self.probed and active_for is not None:
            probe = active_for >= self.behaviour.ready_after_s
        up = "exited" if self.oneshot else "running"
        return UnitState(
            id=self.name,
            load="masked" if self.masked else ("loaded" if known else "not-found"),
            active=_word(alive, looping, failed, ("active", "activating", "failed", "inactive")),
            sub=_word(alive, looping, failed, (up, "auto-restart", "failed", "dead")),
            result="exit-code" if looping else self.result,
            exec_status=1 if looping or failed else 0,
            restarts=self._restarts + cycle,
            invocation=invocation,
            active_for_s=active_for,
            need_reload=self.need_reload,
            file_state=self.file_state,
            fragment=self.fragment,
            drop_ins=self.drop_ins,
            stamp_revision=self.stamp if stamped else "",
            stamp_invocation=invocation if stamped else "",
            probe=probe,
            probe_message="" if probe is not False else "the simulated program is not ready",
        )

    @property
    def file_state(self) -> str:
        """What `systemctl is-enabled` would tell."""
        if self.masked:
            return "masked"
        if self.enabled:
            return "enabled"
        return "static" if self.static else "disabled"

    def _phase(self, now: float) -> tuple[int, float | None]:
        """How often it restarted by itself, and since when it is active (None: it is not)."""
        if self.started_at is None or now < self.started_at:
            return 0, None
        elapsed = now - self.started_at
        if self.behaviour.never_starts:
            return int(elapsed // self.behaviour.restart_s), None
        lives = self.behaviour.dies_after_s
        if lives is None:
            return 0, self.started_at
        cycle, into = divmod(elapsed, lives + self.behaviour.restart_s)
        since = self.started_at + cycle * (lives + self.behaviour.restart_s)
        return int(cycle), since if into < lives else None

    def _invocation(self, cycle: int) -> str:
        start = (self._starts, cycle)
        if self._invocation_of[0] != start:
            text = f"{self.host} {self.name} {self._starts} {cycle}"
            self._invocation_of = (start, hashlib.sha256(text.encode()).hexdigest()[:32])
        return self._invocation_of[1]


def _word(alive: bool, looping: bool, failed: bool, words: tuple[str, str, str, str]) -> str:  # noqa: FBT001
    return words[0 if alive else 1 if looping else 2 if failed else 3]
