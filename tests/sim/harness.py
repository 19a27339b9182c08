"""A whole fleetd in virtual time: real engine, real core, fake hosts, fake store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from fleetd.api.fleet import Fleet
from fleetd.api.rehearsal import Rehearsal
from fleetd.api.reports import Progress, RunOptions
from fleetd.api.session import Session
from fleetd.core.actions import Decision
from fleetd.core.daemonset import DaemonSet
from fleetd.core.meta import Key
from fleetd.core.node import Inventory
from fleetd.core.records import ObjectRecord, RevisionRecord, RolloutRecord
from fleetd.core.revision import revision_of
from fleetd.engine.loop import Loop
from fleetd.engine.memory import Memory
from fleetd.engine.passes import Pass, Run
from fleetd.ports import Put, Store
from fleetd.testing.fleet import FakeFleet
from fleetd.testing.loop import LoopClock
from fleetd.testing.store import FakeStore
from fleetd.testing.units import Behaviour

AGENT = Key("default", "agent")
FLEET = Fleet(id="f1ee7", key="00" * 32, term=1)


class Quiet:
    """A sink for events that nobody reads."""

    def emit(self, event: str, **fields: Any) -> None:
        """Take and forget."""


def unwatched(event: str, fields: Mapping[str, Any]) -> None:
    """Nobody looks."""


def agent(version: str, key: Key = AGENT, /, **spec: Any) -> DaemonSet:
    """A DaemonSet with one container of this version; `spec` is merged into its spec."""
    container = {"name": "main", "image": f"example/agent:{version}", "args": [f"--is={version}"]}
    template_spec = {"containers": [container], **spec.pop("pod", {})}
    return DaemonSet.model_validate(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "annotations": spec.pop("annotations", {}),
            },
            "spec": {
                "selector": {"matchLabels": {"app": key.name}},
                "template": {
                    "metadata": {"labels": {"app": key.name}},
                    "spec": template_spec,
                },
                **spec,
            },
        }
    )


@dataclass(slots=True)
class Sim:
    """A coordinator over a fake fleet."""

    fleet: FakeFleet
    store: Store = field(default_factory=FakeStore)
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, count: int, *, seed: int = 0, faults: Mapping[str, Behaviour] | None = None) -> Sim:
        """So many hosts, all in the inventory."""
        names = [f"h{number:02}" for number in range(1, count + 1)]
        return cls(FakeFleet(names, seed=seed, faults=faults), names=names)

    def put(self, daemonset: DaemonSet) -> str:
        """Make this the DaemonSet of its name; its revision."""
        key = daemonset.key
        revision = revision_of(daemonset.spec.template, {})
        old = self.store.read(RevisionRecord, namespace=key.namespace, name=key.name)
        number = max((row.number for row in old), default=0) + 1
        document = daemonset.model_dump(mode="json", by_alias=True)
        template = json.dumps(document["spec"]["template"])
        self.store.commit(
            [
                Put(
                    ObjectRecord(
                        "DaemonSet",
                        *key,
                        uid="u1",
                        generation=number,
                        resource_version=self.store.next_version(),
                        document_json=json.dumps(document),
                        last_applied_json="{}",
                        created=0.0,
                    )
                ),
                Put(RevisionRecord(*key, revision, number, template, "{}", 0.0)),
            ]
        )
        return revision

    def session(self, term: int = 1) -> Session:
        """A coordinator's hold on the fleet, as each run of fleetd has its own."""
        hosts = tuple(host for host in self.fleet.inventory() if host.name in self.names)
        return Session(
            store=self.store,
            transport=self.fleet,
            clock=LoopClock(),
            sink=Quiet(),
            inventory=Inventory(hosts, ("test",)),
            fleet=replace(FLEET, term=term),
            who="test",
        )

    async def converge(
        self,
        *,
        timeout_s: float | None = 900.0,
        confirm_removals: int | None = None,
        scope: frozenset[Key] | None = None,
        progress: Progress = unwatched,
    ) -> Run:
        """A run of passes, as `fleetd reconcile` does them."""
        options = RunOptions(confirm_removals=confirm_removals)
        reconciler = self.session().reconciler(scope, options, progress)
        return await reconciler.converge(timeout_s)

    @asynccontextmanager
    async def served(self, term: int = 1, *, seed: int = 0) -> AsyncIterator[Loop]:
        """The loop of a service, at work; what is read of the state is read through its memory."""
        below, memory = self.store, Memory(self.store)
        self.store = memory
        session = self.session(term)
        made = session.open_loop(memory, Random(seed))
        task = asyncio.create_task(made.run(), name="loop")
        try:
            yield made
        finally:
            self.store = below
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def look(self) -> Pass:
        """One pass of a dry run."""
        rehearsal = replace(self.session(), store=Rehearsal(self.store))
        reconciler = rehearsal.reconciler(None, RunOptions(), unwatched)
        return await reconciler.once(act=False)

    @property
    def commits(self) -> int:
        """How many transactions there were."""
        assert isinstance(self.store, FakeStore)
        return self.store.commits

    def revisions(self, key: Key = AGENT) -> dict[str, str]:
        """What the ledger of each host says it has."""
        return {
            name: copy.revision
            for name, host in self.fleet.hosts.items()
            for (ds, _), copy in host.ledger.items()
            if ds == key
        }

    def rollout(self, key: Key = AGENT) -> RolloutRecord:
        """The rollout record of a DaemonSet."""
        (row,) = self.store.read(RolloutRecord, namespace=key.namespace, name=key.name)
        return row


def half(reply: bytes) -> bytes:
    """A reply of which one part failed on the host."""
    return reply.replace(b" end units 0", b" end units 1")


def reasons(decisions: Sequence[Decision]) -> dict[str, str]:
    """Node to reason, for a plan of one DaemonSet."""
    return {item.node: item.reason.value for item in decisions}
