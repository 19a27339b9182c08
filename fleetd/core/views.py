"""Kubernetes' shapes of what the state knows: what `get -o json` prints and tables are made from.

Records in, plain dicts out, ready for JSON. A field is there only if fleetd knows its value. A copy
on a host that does not answer is never shown as ready (K 138).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleetd.core.facts import HostFacts
from fleetd.core.key import Key, pod_name
from fleetd.core.members import Member, MemberState, from_plain
from fleetd.core.node import UNSCHEDULABLE, Node
from fleetd.core.records import (
    IDENTITY,
    AuditRecord,
    EventRecord,
    InstanceRecord,
    NodeRecord,
    ObjectRecord,
    Phase,
    RevisionRecord,
    StatusRecord,
)

View = dict[str, Any]

REVISION_LABEL = "controller-revision-hash"
HOLD = "fleetd/hold"
CHANGE_CAUSE = "kubernetes.io/change-cause"

_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")

_COUNTS = {
    "desiredNumberScheduled": "desired",
    "currentNumberScheduled": "current",
    "numberReady": "ready",
    "updatedNumberScheduled": "updated",
    "numberAvailable": "available",
    "numberUnavailable": "unavailable",
    "numberMisscheduled": "misscheduled",
    "numberUnknown": "unknown",
}


@dataclass(frozen=True, slots=True)
class Pod:
    """What the view of one copy is made from: the copy as last seen, and what it belongs to.

    `revision` is None when that revision is not in the state any more.
    """

    instance: InstanceRecord
    owner: ObjectRecord
    revision: RevisionRecord | None
    node: NodeRecord | None
    uid: str = ""


def timestamp(seconds: float) -> str:
    """UTC seconds since the epoch as Kubernetes writes them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def object_view(record: ObjectRecord, *, reveal: bool = False) -> View:
    """A stored document and what the state adds to its metadata; `reveal` shows Secret values."""
    view: View = json.loads(record.document_json)
    view.setdefault("metadata", {}).update(
        namespace=record.namespace,
        uid=record.uid,
        generation=record.generation,
        resourceVersion=str(record.resource_version),
        creationTimestamp=timestamp(record.created),
    )
    if record.deleting:
        view["metadata"]["deletionTimestamp"] = timestamp(record.deleting)
    if record.kind == "Secret":
        view.setdefault("type", "Opaque")
    if record.kind == "Secret" and not reveal:
        view["data"] = dict.fromkeys(view.get("data", {}), "")
    return view


def daemonset_view(record: ObjectRecord, status: StatusRecord | None) -> View:
    """A DaemonSet with the status of the last pass over it; without one nothing is counted yet."""
    view = object_view(record)
    view["spec"] = _defaulted(view.get("spec", {}))
    found: View = json.loads(status.status_json) if status else {}
    view["status"] = {name: found.get(field, 0) for name, field in _COUNTS.items()}
    view["status"]["observedGeneration"] = record.observed_generation
    view["status"]["conditions"] = list(found.get("conditions", ()))
    return view


def _defaulted(spec: View) -> View:
    """A spec with what it means where it says nothing (K 145), as Kubernetes shows it.

    Clients look at how it is updated before they do anything.
    """
    strategy: View = {"type": "RollingUpdate", **spec.get("updateStrategy", {})}
    if strategy["type"] == "RollingUpdate":
        knobs = {"maxUnavailable": 1, "maxSurge": 0, **strategy.get("rollingUpdate", {})}
        strategy["rollingUpdate"] = knobs
    return {"revisionHistoryLimit": 10, **spec, "updateStrategy": strategy}


def pod_view(pod: Pod) -> View:
    """One copy as a Pod, under its `pod_name`."""
    instance = pod.instance
    silent = pod.node.unreachable if pod.node else ""
    template: View = json.loads(pod.revision.template_json) if pod.revision else {}
    spec: View = {**template.get("spec", {}), "nodeName": instance.node}
    meta: View = template.get("metadata", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(Key(instance.namespace, instance.name), instance.node, instance.slot),
            "namespace": instance.namespace,
            "uid": pod.uid,
            "labels": {**meta.get("labels", {}), REVISION_LABEL: instance.revision},
            "annotations": dict(meta.get("annotations", {})),
            "creationTimestamp": timestamp(instance.created or instance.started or instance.seen),
            "ownerReferences": [_owner(pod.owner)],
        },
        "spec": spec,
        "status": {
            "phase": "Unknown" if silent else _phase(instance),
            "reason": "NodeUnreachable" if silent else "",
            "message": silent or instance.message,
            "conditions": _conditions(instance, silent),
            **_addresses(pod.node, spec),
            **_containers(instance, spec, silent),
        }
        | ({"startTime": timestamp(instance.started)} if instance.started else {}),
    }


