"""Every verb of the command line through the service: one route for each method of the client.

Nothing here knows a verb by heart but for what it needs: a right, a file, or its end with its
caller. Arguments and results cross by their types (`client.codec`). The answer begins before the
work does. Whoever asked for a change and leaves does not stop it; whoever only looks does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from inspect import isfunction
from pathlib import Path
from typing import Any, BinaryIO

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fleetd import __version__, errors
from fleetd.api import reading
from fleetd.api.hiding import hide_values
from fleetd.client import Client, RunOptions, wire
from fleetd.client.codec import Form, form_of, pack
from fleetd.client.local import Local
from fleetd.client.remote import Caller
from fleetd.errors import FleetdError, InvalidInput, InventoryUnknown, Refused, StateHeld
from fleetd.server.answers import Answer
from fleetd.server.calls import Body, Call, Left, path_of, read_call
from fleetd.server.peers import NOBODY, Peer, Right

LOOKS = frozenset({"get", "describe", "history", "why", "validate", "diff", "logs"})
"""Verbs that change nothing: readers may use them."""
LEAVING_ENDS = LOOKS | {"exec", "rollout_status"}
"""Verbs that end when their caller leaves; all others go on."""
_NAME = re.compile(r"[\w.@-]{1,64}")
STOPPED = "the service was stopped"
OVERRUN = "more came than was taken, so that some of it is lost, and it was ended"


def forms() -> dict[str, Form]:
    """How each method of the client crosses, by its name."""
    methods = (getattr(Client, name) for name in dir(Client) if not name.startswith("_"))
    return {method.__name__: form_of(method) for method in methods if isfunction(method)}


@dataclass(frozen=True, slots=True)
class Verbs:
    """The verbs of a running service, over a client for each call.

    `state` is the directory of the state; `operators` names the group that may change things.
    """

    client: Callable[[Peer], Local]
    state: Path
    operators: str

    def routes(self) -> list[Route]:
        """One POST route for each verb."""
        return [
            Route(f"{wire.ROOT}/verbs/{name}", _Endpoint(self, form), methods=["POST"])
            for name, form in forms().items()
        ]

    async def serve(self, form: Form, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        answer = Answer(send)
        file: BinaryIO | None = None
        begun = False
        try:
            peer = self._admit(form, scope)
            body = Body(scope, receive)
            line = await body.line()
            call = await asyncio.to_thread(read_call, form, line)
            local = self._local(form, peer, call)
            await answer.begin()
            begun = True
            if "archive" in form.arguments:
                file = await body.spool(self.state)
            work = _Work(form, peer, local, call.arguments, answer, file)
            ending = scope.get("state", {}).get("ending") or asyncio.Event()
            await _attend(work, receive, ending)
        except Left:
            return
        except FleetdError as error:
            if not begun:
                await answer.begin(403 if isinstance(error, _Forbidden) else 400)
            answer.end({"error": told(error)})
            await answer.deliver()
        finally:
            if file is not None:
                file.close()

    def _admit(self, form: Form, scope: Scope) -> Peer:
        """Who calls, if they may. Raises Refused."""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get(wire.WIRE_HEADER) != str(wire.WIRE):
            theirs = headers.get(wire.VERSION_HEADER, "?")
            raise Refused(
                f"this service is fleetd {__version__}, the command that calls it is fleetd "
                f"{theirs}, and they do not understand each other: use one version of both"
            )
        peer: Peer = scope.get("state", {}).get("peer", NOBODY)
        looks = form.name in LOOKS or form.name == "rollout_status"
        self._check(peer, form, Right.READ if looks else Right.OPERATE)
        return peer

    def _check(self, peer: Peer, form: Form, needed: Right) -> None:
        if peer.right >= needed:
            return
        verb = form.name.replace("_", " ")
        if peer.right < Right.READ:
            raise _Forbidden(f"{peer.user} may not ask this service anything")
        how = (
            f"that takes the group {self.operators}: `usermod -aG {self.operators} {peer.user}`, "
            "then log in anew"
            if self.operators
            else "only root may, as the service's settings name no operatorGroup"
        )
        raise _Forbidden(f"{peer.user} may look, but not {verb}; {how}")

    def _local(self, form: Form, peer: Peer, call: Call) -> Local:
        """The client that carries out the call, as its caller. Raises Refused and StateHeld."""
        options = call.arguments.get("options")
        drives = form.name == "rollout_status" and isinstance(options, RunOptions) and options.wait
        if drives and peer.right < Right.OPERATE:
            # Who may not drive it can still follow it, by looking.
            raise StateHeld(f"the service carries the rollout on, and {peer.user} may look")
        local = self.client(_behind(peer, call.caller))
        self._check_meant(local, call.caller)
        # What the caller's process could read is in the call; nothing is read here for it.
        return replace(local, sent=call.documents, stdin=io.BytesIO())

    def _check_meant(self, local: Local, caller: Caller) -> None:
        """What the caller was told to work with must be what we work with."""
        ours = os.path.realpath(self.state)
        if caller.state and caller.state != ours:
            raise Refused(
                f"this service keeps its state in {ours}, and the command was told to use "
                f"{caller.state}; name the socket of the service that is meant (FLEETD_SOCKET)"
            )
        known = local.sources or reading.sources(local.store)
        if local.read is not None:
            with contextlib.suppress(InventoryUnknown):
                known = local.read().sources
        if caller.inventory and caller.inventory != known:
            raise Refused(
                f"a service runs here, and its inventory is {', '.join(known) or 'not set'}; the "
                f"command was told {', '.join(caller.inventory)}. Leave out -i (and "
                "FLEETD_INVENTORY), or change the service's settings and reload it"
            )


class _Forbidden(Refused):
    """A peer asked for more than it may do."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A verb as an ASGI application."""

    verbs: Verbs
    form: Form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.verbs.serve(self.form, scope, receive, send)


