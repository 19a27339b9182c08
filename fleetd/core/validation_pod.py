"""The rules for pods of containers (K 150, 151, 167), and what a command line cannot carry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fleetd.core import names, quantity
from fleetd.core.expansion import variables
from fleetd.core.findings import Findings
from fleetd.core.paths import child
from fleetd.core.pod import (
    Container,
    ContainerPort,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    KeyRef,
    KeyToPath,
    PodSpec,
    Probe,
    Quantity,
    ResourceRequirements,
    TCPSocketAction,
    Volume,
    VolumeMount,
)

FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "status.hostIP",
)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*\Z")
_CAPABILITY = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_HEADER = re.compile(r"[-A-Za-z0-9_]+\Z")
_LIMITS = ("cpu", "memory")
_UNUSED_RESOURCES = ("ephemeral-storage", "storage")


def check_pod(found: Findings, path: str, spec: PodSpec) -> None:
    """Everything of a pod's spec but its placement."""
    found.at_least(
        f"{path}.terminationGracePeriodSeconds", spec.termination_grace_period_seconds, 0
    )
    volumes: set[object] = set()
    for i, volume in enumerate(spec.volumes):
        here = f"{path}.volumes[{i}]"
        found.check(f"{here}.name", names.dns_label, volume.name)
        found.unique(f"{here}.name", volume.name, volumes, "the volume")
        _volume(found, here, volume)
    if not spec.containers:
        found.error(f"{path}.containers", "must have at least one container")
    seen: set[object] = set()
    for i, container in enumerate(spec.containers):
        here = f"{path}.containers[{i}]"
        if i:
            message = "a second container is not supported yet by this fleetd"
            found.error(here, message, "make it a DaemonSet of its own")
        found.check(f"{here}.name", names.dns_label, container.name)
        found.unique(f"{here}.name", container.name, seen, "the container")
        _container(found, here, container, host_network=spec.host_network)
        _mounts(found, here, container.volume_mounts, volumes)


def _container(found: Findings, path: str, container: Container, *, host_network: bool) -> None:
    image = container.image
    if not _IMAGE.match(image) or len(image) > 512:
        found.error(f"{path}.image", f"{image[:80]!r} is no image", "write name:tag or name@digest")
    for name, words in (("command", container.command), ("args", container.args)):
        for i, word in enumerate(words):
            found.check(f"{path}.{name}[{i}]", names.text_block, word)
    check_env(found, path, container)
    _ports(found, f"{path}.ports", container.ports, host_network=host_network)
    _resources(found, f"{path}.resources", container.resources)
    capabilities = container.security_context and container.security_context.capabilities
    if capabilities:
        for verb, listed in (("add", capabilities.add), ("drop", capabilities.drop)):
            for i, name in enumerate(listed):
                here = f"{path}.securityContext.capabilities.{verb}[{i}]"
                if name.startswith("CAP_"):
                    found.error(here, f"{name!r} has CAP_ before it", f"write {name[4:]}")
                elif not _CAPABILITY.match(name):
                    found.error(here, f"{name!r} is no capability", "write it as NET_ADMIN")
    if container.readiness_probe:
        ports = frozenset(port.name for port in container.ports if port.name)
        check_probe(found, f"{path}.readinessProbe", container.readiness_probe, ports)


def check_env(found: Findings, path: str, container: Container) -> None:
    """Variables and their sources; a secret must not get into a command line by `$(VAR)`."""
    secret: set[str] = set()
    for i, variable in enumerate(container.env):
        here = f"{path}.env[{i}]"
        found.check(f"{here}.name", names.env_name, variable.name)
        _value(found, here, variable)
        source = variable.value_from
        if (source is not None and source.secret_key_ref is not None) or (
            secret.intersection(variables(variable.value))
        ):
            secret.add(variable.name)
        else:
            secret.discard(variable.name)
    for field, words in (("command", container.command), ("args", container.args)):
        for i, word in enumerate(words):
            for name in variables(word):
                if name in secret:
                    found.error(
                        f"{path}.{field}[{i}]",
                        f"$({name}) would show a secret in the list of processes",
                        f"let the program read the variable {name} itself, or mount the Secret",
                    )


def _value(found: Findings, path: str, variable: EnvVar) -> None:
    source = variable.value_from
    if source is None:
        found.check(f"{path}.value", names.text_block, variable.value)
        return
    here = f"{path}.valueFrom"
    if variable.value:
        found.error(here, "value and valueFrom are both there", "keep one of them")
    _env_source(found, here, source)


