"""The rules for pods of containers (K 150, 151, 167), and what a command line cannot carry."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleetd.core import names, quantity
from fleetd.core.findings import Findings
from fleetd.core.paths import child
from fleetd.core.pod import Container, PodSpec, Probe, Quantity, ResourceRequirements
from fleetd.core.validation_env import check_env, check_resource_refs
from fleetd.core.validation_network import check_network, check_ports
from fleetd.core.validation_probes import check_lifecycle, check_probe
from fleetd.core.validation_security import check_pod_security, check_security
from fleetd.core.validation_volumes import check_mounts, check_volumes

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*\Z")
_SIGNAL = re.compile(r"SIG(RTM(IN(\+[0-9]{1,2})?|AX(-[0-9]{1,2})?)|[A-Z]{2,6}[0-9]?)\Z")
PRIORITIES = ("system-node-critical", "system-cluster-critical")
"""The priority classes that every cluster has, and that mean something here."""
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
    check_network(found, path, spec)
    check_pod_security(found, path, spec)
    if spec.host_pid and spec.share_process_namespace:
        message = "cannot be true beside hostPID: true"
        found.error(f"{path}.shareProcessNamespace", message, "leave one of them out")
    for i, secret in enumerate(spec.image_pull_secrets):
        found.check(f"{path}.imagePullSecrets[{i}].name", names.dns_subdomain, secret.name)
    _priority(found, f"{path}.priorityClassName", spec.priority_class_name)
    if not spec.containers:
        found.error(f"{path}.containers", "must have at least one container")
    seen: set[object] = set()
    on_host: set[object] = set()
    for field, listed in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
    ):
        for i, container in enumerate(listed):
            here = f"{path}.{field}[{i}]"
            found.check(f"{here}.name", names.dns_label, container.name)
            found.unique(f"{here}.name", container.name, seen, "the container")
            _container(found, here, container)
            grace_s = spec.termination_grace_period_seconds
            _life(found, here, container, grace_s, init=field == "initContainers")
            ends = field == "initContainers" and container.restart_policy != "Always"
            taken = set() if ends else on_host
            check_ports(
                found, f"{here}.ports", container.ports, taken, host_network=spec.host_network
            )
            check_mounts(found, here, container, volumes)


def _priority(found: Findings, path: str, name: str) -> None:
    if name and found.check(path, names.dns_subdomain, name) and name not in PRIORITIES:
        known = " and ".join(PRIORITIES)
        found.note(path, f"{name} means nothing here; {known} do, as CPU weight and OOM score")


def _container(found: Findings, path: str, container: Container) -> None:
    image = container.image
    if not _IMAGE.match(image) or len(image) > 512:
        found.error(f"{path}.image", f"{image[:80]!r} is no image", "write name:tag or name@digest")
    for name, words in (("command", container.command), ("args", container.args)):
        for i, word in enumerate(words):
            found.check(f"{path}.{name}[{i}]", names.text_block, word)
    found.check(f"{path}.workingDir", names.no_control, container.working_dir)
    check_env(found, path, container)
    _resources(found, f"{path}.resources", container.resources)
    if container.security_context:
        check_security(found, f"{path}.securityContext", container.security_context)


def _life(found: Findings, path: str, container: Container, grace_s: int, *, init: bool) -> None:
    """Probes and hooks, and who may have them: what runs as long as the pod."""
    if container.restart_policy and not init:
        found.error(f"{path}.restartPolicy", "may be there in an init container only")
    parts = {
        "lifecycle": container.lifecycle,
        "startupProbe": container.startup_probe,
        "livenessProbe": container.liveness_probe,
        "readinessProbe": container.readiness_probe,
    }
    if init and container.restart_policy != "Always":
        for name, part in parts.items():
            if part is not None:
                message = "must not be there in an init container without restartPolicy: Always"
                found.error(f"{path}.{name}", message)
        return
    ports = frozenset(port.name for port in container.ports if port.name)
    for name, part in parts.items():
        if isinstance(part, Probe):
            check_probe(found, f"{path}.{name}", part, ports)
        elif part is not None:
            check_lifecycle(found, f"{path}.{name}", part, ports, grace_s)
    signal = container.lifecycle.stop_signal if container.lifecycle else ""
    if signal and not _SIGNAL.match(signal):
        here = f"{path}.lifecycle.stopSignal"
        found.error(here, f"{signal[:80]!r} is no signal", "write it as SIGTERM")


def _resources(found: Findings, path: str, resources: ResourceRequirements) -> None:
    for kind, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name, value in amounts.items():
            here = child(f"{path}.{kind}", name)
            _amount(found, here, value)
            if name in _UNUSED_RESOURCES:
                found.note(here, f"{name} is not limited on a host: ignored")
            elif name not in _LIMITS and kind == "limits":
                message = f"{name} is not handed out on a host: ignored; give the container its"
                found.note(here, f"{message} devices by privileged: true or by a hostPath")
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