def _conditions(instance: InstanceRecord, silent: str) -> list[View]:
    """Kubernetes' conditions of a pod, and Available: ready for as long as was asked (K 78)."""
    began = Phase(instance.phase) is Phase.RUNNING
    held = (
        ("PodScheduled", True),
        ("Initialized", began),
        ("ContainersReady", instance.ready),
        ("Ready", instance.ready),
        ("Available", instance.available),
    )
    return [
        _condition(
            kind,
            holds=holds,
            silent=silent if kind != "PodScheduled" else "",
            message=instance.message,
        )
        for kind, holds in held
    ]


def _addresses(node: NodeRecord | None, spec: View) -> View:
    """The address that fleetd reaches the host at; it is the pod's too in the host's network."""
    address = json.loads(node.ssh_json).get("address", "") if node and node.ssh_json else ""
    if not _ADDRESS.fullmatch(address):
        return {}
    host = {"hostIP": address, "hostIPs": [{"ip": address}]}
    shared = spec.get("hostNetwork") or "systemd" in spec
    return host | ({"podIP": address, "podIPs": [{"ip": address}]} if shared else {})


def _containers(instance: InstanceRecord, spec: View, silent: str) -> View:
    """The states of containers as last seen; none is ready on a host that does not answer."""
    members = from_plain(json.loads(instance.members_json))
    regular = spec.get("containers", [{"name": "main"}])
    initial = spec.get("initContainers", [])
    states = {
        "containerStatuses": [
            _container(each, members.get(each.get("name", "")), instance, silent)
            for each in regular
        ]
    }
    if initial:
        states["initContainerStatuses"] = [
            _container(each, members.get(each.get("name", "")), instance, silent)
            for each in initial
        ]
    return states


def _container(spec: View, member: Member | None, instance: InstanceRecord, silent: str) -> View:
    """One container; where it was not seen by itself, the copy stands for it."""
    if member is None:
        up = Phase(instance.phase) is Phase.RUNNING
        ready, restarts, state = instance.ready, instance.restarts, _container_state(instance)
    else:
        up = member.state is MemberState.RUNNING
        ready, restarts, state = member.ready, member.restarts, _member_state(member, instance)
    return {
        "name": spec.get("name", "main"),
        "image": spec.get("image", ""),
        "imageID": "",  # nobody asks for it at each look, and Kubernetes promises a text
        "ready": ready and not silent,
        "started": up,
        "restartCount": restarts,
        "state": state,
    }


def _member_state(member: Member, instance: InstanceRecord) -> View:
    match member.state:
        case MemberState.RUNNING:
            began = {"startedAt": timestamp(instance.started)} if instance.started else {}
            return {"running": began}
        case MemberState.DONE:
            return {"terminated": {"reason": "Completed", "exitCode": 0}}
        case MemberState.FAILED:
            said = {"message": instance.message, "exitCode": member.status}
            return {"terminated": {"reason": "Error", **said}}
        case MemberState.WAITING:
            if Phase(instance.phase) is not Phase.STARTING:
                return {"terminated": {"reason": "Stopped", "message": instance.message}}
            begun = "CrashLoopBackOff" if member.restarts else "ContainerCreating"
            return {"waiting": {"reason": begun, "message": instance.message}}


def node_view(node: Node, record: NodeRecord | None) -> View:
    """A host as a Node: Ready is True when it answered last, Unknown when it did not."""
    facts = HostFacts(**json.loads(record.facts_json)) if record and record.facts_json else None
    labels = dict(sorted(node.labels.items()))
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels, "annotations": _annotations(node, record)}
        | ({"uid": node.uid} if node.uid else {})
        | ({"creationTimestamp": timestamp(record.joined)} if record and record.joined else {}),
        "spec": _node_spec(node),
        "status": {
            "conditions": [_node_ready(record)],
            "addresses": [
                {"type": "InternalIP", "address": node.ssh.address},
                {"type": "Hostname", "address": facts.hostname if facts else node.name},
            ],
        }
        | ({"nodeInfo": _node_info(facts, record)} if facts and record else {}),
    }


def event_view(record: EventRecord) -> View:
    """One event, with its count."""
    identity = json.dumps([record.kind, record.node, record.reason, record.message])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{record.name}.{digest}",
            "namespace": record.namespace,
            "creationTimestamp": timestamp(record.first),
        },
        "involvedObject": {
            "kind": record.kind,
            "namespace": record.namespace,
            "name": record.name,
        },
        "type": "Warning" if record.warning else "Normal",
        "reason": record.reason,
        "message": record.message,
        "count": record.count,
        "firstTimestamp": timestamp(record.first),
        "lastTimestamp": timestamp(record.last),
        "source": {"component": "fleetd"} | ({"host": record.node} if record.node else {}),
    }


