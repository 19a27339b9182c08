"""What people say to a rollout by hand: pause, go on, and replace the copy on this node.

Each is one row that the next pass reads, so that it holds whatever becomes of that pass; none of
them touches a host.
"""

from __future__ import annotations

from fleetd.api.reading import daemonset
from fleetd.core.key import Key, pod_name
from fleetd.core.records import (
    AuditRecord,
    InstanceRecord,
    NodeRecord,
    PauseRecord,
    RolloutRecord,
    RolloutState,
    SlotKind,
    SlotRecord,
)
from fleetd.errors import NotFound, Refused
from fleetd.ports import Put, Store


def is_paused(store: Store, key: Key) -> bool:
    """Whether somebody paused the rollouts of this DaemonSet."""
    rows = store.read(PauseRecord, namespace=key.namespace, name=key.name)
    return any(row.paused for row in rows)


def pause(store: Store, key: Key, *, now: float, who: str) -> bool:
    """Let updates wait until `resume`; False when they do already. Raises NotFound, Refused.

    Repairs and missing copies go on. A copy that is being replaced is brought to its end.
    """
    _live(store, key)
    if is_paused(store, key):
        return False
    _say(store, key, paused=True, now=now, who=who)
    return True


def resume(store: Store, key: Key, *, now: float, who: str) -> bool:
    """Let updates go on, and try a failed rollout again; False when there is nothing to resume.

    Raises NotFound, Refused.
    """
    _live(store, key)
    rollouts = store.read(RolloutRecord, namespace=key.namespace, name=key.name)
    failed = any(row.state is RolloutState.FAILED for row in rollouts)
    if not failed and not is_paused(store, key):
        return False
    _say(store, key, paused=False, now=now, who=who)
    return True


def delete_pod(store: Store, key: Key, node: str, *, now: float, who: str) -> str:
    """Ask for the copy on a node to go; a new one comes where one is wanted (K 75).

    The new one is of the revision that a node without a copy gets: under OnDelete the current one.
    A person asked, so the budget does not hold it back, but the node counts as down until it is
    done. Returns the name of the pod.

    Raises:
        NotFound: there is no such DaemonSet, or no copy of it on that node.
        Refused: the node is on hold.
    """
    daemonset(store, key)
    copies = store.read(InstanceRecord, namespace=key.namespace, name=key.name, node=node)
    if not copies:
        raise NotFound(f"pod {pod_name(key, node)} is not known in namespace {key.namespace}")
    if any(row.held for row in store.read(NodeRecord, name=node)):
        raise Refused(f"node {node} is on hold: nothing is removed there until `fleetd unhold`")
    slot = SlotRecord(*key, node, revision="", kind=SlotKind.DELETE, taken=now)
    audit = AuditRecord(now, who, "delete", f"Pod {key}-{node}", "", node=node)
    store.commit([Put(slot), Put(audit)])
    return pod_name(key, node, copies[0].slot)


def _live(store: Store, key: Key) -> None:
    if daemonset(store, key).deleting:
        raise Refused(f"DaemonSet {key} is being deleted")


def _say(store: Store, key: Key, *, paused: bool, now: float, who: str) -> None:
    audit = AuditRecord(now, who, "pause" if paused else "resume", f"DaemonSet {key}", "")
    store.commit([Put(PauseRecord(*key, paused, now)), Put(audit)])
