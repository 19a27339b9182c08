"""The way in: one revision of a DaemonSet and a class of hosts make a bundle.

A bundle is rendered once per (revision, profile, slot), stored, and never rendered again: a newer
fleetd restarts nothing. What a copy has whatever it runs on (its directory, its revision file, the
target) is added here; everything else comes from the renderer of its runtime.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.core.bundle import Bundle, BundleUnit
from fleetd.core.daemonset import DaemonSet, SystemdSpec
from fleetd.core.facts import HostProfile, Role, Runtime, Slot
from fleetd.workload.content import Content
from fleetd.workload.errors import RenderError
from fleetd.workload.names import target_name
from fleetd.workload.parts import Copy, Parts, unit_file
from fleetd.workload.quoting import text
from fleetd.workload.stamp import revision_file
from fleetd.workload.systemd import render_systemd, stop_seconds

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
        files=(revision_file(ds.key, slot, revision), *parts.files),
        units=parts.units,
        directories=((copy.dir, 0o700), *parts.directories),
        checks=parts.checks,
        users=parts.users,
        images=parts.images,
        containers=parts.containers,
        stop_s=stop_s,
    )


def _workload(copy: Copy) -> tuple[Parts, int]:
    spec = copy.daemonset.spec.template.spec
    if isinstance(spec, SystemdSpec):
        systemd = spec.systemd
        parts = render_systemd(copy, systemd)
        return (parts if systemd.existing_unit else _target(copy) + parts), stop_seconds(systemd)
    raise NotImplementedError(Runtime)


def _target(copy: Copy) -> Parts:
    """The target that all units of the DaemonSet belong to: one handle for a person on the host."""
    name = target_name(copy.ds)
    description = text(f"DaemonSet {copy.ds} (fleetd): stop or restart me to do so with all of it")
    return Parts(
        files=(unit_file(name, f"[Unit]\nDescription={description}\n"),),
        units=(BundleUnit(name, Role.TARGET, enable=False),),
    )
