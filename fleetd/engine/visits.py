"""One visit: a typed request to one host, and its typed reply.

A visit never raises for what the host or the network does: that is `Lost` or `Failed`. Deadlines
are a property of the request: long enough for what the host may honestly take, so that a visit that
runs into one has met something broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from secrets import token_hex

from fleetd.core.facts import Known, Observation, Part, Unknown
from fleetd.core.node import Node
from fleetd.host.replies import Failed, Lost, Ok, Refused, Reply, parse, reason
from fleetd.host.requests import Apply, Load, Observe, Pull, Purge, Remove, Request
from fleetd.host.wire import encode
from fleetd.ports import EventSink, Transport

OBSERVE_S = 60.0
CHANGE_S = 180.0
"""What an apply or a removal may take beside the graceful stop of the old copy."""
LOAD_S = 7200.0
"""For an archive on its way through a slow link, and its load; a dead link is noticed before."""


def patience(request: Request) -> float:
    """Seconds after which a visit with this request is given up."""
    match request:
        case Apply(bundle=bundle):
            return CHANGE_S + bundle.stop_s
        case Pull(wait_s=wait_s):
            return OBSERVE_S + wait_s
        case Load():
            return LOAD_S
        case Remove() | Purge():
            return CHANGE_S * 2
        case _:
            return OBSERVE_S


@dataclass(frozen=True, slots=True)
class Visits:
    """Carries requests to hosts."""

    transport: Transport
    sink: EventSink | None = None
    """Hears of every visit, where somebody listens."""

    async def send(self, node: Node, request: Request) -> Reply:
        """Send one request; the reply is read whole or is Lost."""
        nonce = token_hex(8)
        loop = asyncio.get_running_loop()
        began = loop.time()
        output = await self.transport.run(
            node.name, node.ssh, encode(request, nonce), timeout_s=patience(request)
        )
        reply = parse(output, nonce, request)
        if self.sink is not None:
            self.sink.emit(
                "visit",
                node=node.name,
                request=type(request).__name__.lower(),
                seconds=loop.time() - began,
                outcome=type(reply).__name__.lower(),
                reason="" if isinstance(reply, Ok) else reason(reply),
            )
        return reply

    async def look(self, node: Node, request: Observe) -> Part[Observation]:
        """Look at one host; a silent one is Unknown."""
        return observation_of(await self.send(node, request))

    async def observe(
        self,
        nodes: Iterable[Node],
        request: Callable[[Node], Observe],
        *,
        at_once: int = 256,
    ) -> dict[str, Part[Observation]]:
        """Look at all these hosts side by side; a silent one is Unknown, never missing."""
        room = asyncio.Semaphore(at_once)
        seen: dict[str, Part[Observation]] = {}

        async def look(node: Node) -> None:
            async with room:
                seen[node.name] = await self.look(node, request(node))

        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(look(node), name=f"observe {node.name}")
        return seen


def is_whole(seen: Observation) -> bool:
    """Whether all that decisions rest on could be read."""
    parts = (seen.owner, seen.ledger, seen.files, seen.units)
    return not any(isinstance(part, Unknown) for part in parts)


def observation_of(reply: Reply) -> Part[Observation]:
    """What a reply tells about the host, whatever became of the request."""
    match reply:
        case Ok(observation=Observation() as seen) | Failed(observation=Observation() as seen):
            return Known(seen)
        case Ok():
            return Unknown("the reply held no observation")
        case Failed() | Refused() | Lost():
            return Unknown(reason(reply))
