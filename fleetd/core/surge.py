"""Whether two copies of a template can stand side by side on a host: what maxSurge needs.

Pure, and apart from validation because the rollout asks the same question: a template whose copies
would fight over a port, a path or a unit of the host is updated in place, whatever maxSurge says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleetd.core.daemonset import REPLACES, DaemonSet, Systemd
from fleetd.core.pod import PodSpec

SURGE = "fleetd/surge"
"""The annotation that says how copies get along."""

SHARE_PORTS = "share-ports"
"""Its one value: the program opens its ports with SO_REUSEPORT, so that two of it may listen."""

_SPEC = "spec.template.spec"


@dataclass(frozen=True, slots=True)
class Clash:
    """What two copies would fight over: the field that says so, why, and what to do about it."""

    path: str
    why: str
    hint: str = ""


def clash(daemonset: DaemonSet) -> Clash | None:
    """The first thing that keeps two copies from running side by side; None when nothing does.

    What a program does that its manifest does not say (a port it opens, a lock on a hostPath) is
    its user's matter (K 98): such a copy fails to start, and the old one stays.
    """
    if REPLACES in daemonset.metadata.annotations:
        return Clash(
            f"metadata.annotations[{REPLACES}]", "its copies take the place of units of the host"
        )
    spec = daemonset.spec.template.spec
    found = (
        _of_pod(spec, share=daemonset.metadata.annotations.get(SURGE) == SHARE_PORTS)
        if isinstance(spec, PodSpec)
        else _of_systemd(spec.systemd)
    )
    return next(found, None)


def _of_pod(spec: PodSpec, *, share: bool) -> Iterator[Clash]:
    for field, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
    ):
        for i, container in enumerate(containers):
            for j, port in enumerate(container.ports):
                path = f"{_SPEC}.{field}[{i}].ports[{j}]"
                if not spec.host_network and port.host_port:
                    yield Clash(
                        f"{path}.hostPort", f"hostPort {port.host_port} can be given to one copy"
                    )
                elif spec.host_network and not share:
                    yield Clash(
                        f"{path}.containerPort",
                        f"two copies would listen on port {port.container_port} of the host",
                        "if the program opens it with SO_REUSEPORT, annotate the DaemonSet with "
                        f'{SURGE}: "{SHARE_PORTS}"',
                    )


def _of_systemd(systemd: Systemd) -> Iterator[Clash]:
    path = f"{_SPEC}.systemd"
    if systemd.existing_unit:
        yield Clash(f"{path}.existingUnit", f"there is one {systemd.existing_unit} on a host")
    if systemd.socket:
        yield Clash(f"{path}.socket", "two copies would listen on the same socket")
    for i, file in enumerate(systemd.files):
        yield Clash(f"{path}.files[{i}].path", f"{file.path} is one file, which both would need")
