"""The rules for pods of containers (K 150, 151, 167), and what a command line cannot carry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fleetd.core import names, quantity
from fleetd.core.findings import Findings
from fleetd.core.paths import child
from fleetd.core.pod import Container, ContainerPort, PodSpec, Quantity, ResourceRequirements
from fleetd.core.validation_env import check_env, check_resource_refs
from fleetd.core.validation_probes import check_port_number, check_probe
from fleetd.core.validation_volumes import check_mounts, check_volumes

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*\Z")
_CAPABILITY = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_LIMITS = ("cpu", "memory")
_UNUSED_RESOURCES = ("ephemeral-storage", "storage")


def check_pod(found: Findings, path: str, spec: PodSpec) -> None:
    """Everything of a pod's spec but its placement."""
    found.at_least(
        f"{path}.terminationGracePeriodSeconds", spec.termination_grace_period_seconds, 0
    )
    if spec.service_account_name:
        message = "only told where a fieldRef asks: there is no API server to have an account with"
        found.note(f"{path}.serviceAccountName", message)
    volumes: set[object] = {volume.name for volume in spec.volumes}
    check_volumes(found, path, spec)
    check_resource_refs(found, path, spec)
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
        check_mounts(found, here, container, volumes)


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


def _ports(
    found: Findings, path: str, ports: Sequence[ContainerPort], *, host_network: bool
) -> None:
    seen_names: set[object] = set()
    seen_ports: set[object] = set()
    for i, port in enumerate(ports):
        here = f"{path}[{i}]"
        check_port_number(found, f"{here}.containerPort", port.container_port)
        if port.name:
            found.check(f"{here}.name", names.port_name, port.name)
            found.unique(f"{here}.name", port.name, seen_names, "the port")
        if port.host_port:
            check_port_number(found, f"{here}.hostPort", port.host_port)
            on_host = f"{port.host_ip or '0.0.0.0'}:{port.host_port}/{port.protocol}"  # noqa: S104 - printed only
            found.unique(f"{here}.hostPort", on_host, seen_ports, "the port of the host")
        if host_network and port.host_port not in {0, port.container_port}:
            message = f"must be {port.container_port}, the containerPort, with hostNetwork"
            found.error(f"{here}.hostPort", message)
        if port.host_ip:
            found.check(f"{here}.hostIP", names.address, port.host_ip)


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
