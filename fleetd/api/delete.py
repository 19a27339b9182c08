"""Taking objects away: by name, by the documents they came from, or because a set lost them.

A deleted DaemonSet leaves a removal record: its copies may be removed wherever they turn up, be it
on a host that is off today. An orphaned one leaves its copies and its revisions, so that the same
documents applied again take the copies over as they run (K 142-144). One deleted in the foreground
stays, marked, until no host has a copy of it or was last seen with one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from fleetd.api.draft import Draft, Place, daemonset_of
from fleetd.api.history import forget_revisions
from fleetd.api.reading import history
from fleetd.core.actions import Decision, Skipped
from fleetd.core.meta import Key
from fleetd.core.records import (
    PauseRecord,
    RemovalRecord,
    RolloutRecord,
    SlotRecord,
    StatusRecord,
)
from fleetd.core.references import references
from fleetd.errors import NotFound
from fleetd.ports import Drop, Put, Store

Cascade = Literal["background", "foreground", "orphan"]


def delete(
    store: Store, places: Sequence[Place], *, cascade: Cascade, now: float, who: str
) -> tuple[Place, ...]:
    """Delete objects as one transaction; those that were there.

    What is gone already is left out of the result, so that a delete may be repeated.

    Raises:
        NotFound: none of them is there.
    """
    draft = Draft(store, now=now, who=who)
    present = [place for place in dict.fromkeys(places) if draft.find(*place)]
    if not present:
        names = ", ".join(f"{kind} {key}" for kind, key in places)
        raise NotFound(f"not known, so there is nothing to delete: {names}")
    for kind, key in present:
        remove(draft, kind, key, cascade)
    draft.commit("delete", f"cascade={cascade}")
    return tuple(present)


def still_used(store: Store, places: Sequence[Place]) -> tuple[str, ...]:
    """A sentence for each deleted ConfigMap or Secret that a DaemonSet goes on to refer to.

    As in Kubernetes that is allowed: copies keep what they have, and may be repaired with it; the
    next change of the DaemonSet is refused until it is there again.
    """
    draft = Draft(store, now=0.0, who="")
    return tuple(
        f"{kind} {key} is still referred to by {', '.join(users)}: "
        "copies keep what they have, and the next change of it needs it again"
        for kind, key in places
        if (users := users_of(draft, kind, key))
    )


def remove(draft: Draft, kind: str, key: Key, cascade: Cascade) -> None:
    """Take one object out of the draft, with what the state holds for it."""
    record = draft.get(kind, key)
    if kind == "DaemonSet" and cascade == "foreground":
        draft.mark_deleting(record)
        return
    draft.drop(kind, key)
    if kind != "DaemonSet":
        return
    for drop in (StatusRecord, RolloutRecord, SlotRecord, PauseRecord):
        draft.changes.append(Drop(drop, namespace=key.namespace, name=key.name))
    if cascade == "background":
        draft.changes.append(Put(RemovalRecord(key.namespace, key.name, record.uid, draft.now)))
        revisions = frozenset(row.revision for row in history(draft.store, key))
        forget_revisions(draft, {key: revisions})


def finish(
    store: Store,
    decisions: Iterable[Decision],
    scope: Collection[Key] | None,
    *,
    now: float,
    who: str,
) -> tuple[Key, ...]:
    """Take away what was being deleted in the foreground and has no copies any more.

    `decisions` are those of the last pass, over the DaemonSets of `scope` (None: all): a copy that
    is there, or was last seen on a host that does not answer, has one. A removal record stays, for
    copies that nobody knew of.
    """
    draft = Draft(store, now=now, who=who)
    marked = [
        (kind, key)
        for (kind, key), record in draft.records()
        if record.deleting and (scope is None or key in scope)
    ]
    if not marked:
        return ()
    busy = {entry.ds for entry in decisions if not isinstance(entry, Skipped)}
    done = [(kind, key) for kind, key in marked if key not in busy]
    for kind, key in done:
        remove(draft, kind, key, "background")
    draft.commit("delete", "its last copy has gone")
    return tuple(key for _, key in done)


def users_of(draft: Draft, kind: str, key: Key) -> tuple[str, ...]:
    """The DaemonSets of the draft that reference a ConfigMap or Secret, each with the field."""
    found: dict[str, str] = {}
    for (other, at), record in draft.records():
        if other == "DaemonSet" and at.namespace == key.namespace and not record.deleting:
            for ref in references(daemonset_of(record)):
                if (ref.kind, ref.name) == (kind, key.name):
                    found.setdefault(f"DaemonSet {at}", ref.path)
    return tuple(f"{name} ({path})" for name, path in found.items())
