"""The client that has a running service do the work: each method is one call over its socket.

What only this process can read is read here and sent: documents with the places they stand at,
stdin, image archives. The service checks all of it anew. Light: `get` loads nothing but this.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

from fleetd import errors
from fleetd.api.reports import (
    Cascade,
    Change,
    Edited,
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
from fleetd.client import Client, wire
from fleetd.client.codec import Form, form_of, unpack
from fleetd.core.key import Key
from fleetd.errors import FleetdError, InvalidInput, NotConverged, Problem

GONE = "the service has ended"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """What the service is told about who calls, to refuse what was meant for another one.

    `state` and `inventory` are what this command was told to work with; empty where it was told
    nothing. `person` is who stands behind sudo; the service takes root's word for it only.
    """

    state: str = ""
    inventory: tuple[str, ...] = ()
    person: str = ""


@dataclass(frozen=True, slots=True)
class Remote:
    """A fleetd that runs elsewhere on this machine, behind the socket at `path`."""

    apart = True
    path: str
    caller: Caller
    stdin: BinaryIO

    # -- looking -----------------------------------------------------------------------------

    async def get(self, kind: str, query: Query) -> list[Shape]:
        """Objects of a kind."""
        return await self._ask(Client.get, kind=kind, query=query)

    async def describe(self, kind: str, query: Query) -> str:
        """The text of `describe`."""
        return await self._ask(Client.describe, kind=kind, query=query)

    async def history(self, namespace: str, name: str) -> tuple[Revision, ...]:
        """The known revisions, oldest first."""
        return await self._ask(Client.history, namespace=namespace, name=name)

    async def why(self, node: str, daemonset: tuple[str, str] | None) -> tuple[str, ...]:
        """What each DaemonSet does on the node, and why."""
        return await self._ask(Client.why, node=node, daemonset=daemonset)

    # -- documents ---------------------------------------------------------------------------

    async def validate(self, specs: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Check documents here, and there what they reference."""
        return await self._ask(Client.validate, documents=specs, specs=specs)

    async def diff(self, specs: Sequence[str]) -> tuple[Change, ...]:
        """What apply would change in the state."""
        return await self._ask(Client.diff, documents=specs, specs=specs)

    async def apply(
        self, specs: Sequence[str], options: RunOptions, progress: Progress, *, prune: bool = False
    ) -> Report:
        """Have documents taken in, and their DaemonSets brought about."""
        return await self._ask(
            Client.apply, progress, documents=specs, specs=specs, options=options, prune=prune
        )

    async def delete(
        self,
        names: Sequence[tuple[str, str, str]],
        specs: Sequence[str],
        cascade: Cascade,
        options: RunOptions,
        progress: Progress,
    ) -> Report:
        """Delete objects."""
        return await self._ask(
            Client.delete,
            progress,
            documents=specs,
            names=names,
            specs=specs,
            cascade=cascade,
            options=options,
        )

    async def edit(
        self, kind: str, key: Key, edited: Edited, options: RunOptions, progress: Progress
    ) -> Report:
        """Put an edited document in the place of an object."""
        return await self._ask(
            Client.edit,
            progress,
            documents=[edited.spec],
            kind=kind,
            key=key,
            edited=edited,
            options=options,
        )

    # -- running -----------------------------------------------------------------------------

    async def reconcile(self, options: RunOptions, progress: Progress) -> Report:
        """Have the service look at everything, and put right what is not as asked."""
        return await self._ask(Client.reconcile, progress, options=options)

    async def rollout_status(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        """Where a rollout stands; with `wait`, how it ends."""
        return await self._ask(
            Client.rollout_status, progress, namespace=namespace, name=name, options=options
        )

    async def undo(
        self, namespace: str, name: str, to: int, options: RunOptions, progress: Progress
    ) -> Report:
        """Bring an earlier revision back."""
        return await self._ask(
            Client.undo, progress, namespace=namespace, name=name, to=to, options=options
        )

    async def restart(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        """Make a new revision of the same template."""
        return await self._ask(
            Client.restart, progress, namespace=namespace, name=name, options=options
        )

    async def pause(self, key: Key) -> str:
        """Let updates wait."""
        return await self._ask(Client.pause, key=key)

    async def resume(self, key: Key) -> str:
        """Let updates go on."""
        return await self._ask(Client.resume, key=key)

    async def delete_pod(self, key: Key, node: str) -> str:
        """Ask for a copy to go."""
        return await self._ask(Client.delete_pod, key=key, node=node)

    # -- nodes -------------------------------------------------------------------------------

    async def mark(self, kind: str, key: Key, marks: Marks, *, dry_run: bool = False) -> str:
        """Change labels or annotations."""
        return await self._ask(Client.mark, kind=kind, key=key, marks=marks, dry_run=dry_run)

    async def drain(
        self, nodes: Sequence[str], options: RunOptions, progress: Progress, *, on: bool
    ) -> Report:
        """Take all copies off nodes, or let them come back."""
        return await self._ask(Client.drain, progress, nodes=nodes, options=options, on=on)

    async def cordon(self, node: str, *, on: bool) -> str:
        """Set or take the cordon."""
        return await self._ask(Client.cordon, node=node, on=on)

    async def hold(self, node: str, *, on: bool) -> str:
        """Set or lift hands-off."""
        return await self._ask(Client.hold, node=node, on=on)

    async def taint(self, node: str, changes: Sequence[str]) -> str:
        """Change taints."""
        return await self._ask(Client.taint, node=node, changes=changes)

    # -- hosts -------------------------------------------------------------------------------

    async def logs(self, query: LogQuery) -> AsyncGenerator[tuple[str, str], None]:
        """Lines as they come; leaving the iteration ends them on the hosts, too."""
        form = form_of(Client.logs)
        async with wire.Calling(self.path, form.name, self._line(form, query=query)) as answer:
            async for said in answer.lines:
                match said:
                    case {"line": [node, text]}:
                        yield node, text
                    case {"result": _}:
                        return
                    case _:
                        raise _ended(said)

    async def exec(
        self,
        target: str,
        namespace: str,
        argv: Sequence[str],
        write: Write,
        *,
        container: str = "",
    ) -> int:
        """Run a command on a node or in a pod."""
        return await self._ask(
            Client.exec,
            write=write,
            target=target,
            namespace=namespace,
            argv=argv,
            container=container,
        )

    async def enroll(
        self, hosts: Sequence[str], *, every: bool, accept: bool, progress: Progress
    ) -> tuple[tuple[str, str], ...]:
        """Have the service look at host keys, and pin them."""
        return await self._ask(Client.enroll, progress, hosts=hosts, every=every, accept=accept)

    async def push_image(self, archive: str, nodes: Sequence[str], progress: Progress) -> Report:
        """Send an archive to the service, which brings its images to hosts."""
        try:
            with open(archive, "rb") as file:  # noqa: ASYNC230, PTH123 - opening a local file is quick
                return await self._ask(
                    Client.push_image, progress, file=file, archive=archive, nodes=nodes
                )
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
            raise InvalidInput([Problem(archive, 0, "", why)]) from error

    async def adopt(self, progress: Progress) -> Report:
        """Rebuild a lost state from the hosts."""
        return await self._ask(Client.adopt, progress)

    async def purge(self, node: str, progress: Progress) -> Report:
        """Take every trace of the fleet off a host."""
        return await self._ask(Client.purge, progress, node=node)

    # -- the call ----------------------------------------------------------------------------

    async def _ask(
        self,
        verb: Callable[..., Awaitable[T]],
        progress: Progress | None = None,
        *,
        write: Write | None = None,
        documents: Sequence[str] = (),
        file: BinaryIO | None = None,
        **arguments: object,
    ) -> T:
        """Call a verb, hand on what comes meanwhile, and return its result, or raise its error."""
        form = form_of(verb)
        line = self._line(form, documents, **arguments)
        begun = False

        def listen(event: str, fields: Mapping[str, Any]) -> None:
            nonlocal begun
            begun = begun or event == "applied"
            if progress is not None:
                progress(event, fields)

        try:
            async with wire.Calling(self.path, form.name, line, file) as answer:
                return cast("T", await _heard(form, answer, listen, write))
        except wire.Gone as gone:
            raise _lost(form, begun=begun, why=str(gone)) from gone

    def _line(self, form: Form, documents: Sequence[str] = (), **arguments: object) -> bytes:
        told: dict[str, Any] = {
            "arguments": form.pack(arguments),
            "from": {
                "state": self.caller.state,
                "inventory": self.caller.inventory,
                "person": self.caller.person,
            },
        }
        if documents:
            from fleetd.documents.crossing import pack  # noqa: PLC0415  (loads YAML and models)
            from fleetd.documents.load import load  # noqa: PLC0415

            told["documents"] = pack(load(documents, self.stdin))
        return json.dumps(told).encode() + b"\n"


async def _heard(
    form: Form, answer: wire.Answer, progress: Progress, write: Write | None
) -> object:
    """Hand on what comes until there is a result; raises the error that comes in its place."""
    async for said in answer.lines:
        match said:
            case {"progress": ["applied", fields]}:
                changes = unpack(tuple[Change, ...], fields["changes"])
                progress("applied", {**fields, "changes": changes})
            case {"progress": [event, fields]}:
                progress(event, fields)
            case {"data": [data, stderr]} if write is not None:
                if (taking := write(base64.b64decode(data), stderr)) is not None:
                    await taking
            case {"result": result}:
                made: object = unpack(form.result, result)
                return made
            case _:
                raise _ended(said)
    raise wire.Gone(GONE)


def _ended(said: dict[str, Any]) -> FleetdError:
    """The error that the service told of, as this process would have raised it."""
    if "gone" in said:
        return wire.Gone(str(said["gone"]))
    told = said.get("error", {})
    kind = getattr(errors, str(told.get("class")), None)
    problems = [Problem(*problem) for problem in told.get("problems", ())]
    message = str(told.get("message", ""))
    if not (isinstance(kind, type) and issubclass(kind, FleetdError)):
        made = FleetdError(message)
        made.exit_code = int(told.get("exit", 1))
        return made
    return kind(problems) if issubclass(kind, InvalidInput) and problems else kind(message)


_SAFE = frozenset(
    {"get", "describe", "history", "why", "validate", "diff", "logs"},
)
"""Verbs that change nothing, so that there is nothing to be unsure of."""


def _lost(form: Form, *, begun: bool, why: str) -> FleetdError:
    """What is known about a call whose end was not seen."""
    if form.name in _SAFE:
        return FleetdError(f"{why}; ask again")
    if begun:
        return NotConverged(
            f"{why}. What was asked for is in the state, and the service goes on with it when it "
            "runs again; `fleetd rollout status ds/NAME` tells how far it is"
        )
    if form.name == "exec":
        return FleetdError(f"{why}; the command may or may not have run")
    return FleetdError(
        f"{why}; what was asked for may or may not have been done. "
        "Look with `fleetd get`, and say it again: what is done already is not done twice"
    )
