"""What a host said in one visit: raw facts, part by part, nothing judged yet.

A part that could not be read is `Unknown` with the reason, and never an empty value: nobody may
take silence for absence. `copies.judge` turns these facts into copies with a state and their
damage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from fleetd.core.key import Key

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """An answer."""

    value: T


HOST_KEY_CHANGED = "its host key is not the one pinned"
"""How the sentence begins that puts a host into quarantine. It is told by its words, since they are
what goes all the way, from the connection through the reply into the state."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, and why (a sentence for a person, already stripped of control characters)."""

    why: str

    @property
    def quarantined(self) -> bool:
        """Whether somebody answers who shows another host key: only `fleetd enroll` ends that."""
        return self.why.startswith(HOST_KEY_CHANGED)


Part = Known[T] | Unknown


class Slot(StrEnum):
    """The two places that a copy can take on a host; an in-place update keeps the slot."""

    A = "a"
    B = "b"


class Runtime(StrEnum):
    """What runs the workload on a host."""

    PODMAN = "podman"
    DOCKER = "docker"
    SYSTEMD = "systemd"


class Role(StrEnum):
    """What a unit of a copy is for. Only MAIN units decide whether the copy is alive.

    An INIT unit runs to its end before the MAIN units start, and stays active then. A TRIGGER is
    the timer or socket that starts a TRIGGERED service: such a copy lives as long as its trigger is
    active and the last run of its service did not fail.
    """

    MAIN = "main"
    INIT = "init"
    TARGET = "target"
    PROBE = "probe"
    BORROWED = "borrowed"
    TRIGGER = "trigger"
    TRIGGERED = "triggered"


@dataclass(frozen=True, slots=True)
class Clock:
    """Who answered, and when by its own clock."""

    machine_id: str
    boot_id: str
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose host it is: the fleet, and the highest term it has obeyed."""

    fleet: str
    term: int


@dataclass(frozen=True, slots=True)
class Former:
    """How a unit of the host was before a copy took its place, in systemd's words."""

    file_state: str
    active: str

    def __str__(self) -> str:
        return f"{self.file_state or 'without a file'}, {self.active}"


@dataclass(frozen=True, slots=True)
class LedgerCopy:
    """One copy that fleetd made here, as the host's ledger has it."""

    ds: Key
    slot: Slot
    revision: str
    bundle: str
    runtime: Runtime
    units: Mapping[str, Role] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    complete: bool = True
    """False between the first and the last step of an apply: it was cut, and must run again."""
    replaced: Mapping[str, Former] = field(default_factory=dict)
    """Units of the host in whose place it runs."""


class Deviation(StrEnum):
    """How a file differs from the ledger."""

    MISSING = "missing"
    EDITED = "edited"
    MODE = "mode"


@dataclass(frozen=True, slots=True)
class FileDeviation:
    """A file of the ledger that is not as fleetd left it."""

    path: str
    kind: Deviation


UP = frozenset({"active", "reloading", "refreshing"})
"""Active states of a unit that runs; the last one came with systemd 257."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit, as `systemctl show` tells, with the stamp and the probe result beside it.

    `active_for_s` is the time in the present active state on the host's clock; None when not
    active. `stamp_revision`/`stamp_invocation` are what the unit's last start wrote ("" when
    nothing). `probe` is None where there is no result for this invocation; where it passes,
    `passing_for_s` says for how long, on the host's clock, if that is known.
    """

    id: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    exec_status: int = 0
    restarts: int = 0
    invocation: str = ""
    active_for_s: float | None = None
    need_reload: bool = False
    file_state: str = ""
    fragment: str = ""
    drop_ins: tuple[str, ...] = ()
    job: bool = False
    stamp_revision: str = ""
    stamp_invocation: str = ""
    probe: bool | None = None
    probe_message: str = ""
    passing_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """A container carrying our fleet's label, or bearing a name from the ledger."""

    id: str
    name: str
    running: bool
    ours: bool
    ds: Key | None = None
    slot: Slot | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What changes seldom; asked for when the boot is new or a copy is about to be rendered."""

    hostname: str
    os: str
    arch: str
    kernel: str = ""
    distribution: str = ""
    systemd: int = 0
    podman: str = ""
    docker: str = ""
    cgroup: int = 2
    selinux: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one visit brought home.

    `owner` is Known(None) on a host that no fleet has claimed. `engine` and `facts` are None when
    they were not asked for. `units` holds the ledger's units, replaced ones too, plus any other
    unit named `fleetd-*`.
    """

    clock: Part[Clock]
    owner: Part[Owner | None]
    ledger: Part[tuple[LedgerCopy, ...]]
    files: Part[tuple[FileDeviation, ...]]
    units: Part[tuple[UnitState, ...]]
    engine: Part[tuple[ContainerSeen, ...]] | None = None
    facts: Part[HostFacts] | None = None


@dataclass(frozen=True, slots=True)
class HostProfile:
    """The class of hosts that one rendering serves."""

    runtime: Runtime
    runtime_version: int = 0
    """Major version of the engine; 0 for systemd workloads."""
    systemd: int = 252
    cgroup: int = 2
    selinux: bool = False
    arch: str = "amd64"

    def __str__(self) -> str:
        return (
            f"{self.runtime}{self.runtime_version or ''}-systemd{self.systemd}-cgroup{self.cgroup}"
            f"{'-selinux' if self.selinux else ''}-{self.arch}"
        )
