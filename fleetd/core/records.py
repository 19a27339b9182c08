"""What the state remembers: one frozen record per row.

Every record names its identity in `identity()`. Times are UTC seconds since the epoch. Text fields
named `*_json` hold JSON of the shape given. The store keeps records; it does not interpret them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fleetd.core.facts import HOST_KEY_CHANGED
from fleetd.core.key import Key


@dataclass(frozen=True, slots=True)
class Setting:
    """One fact about the state itself: fleet id, fleet key, term, inventory sources."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A DaemonSet, ConfigMap or Secret: `document_json` is the whole document, by alias."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: int
    document_json: str
    last_applied_json: str
    created: float
    observed_generation: int = 0
    deleting: float = 0.0
    """0, or since when it is being deleted in the foreground: it goes when its copies have gone."""


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """A template of a DaemonSet with the content that it references, and its place in the history.

    `content_json`: {"ConfigMap/name": {key: base64}, "Secret/name": {key: HMAC}}, with the keys
    that exist; the bytes of secrets are in `SecretValue`.
    """

    namespace: str
    name: str
    revision: str
    number: int
    template_json: str
    content_json: str
    created: float
    cause: str = ""


@dataclass(frozen=True, slots=True)
class SecretValue:
    """The bytes of a Secret's key as a revision used them, so that its copies can be repaired.

    `digest` is their HMAC under the fleet's key, as it stands in the revision's content.
    """

    digest: str
    data_base64: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A revision as it was rendered for one profile and slot (see `bundle`)."""

    namespace: str
    name: str
    revision: str
    profile: str
    slot: str
    digest: str
    bundle_json: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What a tag meant when a revision was first pulled, per architecture."""

    namespace: str
    name: str
    revision: str
    image: str
    arch: str
    pinned: str


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A host that the state has met.

    `ssh_json`: the last settings that worked; `labels_json` and `taints_json`: the overlay set by
    verbs (a null value hides an inventory label), as are `annotations_json`; `facts_json`: the last
    HostFacts, told in the boot `boot_id`; `joined`: 0, or when it answered first; `left`: 0, or
    when it left the inventory.
    """

    name: str
    machine_id: str = ""
    boot_id: str = ""
    ssh_json: str = ""
    facts_json: str = ""
    seen: float = 0.0
    unreachable: str = ""
    cordoned: bool = False
    held: bool = False
    labels_json: str = "{}"
    taints_json: str = "[]"
    left: float = 0.0
    runtime: str = ""
    joined: float = 0.0
    annotations_json: str = "{}"

    @property
    def quarantined(self) -> bool:
        """Whether another host key than the pinned one was shown there (see `Unknown`)."""
        return self.unreachable.startswith(HOST_KEY_CHANGED)


class Phase(StrEnum):
    """Where a copy stands, by its main units."""

    RUNNING = "Running"
    STARTING = "Starting"
    """On its way up or down, the pauses of a crash loop included: systemd's to pace."""
    STOPPED = "Stopped"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """A copy as last seen on a node, by slot. `bundle` is the digest of what we put there.

    `created` is when a copy of this revision was met there first: of two copies, it tells the
    older. `members_json`: its containers one by one (see `members`), for people.
    """

    namespace: str
    name: str
    node: str
    slot: str
    revision: str
    bundle: str
    phase: str
    ready: bool
    available: bool
    restarts: int
    message: str
    started: float
    seen: float
    created: float = 0.0
    members_json: str = "[]"


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """The status of a DaemonSet after the last pass over it: `core.status.Status` as JSON."""

    namespace: str
    name: str
    status_json: str
    at: float


class RolloutState(StrEnum):
    """Where a rollout stands. FAILED stays until a new revision, a restart or a resume."""

    PROGRESSING = "progressing"
    COMPLETE = "complete"
    FAILED = "failed"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """The rollout of one revision.

    `baseline` is the last revision that completed ("" when none did).
    `finished` counts hosts that became available on this revision.
    """

    namespace: str
    name: str
    revision: str
    state: RolloutState
    baseline: str
    reason: str
    started: float
    last_progress: float
    finished: int = 0


