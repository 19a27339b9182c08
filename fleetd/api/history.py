"""The revisions of a DaemonSet: which one is in force, and the way back to an earlier one.

A revision holds a template and the content it references. The one with the highest number is in
force (K 115, 116): every change of a DaemonSet, or of what it references, makes a revision or
raises an earlier one in the same transaction, so that whoever reads the state needs no other rule.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fleetd.api.content import content_of, data_of, missing, whole
from fleetd.api.draft import Draft, config_map_of, daemonset_of, document_of, to_json
from fleetd.api.fleet import FLEET_KEY
from fleetd.api.reading import history
from fleetd.core.daemonset import DaemonSet
from fleetd.core.meta import Key
from fleetd.core.records import (
    BundleRecord,
    ImageRecord,
    InstanceRecord,
    ObjectRecord,
    RevisionRecord,
    RolloutRecord,
    SecretValue,
    Setting,
    SlotRecord,
)
from fleetd.core.references import references
from fleetd.core.revision import revision_of
from fleetd.errors import NotFound, Refused
from fleetd.ports import Drop, Put, Store

CHANGE_CAUSE = "kubernetes.io/change-cause"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


def revise(draft: Draft) -> None:
    """Bring the revisions of all affected DaemonSets into the draft; the fleet must be open."""
    affected = draft.affected()
    if not affected:
        return
    (setting,) = draft.store.read(Setting, name=FLEET_KEY)
    for daemonset in affected:
        _revise(draft, daemonset, setting.value)


def current_revision(
    draft: Draft, daemonset: DaemonSet, fleet_key: str
) -> tuple[RevisionRecord, tuple[SecretValue, ...]]:
    """The revision that a DaemonSet of the draft asks for, and the secret values that it uses.

    A template (with its content) that was there before gets its own revision again, with a number
    above all others (K 116); the present one keeps its number.
    """
    used = content_of(draft, daemonset, fleet_key)
    template = daemonset.spec.template
    revision = revision_of(template, used.parts)
    rows = history(draft.store, daemonset.key)
    cause = daemonset.metadata.annotations.get(CHANGE_CAUSE, "")
    highest = rows[-1].number if rows else 0
    for row in rows:
        if row.revision == revision:
            number = row.number if row is rows[-1] else highest + 1
            return replace(row, number=number, cause=cause), used.values
    record = RevisionRecord(
        namespace=daemonset.key.namespace,
        name=daemonset.key.name,
        revision=revision,
        number=highest + 1,
        template_json=template.model_dump_json(by_alias=True, exclude_unset=True),
        content_json=json.dumps(used.parts, sort_keys=True),
        created=draft.now,
        cause=cause,
    )
    return record, used.values


def forget_revisions(draft: Draft, gone: Mapping[Key, frozenset[str]]) -> None:
    """Drop revisions with all that was kept for them, and secret values that none uses then."""
    for key, revisions in gone.items():
        for revision in sorted(revisions):
            for kind in (RevisionRecord, BundleRecord, ImageRecord):
                draft.changes.append(
                    Drop(kind, namespace=key.namespace, name=key.name, revision=revision)
                )
    kept = [
        row
        for row in draft.store.read(RevisionRecord)
        if row.revision not in gone.get(Key(row.namespace, row.name), frozenset())
    ]
    added = [change.record for change in draft.changes if isinstance(change, Put)]
    kept += [record for record in added if isinstance(record, RevisionRecord)]
    used = {digest for row in kept for digest in _digests(row)}
    for value in draft.store.read(SecretValue):
        if value.digest not in used:
            draft.changes.append(Drop(SecretValue, digest=value.digest))


def undo(
    store: Store, key: Key, to_revision: int, *, new_uid: Callable[[], str], now: float, who: str
) -> RevisionRecord:
    """Bring an earlier revision back: its template, and the ConfigMaps as they were.

    Secrets stay as they are now. `to_revision` is a number of the history, 0 for the one before the
    present. What comes back counts as applied, so that applying a file afterwards gives that file.

    Returns:
        The revision that is in force then: not the earlier one itself where a Secret has changed.

    Raises:
        NotFound: no such DaemonSet or revision.
        Refused: there is nothing to go back to, or what it needs cannot be had.
    """
    draft = Draft(store, now=now, who=who)
    record = draft.get("DaemonSet", key)
    rows = history(store, key)
    target = _target(key, rows, to_revision)
    if target is rows[-1]:
        return target
    _bring_back(draft, record, target)
    daemonset = daemonset_of(draft.get("DaemonSet", key))
    _restore_config_maps(draft, daemonset, json.loads(target.content_json), new_uid)
    for other in draft.affected():
        lacks = [text for _, text in missing(draft, other)]
        if lacks:
            raise Refused(f"revision {target.number} of {key} cannot come back: {lacks[0]}")
    revise(draft)
    draft.commit("undo", f"to revision {target.number}")
    return history(store, key)[-1]


def restart(store: Store, key: Key, *, now: float, who: str) -> RevisionRecord:
    """Make a new revision of the same template, as kubectl does: by an annotation of the time.

    Raises:
        NotFound: no such DaemonSet.
        Refused: what it refers to has been deleted since.
    """
    draft = Draft(store, now=now, who=who)
    record = draft.get("DaemonSet", key)
    document = document_of(record)
    metadata = document["spec"]["template"].setdefault("metadata", {})
    at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata.setdefault("annotations", {})[RESTARTED_AT] = at
    draft.put(replace(record, document_json=to_json(document), generation=record.generation + 1))
    for _, lacks in missing(draft, daemonset_of(draft.get("DaemonSet", key))):
        raise Refused(f"DaemonSet {key} cannot be started anew: {lacks}")
    revise(draft)
    draft.commit("restart")
    return history(store, key)[-1]


def _revise(draft: Draft, daemonset: DaemonSet, fleet_key: str) -> None:
    record, values = current_revision(draft, daemonset, fleet_key)
    rows = history(draft.store, daemonset.key)
    if record not in rows:
        draft.changes.append(Put(record))
        draft.changes += [Put(value) for value in values]
    old = [row for row in rows if row.revision != record.revision]
    gone = _surplus(draft.store, daemonset, old)
    if gone:
        forget_revisions(draft, {daemonset.key: gone})


def _surplus(store: Store, daemonset: DaemonSet, old: list[RevisionRecord]) -> frozenset[str]:
    """The old revisions to forget: the lowest above the limit that nothing uses (K 120, 121)."""
    namespace, name = daemonset.key
    used = {row.revision for row in store.read(InstanceRecord, namespace=namespace, name=name)}
    for rollout in store.read(RolloutRecord, namespace=namespace, name=name):
        used |= {rollout.revision, rollout.baseline}
    used |= {
        row.revision for row in store.read(SlotRecord, namespace=namespace, name=name, released=0.0)
    }
    too_many = max(len(old) - daemonset.spec.revision_history_limit, 0)
    return frozenset([row.revision for row in old if row.revision not in used][:too_many])


def _digests(row: RevisionRecord) -> list[str]:
    parts: dict[str, dict[str, str]] = json.loads(row.content_json)
    return [
        digest
        for name, part in parts.items()
        if name.startswith("Secret/")
        for digest in part.values()
    ]


def _target(key: Key, rows: tuple[RevisionRecord, ...], to_revision: int) -> RevisionRecord:
    if to_revision == 0:
        if len(rows) < 2:
            raise Refused(f"no last revision to roll back to: DaemonSet {key} has only one")
        return rows[-2]
    for row in rows:
        if row.number == to_revision:
            return row
    known = ", ".join(str(row.number) for row in rows)
    raise NotFound(
        f"unable to find the specified revision {to_revision} of DaemonSet {key}; there are {known}"
    )


def _bring_back(draft: Draft, record: ObjectRecord, target: RevisionRecord) -> None:
    template = json.loads(target.template_json)
    document = document_of(record)
    document["spec"]["template"] = template
    # Which version this is depends on the template: a unit of systemd or containers.
    systemd = "systemd" in template["spec"]
    document["apiVersion"] = "fleetd/v1" if systemd else "apps/v1"
    applied = json.loads(record.last_applied_json)
    applied["spec"]["template"] = _without_restart(template)
    # The cause belongs to what comes back; Kubernetes leaves that of what was undone.
    for place in (document, applied):
        annotations = place["metadata"].setdefault("annotations", {})
        annotations.pop(CHANGE_CAUSE, None)
        if target.cause:
            annotations[CHANGE_CAUSE] = target.cause
    draft.put(
        replace(
            record,
            document_json=to_json(document),
            last_applied_json=to_json(applied),
            generation=record.generation + 1,
        )
    )


def _without_restart(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template without the mark of `restart`, which is never part of a file."""
    result: dict[str, Any] = json.loads(to_json(template))
    result.get("metadata", {}).get("annotations", {}).pop(RESTARTED_AT, None)
    return result


