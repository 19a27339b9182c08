"""Which class of hosts a host belongs to, for one workload.

Versions are folded to the last one that changed what is rendered: hosts share a bundle where they
can, and an upgrade of a host's packages seldom puts it into another class.
"""

from __future__ import annotations

import re

from fleetd.core.daemonset import DaemonSet, SystemdSpec
from fleetd.core.facts import HostFacts, HostProfile, Runtime
from fleetd.core.node import RUNTIME_LABEL, Node
from fleetd.workload.errors import RenderError

_SYSTEMD_CLASSES = (239, 240, 247, 250, 253, 254)
_PODMAN_CLASSES = (3, 4, 5)
_DOCKER_CLASSES = (20, 23)
_PATH = "spec.template.spec"


def profile_of(ds: DaemonSet, node: Node, facts: HostFacts) -> HostProfile:
    """The class of `node`, by what it told; the label `fleetd/runtime` chooses among its engines.

    Raises:
        RenderError: the host cannot run this workload at all; the message says what it lacks.
    """
    if facts.systemd < _SYSTEMD_CLASSES[0]:
        raise RenderError(_PATH, f"the host has systemd {facts.systemd or 'unknown'}, not >= 239")
    systemd = max(c for c in _SYSTEMD_CLASSES if c <= facts.systemd)
    if isinstance(ds.spec.template.spec, SystemdSpec):
        return HostProfile(Runtime.SYSTEMD, systemd=systemd, arch=facts.arch)
    runtime = engine_of(node, facts)
    return HostProfile(
        runtime,
        _engine_class(runtime, facts.podman if runtime is Runtime.PODMAN else facts.docker),
        systemd,
        facts.cgroup,
        facts.selinux,
        facts.arch,
    )


def engine_of(node: Node, facts: HostFacts) -> Runtime:
    """The engine for containers: the label's choice, else podman, else docker.

    Raises:
        RenderError: the label names an engine that is not there, or there is none.
    """
    asked = node.labels.get(RUNTIME_LABEL, "")
    has = {Runtime.PODMAN: facts.podman, Runtime.DOCKER: facts.docker}
    if asked and asked not in has:
        raise RenderError(_PATH, f"the label {RUNTIME_LABEL} says {asked!r}: not podman or docker")
    if asked and not has[Runtime(asked)]:
        raise RenderError(_PATH, f"the host has no {asked}, which its label {RUNTIME_LABEL} names")
    for runtime in (Runtime(asked),) if asked else has:
        if has[runtime]:
            return runtime
    raise RenderError(_PATH, "the host has neither podman nor docker; install podman >= 3")


def _engine_class(runtime: Runtime, version: str) -> int:
    found = re.match(r"(\d{1,4})(?:\.(\d{1,4}))?", version)
    number = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    oldest = (3, 0) if runtime is Runtime.PODMAN else (20, 10)
    if number < oldest:
        text = ".".join(map(str, oldest))
        raise RenderError(_PATH, f"the host has {runtime} {version!r}; needed is {text} or newer")
    classes = _DOCKER_CLASSES if runtime is Runtime.DOCKER else _PODMAN_CLASSES
    return max(c for c in classes if c <= number[0])
