"""What a plan decides for one DaemonSet on one node: a closed union, each with its reason.

Every (node, DaemonSet) pair of a pass ends in exactly one of these. `detail` is a sentence for a
person (which taint, which file); programs look at `reason`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.core.facts import Slot
from fleetd.core.meta import Key


class Reason(StrEnum):
    """Why; in CamelCase since they are printed as Kubernetes prints reasons."""

    MISSING = "Missing"
    REVISION_CHANGED = "RevisionChanged"
    NOT_AVAILABLE = "NotAvailable"
    DRIFT = "Drift"
    CUT = "ApplyWasCut"
    EXTRA_COPY = "ExtraCopy"
    SURGE = "Surge"
    REPLACED = "Replaced"
    POD_DELETED = "PodDeleted"
    DELETED = "Deleted"
    LEFT = "NodeLeft"
    NOT_ELIGIBLE = "NotEligible"
    UP_TO_DATE = "UpToDate"
    MISSCHEDULED = "Misscheduled"
    ON_DELETE = "OnDelete"
    NO_SLOT = "NoSlot"
    STARTING = "Starting"
    SLOW_START = "SlowStart"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLOUT_PAUSED = "RolloutPaused"
    UNREACHABLE_LIMIT = "TooManyUnreachable"
    REMOVAL_GUARD = "RemovalNeedsConfirmation"
    UNREACHABLE = "Unreachable"
    QUARANTINED = "HostKeyChanged"
    UNREADABLE = "Unreadable"
    LABEL_UNKNOWN = "LabelNotObserved"
    BUSY = "OrderUnderWay"
    HELD = "Held"
    OTHER_FLEET = "OwnedByAnotherFleet"
    ORPHAN = "Orphan"


class Mode(StrEnum):
    """What a repair does to the units once the files are right."""

    RESTART = "restart"
    START = "start"
    """Start what is not active; leave what runs alone."""
    RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class Start:
    """Put a copy where there is none; with the reason SURGE, beside one of another revision."""

    node: str
    ds: Key
    slot: Slot
    revision: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the copy by another revision, in its slot."""

    node: str
    ds: Key
    slot: Slot
    from_revision: str
    revision: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Repair:
    """Bring the copy back to its own revision as it was rendered."""

    node: str
    ds: Key
    slot: Slot
    revision: str
    mode: Mode
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a copy away: all slots when `slot` is None."""

    node: str
    ds: Key
    slot: Slot | None
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """A copy that stays as it is."""

    node: str
    ds: Key
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is due, but not now.

    `until` is when time alone may change the answer (0: unknown).
    """

    node: str
    ds: Key
    reason: Reason
    detail: str = ""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class UnknownHost:
    """Nothing can be said, so nothing is done."""

    node: str
    ds: Key
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Hands off, by `fleetd hold`."""

    node: str
    ds: Key
    reason: Reason = Reason.HELD
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Not eligible and no copy there; or not ours to touch."""

    node: str
    ds: Key
    reason: Reason
    detail: str = ""


Action = Start | Update | Repair | Remove
ACTIONS = (Start, Update, Repair, Remove)
Decision = Action | Keep | Wait | UnknownHost | Held | Skipped
