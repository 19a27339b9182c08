"""When the containers of a pod need a holder: one small container that owns their namespaces.

Kubernetes gives every pod a sandbox. Here a pod of one container is its own; one of several has a
holder, which the others join and are bound to, so that the network outlives each of them and all
start again in order when it dies. With hostNetwork there is nothing to hold, unless the containers
see each other's processes.
"""

from __future__ import annotations

from fleetd.core.facts import Slot
from fleetd.core.key import Key
from fleetd.core.pod import Container, PodSpec
from fleetd.workload.names import HOLDER, container_name, unit_name


def has_holder(spec: PodSpec) -> bool:
    """Whether the pod has a holder."""
    several = len(spec.containers) + len(spec.init_containers) > 1
    if spec.host_network:
        return several and spec.share_process_namespace
    return several or _asks_for_its_address(spec)


def holder_name(ds: Key, slot: Slot) -> str:
    """What the engine calls the holder."""
    return container_name(ds, HOLDER, slot)


def holder_unit(ds: Key, slot: Slot) -> str:
    """The holder's unit."""
    return unit_name(ds, HOLDER, slot)


def _asks_for_its_address(spec: PodSpec) -> bool:
    """Only a holder has an address before the container starts that wants to be told it."""
    return any(asks_for_address(each) for each in (*spec.init_containers, *spec.containers))


def asks_for_address(container: Container) -> bool:
    """Whether a variable of the container is the pod's address."""
    return any(
        variable.value_from is not None
        and variable.value_from.field_ref is not None
        and variable.value_from.field_ref.field_path in {"status.podIP", "status.podIPs"}
        for variable in container.env
    )
