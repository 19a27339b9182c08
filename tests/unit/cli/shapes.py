"""Objects in Kubernetes' shapes, as the client gives them."""

from __future__ import annotations

from typing import Any

from fleetd.client import Shape

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def daemonset(name: str = "ne", namespace: str = "default", **status: int) -> Shape:
    counts = {
        "desiredNumberScheduled": 3,
        "currentNumberScheduled": 3,
        "numberReady": 2,
        "updatedNumberScheduled": 3,
        "numberAvailable": 2,
        **status,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": "2027-01-15T07:56:58Z",
        },
        "spec": {
            "selector": {
                "matchLabels": {"app": name},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"},
                ],
            },
            "template": {
                "spec": {
                    "nodeSelector": {"role": "web", "disk": "ssd"},
                    "containers": [
                        {"name": "main", "image": "quay.io/ne:v1"},
                        {"name": "side", "image": "quay.io/side:v2"},
                    ],
                }
            },
        },
        "status": counts,
    }


def pod(name: str = "ne-web-01", **more: Any) -> Shape:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "creationTimestamp": "2027-01-15T04:00:00Z",
            "labels": {"controller-revision-hash": "7d9f"},
        },
        "spec": {"nodeName": "web-01", "containers": [{"name": "main"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.11",
            "containerStatuses": [{"name": "main", "ready": True, "restartCount": 4}],
            **more,
        },
    }


def node(name: str = "web-01", ready: str = "True", **spec: Any) -> Shape:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "creationTimestamp": "2027-01-13T08:00:00Z",
            "labels": {"node-role.kubernetes.io/edge": "", "role": "web"},
            "annotations": {"fleetd/hold": "true"} if spec.pop("held", False) else {},
        },
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
            "nodeInfo": {
                "kubeletVersion": "systemd 252",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "kernelVersion": "6.1.0",
                "containerRuntimeVersion": "podman://4.3.1",
            },
        },
    }


def event(message: str = "Started ne on web-01") -> Shape:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "ne.1", "namespace": "default"},
        "involvedObject": {"kind": "DaemonSet", "name": "ne"},
        "type": "Normal",
        "reason": "SuccessfulCreate",
        "message": message,
        "source": {"host": "web-01"},
        "count": 2,
        "firstTimestamp": "2027-01-15T07:00:00Z",
        "lastTimestamp": "2027-01-15T07:59:55Z",
    }


def revision() -> Shape:
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": "ne-7d9f",
            "namespace": "default",
            "creationTimestamp": "2027-01-15T06:00:00Z",
            "ownerReferences": [{"kind": "DaemonSet", "name": "ne"}],
        },
        "revision": 3,
    }


def secret() -> Shape:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "token",
            "namespace": "default",
            "annotations": {LAST_APPLIED: '{"data":{"key":"aHVudGVyMg=="}}'},
        },
        "type": "Opaque",
        "data": {"key": "aHVudGVyMg=="},
    }


def config_map() -> Shape:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "default"},
        "data": {"a": "1", "b": "2"},
        "binaryData": {"c": "AA=="},
    }
