"""Images without a registry: an archive goes to the hosts by SSH, and a name means its id then.

A host that has the image already is sent nothing, so that a push which was cut goes on where it
stopped. What was pushed is noted first: a revision that is rolled out later pins it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex

from fleetd.api.archives import Archive
from fleetd.api.reports import Progress, Report
from fleetd.api.session import Session
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostFacts, Known, Runtime
from fleetd.core.image import PullPolicy, runs_on
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.records import AuditRecord, ObjectRecord, Setting
from fleetd.engine.images import pull_logins, pushed_name
from fleetd.engine.visits import LOAD_S, Visits, observation_of
from fleetd.host.replies import Failed, Lost, Ok, Refused, Reply, parse, reason
from fleetd.host.requests import Load, Observe, Pull, Wanted
from fleetd.host.wire import encode
from fleetd.ports import Put, Store, Streams
from fleetd.workload.errors import RenderError
from fleetd.workload.profile import engine_of

AT_ONCE = 8
"""So many hosts are sent an archive side by side: each takes what the line and one core give."""


async def push(
    session: Session, streams: Streams, archive: Archive, nodes: Sequence[Node], progress: Progress
) -> Report:
    """Bring the archive's images to these hosts; what became of it on each.

    From the first host that has them on, a revision that asks for such a name pins the image's id.
    """
    carrier = _Carrier(session, streams, archive, progress)
    room = asyncio.Semaphore(AT_ONCE)
    subject = "Image " + ", ".join(name for image in archive.images for name in image.names)

    def audit(node: Node, told: str, outcome: str) -> None:
        row = AuditRecord(session.clock.now(), session.who, "push", subject, told, node.name)
        session.store.commit([Put(replace(row, outcome=outcome))])

    async def bring(node: Node) -> str:
        async with room:
            try:
                done = await carrier.bring(node)
            except _NotPushed as why:
                audit(node, str(why), "failed")
                progress("image_not_pushed", {"node": node.name, "message": str(why)})
                return f"{node.name}: {why}"
        audit(node, done, "done")
        progress("image_pushed", {"node": node.name, "message": done})
        carrier.brought[node.name] = done
        return ""

    problems: list[str] = await asyncio.gather(*(bring(node) for node in nodes))
    return Report(
        problems=tuple(sorted(filter(None, problems))),
        notes=(
            *(f"{image.names[0]} is {image.id} ({image.platform})" for image in archive.images),
            *(f"{name}: {done}" for name, done in sorted(carrier.brought.items())),
            *(
                ["run the same push again: who has the image is sent nothing"]
                if any(problems)
                else []
            ),
        ),
        converged=not any(problems),
    )


class _NotPushed(Exception):
    """Why a host does not have the images."""


@dataclass(slots=True)
class _Carrier:
    session: Session
    streams: Streams
    archive: Archive
    progress: Progress
    brought: dict[str, str] = field(default_factory=dict)
    noted: bool = False

    async def bring(self, node: Node) -> str:
        """Make sure of the images on one host; raises _NotPushed."""
        if node.held:
            raise _NotPushed(f"it is held; `fleetd unhold {node.name}` first")
        facts = await self._facts(node)
        try:
            runtime = engine_of(node, facts)
        except RenderError as error:
            raise _NotPushed(error.message) from error
        for image in self.archive.images:
            if not runs_on(image.platform, facts.arch):
                why = f"{image.names[0]} is for {image.platform}"
                raise _NotPushed(f"{why}, and this host is linux/{facts.arch}")
        if await self._has(node, runtime):
            self._note()
            return "there already"
        await self._send(node, runtime)
        self._note()
        return "pushed"

    async def _facts(self, node: Node) -> HostFacts:
        look = Observe(self.session.fleet.id, engine=False, facts=True)
        seen = observation_of(await self._visits.send(node, look))
        if not isinstance(seen, Known):
            raise _NotPushed(seen.why)
        facts = seen.value.facts
        if not isinstance(facts, Known):
            raise _NotPushed(facts.why if facts else "the host did not tell what it is")
        return facts.value

    async def _has(self, node: Node, runtime: Runtime) -> bool:
        """Whether each image is there under each of its names."""
        fleet = self.session.fleet
        names = {name: image.id for image in self.archive.images for name in image.names}
        wanted = tuple(Wanted(name, PullPolicy.NEVER) for name in names)
        look = Pull(fleet.id, fleet.term, runtime, wanted, wait_s=0)
        told = _pulled(await self._visits.send(node, look))
        return all(told.get(name) == identity for name, identity in names.items())

    async def _send(self, node: Node, runtime: Runtime) -> None:
        fleet, archive = self.session.fleet, self.archive
        images = tuple((image.id, name) for image in archive.images for name in image.names)
        load = Load(fleet.id, fleet.term, runtime, images, archive.size, archive.digest)
        nonce = token_hex(8)
        output = await self.streams.upload(
            *(node.name, node.ssh, encode(load, nonce)), self._chunks(node), timeout_s=LOAD_S
        )
        told = _pulled(parse(output, nonce, load))
        missing = [name for identity, name in images if identity not in told]
        if missing:
            raise _NotPushed(f"the host tells nothing of {', '.join(missing)}")

    async def _chunks(self, node: Node) -> AsyncIterator[bytes]:
        sent, quarter = 0, 0
        async for chunk in self.archive.chunks():
            yield chunk
            sent += len(chunk)
            if sent * 4 // self.archive.size > quarter:
                quarter = sent * 4 // self.archive.size
                message = f"sent {quarter * 25} % of {self.archive.size / 1e6:.0f} MB"
                self.progress("image_pushing", {"node": node.name, "message": message})

    def _note(self) -> None:
        if not self.noted:
            self.session.store.commit(
                Put(Setting(pushed_name(name, image.platform.partition("/")[2]), image.id))
                for image in self.archive.images
                for name in image.names
            )
        self.noted = True

    @property
    def _visits(self) -> Visits:
        return Visits(self.session.transport)


def _pulled(reply: Reply) -> dict[str, str]:
    """The ids of images that are there, by what they were asked for; raises _NotPushed."""
    match reply:
        case Ok(pulled=pulled):
            return {
                seen.image: f"sha256:{seen.id.removeprefix('sha256:')}"
                for seen in pulled
                if seen.state == "present"
            }
        case Failed() | Refused() | Lost():
            raise _NotPushed(reason(reply))


def login_notes(store: Store, keys: Iterable[Key]) -> tuple[str, ...]:
    """What is wrong with imagePullSecrets: told, and as in Kubernetes no error."""
    notes: list[str] = []
    for key in sorted(keys):
        for row in store.read(
            ObjectRecord, kind="DaemonSet", namespace=key.namespace, name=key.name
        ):
            _, wrong = pull_logins(store, DaemonSet.model_validate_json(row.document_json))
            notes += [f"daemonset {key}: {text}" for text in wrong]
    return tuple(notes)
