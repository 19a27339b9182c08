"""Admission: documents become objects of the state, all of them or none.

Every document is merged three ways with the live object (see `merge`); the result is held to the
same rules as a document, its selector may not change (K 141), and what it references has to be
there once all documents are in. Only then one transaction writes the objects and the revisions that
follow. A generation rises only when a spec changes (K 139); a file applied twice writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError

from fleetd.api.content import missing
from fleetd.api.delete import remove, users_of
from fleetd.api.draft import Draft, Place, document_of, to_json
from fleetd.api.history import revise
from fleetd.api.merge import merge
from fleetd.core.daemonset import ConfigMap, DaemonSet, Object, Secret
from fleetd.core.meta import Key
from fleetd.core.paths import join
from fleetd.core.records import ObjectRecord, RemovalRecord
from fleetd.core.validation import SET, validate
from fleetd.documents.load import Loaded
from fleetd.errors import InvalidInput, Problem, Refused
from fleetd.ports import Drop, Store

PRUNE = "--prune"
"""The source of problems that no file has."""

Outcome = Literal["created", "configured", "unchanged", "pruned"]


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """What became of one object: as it was, and as it is (None where there is none)."""

    kind: str
    key: Key
    outcome: Outcome
    old: ObjectRecord | None
    new: ObjectRecord | None


def apply_objects(
    store: Store,
    documents: Sequence[Loaded],
    *,
    new_uid: Callable[[], str],
    now: float,
    who: str,
    prune: bool = False,
) -> tuple[AppliedChange, ...]:
    """Take documents in as one transaction; over a `Rehearsal` nothing is written for real.

    With `prune`, every document names its set in the annotation `fleetd/set`, and objects of these
    sets that are in no document are deleted: DaemonSets with their copies.

    Raises:
        InvalidInput: every problem, at the file, line and field; nothing is written.
    """
    draft = Draft(store, now=now, who=who)
    problems: list[Problem] = []
    changes = [_admit(draft, loaded, new_uid, problems) for loaded in documents]
    if prune:
        changes += _prune(draft, documents, problems)
    if not problems:
        problems += _references(draft, documents)
    if problems:
        files = [loaded.source for loaded in documents] + [PRUNE]
        raise InvalidInput(sorted(problems, key=lambda at: (files.index(at.source), at.line)))
    revise(draft)
    draft.commit("apply")
    return tuple(
        replace(change, new=next(iter(_stored(store, change)), None)) for change in changes
    )


def replace_object(
    store: Store, place: Place, loaded: Loaded, version: str, *, now: float, who: str
) -> AppliedChange:
    """Put an edited document in the place of a live object, held to all the rules of apply.

    What was applied last stays what it was, as with `kubectl edit`: the next apply of a file keeps
    what was edited in fields that the file does not name. `version` is the resourceVersion that
    the editor started from.

    Raises:
        InvalidInput: every problem; nothing is written.
        NotFound: the object has gone.
        Refused: somebody else changed it meanwhile.
    """
    kind, key = place
    draft = Draft(store, now=now, who=who)
    old = draft.get(kind, key)
    if str(old.resource_version) != version:
        raise Refused(f"{kind} {key} has been changed by somebody else meanwhile; edit it anew")
    problems: list[Problem] = []
    if (loaded.object.kind, loaded.object.key) != (kind, key):
        problems.append(loaded.problem("metadata.name", f"an edit of {kind} {key} stays that"))
    thing = _checked(loaded, loaded.raw, problems)
    if thing is None or problems:
        raise InvalidInput(problems)
    live = type(loaded.object).model_validate(document_of(old))
    problems += _immutable(loaded, live, thing)
    was, now_ = _effective(live), _effective(thing)
    draft.put(
        replace(
            old,
            document_json=to_json(loaded.raw),
            generation=old.generation + (was.get("spec") != now_.get("spec")),
        )
    )
    problems += _references(draft, [loaded])
    if problems:
        raise InvalidInput(problems)
    if was == now_:
        return AppliedChange(kind, key, "unchanged", old, old)
    revise(draft)
    draft.commit("edit")
    change = AppliedChange(kind, key, "configured", old, None)
    return replace(change, new=next(iter(_stored(store, change)), None))


def _admit(
    draft: Draft, loaded: Loaded, new_uid: Callable[[], str], problems: list[Problem]
) -> AppliedChange:
    kind, key = loaded.object.kind, loaded.object.key
    old = draft.find(kind, key)
    document = _merged(old, loaded.raw) if old else dict(loaded.raw)
    thing = _checked(loaded, document, problems)
    if thing is None:
        return AppliedChange(kind, key, "unchanged", old, old)
    applied = to_json(loaded.raw)
    if old is None:
        draft.put(
            ObjectRecord(
                kind,
                key.namespace,
                key.name,
                new_uid(),
                1,
                0,
                to_json(document),
                applied,
                draft.now,
            )
        )
        # Copies that are left from before may stay: they are taken over, not removed.
        draft.changes.append(Drop(RemovalRecord, namespace=key.namespace, name=key.name))
        return AppliedChange(kind, key, "created", None, None)
    live = type(loaded.object).model_validate(document_of(old))
    problems += _immutable(loaded, live, thing)
    was, now = _effective(live), _effective(thing)
    if was == now and _same(old.last_applied_json, applied):
        return AppliedChange(kind, key, "unchanged", old, old)
    changed = was.get("spec") != now.get("spec")
    draft.put(
        replace(
            old,
            document_json=to_json(document),
            last_applied_json=applied,
            generation=old.generation + changed,
        )
    )
    return AppliedChange(kind, key, "unchanged" if was == now else "configured", old, old)


def _merged(old: ObjectRecord, new: Mapping[str, Any]) -> dict[str, Any]:
    merged = merge(json.loads(old.last_applied_json), document_of(old), new)
    assert isinstance(merged, dict)
    return merged


def _checked(loaded: Loaded, document: Mapping[str, Any], problems: list[Problem]) -> Object | None:
    """The object of a merged document; the loader has checked the document, but not the merge."""
    try:
        thing = type(loaded.object).model_validate(document)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            path = join("", (part for part in one["loc"] if not str(part).startswith("<")))
            problems.append(loaded.problem(path, f"{one['msg']}, once merged with what is live"))
        return None
    wrong = [finding for finding in validate(thing) if not finding.note]
    problems += [
        loaded.problem(
            finding.path, f"{finding.message}, once merged with what is live", finding.hint
        )
        for finding in wrong
    ]
    return None if wrong else thing


def _immutable(loaded: Loaded, live: Object, thing: Object) -> Iterator[Problem]:
    name = f"{thing.kind} {thing.key}"
    if isinstance(live, DaemonSet) and isinstance(thing, DaemonSet):
        if live.spec.selector != thing.spec.selector:
            yield loaded.problem(
                "spec.selector",
                f"the selector of {name} cannot be changed",
                "give it another name, or delete it with --cascade=orphan and apply again",
            )
    elif isinstance(live, ConfigMap | Secret) and live.immutable:
        was, now = _effective(live), _effective(thing)
        for field in ("data", "binaryData", "immutable"):
            if was.get(field) != now.get(field):
                yield loaded.problem(
                    field, f"{name} is immutable", "give it another name and refer to that"
                )


def _references(draft: Draft, documents: Sequence[Loaded]) -> Iterator[Problem]:
    """What is referenced and would not be there, told where the user can mend it."""
    by_place: dict[Place, Loaded] = {
        (loaded.object.kind, loaded.object.key): loaded for loaded in documents
    }
    for daemonset in draft.affected():
        own = by_place.get(("DaemonSet", daemonset.key))
        for ref, text in missing(draft, daemonset):
            culprit = by_place.get((ref.kind, Key(daemonset.key.namespace, ref.name)))
            if own:
                hint = f"apply the {ref.kind} too, or mark the reference optional"
                yield own.problem(ref.path, text, hint)
            elif culprit:
                yield culprit.problem(
                    "data", f"DaemonSet {daemonset.key} needs the key {ref.key}", f"see {ref.path}"
                )


def _prune(
    draft: Draft, documents: Sequence[Loaded], problems: list[Problem]
) -> list[AppliedChange]:
    sets = set()
    for loaded in documents:
        name = loaded.object.metadata.annotations.get(SET)
        if name:
            sets.add(name)
        else:
            problems.append(
                loaded.problem(
                    "metadata.annotations",
                    f"--prune needs the annotation {SET} on every object",
                    f"add `{SET}: NAME`, the same name on all objects that belong together",
                )
            )
    if problems:
        return []
    kept = {(loaded.object.kind, loaded.object.key) for loaded in documents}
    gone = [
        (place, record)
        for place, record in draft.records()
        if place not in kept and _set_of(record) in sets
    ]
    for (kind, key), _ in gone:
        remove(draft, kind, key, "background")
    for (kind, key), _ in gone:
        if users := users_of(draft, kind, key):
            problems.append(
                Problem(PRUNE, 0, "", f"{kind} {key} is still in use by {', '.join(users)}")
            )
    return [AppliedChange(kind, key, "pruned", old, None) for (kind, key), old in gone]


def _set_of(record: ObjectRecord) -> str | None:
    """The set that an object was applied in: by what was applied, not by what was added since."""
    metadata = json.loads(record.last_applied_json).get("metadata", {})
    name = metadata.get("annotations", {}).get(SET)
    return name if isinstance(name, str) else None


def _effective(thing: Object) -> dict[str, Any]:
    """What an object says, whether by default or in so many words."""
    return thing.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _same(left: str, right: str) -> bool:
    return bool(json.loads(left) == json.loads(right))


def _stored(store: Store, change: AppliedChange) -> tuple[ObjectRecord, ...]:
    return store.read(
        ObjectRecord, kind=change.kind, namespace=change.key.namespace, name=change.key.name
    )
