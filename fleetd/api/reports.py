"""What the use cases take and give, as plain values: options in, reports out.

Objects are plain dicts in Kubernetes' shapes, so that what a person reads with `-o json` is what
every client gets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Shape = dict[str, Any]
"""An object in Kubernetes' shape: apiVersion, kind, metadata, spec, status."""

Cascade = Literal["background", "foreground", "orphan", "false"]
Progress = Callable[[str, Mapping[str, Any]], None]
"""Takes engine events as they happen: a snake_case name and plain values."""
Write = Callable[[bytes, bool], Awaitable[None] | None]
"""Takes output as (data, is_stderr); no more comes until what it returns, if anything, is done."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which objects: `namespace` None means all of them, `name` "" means every one.

    `since` is for the audit: not older than this (UTC, seconds since the epoch).
    """

    namespace: str | None = "default"
    name: str = ""
    refresh: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines: of a pod, or of all pods of `ds/NAME`, on one node, of one container.

    `since`: not older than so many seconds, 0 for all; `lines`: the last so many, -1 for all.
    """

    target: str
    namespace: str = "default"
    node: str = ""
    container: str = ""
    follow: bool = False
    since: float = 0.0
    lines: int = -1


class Edited(NamedTuple):
    """A document that somebody edited: its file, and the resourceVersion that it began from."""

    spec: str
    version: str


@dataclass(frozen=True, slots=True)
class Marks:
    """Labels or annotations to set (`key=value`) and to take (`key-`).

    Without `overwrite`, one that has another value already is refused.
    """

    field: Literal["labels", "annotations"]
    changes: tuple[str, ...]
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What an apply or delete did, or would do, to one object.

    `diff` is a unified diff of the documents, secrets masked; empty when nothing changes.
    """

    kind: str
    namespace: str
    name: str
    verb: Literal["created", "configured", "unchanged", "deleted", "pruned"]
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision about one DaemonSet on one node, and what became of it.

    `decision` is the kind of decision in lower case (start, update, repair, remove, keep, wait,
    unknown, held, skipped); `outcome` is "" for what was not an action, "planned" in a dry run.
    """

    node: str
    daemonset: str
    decision: str
    reason: str
    detail: str = ""
    outcome: str = ""
    message: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: every object change, every action per host, and where it all stands.

    `daemonsets` are the objects with their status at the end; `holders` maps a DaemonSet to the
    hosts that keep it from converging, each with the reason; `problems` are sentences about hosts
    as such (unreachable, refused, twins). `converged` is what exit code 0 stands for.
    """

    changes: tuple[Change, ...] = ()
    entries: tuple[Entry, ...] = ()
    daemonsets: tuple[Shape, ...] = ()
    holders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    converged: bool = True


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run of passes is bounded. Times in seconds; `timeout_s` None: no bound.

    `max_unreachable` is how many unreachable hosts still count as converged (None: none but those
    that the DaemonSet's own limit allows); `confirm_removals` lifts the removal guard up to that
    number; `new_inventory` agrees to other inventory sources than the state remembers.
    """

    wait: bool = True
    timeout_s: float | None = None
    dry_run: bool = False
    max_unreachable: int | None = None
    confirm_removals: int | None = None
    new_inventory: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of a DaemonSet's history."""

    number: int
    revision: str
    cause: str
    current: bool
    template: Shape
