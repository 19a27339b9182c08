"""One transaction in the making: the objects as they will be, and what else is to be written.

Every verb that changes objects alters a draft, checks it, and commits it; until then nothing is
written, and a draft that changed nothing writes nothing. A commit also holds what follows from the
change: revisions (see `history`), resource versions, the audit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fleetd.core.daemonset import ConfigMap, DaemonSet, Secret
from fleetd.core.meta import Key
from fleetd.core.records import AuditRecord, ObjectRecord, RevisionRecord
from fleetd.core.references import references
from fleetd.errors import NotFound, Refused
from fleetd.ports import Change, Drop, Put, Store

Place = tuple[str, Key]
"""Kind and key: what names an object."""


class Draft:
    """The objects of a state with changes that are not written yet."""

    def __init__(self, store: Store, *, now: float, who: str) -> None:
        """Read all objects; `who` asks, at `now`."""
        self.store = store
        self.now = now
        self.who = who
        self.changes: list[Change] = []
        self._before = {
            (row.kind, Key(row.namespace, row.name)): row for row in store.read(ObjectRecord)
        }
        self._after = dict(self._before)

    def find(self, kind: str, key: Key) -> ObjectRecord | None:
        """An object as it will be; None where there will be none."""
        return self._after.get((kind, key))

    def get(self, kind: str, key: Key) -> ObjectRecord:
        """An object that has to be there; raises NotFound."""
        record = self.find(kind, key)
        if record is None:
            raise NotFound(f"{kind} {key} is not known; `fleetd get ds -A` lists all")
        return record

    def put(self, record: ObjectRecord) -> None:
        """Create or replace an object. Raises Refused for one that is being deleted."""
        if record.deleting:
            name = f"{record.kind} {Key(record.namespace, record.name)}"
            raise Refused(
                f"{name} is being deleted in the foreground; run `fleetd reconcile` until its "
                "copies are gone, or delete it with --cascade=background"
            )
        self._after[record.kind, Key(record.namespace, record.name)] = record

    def mark_deleting(self, record: ObjectRecord) -> None:
        """Let an object go as soon as its copies are gone; one marked already keeps its time."""
        place = record.kind, Key(record.namespace, record.name)
        self._after[place] = replace(record, deleting=record.deleting or self.now)

    def drop(self, kind: str, key: Key) -> None:
        """Take an object away."""
        del self._after[kind, key]

    def records(self) -> Iterator[tuple[Place, ObjectRecord]]:
        """All objects as they will be, by kind, namespace and name."""
        yield from sorted(self._after.items())

    def touched(self) -> frozenset[Place]:
        """What is created, changed or taken away."""
        places = self._before.keys() | self._after.keys()
        return frozenset(
            place for place in places if self._before.get(place) != self._after.get(place)
        )

    def affected(self) -> tuple[DaemonSet, ...]:
        """The DaemonSets that are touched, or that refer to something that is."""
        touched = self.touched()
        found = []
        for (kind, key), record in self.records():
            if kind == "DaemonSet" and not record.deleting:
                daemonset = daemonset_of(record)
                used = {(ref.kind, Key(key.namespace, ref.name)) for ref in references(daemonset)}
                if (kind, key) in touched or used & touched:
                    found.append(daemonset)
        return tuple(found)

    def commit(self, verb: str, detail: str = "") -> None:
        """Write everything as one transaction, with its audit; nothing when nothing changed."""
        touched = sorted(self.touched())
        if not touched and not self.changes:
            return
        version = self.store.next_version()
        changes: list[Change] = []
        for kind, key in touched:
            record = self.find(kind, key)
            if record is None:
                changes.append(
                    Drop(ObjectRecord, kind=kind, namespace=key.namespace, name=key.name)
                )
            else:
                changes.append(Put(replace(record, resource_version=version)))
        audit = map(Put, self._audit(verb, detail))
        self.store.commit([*changes, *self.changes, *audit])

    def _audit(self, verb: str, detail: str) -> Iterator[AuditRecord]:
        """What becomes of each object, and the revision of a DaemonSet that gets one by it.

        A DaemonSet gets one, too, by a change of what it refers to.
        """
        fresh = [change.record for change in self.changes if isinstance(change, Put)]
        revisions = {
            ("DaemonSet", Key(row.namespace, row.name)): row.revision
            for row in fresh
            if isinstance(row, RevisionRecord)
        }
        for place in sorted(self.touched() | revisions.keys()):
            before, after = self._before.get(place), self._after.get(place)
            word = "configured" if before else "created"
            if after is None or after.deleting:
                word = "deleted"
            if before == after:
                word = "follows what it refers to"
            kind, key = place
            told = "; ".join(filter(None, (word, detail)))
            subject, revision = f"{kind} {key}", revisions.get(place, "")
            yield AuditRecord(self.now, self.who, verb, subject, told, revision=revision)


def document_of(record: ObjectRecord) -> dict[str, Any]:
    """The document of an object, as new plain data."""
    document: dict[str, Any] = json.loads(record.document_json)
    return document


def daemonset_of(record: ObjectRecord) -> DaemonSet:
    """A stored DaemonSet."""
    return DaemonSet.model_validate(document_of(record))


def config_map_of(record: ObjectRecord) -> ConfigMap:
    """A stored ConfigMap."""
    return ConfigMap.model_validate(document_of(record))


def secret_of(record: ObjectRecord) -> Secret:
    """A stored Secret."""
    return Secret.model_validate(document_of(record))


def to_json(document: Mapping[str, Any]) -> str:
    """The text form of documents in the state."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