@dataclass(frozen=True, slots=True)
class PauseRecord:
    """What somebody last said of a DaemonSet's rollouts: to pause them, or to go on since `at`."""

    namespace: str
    name: str
    paused: bool
    at: float


@dataclass(frozen=True, slots=True)
class TaintRecord:
    """When a NoExecute taint was first met on a node: tolerationSeconds count from there."""

    node: str
    key: str
    value: str
    added: float


class SlotKind(StrEnum):
    """What a slot was taken for."""

    UPDATE = "update"
    """The copy makes room for another revision."""
    SURGE = "surge"
    """Another revision starts beside the copy, which goes when that is available."""
    REPAIR = "repair"
    DELETE = "delete"
    """Somebody asked for the copy to go; `revision` is "" then, since any copy is meant."""


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """Leave to stop a copy on a node, taken before the first side effect. `kind`: a `SlotKind`.

    `released` is 0 while it is held. A host with a slot of the present rollout has been touched by
    it.
    """

    namespace: str
    name: str
    node: str
    revision: str
    kind: str
    taken: float
    released: float = 0.0
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class RemovalRecord:
    """A DaemonSet that was deleted: copies of it may be removed wherever they turn up."""

    namespace: str
    name: str
    uid: str
    deleted: float


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened, with a count (Kubernetes' Event)."""

    namespace: str
    kind: str
    name: str
    node: str
    reason: str
    warning: bool
    message: str
    count: int
    first: float
    last: float

    @classmethod
    def once(
        cls, ds: Key, node: str, reason: str, message: str, now: float, *, warning: bool
    ) -> EventRecord:
        """What has just happened; to the fleet as a whole where `ds` has no namespace."""
        kind = "DaemonSet" if ds.namespace else "Fleet"
        return cls(*(ds.namespace, kind, ds.name, node, reason, warning, message, 1, now, now))


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who did what, to what, on which host, with which revision, and what came of it.

    `who` is a person, or `FLEETD` where a pass acted by itself; its cause is in `detail` then.
    `subject` is `DaemonSet ns/name`, `Node name` and so on; `node` is "" where no host was touched.
    A row is its own identity, so that none is ever put in the place of another.
    """

    at: float
    who: str
    verb: str
    subject: str
    detail: str
    node: str = ""
    revision: str = ""
    outcome: str = "done"


FLEETD = "fleetd"
"""Who acts when nobody asked."""


Record = (
    Setting
    | ObjectRecord
    | RevisionRecord
    | SecretValue
    | BundleRecord
    | ImageRecord
    | NodeRecord
    | InstanceRecord
    | StatusRecord
    | RolloutRecord
    | PauseRecord
    | TaintRecord
    | SlotRecord
    | RemovalRecord
    | EventRecord
    | AuditRecord
)

IDENTITY: dict[type, tuple[str, ...]] = {
    Setting: ("name",),
    ObjectRecord: ("kind", "namespace", "name"),
    RevisionRecord: ("namespace", "name", "revision"),
    SecretValue: ("digest",),
    BundleRecord: ("namespace", "name", "revision", "profile", "slot"),
    ImageRecord: ("namespace", "name", "revision", "image", "arch"),
    NodeRecord: ("name",),
    InstanceRecord: ("namespace", "name", "node", "slot"),
    StatusRecord: ("namespace", "name"),
    RolloutRecord: ("namespace", "name"),
    PauseRecord: ("namespace", "name"),
    TaintRecord: ("node", "key", "value"),
    SlotRecord: ("namespace", "name", "node", "revision"),
    RemovalRecord: ("namespace", "name"),
    EventRecord: ("namespace", "kind", "name", "node", "reason", "message"),
    AuditRecord: ("at", "who", "verb", "subject", "node", "revision", "outcome", "detail"),
}
"""The columns that name a row; putting a record replaces the row of the same identity."""
