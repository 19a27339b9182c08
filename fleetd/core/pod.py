"""The pod template of a DaemonSet: the fields that fleetd honours, as Kubernetes names them.

Fields of a Pod that are not here are in `fields`, with what happens to them (emulated, ignored with
a note, refused). Semantics of a field live with whoever renders or judges it, not here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fleetd.core.meta import Model

Quantity = str | int | float


class Toleration(Model):
    """Which taints a pod tolerates (K 23-29)."""

    key: str = ""
    operator: Literal["Equal", "Exists", "Gt", "Lt"] = "Equal"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""
    toleration_seconds: int | None = None


class NodeSelectorRequirement(Model):
    """One expression of a node selector term (K 34-40)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[str] = Field(default_factory=list)


class NodeSelectorTerm(Model):
    """Expressions and fields, all of which must hold (K 32, 33)."""

    match_expressions: list[NodeSelectorRequirement] = Field(default_factory=list)
    match_fields: list[NodeSelectorRequirement] = Field(default_factory=list)


class NodeSelector(Model):
    """Terms of which one must hold."""

    node_selector_terms: list[NodeSelectorTerm] = Field(default_factory=list)


class NodeAffinity(Model):
    """Required node affinity; the preferred form never matters to a DaemonSet (K 11)."""

    required: NodeSelector | None = Field(
        default=None, alias="requiredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(Model):
    """Of the affinities only the node's decides where an agent runs."""

    node_affinity: NodeAffinity | None = None


class FieldRef(Model):
    """A value of the pod or its node, by field path."""

    field_path: str
    api_version: str = "v1"


class KeyRef(Model):
    """A key of a ConfigMap or Secret in the DaemonSet's namespace."""

    name: str
    key: str
    optional: bool = False


class ResourceFieldRef(Model):
    """A limit or request of a container, in units of `divisor` (0: 1 cpu, 1 byte), rounded up."""

    resource: str
    container_name: str = ""
    divisor: Quantity = "0"


class EnvVarSource(Model):
    """Where the value of a variable comes from: exactly one of these."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class ObjectRef(Model):
    """A whole ConfigMap or Secret in the DaemonSet's namespace."""

    name: str
    optional: bool = False


class EnvFromSource(Model):
    """Every key of a ConfigMap or Secret as a variable, after a prefix; exactly one source."""

    prefix: str = ""
    config_map_ref: ObjectRef | None = None
    secret_ref: ObjectRef | None = None


class EnvVar(Model):
    """One environment variable: a value (with `$(VAR)` expansion) or a source."""

    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class ContainerPort(Model):
    """A port that the container listens on."""

    name: str = ""
    container_port: int
    host_port: int = 0
    host_ip: str = Field(default="", alias="hostIP")
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class ResourceRequirements(Model):
    """Requests and limits as Kubernetes quantities."""

    limits: dict[str, Quantity] = Field(default_factory=dict)
    requests: dict[str, Quantity] = Field(default_factory=dict)


class Capabilities(Model):
    """Linux capabilities, named without `CAP_`."""

    add: list[str] = Field(default_factory=list)
    drop: list[str] = Field(default_factory=list)


class SELinuxOptions(Model):
    """The SELinux label; an empty part is the engine's choice."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class Profile(Model):
    """A seccomp or AppArmor profile; a Localhost one is named, and is on the host already."""

    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str = ""


class Sysctl(Model):
    """A kernel parameter of the pod's namespaces."""

    name: str
    value: str


class PodSecurityContext(Model):
    """What all containers of the pod share; a container's own context wins where both speak."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    supplemental_groups: list[int] = Field(default_factory=list)
    fs_group: int | None = None
    sysctls: list[Sysctl] = Field(default_factory=list)
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None


class SecurityContext(Model):
    """What the container may do."""

    privileged: bool = False
    capabilities: Capabilities | None = None
    allow_privilege_escalation: bool = True
    read_only_root_filesystem: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    proc_mount: Literal["Default", "Unmasked"] = "Default"
    se_linux_options: SELinuxOptions | None = None
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None


class VolumeMount(Model):
    """Where a volume appears in the container."""

    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"


class ExecAction(Model):
    """A command run in the container; success is exit status 0."""

    command: list[str]


class HTTPHeader(Model):
    """One header of an HTTP probe."""

    name: str
    value: str


class HTTPGetAction(Model):
    """An HTTP GET; success is a status from 200 to 399."""

    path: str = "/"
    port: int | str
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: list[HTTPHeader] = Field(default_factory=list)


class TCPSocketAction(Model):
    """A connection that must open."""

    port: int | str
    host: str = ""


class GRPCAction(Model):
    """A call of grpc.health.v1.Health/Check that must answer SERVING."""

    port: int
    service: str = ""


class SleepAction(Model):
    """A pause, in seconds."""

    seconds: int


class LifecycleHandler(Model):
    """What a hook does: exactly one of these."""

    exec_: ExecAction | None = Field(default=None, alias="exec")
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Model):
    """Hooks: right after a start (a failure restarts the container), and before a stop."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""


class Probe(Model):
    """A probe and its thresholds (0 means the default); exactly one of the four actions.

    `termination_grace_period_seconds` is how long a container that fails a liveness or startup
    probe gets to stop; None: as long as the pod gives.
    """

    exec_: ExecAction | None = Field(default=None, alias="exec")
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    termination_grace_period_seconds: int | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: Annotated[int, AfterValidator(lambda n: n or 1)] = 1
    period_seconds: Annotated[int, AfterValidator(lambda n: n or 10)] = 10
    success_threshold: Annotated[int, AfterValidator(lambda n: n or 1)] = 1
    failure_threshold: Annotated[int, AfterValidator(lambda n: n or 3)] = 3


class Container(Model):
    """One container of the pod."""

    name: str
    image: str
    command: list[str] = Field(default_factory=list)
    args: list[str] = Field(default_factory=list)
    env: list[EnvVar] = Field(default_factory=list)
    ports: list[ContainerPort] = Field(default_factory=list)
    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    volume_mounts: list[VolumeMount] = Field(default_factory=list)
    security_context: SecurityContext | None = None
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    working_dir: str = ""
    env_from: list[EnvFromSource] = Field(default_factory=list)
    restart_policy: Literal["", "Always"] = ""
    """Only of an init container: `Always` makes it a sidecar, which runs as long as the pod."""
    stdin: bool = False
    tty: bool = False


class HostPathVolume(Model):
    """A path of the host; an empty type means: no check, made when missing."""

    path: str
    type: Literal[
        "",
        "DirectoryOrCreate",
        "Directory",
        "FileOrCreate",
        "File",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ] = ""


class KeyToPath(Model):
    """One key of a ConfigMap or Secret as a file."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapVolume(Model):
    """A ConfigMap as a directory of files."""

    name: str
    items: list[KeyToPath] = Field(default_factory=list)
    default_mode: int = 0o644
    optional: bool = False


class SecretVolume(Model):
    """A Secret as a directory of files."""

    secret_name: str
    items: list[KeyToPath] = Field(default_factory=list)
    default_mode: int = 0o644
    optional: bool = False


class EmptyDirVolume(Model):
    """A directory that lives as long as the copy; with medium Memory a tmpfs."""

    medium: Literal["", "Memory"] = ""
    size_limit: Quantity | None = None


class DownwardFile(Model):
    """A file with a value of the pod: of a field, or of a container's resource."""

    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardVolume(Model):
    """Values of the pod as files."""

    items: list[DownwardFile] = Field(default_factory=list)
    default_mode: int = 0o644


class ProjectedObject(Model):
    """A ConfigMap or Secret among the sources of a projected volume."""

    name: str
    items: list[KeyToPath] = Field(default_factory=list)
    optional: bool = False


class ProjectedDownward(Model):
    """Values of the pod among the sources of a projected volume."""

    items: list[DownwardFile] = Field(default_factory=list)


class Projection(Model):
    """One source of a projected volume; one that only an API server could fill has none here."""

    config_map: ProjectedObject | None = None
    secret: ProjectedObject | None = None
    downward_api: ProjectedDownward | None = Field(default=None, alias="downwardAPI")


class ProjectedVolume(Model):
    """Several sources in one directory; a later one wins."""

    sources: list[Projection] = Field(default_factory=list)
    default_mode: int = 0o644


class Volume(Model):
    """A volume: exactly one of its sources."""

    name: str
    host_path: HostPathVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    empty_dir: EmptyDirVolume | None = None
    projected: ProjectedVolume | None = None
    downward_api: DownwardVolume | None = Field(default=None, alias="downwardAPI")


class Placement(Model):
    """The fields of a template's spec that decide where copies may run."""

    node_name: str = ""
    node_selector: dict[str, str] = Field(default_factory=dict)
    affinity: Affinity | None = None
    tolerations: list[Toleration] = Field(default_factory=list)


class HostAlias(Model):
    """An address and its names, for the containers' hosts file."""

    ip: str
    hostnames: list[str] = Field(default_factory=list)


class DNSOption(Model):
    """One option of resolv.conf."""

    name: str
    value: str = ""


class DNSConfig(Model):
    """Name servers, search domains and options; beside what dnsPolicy gives, alone with None."""

    nameservers: list[str] = Field(default_factory=list)
    searches: list[str] = Field(default_factory=list)
    options: list[DNSOption] = Field(default_factory=list)


class NameRef(Model):
    """A Secret of the DaemonSet's namespace by name."""

    name: str


class PodSpec(Placement):
    """The spec of a pod whose work is done by containers."""

    containers: list[Container]
    init_containers: list[Container] = Field(default_factory=list)
    volumes: list[Volume] = Field(default_factory=list)
    termination_grace_period_seconds: int = 30
    host_network: bool = False
    host_pid: bool = Field(default=False, alias="hostPID")
    host_ipc: bool = Field(default=False, alias="hostIPC")
    share_process_namespace: bool = False
    security_context: PodSecurityContext | None = None
    image_pull_secrets: list[NameRef] = Field(default_factory=list)
    hostname: str = ""
    service_account_name: str = ""
    host_aliases: list[HostAlias] = Field(default_factory=list)
    dns_policy: Literal["Default", "ClusterFirst", "ClusterFirstWithHostNet", "None"] = (
        "ClusterFirst"
    )
    dns_config: DNSConfig | None = None
    priority_class_name: str = ""
    restart_policy: Literal["Always"] = "Always"