@dataclass(frozen=True, slots=True)
class _Work:
    """A verb being carried out; what it tells goes into the answer."""

    form: Form
    peer: Peer
    local: Local
    arguments: dict[str, Any]
    answer: Answer
    file: BinaryIO | None

    async def run(self) -> None:
        """Do it, and end the answer with what came of it; raises nothing but CancelledError."""
        try:
            result = await (self._streamed() if self.form.streams else self._asked())
        except asyncio.CancelledError:
            if self.answer.overrun:
                self.answer.end({"error": told(FleetdError(OVERRUN))})
            self.answer.end({"gone": STOPPED})
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller has to hear of it
            self.answer.end({"error": self._told(error)})
        else:
            self.answer.end({"result": result})

    async def _asked(self) -> Any:  # noqa: ANN401 - any JSON
        arguments = dict(self.arguments)
        if "progress" in self.form.callbacks:
            arguments["progress"] = self._progress
        if "write" in self.form.callbacks:
            arguments["write"] = self._write
        if self.file is not None:
            arguments["archive"] = path_of(self.file)
        result = await self.form.call(self.local, arguments)
        if self.form.name == "get" and self.peer.right < Right.OPERATE:
            result = [hide_values(shape) for shape in result]
        return pack(result)

    async def _streamed(self) -> None:
        items = self.form.call(self.local, self.arguments)
        async with contextlib.aclosing(items):
            async for item in items:
                self.answer.tell({"line": pack(item)})
                await self.answer.room()

    def _progress(self, event: str, fields: Mapping[str, Any]) -> None:
        if self.answer.left:
            return
        tell = self.answer.tell if event == "applied" else self.answer.mention
        tell({"progress": [event, pack(fields)]})

    def _write(self, data: bytes, stderr: bool) -> Awaitable[None] | None:  # noqa: FBT001 - `Write`
        self.answer.tell({"data": [base64.b64encode(data).decode(), stderr]})
        return self.answer.room() if self.answer.much else None

    def _told(self, error: Exception) -> dict[str, Any]:
        known = errors.known(error)
        if known is None:
            self.local.sink.emit(
                "call_failed",
                verb=self.form.name,
                who=self.peer.user,
                error="".join(traceback.format_exception(error)),
            )
            text = f"{type(error).__name__}: {error}".partition("\n")[0]
            known = FleetdError(
                f"unexpected {text}; the service's log shows where, and please report it"
            )
        if self.file is not None and isinstance(known, InvalidInput):
            # The caller knows the archive by another name than the file it came to rest in.
            name = str(self.arguments["archive"])
            known = InvalidInput([replace(each, source=name) for each in known.problems])
        return told(known)


async def _attend(work: _Work, receive: Receive, ending: asyncio.Event) -> None:
    """Have it done, and what it tells delivered; nobody waits for it longer than they are there."""
    doing = asyncio.create_task(work.run(), name=f"verb {work.form.name}")
    work.answer.on_overrun = doing.cancel
    delivering = asyncio.create_task(work.answer.deliver(), name="answer")
    leaving = asyncio.create_task(_left(receive), name="caller")
    stopping = asyncio.create_task(ending.wait(), name="ending")
    tasks = (doing, delivering, leaving, stopping)
    try:
        await asyncio.wait({delivering, leaving, stopping}, return_when="FIRST_COMPLETED")
        if not (doing.done() or stopping.done()):
            work.answer.leave()
            if work.form.name in LEAVING_ENDS:
                doing.cancel()
            await asyncio.wait({doing, stopping}, return_when="FIRST_COMPLETED")
        doing.cancel()  # a no-op for what has ended
        await asyncio.wait({doing})
        await delivering
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _left(receive: Receive) -> None:
    """Wait until the caller leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _behind(peer: Peer, caller: Caller) -> Peer:
    """The peer, under the name of the person behind sudo: root's word is taken for that."""
    named = peer.uid == 0 and _NAME.fullmatch(caller.person)
    return replace(peer, user=caller.person) if named else peer


def told(error: FleetdError) -> dict[str, Any]:
    """An error as it crosses: by the class of `errors` that it is, with its problems."""
    kinds = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    problems = error.problems if isinstance(error, InvalidInput) else ()
    return {
        "class": next(kinds),
        "message": str(error),
        "exit": error.exit_code,
        "problems": [
            [each.source, each.line, each.path, each.message, each.hint] for each in problems
        ],
    }
