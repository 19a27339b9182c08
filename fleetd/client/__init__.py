"""What every verb asks for: one Protocol, whoever answers it.

The answer comes from this process (`Local`) or from a running service (`Remote`). Objects cross as
plain dicts in Kubernetes' shapes, so that both forms print alike. Read-only calls take no lock and
write nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from fleetd.api.reports import (
    Cascade,
    Change,
    Edited,
    Entry,
    LogQuery,
    Marks,
    Progress,
    Query,
    Report,
    Revision,
    RunOptions,
    Shape,
    Write,
)
from fleetd.core.key import Key

__all__ = [
    "Cascade",
    "Change",
    "Client",
    "Edited",
    "Entry",
    "LogQuery",
    "Marks",
    "Progress",
    "Query",
    "Reads",
    "Report",
    "Revision",
    "RunOptions",
    "Shape",
    "Write",
]


class Reads(Protocol):
    """The verbs that the state alone can answer. Errors are `errors.FleetdError`."""

    async def get(self, kind: str, query: Query) -> list[Shape]:
        """Objects of a kind: daemonsets, pods, nodes, events, controllerrevisions, ..."""
        ...

    async def describe(self, kind: str, query: Query) -> str:
        """The text of `describe`, in kubectl's layout."""
        ...

    async def history(self, namespace: str, name: str) -> tuple[Revision, ...]:
        """The known revisions, oldest first."""
        ...


class Client(Reads, Protocol):
    """Every verb of the command line, one method each; `Query.refresh` looks at the hosts first."""

    @property
    def apart(self) -> bool:
        """Whether another process does the work, and goes on with it when this one leaves."""
        ...

    async def validate(self, specs: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Check documents: (objects as `kind/name`, notes); InvalidInput holds every problem."""
        ...

    async def diff(self, specs: Sequence[str]) -> tuple[Change, ...]:
        """What apply would change in the state; touches no host."""
        ...

    async def apply(
        self,
        specs: Sequence[str],
        options: RunOptions,
        progress: Progress,
        *,
        prune: bool = False,
    ) -> Report:
        """Take documents in as one transaction, then bring their DaemonSets about."""
        ...

    async def reconcile(self, options: RunOptions, progress: Progress) -> Report:
        """Passes over everything until settled."""
        ...

    async def delete(
        self,
        names: Sequence[tuple[str, str, str]],
        specs: Sequence[str],
        cascade: Cascade,
        options: RunOptions,
        progress: Progress,
    ) -> Report:
        """Delete objects, given as (kind, namespace, name) or by the documents they came from."""
        ...

    async def rollout_status(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        """Where a rollout stands by the state alone; with `wait`, drive it on until it ends."""
        ...

    async def undo(
        self, namespace: str, name: str, to: int, options: RunOptions, progress: Progress
    ) -> Report:
        """Bring an earlier revision back (0: the one before) and roll it out."""
        ...

    async def restart(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        """Make a new revision of the same template and roll it out."""
        ...

    async def pause(self, key: Key) -> str:
        """Let a DaemonSet's updates wait until `resume`; the line to print."""
        ...

    async def resume(self, key: Key) -> str:
        """Let its updates go on, and try a failed rollout again; the line to print.

        Only says so: `rollout_status` with `wait` drives it on.
        """
        ...

    async def delete_pod(self, key: Key, node: str) -> str:
        """Ask for the DaemonSet's copy on a node to go and, where wanted, be made anew.

        Returns the line to print. Only says so: `rollout_status` with `wait`, or the next pass,
        does it. Raises NotFound (no such copy) and Refused (the node is on hold).
        """
        ...

    async def edit(
        self, kind: str, key: Key, edited: Edited, options: RunOptions, progress: Progress
    ) -> Report:
        """Put an edited document in the place of an object, then bring it about.

        InvalidInput holds every problem. Refused: the object was changed meanwhile.
        """
        ...

    async def mark(self, kind: str, key: Key, marks: Marks, *, dry_run: bool = False) -> str:
        """Change labels or annotations of an object; the line to print.

        A node's namespace is "". No generation rises, and nothing is run (K 139).
        """
        ...

    async def drain(
        self, nodes: Sequence[str], options: RunOptions, progress: Progress, *, on: bool
    ) -> Report:
        """Take all copies off nodes and keep them away (`on`), or let them come back."""
        ...

    async def why(self, node: str, daemonset: tuple[str, str] | None) -> tuple[str, ...]:
        """Lines that explain what each DaemonSet (or this one) does on the node, and why."""
        ...

    async def cordon(self, node: str, *, on: bool) -> str:
        """Set or take the cordon; the line to print."""
        ...

    async def hold(self, node: str, *, on: bool) -> str:
        """Set or lift hands-off; the line to print."""
        ...

    async def taint(self, node: str, changes: Sequence[str]) -> str:
        """Change taints: `key=value:Effect`, `key:Effect-`, `key-`; the line to print."""
        ...

    def logs(self, query: LogQuery) -> AsyncGenerator[tuple[str, str], None]:
        """Lines as they come, as (node, line); closing it ends them on the hosts, too."""
        ...

    async def exec(
        self,
        target: str,
        namespace: str,
        argv: Sequence[str],
        write: Write,
        *,
        container: str = "",
    ) -> int:
        """Run a command on a node or in a pod: its exit status; `write` takes (data, is_stderr)."""
        ...

    async def enroll(
        self, hosts: Sequence[str], *, every: bool, accept: bool, progress: Progress
    ) -> tuple[tuple[str, str], ...]:
        """Pin host keys after a look at them: (host, what was done or is wrong)."""
        ...

    async def push_image(self, archive: str, nodes: Sequence[str], progress: Progress) -> Report:
        """Bring the images of an archive to these nodes, or to every host of the inventory."""
        ...

    async def adopt(self, progress: Progress) -> Report:
        """Rebuild a lost state from the hosts of the inventory."""
        ...

    async def purge(self, node: str, progress: Progress) -> Report:
        """Take every trace of the fleet off a host."""
        ...
