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
from fleetd.core.image import PullPolicy
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
class Wanted:
    """One image to make sure of, as it is to run: a name, a digest, or an image's own id.

    `source` is what to pull for an id. `logins` are config.json documents for its registry, each on
    one line and tried in order; without any the host's own logins are used.
    """

    image: str
    policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    source: str = ""
    logins: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Pull:
    """Make sure of images, in transient units that outlive the connection.

    Replies at the latest after `wait_s` with each image's state; asking again goes on waiting. What
    had to be pulled is noted on the host as brought for `ds`.
    """

    fleet: str
    term: int
    runtime: Runtime
    images: tuple[Wanted, ...]
    ds: Key | None = None
    wait_s: int = 30


@dataclass(frozen=True, slots=True)
class Load:
    """Take in an image archive, of which `size` bytes with this sha256 follow the request.

    `images` are (id, full name) of what it holds; an image is named so there, whatever the archive
    calls it. Replies as `Pull`, when it is done.
    """

    fleet: str
    term: int
    runtime: Runtime
    images: tuple[tuple[str, str], ...]
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Apply:
    """Make one copy what the bundle says; also the repair of one.

    `secrets` maps each SecretBytes (by `namespace/name/key`) to its bytes; `values` are the
    per-host values (upper-case name to single-line text); `mode` says what the units need when
    nothing restart-worthy changed (a changed file or unit always restarts). `fleet_key` is written
    into `owner` on the first claim. `replaces` are units of the host that are stopped and disabled
    before the copy starts; the ledger keeps how they were.
    """

    fleet: str
    fleet_key: str
    term: int
    bundle: Bundle
    values: Mapping[str, str]
    mode: Mode
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remove:
    """Take copies away: disable, stop, delete, reload, reset-failed, remove containers by label.

    `slot` None: all slots of the DaemonSet. Borrowed and replaced units are given back.
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


@dataclass(frozen=True, slots=True)
class Follow:
    """Tell what happens, until stdin ends. Output is raw: `core.stream` reads it.

    `cursor` is where an earlier stream ended, if it is to go on there; every `beat_s` seconds the
    host has its journal say something, so that silence means trouble.
    """

    cursor: str = ""
    beat_s: int = 300


Request = Observe | Pull | Load | Apply | Remove | Adopt | Purge | Logs | Exec | Follow
