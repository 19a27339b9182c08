"""How each container of a copy is, for people: `get pods` shows 1/2 where one of two is ready.

Decisions look at the copy as a whole (see `copies`). Apart from there, so that what is only shown
cannot reach them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from fleetd.core.facts import UP, UnitState


class MemberState(StrEnum):
    """What a container does."""

    RUNNING = "running"
    DONE = "done"
    """An init container that ran to its end."""
    WAITING = "waiting"
    """Not begun, or about to be started again after it ended."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """One container of a copy, by its unit; `status` is what it ended with when it has failed."""

    container: str
    state: MemberState
    ready: bool = False
    restarts: int = 0
    status: int = 0


def member(
    container: str, unit: UnitState, *, probe: bool | None, initial: bool, over: bool = False
) -> Member:
    """Judge one unit. `probe` is True also where nothing is probed.

    `initial`: it is an init container; `over`: what comes after it runs, so that it has ended.
    """
    up = unit.active in UP
    ended = (up and unit.sub == "exited") or (over and unit.active == "inactive")
    done = initial and ended
    if done:
        state = MemberState.DONE
    elif up or (initial and unit.active == "activating" and unit.sub == "start"):
        state = MemberState.RUNNING
    elif unit.active == "failed":
        state = MemberState.FAILED
    else:
        state = MemberState.WAITING
    ready = done if initial else up and probe is True
    return Member(container, state, ready, unit.restarts, unit.exec_status if not up else 0)


@lru_cache(maxsize=1024)
def to_json(members: tuple[Member, ...]) -> str:
    """The text that the state keeps of them. Most copies of a fleet have the same to say."""
    return json.dumps(to_plain(members))


def to_plain(members: Iterable[Member]) -> list[list[str | bool | int]]:
    """As rows for the state: container, state, ready, restarts, status."""
    return [
        [each.container, each.state.value, each.ready, each.restarts, each.status]
        for each in members
    ]


def from_plain(rows: Iterable[tuple[str, str, bool, int, int]]) -> Mapping[str, Member]:
    """The members of such rows, by container."""
    return {
        container: Member(container, MemberState(state), ready, restarts, status)
        for container, state, ready, restarts, status in rows
    }