def _restore_config_maps(
    draft: Draft,
    daemonset: DaemonSet,
    content: Mapping[str, Mapping[str, str]],
    new_uid: Callable[[], str],
) -> None:
    for ref in references(daemonset):
        part = content.get(f"ConfigMap/{ref.name}")
        if ref.kind != "ConfigMap" or part is None:
            continue
        then = {name: base64.b64decode(text) for name, text in part.items()}
        key = Key(daemonset.key.namespace, ref.name)
        now = data_of(draft, "ConfigMap", key)
        surplus = set(now or ()) - set(then) if whole(daemonset, ref) else set()
        if (
            now is not None
            and not surplus
            and all(now.get(name) == data for name, data in then.items())
        ):
            continue
        record = draft.find("ConfigMap", key) or _empty_config_map(draft, key, new_uid())
        if config_map_of(record).immutable:
            raise Refused(
                f"ConfigMap {key} has changed since and is immutable now; delete it first"
            )
        draft.put(
            replace(
                record,
                document_json=_with_data(record.document_json, then, surplus),
                last_applied_json=_with_data(record.last_applied_json, then, surplus),
            )
        )


def _empty_config_map(draft: Draft, key: Key, uid: str) -> ObjectRecord:
    text = to_json(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": key.name, "namespace": key.namespace},
        }
    )
    return ObjectRecord("ConfigMap", key.namespace, key.name, uid, 1, 0, text, text, draft.now)


def _with_data(text: str, then: Mapping[str, bytes], surplus: set[str]) -> str:
    """A ConfigMap's document with these keys as they were; a key stays text or binary."""
    document = json.loads(text)
    texts, binaries = document.get("data", {}), document.get("binaryData", {})
    for name in surplus:
        texts.pop(name, None)
        binaries.pop(name, None)
    for name, data in then.items():
        try:
            decoded = None if name in binaries else data.decode()
        except UnicodeDecodeError:
            decoded = None
        if decoded is None:
            texts.pop(name, None)
            binaries[name] = base64.b64encode(data).decode()
        else:
            texts[name] = decoded
    filled = {"data": texts, "binaryData": binaries}
    document.update({name: value for name, value in filled.items() if value or name in document})
    return to_json(document)
