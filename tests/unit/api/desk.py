"""A desk to work at: a state in memory, documents as text, and the verbs with their defaults."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from fleetd.api import history, reading
from fleetd.api.apply import AppliedChange, apply_objects
from fleetd.api.delete import Cascade, delete
from fleetd.core.meta import Key
from fleetd.core.records import AuditRecord, ObjectRecord, RevisionRecord
from fleetd.documents.load import load
from fleetd.ports import Store
from fleetd.testing.store import FakeStore


@dataclass
class Desk:
    store: Store = field(default_factory=FakeStore)
    uids: Any = field(default_factory=lambda: count(1))
    now: float = 1700000000.0

    @property
    def commits(self) -> int:
        assert isinstance(self.store, FakeStore)
        return self.store.commits

    def uid(self) -> str:
        return f"uid-{next(self.uids)}"

    def apply(self, *texts: str, prune: bool = False) -> dict[str, str]:
        """Apply documents; the outcome by `Kind/name`."""
        done = self.changes(*texts, prune=prune)
        return {f"{change.kind}/{change.key.name}": change.outcome for change in done}

    def changes(self, *texts: str, prune: bool = False) -> tuple[AppliedChange, ...]:
        stream = io.BytesIO("\n---\n".join(textwrap.dedent(text) for text in texts).encode())
        documents = load(["-"], stream).objects
        return apply_objects(
            self.store, documents, new_uid=self.uid, now=self.now, who="ann", prune=prune
        )

    def delete(self, *names: str, cascade: Cascade = "background") -> list[str]:
        """Delete objects given as `Kind/name`; those that were there."""
        places = [
            (kind, Key("default", name))
            for kind, _, name in (text.partition("/") for text in names)
        ]
        gone = delete(self.store, places, cascade=cascade, now=self.now, who="ann")
        return [f"{kind}/{key.name}" for kind, key in gone]

    def undo(self, name: str = "web", to: int = 0) -> RevisionRecord:
        return history.undo(
            self.store, Key("default", name), to, new_uid=self.uid, now=self.now, who="ann"
        )

    def restart(self, name: str = "web") -> RevisionRecord:
        return history.restart(self.store, Key("default", name), now=self.now, who="ann")

    def record(self, name: str = "web", kind: str = "DaemonSet") -> ObjectRecord:
        (row,) = self.store.read(ObjectRecord, kind=kind, name=name)
        return row

    def document(self, name: str = "web", kind: str = "DaemonSet") -> Any:
        return json.loads(self.record(name, kind).document_json)

    def numbers(self, name: str = "web") -> list[int]:
        return [row.number for row in reading.history(self.store, Key("default", name))]

    def current(self, name: str = "web") -> RevisionRecord:
        return reading.history(self.store, Key("default", name))[-1]

    def names(self) -> list[str]:
        return [f"{row.kind}/{row.name}" for row in self.store.read(ObjectRecord)]

    def audited(self) -> list[tuple[str, str, str]]:
        return [(row.who, row.verb, row.subject) for row in self.store.read(AuditRecord)]


def daemonset(name: str = "web", image: str = "web:1", more: Sequence[str] = ()) -> str:
    """A DaemonSet whose container may have more fields, each a line."""
    lines = [
        "apiVersion: apps/v1",
        "kind: DaemonSet",
        "metadata:",
        f"  name: {name}",
        "spec:",
        "  selector: {matchLabels: {app: x}}",
        "  template:",
        "    metadata: {labels: {app: x}}",
        "    spec:",
        "      containers:",
        "      - name: main",
        f"        image: {image}",
        *(f"        {line}" for line in more),
    ]
    return "\n".join(lines)


def config(name: str = "conf", more: str = "", **data: str) -> str:
    values = json.dumps(data)
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {values}\n{more}"


def secret(name: str = "pass", **data: str) -> str:
    values = json.dumps(data)
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {values}"


def env_from(kind: str, name: str, key: str) -> list[str]:
    """The lines of a container that reads a key into a variable."""
    ref = "configMapKeyRef" if kind == "ConfigMap" else "secretKeyRef"
    return ["env:", f"- name: {key}", f"  valueFrom: {{{ref}: {{name: {name}, key: {key}}}}}"]
