"""A pod as units: its holder where it has one, and its containers in the order of their start."""

from __future__ import annotations

from collections.abc import Iterator

from fleetd.core.facts import Runtime
from fleetd.core.pod import Container, PodSpec
from fleetd.workload.container import Kind, launch
from fleetd.workload.docker import docker_service
from fleetd.workload.holder import has_holder
from fleetd.workload.launcher import container_parts
from fleetd.workload.order import order
from fleetd.workload.parts import Copy, Parts
from fleetd.workload.podman import podman_service
from fleetd.workload.probes import container_probe
from fleetd.workload.sandbox import holder_parts
from fleetd.workload.volumes import volume_parts

_PATH = "spec.template.spec"
_SLACK_S = 30


def pod_parts(copy: Copy, spec: PodSpec) -> Parts:
    """All of the pod.

    Raises:
        RenderError: the hosts of this profile cannot run it.
    """
    engine = podman_service if copy.profile.runtime is Runtime.PODMAN else docker_service
    pod = [launch(copy, spec, *each) for each in _containers(spec)]
    parts = volume_parts(copy, spec)
    if has_holder(spec):
        parts += holder_parts(copy, spec)
    for this in pod:
        parts += container_parts(this, engine(this), order(this, pod))
        if this.kind is not Kind.INIT:
            parts += container_probe(copy, spec, this.container, this.unit)
    return parts


def pod_stop_seconds(spec: PodSpec) -> int:
    """How long a graceful stop of all of it may take: sidecars stop last, one after the other."""
    sidecars = sum(each.restart_policy == "Always" for each in spec.init_containers)
    return spec.termination_grace_period_seconds * (1 + sidecars) + _SLACK_S


def _containers(spec: PodSpec) -> Iterator[tuple[Container, Kind, str]]:
    """In the order of their start, with the field path of each."""
    for at, container in enumerate(spec.init_containers):
        kind = Kind.SIDECAR if container.restart_policy == "Always" else Kind.INIT
        yield container, kind, f"{_PATH}.initContainers[{at}]"
    for at, container in enumerate(spec.containers):
        yield container, Kind.MAIN, f"{_PATH}.containers[{at}]"
