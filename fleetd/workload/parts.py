"""What a renderer is given, and what it gives back: values that add up to a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetd.core.bundle import BundleFile, BundleUnit, BundleUser, Check, Inline
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostProfile, Slot
from fleetd.core.meta import Key
from fleetd.workload.content import Content
from fleetd.workload.names import UNIT_DIR, copy_dir


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy to render: which, of what, for whom."""

    daemonset: DaemonSet
    revision: str
    slot: Slot
    profile: HostProfile
    content: Content = field(default_factory=Content)
    pins: Mapping[str, str] = field(default_factory=dict)

    @property
    def ds(self) -> Key:
        """Namespace and name."""
        return self.daemonset.key

    @property
    def dir(self) -> str:
        """The copy's own directory on the host."""
        return copy_dir(self.ds, self.slot)

    def head(self) -> tuple[str, ...]:
        """The lines of `[Unit]` that say whose the unit is; systemd skips `X-`."""
        return (f"X-Fleetd-DaemonSet={self.ds}", f"X-Fleetd-Slot={self.slot}")


@dataclass(frozen=True, slots=True)
class Parts:
    """Some of a bundle's parts; `+` joins them in order."""

    files: tuple[BundleFile, ...] = ()
    units: tuple[BundleUnit, ...] = ()
    directories: tuple[tuple[str, int], ...] = ()
    checks: tuple[Check, ...] = ()
    users: tuple[BundleUser, ...] = ()
    images: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.files + other.files,
            self.units + other.units,
            self.directories + other.directories,
            self.checks + other.checks,
            self.users + other.users,
            self.images + other.images,
            self.containers + other.containers,
        )


def text_file(path: str, text: str, mode: int = 0o644) -> BundleFile:
    """A root-owned text whose change restarts the copy."""
    return BundleFile(path, mode, Inline.of(text.encode()))


def unit_file(name: str, text: str) -> BundleFile:
    """The text of a unit."""
    return text_file(f"{UNIT_DIR}/{name}", text)
