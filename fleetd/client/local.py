"""The client that does the work in this process: each method is one use case over one session.

The inventory is read when a verb needs it and not before, so that a verb that only reads the state
works without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol

from fleetd.api import (
    apply,
    delete,
    describing,
    diffs,
    history,
    hosts,
    images,
    reading,
    rollouts,
    running,
    streams,
)
from fleetd.api.archives import read_archive
from fleetd.api.fleet import Fleet, open_fleet
from fleetd.api.marks import mark_object
from fleetd.api.nodes import Nodes
from fleetd.api.rehearsal import Rehearsal
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
from fleetd.api.session import Session
from fleetd.core.meta import Key
from fleetd.core.node import Inventory, Ssh
from fleetd.core.records import AuditRecord
from fleetd.core.why import explain
from fleetd.documents.inventory import read_inventory
from fleetd.documents.load import Documents, load
from fleetd.engine.loop import Loop
from fleetd.errors import InvalidInput, NotFound
from fleetd.host.requests import Exec, Logs
from fleetd.ports import Clock, EventSink, HostKeys, Put, Store, Streams, Transport

KINDS = {"daemonsets": "DaemonSet", "configmaps": "ConfigMap", "secrets": "Secret"}
"""What can be deleted, by the plural that clients use."""


class State(Protocol):
    """The state, opened at the first use: input that is refused leaves no trace of itself."""

    @property
    def store(self) -> Store:
        """What is remembered."""
        ...

    @property
    def fleet(self) -> Fleet | None:
        """Who we are to the hosts; None in a state where nothing was ever made."""
        ...


@dataclass(slots=True)
class Local:
    """A fleetd in this process, over its adapters. `fresh_id` and `fresh_key` make what is new."""

    apart = False
    state: State
    transport: Transport
    streams: Streams
    keys: HostKeys
    clock: Clock
    sink: EventSink
    sources: tuple[str, ...]
    who: str
    stdin: BinaryIO
    fresh_id: Callable[[], str]
    fresh_key: Callable[[], bytes]
    jumps: dict[str, Ssh] = field(default_factory=dict)
    """Filled from the inventory: how the transport finds a jump host by its name."""
    read: Callable[[], Inventory] | None = None
    """The inventory where somebody else has read it: of a service the one that is in force."""
    loop: Loop | None = None
    """The service's, which then does the work of every run."""
    sent: Documents | None = None
    """What stands for files and stdin where another process has read them: then none is read."""

    @property
    def store(self) -> Store:
        """The state; opened now when it was not yet."""
        return self.state.store

    # -- looking -----------------------------------------------------------------------------

    async def get(self, kind: str, query: Query) -> list[Shape]:
        """Objects of a kind, as last seen; with `refresh`, as they are now."""
        store = await self._seen(query)
        return reading.get(store, self._inventory, kind, query)

    async def describe(self, kind: str, query: Query) -> str:
        """The text of `describe`."""
        store = await self._seen(query)
        return describing.describe(store, self._inventory, kind, query)

    async def _seen(self, query: Query) -> Store:
        """The state, after a look at all hosts when one is asked for."""
        if not query.refresh:
            return self.store
        # At every host, also where a loop holds what a stream told: that is the last look's answer.
        session = replace(self._session(forget=True), loop=None)
        await session.reconciler(None, RunOptions(), _nobody).once(act=False)
        return session.store

    async def why(self, node: str, daemonset: tuple[str, str] | None) -> tuple[str, ...]:
        """Look at the fleet now, and explain what each DaemonSet does on the node."""
        session = self._session(forget=True)
        hosts.named(session, [node])
        if daemonset:
            reading.daemonset(session.store, Key(*daemonset))
        reconciler = session.reconciler(None, RunOptions(), _nobody)
        done = await reconciler.once(act=False)
        if reconciler.world is None:
            return ()
        wanted = [Key(*daemonset)] if daemonset else [each.key for each in reconciler.world.sets]
        now = self.clock.now()
        told = (explain(node, key, reconciler.world, done.plan, now) for key in wanted)
        return tuple("\n".join(lines) for lines in told if lines)

    async def history(self, namespace: str, name: str) -> tuple[Revision, ...]:
        """The known revisions, oldest first."""
        return reading.revisions(self.store, Key(namespace, name))

    # -- documents ---------------------------------------------------------------------------

    async def validate(self, specs: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Check documents, and what they reference as far as the state knows it."""
        documents = self._load(specs)
        names = tuple(
            f"{loaded.object.kind.lower()}/{loaded.object.metadata.name}"
            for loaded in documents.objects
        )
        return names, (*map(str, documents.asides), *_notes(documents))

    async def diff(self, specs: Sequence[str]) -> tuple[Change, ...]:
        """What apply would change in the state."""
        documents = self._load(specs)
        store = Rehearsal(self.store)
        if self.state.fleet is None:
            open_fleet(store, self.fresh_id(), self.fresh_key())
        changes, _ = self._take_in(store, documents, prune=False)
        return changes

    async def apply(
        self, specs: Sequence[str], options: RunOptions, progress: Progress, *, prune: bool = False
    ) -> Report:
        """Take documents in as one transaction, then bring their DaemonSets about."""
        documents = self._load(specs)
        session = self._session(forget=options.dry_run)
        running.check_sources(session, options)
        changes, scope = self._take_in(session.store, documents, prune=prune)
        progress("applied", {"changes": changes})
        report = await running.run(session, scope, options, progress, changes)
        notes = (*_notes(documents), *images.login_notes(session.store, scope), *report.notes)
        return self._told(session.store, replace(report, notes=notes))

    async def delete(
        self,
        names: Sequence[tuple[str, str, str]],
        specs: Sequence[str],
        cascade: Cascade,
        options: RunOptions,
        progress: Progress,
    ) -> Report:
        """Delete objects; with `background`, their copies go from every host that answers."""
        places = [(KINDS[kind], Key(namespace, name)) for kind, namespace, name in names]
        if specs:
            loaded = self._load(specs).objects
            places += [(entry.object.kind, entry.object.key) for entry in loaded]
        session = self._session(forget=options.dry_run)
        how: delete.Cascade = "orphan" if cascade == "false" else cascade
        gone = delete.delete(session.store, places, cascade=how, now=self.clock.now(), who=self.who)
        changes = tuple(Change(kind, *key, "deleted") for kind, key in gone)
        progress("applied", {"changes": changes})
        scope = frozenset(key for kind, key in gone if kind == "DaemonSet")
        notes = delete.still_used(session.store, gone)
        if how == "orphan" or not scope:
            return Report(changes=changes, notes=notes)
        report = await running.run(session, scope, options, progress, changes)
        return replace(report, notes=(*notes, *report.notes))

    # -- running -----------------------------------------------------------------------------

    async def reconcile(self, options: RunOptions, progress: Progress) -> Report:
        """Passes over everything until settled."""
        session = self._session(forget=options.dry_run)
        return self._told(session.store, await running.run(session, None, options, progress))

    async def rollout_status(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        """Where a rollout stands; with `wait`, drive it on until it ends."""
        key = Key(namespace, name)
        if not options.wait:
            return self._told(self.store, reading.standing(self.store, key))
        return await self._roll(self._session(), key, options, progress)

    async def undo(
        self, namespace: str, name: str, to: int, options: RunOptions, progress: Progress
    ) -> Report:
        """Bring an earlier revision back and roll it out."""
        session = self._session(forget=options.dry_run)
        key = Key(namespace, name)
        before = reading.history(session.store, key)[-1:]
        after = history.undo(
            session.store,
            key,
            to,
            new_uid=self.fresh_id,
            now=self.clock.now(),
            who=self.who,
        )
        change = Change("DaemonSet", *key, "unchanged" if (after,) == before else "configured")
        return await self._roll(session, key, options, progress, (change,))

    async def restart(
        self, namespace: str, name: str, options: RunOptions, progress: Progress
    ) -> Report:
        """Make a new revision of the same template and roll it out."""
        session = self._session(forget=options.dry_run)
        key = Key(namespace, name)
        history.restart(session.store, key, now=self.clock.now(), who=self.who)
        change = Change("DaemonSet", *key, "configured")
        return await self._roll(session, key, options, progress, (change,))

    async def pause(self, key: Key) -> str:
        """Let updates wait."""
        done = rollouts.pause(self.store, key, now=self.clock.now(), who=self.who)
        return f"daemonset.apps/{key.name} {'paused' if done else 'already paused'}"

    async def resume(self, key: Key) -> str:
        """Let updates go on."""
        done = rollouts.resume(self.store, key, now=self.clock.now(), who=self.who)
        return f"daemonset.apps/{key.name} {'resumed' if done else 'is not paused'}"

    async def delete_pod(self, key: Key, node: str) -> str:
        """Ask for a copy to go."""
        pod = rollouts.delete_pod(self.store, key, node, now=self.clock.now(), who=self.who)
        return f'pod "{pod}" deleted'

    async def edit(
        self,
        kind: str,
        key: Key,
        edited: Edited,
        options: RunOptions,
        progress: Progress,
    ) -> Report:
        """Put an edited document in the place of an object, then bring it about."""
        spec, version = edited
        objects = self._load([spec]).objects
        if len(objects) != 1:
            raise InvalidInput(f"an edit is of one object; {spec} holds {len(objects)}")
        session = self._session(forget=options.dry_run)
        running.check_sources(session, options)
        now, who = self.clock.now(), self.who
        done = apply.replace_object(
            session.store, (KINDS[kind], key), objects[0], version, now=now, who=who
        )
        changes = diffs.changes((done,))
        progress("applied", {"changes": changes})
        scope = diffs.concerned(session.store, (done,))
        if not scope or done.outcome == "unchanged":
            return Report(changes=changes)
        report = await running.run(session, scope, options, progress, changes)
        return self._told(session.store, report)

    async def _roll(
        self,
        session: Session,
        key: Key,
        options: RunOptions,
        progress: Progress,
        changes: tuple[Change, ...] = (),
    ) -> Report:
        reading.daemonset(session.store, key)
        if changes:
            progress("applied", {"changes": changes})
        report = await running.run(session, frozenset((key,)), options, progress, changes)
        return self._told(session.store, report)

    # -- nodes -------------------------------------------------------------------------------

    async def cordon(self, node: str, *, on: bool) -> str:
        """Set or take the cordon."""
        return self._nodes().cordon(node, on=on)

    async def hold(self, node: str, *, on: bool) -> str:
        """Set or lift hands-off."""
        return self._nodes().hold(node, on=on)

    async def taint(self, node: str, changes: Sequence[str]) -> str:
        """Change the overlay's taints."""
        return self._nodes().taint(node, changes)

    async def mark(self, kind: str, key: Key, marks: Marks, *, dry_run: bool = False) -> str:
        """Change labels or annotations."""
        store = Rehearsal(self.store) if dry_run else self.store
        if kind == "nodes":
            return self._nodes(store).mark(key.name, marks)
        if self.state.fleet is None:
            open_fleet(store, self.fresh_id(), self.fresh_key())
        return mark_object(store, KINDS[kind], key, marks, now=self.clock.now(), who=self.who)

    async def drain(
        self, nodes: Sequence[str], options: RunOptions, progress: Progress, *, on: bool
    ) -> Report:
        """Take all copies off nodes and keep them away, or let them come back."""
        session = self._session(forget=options.dry_run)
        running.check_sources(session, options)
        marked = self._nodes(session.store)
        told: list[Change] = []
        for name in nodes:
            changed = marked.drain(name, on=on)
            told.append(Change("Node", "", name, "configured" if changed else "unchanged"))
        changes = tuple(told)
        progress("applied", {"changes": changes})
        return await running.drain(session, nodes, options, progress, changes)

    def _nodes(self, store: Store | None = None) -> Nodes:
        known = {host.name: host for host in self._inventory().hosts}
        return Nodes(store or self.store, known, now=self.clock.now(), who=self.who)

    # -- hosts -------------------------------------------------------------------------------

    async def logs(self, query: LogQuery) -> AsyncGenerator[tuple[str, str], None]:
        """Lines of a pod, or of all pods of `ds/NAME`."""
        session = self._session(forget=True)
        copies = streams.copies_of(
            session, query.target, query.namespace, node=query.node, container=query.container
        )
        when = f"-{round(query.since * 1000)}ms" if query.since else ""  # as journalctl reads it
        told = streams.logs(
            self.streams, copies, lambda copy: Logs(copy.units, when, query.lines, query.follow)
        )
        async for item in told:
            yield item

    async def exec(
        self,
        target: str,
        namespace: str,
        argv: Sequence[str],
        write: Write,
        *,
        container: str = "",
    ) -> int:
        """Run a command on a node, or in a pod where no node has that name."""
        session = self._session(forget=True)
        try:
            (node,) = hosts.named(session, [target.removeprefix("node/")])
            request = Exec(tuple(argv))
        except NotFound:
            copy, *_ = streams.copies_of(session, target, namespace, container=container)
            node, request = copy.node, Exec(tuple(argv), copy.container, copy.runtime)
        # What the command is told may be a secret; which command it is tells enough.
        detail, outcome = " ".join(argv[:1]), "lost"
        self._note("exec", node.name, detail, "begun")
        try:
            status = await streams.run(self.streams, node, request, write)
            detail, outcome = f"{detail}; exit status {status}", "done"
        finally:
            self._note("exec", node.name, detail, outcome)
        return status

    async def enroll(
        self, hosts_: Sequence[str], *, every: bool, accept: bool, progress: Progress
    ) -> tuple[tuple[str, str], ...]:
        """Look at host keys; pin them when accepted."""
        session = self._session(forget=True)
        wanted = hosts.named(session, hosts_, every=every)
        done = await hosts.enroll(self.keys, wanted, accept=accept, progress=progress)
        for name, result in done if accept else ():
            failed = result.startswith("failed")
            self._note("enroll", name, result, "failed" if failed else "done")
            if self.loop is not None and not failed:
                self.loop.wake(name, "enrolled")
        return done

    def _note(self, verb: str, node: str, detail: str, outcome: str) -> None:
        """Audit what is done with a host beside the state.

        A service can; a command by itself does this without the state's lock, beside other runs.
        """
        if self.loop is not None:
            told = AuditRecord(self.clock.now(), self.who, verb, f"Node {node}", detail, node)
            self.store.commit([Put(replace(told, outcome=outcome))])

    async def push_image(self, archive: str, nodes: Sequence[str], progress: Progress) -> Report:
        """Bring the images of an archive to hosts."""
        wanted = await asyncio.to_thread(read_archive, archive)
        session = self._session()
        chosen = hosts.named(session, nodes, every=not nodes)
        return await images.push(session, self.streams, wanted, chosen, progress)

    async def adopt(self, progress: Progress) -> Report:
        """Rebuild a lost state from the hosts of the inventory."""
        return await hosts.adopt(self._session(), progress)

    async def purge(self, node: str, progress: Progress) -> Report:
        """Take every trace of the fleet off a host."""
        return await hosts.purge(self._session(), node, progress)

    # -- the session -------------------------------------------------------------------------

    def _session(self, *, forget: bool = False) -> Session:
        """All that a use case needs; with `forget` over a store that keeps nothing."""
        inventory = self._inventory()
        store = Rehearsal(self.store) if forget else self.store
        fleet = self.state.fleet or open_fleet(store, self.fresh_id(), self.fresh_key())
        return Session(
            store=store,
            transport=self.transport,
            clock=self.clock,
            sink=self.sink,
            inventory=inventory,
            fleet=fleet,
            who=self.who,
            loop=self.loop,
        )

    def _load(self, specs: Sequence[str]) -> Documents:
        return load(specs, self.stdin) if self.sent is None else self.sent

    def _inventory(self) -> Inventory:
        if self.read is None:
            found = read_inventory(self.sources or reading.sources(self.store))
            self.jumps.update((host.name, host.ssh) for host in found.hosts)
            self.read = lambda: found
        return self.read()

    def _take_in(
        self, store: Store, documents: Documents, *, prune: bool
    ) -> tuple[tuple[Change, ...], frozenset[Key]]:
        """The object changes, and the DaemonSets that they concern."""
        applied = apply.apply_objects(
            store,
            documents.objects,
            new_uid=self.fresh_id,
            now=self.clock.now(),
            who=self.who,
            prune=prune,
        )
        return diffs.changes(applied), diffs.concerned(store, applied)

    def _told(self, store: Store, report: Report) -> Report:
        """The report with the DaemonSets as they stand now."""
        query = Query(namespace=None)
        wanted = set(report.holders) | {entry.daemonset for entry in report.entries}
        wanted |= {
            f"{change.namespace}/{change.name}"
            for change in report.changes
            if change.kind == "DaemonSet"
        }
        shapes = [
            shape
            for shape in reading.daemonsets(store, query)
            if f"{shape['metadata']['namespace']}/{shape['metadata']['name']}" in wanted
        ]
        return replace(report, daemonsets=tuple(shapes))


def _notes(documents: Documents) -> tuple[str, ...]:
    notes = [str(note) for note in documents.notes]
    return tuple([*notes, documents.summary()] if documents.summary() else notes)


def _nobody(event: str, fields: object) -> None:
    """Progress that nobody watches."""
