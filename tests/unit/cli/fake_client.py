"""A client over objects in memory: it answers each verb, and remembers how it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetd.cli.settings import Settings
from fleetd.client import (
    Cascade,
    Change,
    Client,
    Edited,
    LogQuery,
    Marks,
    Progress,
    Query,
    Reads,
    Report,
    Revision,
    RunOptions,
    Shape,
    Write,
)
from fleetd.core.key import Key
from fleetd.errors import NotFound

Event = tuple[str, Mapping[str, Any]]


@dataclass
class FakeClient:
    """`objects` by plural kind; runs emit `events` and end as `report`.

    Each look takes the next of `looks`, while there are any; an edit is refused with the next of
    `refusals`.
    """

    objects: dict[str, list[Shape]] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    events: tuple[Event, ...] = ()
    revisions: tuple[Revision, ...] = ()
    lines: tuple[tuple[str, str], ...] = ()
    enrolled: tuple[tuple[str, str], ...] = ()
    refusals: list[Exception] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    looks: list[list[Shape]] = field(default_factory=list)
    apart: bool = False

    def _run(self, call: tuple[Any, ...], progress: Progress) -> Report:
        self.calls.append(call)
        for event, fields in self.events:
            progress(event, fields)
        return self.report

    async def get(self, kind: str, query: Query) -> list[Shape]:
        self.calls.append(("get", kind, query))
        if self.looks:
            self.objects[kind] = self.looks.pop(0)
        return [
            item
            for item in self.objects.get(kind, [])
            if query.name in {"", item["metadata"]["name"]}
            and (
                kind == "nodes"
                or query.namespace in {None, item["metadata"].get("namespace", "default")}
            )
        ]

    async def describe(self, kind: str, query: Query) -> str:
        found = await self.get(kind, query)
        if not found:
            raise NotFound(f"{kind} {query.name} not found")
        return "\n\n".join(f"Name:  {item['metadata']['name']}" for item in found)

    async def validate(self, specs: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        self.calls.append(("validate", *specs))
        return ("DaemonSet/ne",), ("spec.hostIPC is not used here",)

    async def diff(self, specs: Sequence[str]) -> tuple[Change, ...]:
        self.calls.append(("diff", *specs))
        return self.report.changes

    async def apply(
        self, specs: Sequence[str], options: RunOptions, progress: Progress, *, prune: bool = False
    ) -> Report:
        return self._run(("apply", tuple(specs), options, prune), progress)

    async def reconcile(self, options: RunOptions, progress: Progress) -> Report:
        return self._run(("reconcile", options), progress)

    async def delete(
        self,
        names: Sequence[tuple[str, str, str]],
        specs: Sequence[str],
        cascade: Cascade,
        options: RunOptions,
        progress: Progress,
    ) -> Report:
        for kind, namespace, name in names:
            if not await self.get(kind, Query(namespace, name)):
                raise NotFound(f"{kind} {namespace}/{name} not found")
        return self._run(("delete", tuple(names), tuple(specs), cascade, options), progress)

    async def rollout_status(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        return self._run(("status", namespace, name, options), progress)

    async def history(self, namespace: str, name: str) -> tuple[Revision, ...]:
        return self.revisions

    async def undo(
        self, namespace: str, name: str, to: int, options: RunOptions, progress: Progress
    ) -> Report:
        return self._run(("undo", namespace, name, to, options), progress)

    async def restart(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        return self._run(("restart", namespace, name, options), progress)

    async def why(self, node: str, daemonset: tuple[str, str] | None) -> tuple[str, ...]:
        self.calls.append(("why", node, daemonset))
        return (f"{node}: eligible",)

    async def cordon(self, node: str, *, on: bool) -> str:
        return f"node/{node} {'cordoned' if on else 'uncordoned'}"

    async def hold(self, node: str, *, on: bool) -> str:
        return f"node/{node} {'held' if on else 'released'}"

    async def taint(self, node: str, changes: Sequence[str]) -> str:
        return f"node/{node} tainted: {' '.join(changes)}"

    async def mark(self, kind: str, key: Key, marks: Marks, *, dry_run: bool = False) -> str:
        self.calls.append(("mark", kind, key, marks, dry_run))
        if kind != "nodes" and not await self.get(kind, Query(*key)):
            raise NotFound(f"{kind} {key} not found")
        return f"{kind}/{key.name} marked"

    async def edit(
        self, kind: str, key: Key, edited: Edited, options: RunOptions, progress: Progress
    ) -> Report:
        self.calls.append(("edit", kind, key, Path(edited.spec).read_text(), edited.version))
        if self.refusals:
            raise self.refusals.pop(0)
        return self.report

    async def drain(
        self, nodes: Sequence[str], options: RunOptions, progress: Progress, *, on: bool
    ) -> Report:
        return self._run(("drain", tuple(nodes), options, on), progress)

    async def pause(self, key: Key) -> str:
        self.calls.append(("pause", key))
        return f"daemonset.apps/{key.name} paused"

    async def resume(self, key: Key) -> str:
        self.calls.append(("resume", key))
        return f"daemonset.apps/{key.name} resumed"

    async def delete_pod(self, key: Key, node: str) -> str:
        self.calls.append(("delete pod", key, node))
        return f'pod "{key.name}-{node}" deleted'

    async def logs(self, query: LogQuery) -> AsyncGenerator[tuple[str, str], None]:
        self.calls.append(("logs", query))
        for line in self.lines:
            yield line

    async def exec(
        self,
        target: str,
        namespace: str,
        argv: Sequence[str],
        write: Write,
        *,
        container: str = "",
    ) -> int:
        self.calls.append(("exec", target, namespace, tuple(argv), container))
        write(b"out\n", False)
        write(b"err\n", True)
        return 7

    async def enroll(
        self, hosts: Sequence[str], *, every: bool, accept: bool, progress: Progress
    ) -> tuple[tuple[str, str], ...]:
        self.calls.append(("enroll", tuple(hosts), every, accept))
        return self.enrolled or tuple((host, "SHA256:abc") for host in hosts)

    async def push_image(self, archive: str, nodes: Sequence[str], progress: Progress) -> Report:
        return self._run(("push_image", archive, tuple(nodes)), progress)

    async def adopt(self, progress: Progress) -> Report:
        return self._run(("adopt",), progress)

    async def purge(self, node: str, progress: Progress) -> Report:
        return self._run(("purge", node), progress)


@dataclass
class Opener:
    """Opens one client, and remembers with what; raises `error` in its place when there is one.

    A changing run takes the next of `held` first, while there are any.
    """

    client: Client
    error: Exception | None = None
    held: list[Exception] = field(default_factory=list)
    ends_after: int = 0
    opened: list[tuple[Settings, bool]] = field(default_factory=list)

    @asynccontextmanager
    async def __call__(self, settings: Settings, *, mutating: bool) -> AsyncIterator[Client]:
        self.opened.append((settings, mutating))
        if self.error is not None:
            raise self.error
        if mutating and self.held:
            raise self.held.pop(0)
        yield self.client

    @contextmanager
    def reads(self, settings: Settings) -> Iterator[Reads]:
        """Open it for reading; Ctrl-C follows `ends_after` looks."""
        self.opened.append((settings, False))
        if self.ends_after and len(self.opened) > self.ends_after:
            self.opened.clear()
            raise KeyboardInterrupt
        if self.error is not None:
            raise self.error
        yield self.client
