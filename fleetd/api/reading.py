"""What the state knows, in Kubernetes' shapes: get, describe, history, why. Reads only."""

from __future__ import annotations

import json

from fleetd.api.history import history
from fleetd.api.reports import Query, Report, Revision, Shape
from fleetd.api.session import Session
from fleetd.core.meta import Key
from fleetd.core.records import ObjectRecord, RolloutRecord, RolloutState, StatusRecord
from fleetd.errors import NotFound
from fleetd.ports import Store


def daemonset(store: Store, key: Key) -> ObjectRecord:
    """A DaemonSet of the state. Raises NotFound."""
    rows = store.read(ObjectRecord, kind="DaemonSet", namespace=key.namespace, name=key.name)
    if not rows:
        raise NotFound(f"daemonset {key.name} is not known in namespace {key.namespace}")
    return rows[0]


def revisions(store: Store, key: Key) -> tuple[Revision, ...]:
    """The known revisions of a DaemonSet, oldest first."""
    daemonset(store, key)
    rows = history(store, key)
    return tuple(
        Revision(row.number, row.revision, row.cause, row is rows[-1], json.loads(row.template_json))
        for row in rows
    )


def standing(store: Store, key: Key) -> Report:
    """Where a rollout stands, by the state alone."""
    record = daemonset(store, key)
    rollouts = store.read(RolloutRecord, namespace=key.namespace, name=key.name)
    statuses = store.read(StatusRecord, namespace=key.namespace, name=key.name)
    holders = json.loads(statuses[0].status_json)["holders"] if statuses else {}
    seen = record.observed_generation == record.generation
    done = seen and bool(rollouts) and rollouts[0].state is RolloutState.COMPLETE
    problems = () if seen else ("this generation has not been acted upon yet",)
    if rollouts and rollouts[0].state is RolloutState.FAILED:
        problems = (*problems, rollouts[0].reason)
    return Report(
        holders={str(key): holders} if holders else {},
        problems=problems,
        converged=done and not holders,
    )


def get(session: Session, kind: str, query: Query) -> list[Shape]:
    """Objects of a kind."""
    return []


def describe(session: Session, kind: str, query: Query) -> str:
    """The text of `describe`."""
    return ""


async def why(session: Session, node: str, wanted: Key | None) -> tuple[str, ...]:
    """What each DaemonSet does on the node, and why, by a look at the fleet as it is now."""
    return ()