def _env_source(found: Findings, path: str, source: EnvVarSource) -> None:
    named = [source.field_ref, source.config_map_key_ref, source.secret_key_ref]
    if sum(each is not None for each in named) != 1:
        message = "must have exactly one of fieldRef, configMapKeyRef and secretKeyRef"
        found.error(path, message)
    if source.field_ref is not None:
        check_field_path(found, f"{path}.fieldRef.fieldPath", source.field_ref.field_path)
        if source.field_ref.api_version != "v1":
            found.error(f"{path}.fieldRef.apiVersion", "must be v1")
    check_key_ref(found, f"{path}.configMapKeyRef", source.config_map_key_ref)
    check_key_ref(found, f"{path}.secretKeyRef", source.secret_key_ref)


def check_field_path(found: Findings, path: str, field_path: str) -> None:
    """The fields of a pod that are known to a host."""
    if field_path not in FIELD_PATHS:
        message = f"{field_path!r} is not supported yet by this fleetd"
        found.error(path, message, f"known are {', '.join(FIELD_PATHS)}")


def check_key_ref(found: Findings, path: str, ref: KeyRef | None) -> None:
    """A legal name and key of a ConfigMap or Secret."""
    if ref is not None:
        found.check(f"{path}.name", names.dns_subdomain, ref.name)
        found.check(f"{path}.key", names.config_key, ref.key)


def _ports(
    found: Findings, path: str, ports: Sequence[ContainerPort], *, host_network: bool
) -> None:
    seen_names: set[object] = set()
    seen_ports: set[object] = set()
    for i, port in enumerate(ports):
        here = f"{path}[{i}]"
        _port_number(found, f"{here}.containerPort", port.container_port)
        if port.name:
            found.check(f"{here}.name", names.port_name, port.name)
            found.unique(f"{here}.name", port.name, seen_names, "the port")
        if port.host_port:
            _port_number(found, f"{here}.hostPort", port.host_port)
            on_host = f"{port.host_ip or '0.0.0.0'}:{port.host_port}/{port.protocol}"  # noqa: S104 - printed only
            found.unique(f"{here}.hostPort", on_host, seen_ports, "the port of the host")
        if host_network and port.host_port not in {0, port.container_port}:
            message = f"must be {port.container_port}, the containerPort, with hostNetwork"
            found.error(f"{here}.hostPort", message)
        if port.host_ip:
            found.check(f"{here}.hostIP", names.address, port.host_ip)


def _port_number(found: Findings, path: str, port: int) -> None:
    if not 1 <= port <= 65535:
        found.error(path, f"must be from 1 to 65535, not {port}")


def _resources(found: Findings, path: str, resources: ResourceRequirements) -> None:
    for kind, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name, value in amounts.items():
            here = child(f"{path}.{kind}", name)
            _amount(found, here, value)
            if name in _UNUSED_RESOURCES:
                found.note(here, f"{name} is not limited on a host: ignored")
            elif name not in _LIMITS and kind == "limits":
                message = f"a limit of {name} is not supported yet by this fleetd"
                found.error(here, message, "limits of cpu and memory are")
            elif name not in _LIMITS:
                found.note(here, "nothing is scheduled by resources: ignored")
    _requests_within_limits(found, path, resources.requests, resources.limits)


def _amount(found: Findings, path: str, value: Quantity) -> None:
    try:
        if quantity.parse(value) < 0:
            found.error(path, f"{value} must not be negative")
    except ValueError as error:
        found.error(path, f"{value!r} {error}")


def _requests_within_limits(
    found: Findings, path: str, requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]
) -> None:
    for name in requests.keys() & limits.keys():
        try:
            above = quantity.parse(requests[name]) > quantity.parse(limits[name])
        except ValueError:
            continue
        if above:
            message = f"{requests[name]} is more than the limit, {limits[name]}"
            found.error(child(f"{path}.requests", name), message)


def check_probe(found: Findings, path: str, probe: Probe, ports: frozenset[str]) -> None:
    """One action, sane numbers; a named port must be one of `ports`."""
    actions = [probe.exec_, probe.http_get, probe.tcp_socket]
    if sum(action is not None for action in actions) != 1:
        found.error(path, "must have exactly one of exec, httpGet and tcpSocket")
    if probe.exec_ is not None:
        if not probe.exec_.command:
            found.error(f"{path}.exec.command", "must not be empty")
        for i, word in enumerate(probe.exec_.command):
            found.check(f"{path}.exec.command[{i}]", names.text_block, word)
    if probe.http_get is not None:
        _http_get(found, f"{path}.httpGet", probe.http_get)
        _probe_target(found, f"{path}.httpGet", probe.http_get, ports)
    if probe.tcp_socket is not None:
        _probe_target(found, f"{path}.tcpSocket", probe.tcp_socket, ports)
    found.at_least(f"{path}.initialDelaySeconds", probe.initial_delay_seconds, 0)
    found.at_least(f"{path}.timeoutSeconds", probe.timeout_seconds, 1)
    found.at_least(f"{path}.periodSeconds", probe.period_seconds, 1)
    found.at_least(f"{path}.successThreshold", probe.success_threshold, 1)
    found.at_least(f"{path}.failureThreshold", probe.failure_threshold, 1)


