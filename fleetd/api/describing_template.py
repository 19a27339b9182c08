"""The part of `describe` that tells of a pod template, in kubectl's layout (K 181).

Plain shapes in, lines out. Apart from `describing`, since DaemonSets and pods share it. What
kubectl has no words for (a systemd workload) is printed as the document writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fleetd.documents.yaml import dump

Plain = Mapping[str, Any]

_WIDTH = 14
_SOURCES = {
    "hostPath": "HostPath (bare host directory volume)",
    "emptyDir": "EmptyDir (a temporary directory that shares a pod's lifetime)",
    "configMap": "ConfigMap (a volume populated by a ConfigMap)",
    "secret": "Secret (a volume populated by a Secret)",
    "projected": "Projected (a volume that contains injected data from multiple sources)",
    "downwardAPI": "DownwardAPI (a volume populated by information about the pod)",
}


def row(name: str, value: object, width: int = _WIDTH) -> str:
    """`Name:   value`, with values below each other."""
    return f"{name + ':':<{width}}{value}".rstrip()


def block(name: str, values: Iterable[str], width: int = _WIDTH) -> list[str]:
    """A name with one value per line, each below the first; `<none>` when there is none."""
    first, *rest = [*values] or ["<none>"]
    return [row(name, first, width), *(f"{'':<{width}}{value}" for value in rest)]


def pairs(found: Plain | None, sign: str = "=") -> list[str]:
    """`a=b` for each pair, in order."""
    return [f"{key}{sign}{value}" for key, value in sorted((found or {}).items())]


def template(found: Plain) -> list[str]:
    """The lines under `Pod Template:`."""
    meta, spec = found.get("metadata") or {}, found.get("spec") or {}
    lines = block("Labels", pairs(meta.get("labels")), 18)
    if meta.get("annotations"):
        lines += block("Annotations", pairs(meta["annotations"], ": "), 18)
    lines += workload(spec)
    lines += placement(spec, 22)
    return _indented(lines)


def workload(spec: Plain) -> list[str]:
    """Containers and volumes, or the unit of a systemd workload."""
    if "systemd" in spec:
        return ["Systemd:", *_indented(dump(dict(spec["systemd"])).splitlines())]
    lines = []
    if spec.get("initContainers"):
        lines += ["Init Containers:", *_containers(spec["initContainers"])]
    lines += ["Containers:", *_containers(spec.get("containers", ()))]
    volumes = spec.get("volumes", ())
    lines += ["Volumes:", *(line for each in volumes for line in _volume(each))]
    return lines if volumes else [*lines[:-1], "Volumes:  <none>"]


def placement(spec: Plain, width: int) -> list[str]:
    """What says where copies go."""
    lines = []
    if spec.get("priorityClassName"):
        lines.append(row("Priority Class Name", spec["priorityClassName"], width))
    lines += block("Node-Selectors", pairs(spec.get("nodeSelector")), width)
    lines += block("Tolerations", map(_toleration, spec.get("tolerations", ())), width)
    return lines


def container(found: Plain, state: Sequence[str] | None = None) -> list[str]:
    """One container of a template, or of a pod when there is `state`: lines for the middle.

    As with kubectl the container of a pod stands one column further to the right.
    """
    lines = [row("Image", found.get("image", "<none>"), 13)]
    ports = found.get("ports", ())
    if ports:
        lines.append(row("Ports" if len(ports) > 1 else "Port", _ports(ports, "containerPort"), 13))
        hosts = "Host Ports" if len(ports) > 1 else "Host Port"
        lines.append(row(hosts, _ports(ports, "hostPort"), 13))
    for field in ("command", "args"):
        if found.get(field):
            words = [line for word in found[field] for line in str(word).splitlines()]
            lines += [f"{field.title()}:", *_indented(words)]
    lines += state or ()
    resources = found.get("resources") or {}
    for field in ("limits", "requests"):
        if resources.get(field):
            width = max(map(len, resources[field])) + 3
            rows = [row(name, value, width) for name, value in sorted(resources[field].items())]
            lines += [f"{field.title()}:", *_indented(rows)]
    for field in ("liveness", "readiness", "startup"):
        if probe := found.get(f"{field}Probe"):
            lines.append(row(field.title(), _probe(probe), 13))
    for source in found.get("envFrom", ()):
        lines.append(row("Env From", _env_from(source), 13))
    lines += _environment(found.get("env", ()))
    lines += _mounts(found.get("volumeMounts", ()))
    if state is None:
        return [f" {found.get('name', '')}:", *_indented(lines)]
    return [f"  {found.get('name', '')}:", *_indented(lines, "    ")]


def _containers(containers: Iterable[Plain]) -> Iterator[str]:
    for found in containers:
        yield from container(found)


def _indented(lines: Iterable[str], by: str = "  ") -> list[str]:
    return [f"{by}{line}".rstrip() for line in lines]


def _ports(ports: Iterable[Plain], field: str) -> str:
    return ", ".join(f"{port.get(field, 0)}/{port.get('protocol', 'TCP')}" for port in ports)


def _probe(probe: Plain) -> str:
    numbers = {
        "delay": f"{probe.get('initialDelaySeconds', 0)}s",
        "timeout": f"{probe.get('timeoutSeconds', 1)}s",
        "period": f"{probe.get('periodSeconds', 10)}s",
        "#success": probe.get("successThreshold", 1),
        "#failure": probe.get("failureThreshold", 3),
    }
    told = " ".join(f"{name}={value}" for name, value in numbers.items())
    return f"{_action(probe)} {told}"


def _action(probe: Plain) -> str:
    if found := probe.get("exec"):
        return f"exec [{' '.join(found.get('command', ()))}]"
    if found := probe.get("httpGet"):
        scheme, path = str(found.get("scheme", "HTTP")).lower(), found.get("path", "/")
        return f"http-get {scheme}://{found.get('host', '')}:{found.get('port', '')}{path}"
    if found := probe.get("tcpSocket"):
        return f"tcp-socket {found.get('host', '')}:{found.get('port', '')}"
    if found := probe.get("grpc"):
        return f"grpc <pod>:{found.get('port', '')} {found.get('service', '')}".rstrip()
    return "unknown"


def _env_from(source: Plain) -> str:
    prefix = f" with prefix '{source['prefix']}'" if source.get("prefix") else ""
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if ref := source.get(field):
            optional = str(bool(ref.get("optional"))).lower()
            return f"{ref.get('name', '')}  {kind}{prefix}  Optional: {optional}"
    return "<unknown>"


def _environment(env: Sequence[Plain]) -> list[str]:
    if not env:
        return [row("Environment", "<none>", 13)]
    width = max(len(str(entry.get("name", ""))) for entry in env) + 3
    rows = [
        line
        for entry in env
        for line in block(str(entry.get("name", "")), _value(entry).splitlines() or [""], width)
    ]
    return ["Environment:", *_indented(rows)]


def _value(entry: Plain) -> str:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    for field, words in (("configMapKeyRef", "config map"), ("secretKeyRef", "secret")):
        if ref := source.get(field):
            optional = str(bool(ref.get("optional"))).lower()
            key, name = ref.get("key", ""), ref.get("name", "")
            return f"<set to the key '{key}' of {words} '{name}'>  Optional: {optional}"
    if ref := source.get("fieldRef"):
        return f"({ref.get('apiVersion', 'v1')}:{ref.get('fieldPath', '')})"
    if ref := source.get("resourceFieldRef"):
        return f"({ref.get('containerName', '')}:{ref.get('resource', '')})"
    return "<unknown>"


def _mounts(mounts: Sequence[Plain]) -> list[str]:
    if not mounts:
        return [row("Mounts", "<none>", 13)]
    lines = []
    for mount in sorted(mounts, key=lambda each: str(each.get("mountPath", ""))):
        flags = ["ro" if mount.get("readOnly") else "rw"]
        path = mount.get("subPath") or mount.get("subPathExpr")
        flags += [f'path="{path}"'] if path else []
        lines.append(f"{mount.get('mountPath')} from {mount.get('name')} ({','.join(flags)})")
    return ["Mounts:", *_indented(lines)]


def _volume(volume: Plain) -> list[str]:
    source = next((name for name in volume if name != "name"), "emptyDir")
    body = volume.get(source) or {}
    lines = [row("Type", _SOURCES.get(source, source))]
    match source:
        case "hostPath":
            lines += [row("Path", body.get("path", "")), row("HostPathType", body.get("type", ""))]
        case "emptyDir":
            lines.append(row("Medium", body.get("medium", "")))
            lines.append(row("SizeLimit", body.get("sizeLimit", "<unset>")))
        case "configMap":
            lines += [row("Name", body.get("name", "")), _optional(body)]
        case "secret":
            lines += [row("SecretName", body.get("secretName", "")), _optional(body)]
        case _:
            lines += dump(dict(body)).splitlines()
    return [f" {volume.get('name', '')}:", *_indented(lines)]


def _optional(body: Plain) -> str:
    return row("Optional", str(bool(body.get("optional"))).lower())


def _toleration(found: Plain) -> str:
    """Kubectl's form: `key=value:Effect op=Exists for 300s`."""
    text = str(found.get("key", ""))
    if found.get("value"):
        text += f"={found['value']}"
    if found.get("effect"):
        text += f":{found['effect']}"
    if found.get("operator", "Equal") != "Equal":
        text += (" " if text else "") + f"op={found['operator']}"
    if found.get("tolerationSeconds") is not None:
        text += f" for {found['tolerationSeconds']}s"
    return text
