"""A bundle: one revision, rendered for one class of hosts, as files, units and steps.

Bundles hold nothing of a single host and no secret bytes, so that one rendering serves many hosts
and may be stored. A stored bundle is what a copy is repaired to: a newer renderer never touches a
running copy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from fleetd.core.facts import Role, Runtime
from fleetd.core.meta import Key


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes that may be stored and shown, as text (`latin-1` keeps any byte)."""

    text: str

    @classmethod
    def of(cls, data: bytes) -> Inline:
        """Keep any bytes."""
        return cls(data.decode("latin-1"))

    def data(self) -> bytes:
        """The bytes again."""
        return self.text.encode("latin-1")


@dataclass(frozen=True, slots=True)
class SecretBytes:
    """A key of a Secret, whose bytes join at the last moment.

    `digest` is their HMAC under the fleet's key.
    """

    namespace: str
    name: str
    key: str
    digest: str


class OnChange(StrEnum):
    """What a running copy needs when this file changes."""

    RESTART = "restart"
    RELOAD = "reload"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class BundleFile:
    """A file to deliver. Paths are absolute, without white space or control characters."""

    path: str
    mode: int
    content: Inline | SecretBytes
    owner: str = "root"
    group: str = "root"
    on_change: OnChange = OnChange.RESTART


@dataclass(frozen=True, slots=True)
class BundleUnit:
    """A unit to enable, or only to install.

    Its text is one of the bundle's files, unless it is borrowed.
    """

    name: str
    role: Role
    enable: bool = True


class CheckKind(StrEnum):
    """A precondition of the host, or a directory to make (mode 0755, root)."""

    DIRECTORY = "directory"
    FILE = "file"
    SOCKET = "socket"
    CHAR_DEVICE = "char-device"
    BLOCK_DEVICE = "block-device"
    MAKE_DIRECTORY = "make-directory"
    MAKE_FILE = "make-file"
    MAKE_PATH = "make-path"
    """An untyped hostPath: anything is fine, a directory is made where nothing is."""
    UNIT_EXISTS = "unit-exists"


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition, checked before anything on the host is touched."""

    kind: CheckKind
    subject: str


@dataclass(frozen=True, slots=True)
class BundleUser:
    """A system user to make when it is missing."""

    name: str
    home: str
    shell: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that a host of one profile needs to run one revision of one DaemonSet.

    `units` are in starting order; `stop_s` bounds a graceful stop (grace period plus slack).
    `images` are pulled before anything is touched. `directories` are ours and made with the mode
    given, as (path, mode). `containers` are engine names that only this copy may bear.
    """

    ds: Key
    slot: str
    revision: str
    runtime: Runtime
    files: tuple[BundleFile, ...]
    units: tuple[BundleUnit, ...]
    directories: tuple[tuple[str, int], ...] = ()
    checks: tuple[Check, ...] = ()
    users: tuple[BundleUser, ...] = ()
    images: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    stop_s: int = 60

    def digest(self) -> str:
        """16 hex digits over the whole bundle; equal for equal bundles, on every fleetd."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """A stable text form, for the store."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Bundle:
        """Read what `to_json` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER: TypeAdapter[Bundle] = TypeAdapter(Bundle)
