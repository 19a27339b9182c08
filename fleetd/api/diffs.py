"""Object changes as people read them: a unified diff of the documents, secret values masked."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fleetd.api.apply import AppliedChange
from fleetd.api.draft import daemonset_of
from fleetd.api.reports import Change
from fleetd.core.meta import Key
from fleetd.core.records import ObjectRecord
from fleetd.core.references import references
from fleetd.documents.yaml import dump
from fleetd.ports import Store


def changes(applied: Sequence[AppliedChange]) -> tuple[Change, ...]:
    """What became of each object, with the diff where there is one."""
    return tuple(
        Change(
            kind=change.kind,
            namespace=change.key.namespace,
            name=change.key.name,
            verb=change.outcome,
            diff=_diff(change) if change.outcome != "unchanged" else "",
        )
        for change in applied
    )


def concerned(store: Store, applied: Sequence[AppliedChange]) -> frozenset[Key]:
    """The DaemonSets that were applied or pruned, and those that use an object that was."""
    keys = {change.key for change in applied if change.kind == "DaemonSet"}
    content = {(change.kind, change.key) for change in applied if change.kind != "DaemonSet"}
    for row in store.read(ObjectRecord, kind="DaemonSet"):
        used = {(ref.kind, Key(row.namespace, ref.name)) for ref in references(daemonset_of(row))}
        if used & content:
            keys.add(Key(row.namespace, row.name))
    return frozenset(keys)


def _diff(change: AppliedChange) -> str:
    name = f"{change.kind}/{change.key}"
    old, new = _document(change.old), _document(change.new)
    if change.kind == "Secret":
        old["data"], new["data"] = _masked(old.get("data", {}), new.get("data", {}))
    lines = difflib.unified_diff(
        _lines(old), _lines(new), f"now/{name}", f"then/{name}", lineterm=""
    )
    return "\n".join(lines)


def _document(record: ObjectRecord | None) -> dict[str, Any]:
    return json.loads(record.document_json) if record else {}


def _masked(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[dict[str, str], ...]:
    """The keys of a Secret, and which values change: never a value, nor a trace of one."""
    told = {key: "***" if old.get(key, text) == text else "*** (new)" for key, text in new.items()}
    return dict.fromkeys(old, "***"), told


def _lines(document: Mapping[str, Any]) -> list[str]:
    if not any(document.values()):
        return []
    return dump(dict(document)).splitlines()
