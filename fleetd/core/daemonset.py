"""DaemonSet, ConfigMap and Secret: the objects that `fleetd apply` takes.

A DaemonSet of apps/v1 has a pod template of containers; one of fleetd/v1 has `systemd:` in its
place. Inside fleetd both are `DaemonSet`, told apart by the type of `spec.template.spec`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from fleetd.core.meta import Key, LabelSelector, Model, ObjectMeta
from fleetd.core.pod import KeyRef, Placement, PodSpec, Probe

OnChange = Literal["restart", "reload", "nothing"]

REPLACES = "fleetd/replaces"
"""The annotation that names units of the host in whose place the copies run."""


class TemplateMeta(Model):
    """`metadata` of a template: copies carry it."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class UnitFile(Model):
    """A file that a systemd workload needs: where, whose, and exactly one source of its bytes.

    `source` is a path beside the document, read when the document is loaded (the loader turns it
    into `content`, or `content_base64` for bytes that are no text); `per_architecture` maps a
    Kubernetes architecture (amd64, arm64, ...) to such a path, and to the base64 of the file's
    bytes once it is loaded.
    """

    path: str
    owner: str = "root"
    group: str = ""
    mode: int = 0o644
    content: str | None = None
    content_base64: str | None = None
    source: str | None = None
    per_architecture: dict[str, str] = Field(default_factory=dict)
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    on_change: OnChange = "restart"


class SystemUser(Model):
    """A system user that the workload runs as; made when missing, never changed or deleted."""

    name: str
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"
    groups: list[str] = Field(default_factory=list)


class SystemdEnvVar(Model):
    """One variable for the unit: a value, or a source as in a container."""

    name: str
    value: str = ""
    field_path: str = ""
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class Credential(Model):
    """What the program reads at `$CREDENTIALS_DIRECTORY/<name>`, and no other user at all."""

    name: str
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class Systemd(Model):
    """A workload run by systemd: a unit of ours (`unit`) or one the host has (`existing_unit`).

    With `timer` or `socket`, the text of such a unit, that one is enabled and started, and starts
    the service in its turn.
    """

    unit: str | None = None
    timer: str | None = None
    socket: str | None = None
    existing_unit: str | None = None
    credentials: list[Credential] = Field(default_factory=list)
    files: list[UnitFile] = Field(default_factory=list)
    users: list[SystemUser] = Field(default_factory=list)
    env: list[SystemdEnvVar] = Field(default_factory=list)
    readiness_probe: Probe | None = None


class SystemdSpec(Placement):
    """The spec of a template whose work is done by a systemd unit."""

    systemd: Systemd


def _spec_form(value: object) -> str:
    """Which form a spec has, told by `systemd:`, so that errors are about one form only."""
    systemd = isinstance(value, SystemdSpec) or (isinstance(value, dict) and "systemd" in value)
    return "<systemd>" if systemd else "<pod>"


class Template(Model):
    """What a copy is made from."""

    metadata: TemplateMeta = Field(default_factory=TemplateMeta)
    spec: Annotated[
        Annotated[PodSpec, Tag("<pod>")] | Annotated[SystemdSpec, Tag("<systemd>")],
        Discriminator(_spec_form),
    ]


class RollingUpdate(Model):
    """Both knobs: a whole number, or a percentage of the desired number, rounded up (K 82)."""

    max_unavailable: int | str = 1
    max_surge: int | str = 0


class UpdateStrategy(Model):
    """How copies of older revisions are replaced (K 81)."""

    type: Literal["RollingUpdate", "OnDelete"] = "RollingUpdate"
    rolling_update: RollingUpdate = Field(default_factory=RollingUpdate)


class DaemonSetSpec(Model):
    """The desired state of a DaemonSet, with Kubernetes' defaults (K 145)."""

    selector: LabelSelector
    template: Template
    update_strategy: UpdateStrategy = Field(default_factory=UpdateStrategy)
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


class DaemonSet(Model):
    """One agent, and where it belongs."""

    api_version: Literal["apps/v1", "fleetd/v1"] = "apps/v1"
    kind: Literal["DaemonSet"] = "DaemonSet"
    metadata: ObjectMeta
    spec: DaemonSetSpec

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.metadata.namespace, self.metadata.name)

    @property
    def replaces(self) -> tuple[str, ...]:
        """The units of the host in whose place the copies run, each once, in the order written."""
        text = self.metadata.annotations.get(REPLACES, "").strip()
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        return tuple(dict.fromkeys(text.replace(",", " ").split()))


class ConfigMap(Model):
    """Plain configuration; `binary_data` is base64."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["ConfigMap"] = "ConfigMap"
    metadata: ObjectMeta
    data: dict[str, str] = Field(default_factory=dict)
    binary_data: dict[str, str] = Field(default_factory=dict)
    immutable: bool = False

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.metadata.namespace, self.metadata.name)


class Secret(Model):
    """Secret values; `data` is base64. The loader folds `stringData` into `data`."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["Secret"] = "Secret"
    metadata: ObjectMeta
    type: str = "Opaque"
    data: dict[str, str] = Field(default_factory=dict, repr=False)
    immutable: bool = False

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.metadata.namespace, self.metadata.name)


Object = DaemonSet | ConfigMap | Secret