def _http_get(found: Findings, path: str, action: HTTPGetAction) -> None:
    found.check(f"{path}.path", names.no_control, action.path)
    for i, header in enumerate(action.http_headers):
        here = f"{path}.httpHeaders[{i}]"
        if not _HEADER.match(header.name):
            found.error(f"{here}.name", f"{header.name!r} is no name of an HTTP header")
        found.check(f"{here}.value", names.no_control, header.value)


def _probe_target(
    found: Findings, path: str, action: HTTPGetAction | TCPSocketAction, ports: frozenset[str]
) -> None:
    if isinstance(action.port, int):
        _port_number(found, f"{path}.port", action.port)
    elif action.port not in ports:
        known = f"named ports are {', '.join(sorted(ports))}" if ports else "write its number"
        found.error(f"{path}.port", f"no port is named {action.port!r}", known)
    if action.host:
        found.check(f"{path}.host", names.address, action.host)


def _volume(found: Findings, path: str, volume: Volume) -> None:
    sources = [volume.host_path, volume.config_map, volume.secret, volume.empty_dir]
    if sum(source is not None for source in sources) > 1:
        found.error(path, "has more than one source", "keep one of them")
    if volume.host_path is not None:
        found.check(f"{path}.hostPath.path", names.host_path, volume.host_path.path)
    if volume.config_map is not None:
        config_map = volume.config_map
        found.check(f"{path}.configMap.name", names.dns_subdomain, config_map.name)
        _items(found, f"{path}.configMap", config_map.items, config_map.default_mode)
    if volume.secret is not None:
        secret = volume.secret
        found.check(f"{path}.secret.secretName", names.dns_subdomain, secret.secret_name)
        _items(found, f"{path}.secret", secret.items, secret.default_mode)


def _items(found: Findings, path: str, items: Sequence[KeyToPath], default_mode: int) -> None:
    check_mode(found, f"{path}.defaultMode", default_mode, most=0o777)
    seen: set[object] = set()
    for i, item in enumerate(items):
        here = f"{path}.items[{i}]"
        found.check(f"{here}.key", names.config_key, item.key)
        found.check(f"{here}.path", _file_in_volume, item.path)
        found.unique(f"{here}.path", item.path, seen, "the path")
        if item.mode is not None:
            check_mode(found, f"{here}.mode", item.mode, most=0o777)


def _file_in_volume(text: str) -> str:
    if wrong := names.relative_path(text):
        return wrong
    if any(part in {"", "."} for part in text.split("/")):
        return "must be a plain relative path"
    return "must not contain white space" if any(c.isspace() for c in text) else ""


def check_mode(found: Findings, path: str, mode: int, *, most: int) -> None:
    """File permissions, as a number; a decimal that was meant to be octal is told."""
    if not 0 <= mode <= most:
        found.error(path, f"must be from 0 to 0{most:o}, not 0{mode:o}", "write it as 0644")
    elif str(mode) in {"400", "440", "444", "500", "550", "555"}:
        found.note(path, f"decimal {mode} is mode 0{mode:o}; write 0{mode} if that is meant")


def _mounts(
    found: Findings, path: str, mounts: Sequence[VolumeMount], volumes: set[object]
) -> None:
    seen: set[object] = set()
    for i, mount in enumerate(mounts):
        here = f"{path}.volumeMounts[{i}]"
        if mount.name not in volumes:
            known = ", ".join(sorted(map(str, volumes))) or "none"
            message = f"there is no volume {mount.name!r}"
            found.error(f"{here}.name", message, f"spec.template.spec.volumes has: {known}")
        if ":" in mount.mount_path:
            found.error(f"{here}.mountPath", "must not contain ':'")
        found.check(f"{here}.mountPath", names.host_path, mount.mount_path)
        found.unique(f"{here}.mountPath", mount.mount_path, seen, "the mount path")
        if mount.sub_path:
            found.check(f"{here}.subPath", names.relative_path, mount.sub_path)
