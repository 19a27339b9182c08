"""What a template asks of one container on one host, by Kubernetes' rules and in plain values.

Written down a second time, apart from fleetd's renderer, so that a rule which that has wrong shows
up as a difference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from tests.e2e.manifests.images import IMAGE_ENV, Image, argv
from tests.e2e.manifests.manifest import Agent, Container, Document, number, part

_DEFAULT: Final = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP"
    " SETGID SETPCAP SETUID SYS_CHROOT"
)
_BITS: Final = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
    " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO"
    " SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME"
    " SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG"
    " WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
#: What containerd gives a container that says nothing.
DEFAULT_CAPABILITIES: Final = frozenset(_DEFAULT.split())
#: In the order of their bits.
CAPABILITIES: Final = tuple(_BITS.split())
_UNITS: Final = {
    "": Fraction(1),
    "m": Fraction(1, 1000),
    **{unit: Fraction(1000) ** (at + 1) for at, unit in enumerate("kMGTPE")},
    **{f"{unit}i": Fraction(1024) ** (at + 1) for at, unit in enumerate("KMGTPE")},
}
_EXPANDS: Final = re.compile(r"\$(?:(\$)|\(([^)]*)\))")


@dataclass(frozen=True)
class Where:
    """What only the host knows about a copy. `uid` is what the copy was told, whatever it is."""

    node: str
    host_ip: str
    pod_ip: str
    uid: str
    cpus: int
    memory: int


def quantity(text: Any) -> Fraction:
    """A Kubernetes quantity as an exact number."""
    found = re.fullmatch(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)([a-zA-Z]*)", str(text))
    assert found, f"no quantity: {text}"
    return Fraction(found[1]) * _UNITS[found[2]]


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` of known names; `$$` is a dollar; what is not known stays as it is."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[1] else known.get(found[2], found[0])

    return _EXPANDS.sub(one, text)


def environment(agent: Agent, container: Container, where: Where) -> dict[str, str]:
    """What the manifest sets, without what the image and the engine add."""
    found: dict[str, str] = {}
    for source in container.listed("envFrom"):
        for kind, key in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if ref := source.get(key):
                for name, value in agent.contents.get((kind, ref["name"]), {}).items():
                    found[f"{source.get('prefix', '')}{name}"] = value.decode()
    for variable in container.listed("env"):
        source = variable.get("valueFrom")
        if not source:
            value = variable.get("value")
            found[variable["name"]] = expand("" if value is None else str(value), found)
        elif (taken := _value_from(agent, container, source, where)) is not None:
            found[variable["name"]] = taken
    return found


def command_line(agent: Agent, container: Container, where: Where) -> list[str]:
    known = environment(agent, container, where)
    return [expand(str(word), known) for word in argv(container)]


def field(agent: Agent, path: str, where: Where) -> str:
    """The value of a fieldRef."""
    metadata = part(agent.template, "metadata")
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str(part(metadata, found[1]).get(found[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        return ""  # files only; compared by whoever knows how they are written
    return {
        "metadata.name": f"{agent.name}-{where.node}",
        "metadata.namespace": agent.namespace,
        "metadata.uid": where.uid,
        "spec.nodeName": where.node,
        "spec.serviceAccountName": str(
            agent.pod.get("serviceAccountName") or agent.pod.get("serviceAccount") or "default"
        ),
        "status.hostIP": where.host_ip,
        "status.hostIPs": where.host_ip,
        "status.podIP": where.pod_ip,
        "status.podIPs": where.pod_ip,
    }[path]


def resource(agent: Agent, container: Container, ref: Document, where: Where) -> str:
    """The value of a resourceFieldRef, rounded up."""
    name = ref.get("containerName") or container.name
    [chosen] = [each for each in agent.containers if each.name == name]
    kind, _, what = str(ref["resource"]).partition(".")
    limits, requests = chosen.part("resources", "limits"), chosen.part("resources", "requests")
    value = limits.get(what) if kind == "limits" else requests.get(what, limits.get(what))
    if value is None:
        value = {"cpu": where.cpus, "memory": where.memory}.get(what, 0) if kind == "limits" else 0
    divisor = quantity(ref.get("divisor") or 0) or Fraction(1)
    return str(math.ceil(quantity(value) / divisor))


def _value_from(agent: Agent, container: Container, source: Document, where: Where) -> str | None:
    if ref := source.get("fieldRef"):
        return field(agent, ref["fieldPath"], where)
    if ref := source.get("resourceFieldRef"):
        return resource(agent, container, ref, where)
    for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        if ref := source.get(key):
            value = agent.contents.get((kind, ref["name"]), {}).get(ref["key"])
            return None if value is None else value.decode()
    return None


# ------------------------------------------------------------------------------------ security


@dataclass(frozen=True)
class Security:
    """Who a container runs as, and what it may do. `seccomp`: None where nothing is asked."""

    uid: int
    gid: int
    groups: frozenset[int]
    privileged: bool
    capabilities: frozenset[str]
    no_new_privileges: bool
    seccomp: str | None
    read_only_root: bool


def security(agent: Agent, container: Container, image: Image) -> Security:
    pod, own = part(agent.pod, "securityContext"), container.part("securityContext")
    both = {**pod, **{key: value for key, value in own.items() if value is not None}}
    user, group = both.get("runAsUser"), both.get("runAsGroup")
    uid = image.user if user is None else int(user)
    if group is None:
        group = image.user if user is None else 0
    groups = {int(each) for each in pod.get("supplementalGroups") or ()}
    if pod.get("fsGroup") is not None:
        groups.add(int(pod["fsGroup"]))
    privileged = bool(own.get("privileged"))
    seccomp = part(both, "seccompProfile").get("type")
    return Security(
        uid=uid,
        gid=int(group),
        groups=frozenset(groups),
        privileged=privileged,
        capabilities=_capabilities(part(own, "capabilities")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        seccomp="Unconfined" if privileged else seccomp,
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
    )


def _capabilities(asked: Document) -> frozenset[str]:
    add = {str(each).removeprefix("CAP_") for each in asked.get("add") or ()}
    drop = {str(each).removeprefix("CAP_") for each in asked.get("drop") or ()}
    base = frozenset() if "ALL" in drop else DEFAULT_CAPABILITIES - drop
    return frozenset(CAPABILITIES) if "ALL" in add else base | add


# ------------------------------------------------------------------------------------- volumes


@dataclass(frozen=True)
class File:
    """A file of a volume. `content`: None where only its being there is known."""

    content: bytes | None
    mode: int


def files(agent: Agent, container: Container, volume: Document, where: Where) -> dict[str, File]:
    """The files of a volume that holds content, by their path in it."""
    found: dict[str, File] = {}
    default = 0o644
    sources = [volume]
    if projected := volume.get("projected"):
        default = number(projected.get("defaultMode", default))
        sources = projected.get("sources") or []
    for source in sources:
        for kind, key in (("ConfigMap", "configMap"), ("Secret", "secret")):
            if ref := source.get(key):
                name = ref.get("secretName") or ref["name"]
                mode = number(ref.get("defaultMode", default))
                found |= dict(_keys(agent.contents.get((kind, name)), ref, mode))
        if ref := source.get("downwardAPI"):
            mode = number(ref.get("defaultMode", default))
            for item in ref.get("items") or ():
                content = _downward(agent, container, item, where)
                found[item["path"]] = File(content, number(item.get("mode", mode)))
    return found


def _keys(
    contents: Mapping[str, bytes] | None, ref: Document, mode: int
) -> Iterator[tuple[str, File]]:
    if contents is None:
        return
    if items := ref.get("items"):
        for item in items:
            if item["key"] in contents:
                own = number(item.get("mode", mode))
                yield item["path"], File(contents[item["key"]], own)
    else:
        for key, value in contents.items():
            yield key, File(value, mode)


def _downward(agent: Agent, container: Container, item: Document, where: Where) -> bytes | None:
    if ref := item.get("resourceFieldRef"):
        return resource(agent, container, ref, where).encode()
    path = item["fieldRef"]["fieldPath"]
    if path in {"metadata.labels", "metadata.annotations"}:
        return None
    return field(agent, path, where).encode()


#: What may be in an environment beside what was asked for.
UNASKED: Final = frozenset({*IMAGE_ENV, "HOME", "HOSTNAME", "TERM", "container"})
