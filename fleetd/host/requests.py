"""The typed requests that a host understands. One visit carries one request.

`fleet` and `term` fence every request that changes something (see `refused` in `replies`). A
mutating request ends with an observation, so that the caller sees what became of it in the same
round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetd.core.actions import Mode
from fleetd.core.bundle import Bundle
from fleetd.core.facts import Runtime, Slot
from fleetd.core.meta import Key


@dataclass(frozen=True, slots=True)
class Observe:
    """Look, change nothing.

    `engine`: also list the containers of the ledger's engines; `facts`: also HostFacts, unless the
    host has been up since the boot that `boot` names ("": in any case).
    """

    fleet: str
    engine: bool = True
    facts: bool = False
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Pull:
    """Make sure of images, in a transient unit that outlives the connection.

    Replies at the latest after `wait_s` with each image's state; asking again goes on waiting.
    """

    fleet: str
    runtime: Runtime
    images: tuple[str, ...]
    wait_s: int = 30
    always: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Make one copy what the bundle says; also the repair of one.

    `secrets` maps each SecretBytes (by `namespace/name/key`) to its bytes; `values` are the
    per-host values (upper-case name to single-line text); `mode` says what the units need when
    nothing restart-worthy changed (a changed file or unit always restarts). `fleet_key` is written
    into `owner` on the first claim.
    """

    fleet: str
    fleet_key: str
    term: int
    bundle: Bundle
    values: Mapping[str, str]
    mode: Mode
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Remove:
    """Take copies away: disable, stop, delete, reload, reset-failed, remove containers by label.

    `slot` None: all slots of the DaemonSet. A borrowed unit gets its former state back.
    """

    fleet: str
    term: int
    ds: Key
    slot: Slot | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """Tell the owner with the fleet's key, to a coordinator that lost its state."""

    fleet: str = ""


@dataclass(frozen=True, slots=True)
class Purge:
    """Take every trace of the fleet away: all copies, the ledger, the owner, the directories."""

    fleet: str
    term: int


@dataclass(frozen=True, slots=True)
class Logs:
    """The journal of a copy's units; containers log there too. Output is raw, to be streamed."""

    units: tuple[str, ...]
    since: str = ""
    lines: int = -1
    follow: bool = False


@dataclass(frozen=True, slots=True)
class Exec:
    """A command on the host, or in a container when `container` is set. Output is raw."""

    argv: tuple[str, ...]
    container: str = ""
    runtime: Runtime = Runtime.SYSTEMD


Request = Observe | Pull | Apply | Remove | Adopt | Purge | Logs | Exec
