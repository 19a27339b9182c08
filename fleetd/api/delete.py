"""Taking objects away: by name, by the documents they came from, or because a set lost them.

A deleted DaemonSet leaves a removal record: its copies may be removed wherever they turn up, be it
on a host that is off today. An orphaned one leaves its copies and its revisions, so that the same
documents applied again take the copies over as they run (K 142-144).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fleetd.api.draft import Draft, Place, daemonset_of
from fleetd.api.history import forget_revisions
from fleetd.api.reading import history
from fleetd.core.meta import Key
from fleetd.core.records import RemovalRecord, RolloutRecord, SlotRecord, StatusRecord
from fleetd.core.references import references
from fleetd.errors import NotFound, Refused
from fleetd.ports import Drop, Put, Store

Cascade = Literal["background", "orphan"]


def delete(
    store: Store, places: Sequence[Place], *, cascade: Cascade, now: float, who: str
) -> tuple[Place, ...]:
    """Delete objects as one transaction; those that were there.

    What is gone already is left out of the result, so that a delete may be repeated.

    Raises:
        NotFound: none of them is there.
        Refused: a ConfigMap or Secret is still referenced; nothing is deleted.
    """
    draft = Draft(store, now=now, who=who)
    present = [place for place in dict.fromkeys(places) if draft.find(*place)]
    if not present:
        names = ", ".join(f"{kind} {key}" for kind, key in places)
        raise NotFound(f"not known, so there is nothing to delete: {names}")
    for kind, key in present:
        remove(draft, kind, key, cascade)
    for kind, key in present:
        if users := users_of(draft, kind, key):
            raise Refused(
                f"{kind} {key} is in use by {', '.join(users)}; delete that first, or with it"
            )
    subject = ", ".join(f"{kind} {key}" for kind, key in present)
    draft.commit("delete", subject, f"cascade={cascade}")
    return tuple(present)


def remove(draft: Draft, kind: str, key: Key, cascade: Cascade) -> None:
    """Take one object out of the draft, with what the state holds for it."""
    record = draft.get(kind, key)
    draft.drop(kind, key)
    if kind != "DaemonSet":
        return
    for drop in (StatusRecord, RolloutRecord, SlotRecord):
        draft.changes.append(Drop(drop, namespace=key.namespace, name=key.name))
    if cascade == "background":
        draft.changes.append(Put(RemovalRecord(key.namespace, key.name, record.uid, draft.now)))
        revisions = frozenset(row.revision for row in history(draft.store, key))
        forget_revisions(draft, {key: revisions})


def users_of(draft: Draft, kind: str, key: Key) -> tuple[str, ...]:
    """The DaemonSets of the draft that reference a ConfigMap or Secret, each with the field."""
    found: dict[str, str] = {}
    for (other, at), record in draft.records():
        if other == "DaemonSet" and at.namespace == key.namespace:
            for ref in references(daemonset_of(record)):
                if (ref.kind, ref.name) == (kind, key.name):
                    found.setdefault(f"DaemonSet {at}", ref.path)
    return tuple(f"{name} ({path})" for name, path in found.items())