def audit_view(record: AuditRecord) -> View:
    """One entry of the audit. Its time has microseconds: it is what entries are ordered by."""
    identity = json.dumps([getattr(record, column) for column in IDENTITY[AuditRecord]])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="microseconds")
    return {
        "apiVersion": "fleetd/v1",
        "kind": "AuditEntry",
        "metadata": {
            "name": f"{record.verb}.{digest}",
            "creationTimestamp": timestamp(record.at),
        },
        "time": at.replace("+00:00", "Z"),
        "who": record.who,
        "verb": record.verb,
        "subject": record.subject,
        "outcome": record.outcome,
        **({"node": record.node} if record.node else {}),
        **({"revision": record.revision} if record.revision else {}),
        **({"detail": record.detail} if record.detail else {}),
    }


def revision_view(record: RevisionRecord, owner: ObjectRecord) -> View:
    """A revision as a ControllerRevision: the template, as a patch that replaces it (K 111)."""
    template: View = {**json.loads(record.template_json), "$patch": "replace"}
    labels = template.get("metadata", {}).get("labels", {})  # K 114
    annotations = {CHANGE_CAUSE: record.cause} if record.cause else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{record.name}-{record.revision}",
            "namespace": record.namespace,
            "labels": {**labels, REVISION_LABEL: record.revision},
            "annotations": annotations,
            "creationTimestamp": timestamp(record.created),
            "ownerReferences": [_owner(owner)],
        },
        "revision": record.number,
        "data": {"spec": {"template": template}},
    }


def _owner(record: ObjectRecord) -> View:
    version = json.loads(record.document_json).get("apiVersion", "apps/v1")
    return {
        "apiVersion": version,
        "kind": record.kind,
        "name": record.name,
        "uid": record.uid,
        "controller": True,
    }


def _condition(kind: str, *, holds: bool, silent: str, message: str) -> View:
    if silent:
        return {"type": kind, "status": "Unknown", "reason": "NodeUnreachable", "message": silent}
    text = {} if holds else {"message": message}
    return {"type": kind, "status": "True" if holds else "False", **text}


def _phase(instance: InstanceRecord) -> str:
    match Phase(instance.phase):
        case Phase.RUNNING:
            return "Running"
        case Phase.STARTING:
            return "Running" if instance.restarts else "Pending"
        case Phase.STOPPED | Phase.FAILED:
            return "Failed"


def _container_state(instance: InstanceRecord) -> View:
    match Phase(instance.phase):
        case Phase.RUNNING:
            return {"running": {"startedAt": timestamp(instance.started)}}
        case Phase.STARTING:
            reason = "CrashLoopBackOff" if instance.restarts else "ContainerCreating"
            return {"waiting": {"reason": reason, "message": instance.message}}
        case Phase.STOPPED:
            return {"terminated": {"reason": "Stopped", "message": instance.message}}
        case Phase.FAILED:
            return {"terminated": {"reason": "Error", "message": instance.message}}


def _annotations(node: Node, record: NodeRecord | None) -> dict[str, str]:
    said: dict[str, str] = json.loads(record.annotations_json) if record else {}
    left = {"fleetd/left": "true"} if node.left else {}
    return said | ({HOLD: "true"} if node.held else {}) | left


def _node_spec(node: Node) -> View:
    spec: View = {
        "taints": [
            {"key": taint.key, "effect": taint.effect}
            | ({"value": taint.value} if taint.value else {})
            for taint in node.taints
        ]
    }
    if node.cordoned or UNSCHEDULABLE in node.taints:
        spec["unschedulable"] = True
    return spec


def _node_ready(record: NodeRecord | None) -> View:
    if record is None or not (record.seen or record.unreachable):
        return {
            "type": "Ready",
            "status": "Unknown",
            "reason": "NeverVisited",
            "message": "fleetd has not visited this host yet",
        }
    seen = {"lastHeartbeatTime": timestamp(record.seen)} if record.seen else {}
    if record.unreachable:
        return {
            "type": "Ready",
            "status": "Unknown",
            "reason": "HostKeyChanged" if record.quarantined else "NodeUnreachable",
            "message": record.unreachable,
            **seen,
        }
    return {"type": "Ready", "status": "True", "reason": "HostAnswers", "message": "", **seen}


def _node_info(facts: HostFacts, record: NodeRecord) -> View:
    """What a machine is, with a text for every field, as Kubernetes has it."""
    engines = (("podman", facts.podman), ("docker", facts.docker))
    versions = [f"{name}://{version}" for name, version in engines if version]
    preferred = [text for text in versions if text.startswith(record.runtime)] or versions
    return {
        "kubeletVersion": f"systemd {facts.systemd}",
        "kubeProxyVersion": "",
        "systemUUID": "",
        "machineID": record.machine_id,
        "bootID": record.boot_id,
        "kernelVersion": facts.kernel,
        "osImage": facts.distribution,
        "containerRuntimeVersion": preferred[0] if preferred else f"systemd://{facts.systemd}",
        "operatingSystem": facts.os,
        "architecture": facts.arch,
    }
