"""What runs on a host: the facts of one visit, judged into copies with their state and their damage."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.core.actions import Mode
from fleetd.core.facts import Slot
from fleetd.core.meta import Key


class Phase(StrEnum):
    """Where a copy stands, by its main units."""

    RUNNING = "Running"
    STARTING = "Starting"
    """On its way up or down, the pauses of a crash loop included: systemd's to pace."""
    STOPPED = "Stopped"
    FAILED = "Failed"


class DamageKind(StrEnum):
    """How a copy differs from its ledger."""

    STOPPED = "stopped"
    FAILED = "failed"
    MASKED = "masked"
    DISABLED = "disabled"
    UNIT_MISSING = "unit missing"
    UNIT_BROKEN = "unit not loadable"
    NEEDS_RELOAD = "needs daemon-reload"
    FILE_MISSING = "file missing"
    FILE_EDITED = "file edited"
    FILE_MODE = "file mode"
    CONTAINER_MISSING = "container missing"
    CONTAINER_FOREIGN = "container replaced"
    CUT = "apply was cut"
    STALE = "runs another revision than its files"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class Damage:
    """One difference: what, where (unit, path or container), and what mending it takes."""

    kind: DamageKind
    subject: str
    mode: Mode

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}" if self.subject else str(self.kind)


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a DaemonSet on one host, as observed.

    `revision` and `bundle` are the ledger's; `running_revision` is what the last start stamped ("" when
    that cannot be said). `ready_in_s` is the time after which the copy is available if nothing happens,
    None when time alone will not do. `active` says that a main unit runs, so that a restart would stop
    something. `foreign` are drop-ins that are not ours: reported only. A copy that is not in the ledger
    (`ledgered` false) is never ready.
    """

    ds: Key
    slot: Slot
    revision: str
    running_revision: str = ""
    bundle: str = ""
    phase: Phase = Phase.STOPPED
    ready: bool = False
    available: bool = False
    ready_in_s: float | None = None
    active: bool = False
    active_for_s: float = 0.0
    restarts: int = 0
    damage: tuple[Damage, ...] = ()
    foreign: tuple[str, ...] = ()
    message: str = ""
    ledgered: bool = True
