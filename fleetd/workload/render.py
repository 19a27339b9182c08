"""The way in: one revision of a DaemonSet and a class of hosts make a bundle.

A bundle is rendered once per (revision, profile, slot), stored, and never rendered again: a newer
fleetd restarts nothing. What a copy has whatever it runs on (its directory, its revision file, the
target) is added here; everything else comes from the renderer of its runtime.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.core.bundle import Bundle, BundleUnit
from fleetd.core.daemonset import DaemonSet, Systemd, SystemdSpec
from fleetd.core.facts import HostProfile, Role, Runtime, Slot
from fleetd.workload.content import Content
from fleetd.workload.errors import RenderError
from fleetd.workload.names import MAIN, target_name
from fleetd.workload.parts import Copy, Parts, unit_file
from fleetd.workload.pod import pod_parts, pod_stop_seconds
from fleetd.workload.probes import unit_probe
from fleetd.workload.quoting import text
from fleetd.workload.stamp import revision_file
from fleetd.workload.systemd import main_unit, render_systemd, stop_seconds

__all__ = ["Content", "RenderError", "render"]


def render(
    ds: DaemonSet,
    revision: str,
    slot: Slot,
    profile: HostProfile,
    content: Content,
    pins: Mapping[str, str],
) -> Bundle:
    """Everything that a host of this profile needs to run this revision.

    `pins` maps an image as the document names it to what is to run in its place: a digest, or an
    image id.

    Raises:
        RenderError: hosts of this profile cannot run it.
    """
    copy = Copy(ds, revision, slot, profile, content, pins)
    parts, stop_s = _workload(copy)
    return Bundle(
        ds=ds.key,
        slot=slot.value,
        revision=revision,
        runtime=profile.runtime,
        files=(revision_file(ds.key, slot, revision), *dict.fromkeys(parts.files)),
        units=parts.units,
        directories=((copy.dir, 0o700), *dict.fromkeys(parts.directories)),
        checks=tuple(dict.fromkeys(parts.checks)),
        users=parts.users,
        images=tuple(dict.fromkeys(parts.images)),
        containers=parts.containers,
        stop_s=stop_s,
    )


def _workload(copy: Copy) -> tuple[Parts, int]:
    """All of it but what every copy has, and how long a graceful stop may take."""
    spec = copy.daemonset.spec.template.spec
    if isinstance(spec, SystemdSpec):
        return _systemd(copy, spec.systemd), stop_seconds(spec.systemd)
    if copy.profile.runtime is Runtime.SYSTEMD:
        raise RenderError("spec.template.spec.containers", "needs a host with podman or docker")
    return _target(copy) + pod_parts(copy, spec), pod_stop_seconds(spec)


def _systemd(copy: Copy, systemd: Systemd) -> Parts:
    parts = render_systemd(copy, systemd)
    if systemd.existing_unit is None:
        parts = _target(copy) + parts
    if probe := systemd.readiness_probe:
        parts += unit_probe(copy, MAIN, main_unit(copy, systemd), probe)
    return parts


def _target(copy: Copy) -> Parts:
    """The target that all units of the DaemonSet belong to: one handle for a person on the host."""
    name = target_name(copy.ds)
    whose = f"X-Fleetd-DaemonSet={copy.ds}"
    description = text(f"DaemonSet {copy.ds} (fleetd): stop or restart me to do so with all of it")
    return Parts(
        files=(unit_file(name, f"[Unit]\nDescription={description}\n{whose}\n"),),
        units=(BundleUnit(name, Role.TARGET, enable=False),),
    )
