"""Who is at the other end of the socket, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """What a peer may do: nothing, look, or look and change."""

    NONE = "none"
    READ = "read"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Peer:
    """A process at the other end, as the kernel names it."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    user: str
    right: Right
