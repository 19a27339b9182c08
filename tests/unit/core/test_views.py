from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from fleetd.core.daemonset import DaemonSetSpec, UpdateStrategy
from fleetd.core.facts import HOST_KEY_CHANGED, HostFacts, Slot
from fleetd.core.key import Key, pod_name, pod_uid
from fleetd.core.members import Member, MemberState, to_plain
from fleetd.core.records import (
    EventRecord,
    InstanceRecord,
    NodeRecord,
    ObjectRecord,
    RevisionRecord,
    StatusRecord,
)
from fleetd.core.status import Condition, Status
from fleetd.core.views import (
    Pod,
    daemonset_view,
    event_view,
    node_view,
    object_view,
    pod_view,
    revision_view,
    timestamp,
)
from tests.unit.core.worlds import AGENT, daemonset, node

DOCUMENT = daemonset().model_dump_json(by_alias=True, exclude_defaults=True)
OWNER = ObjectRecord("DaemonSet", *AGENT, "uid-1", 3, 42, DOCUMENT, "{}", 1000.0, 2)
REVISION = RevisionRecord(
    *AGENT,
    "r2",
    7,
    json.dumps(json.loads(DOCUMENT)["spec"]["template"]),
    "{}",
    2000.0,
    cause="upgrade",
)
COPY = InstanceRecord(*AGENT, "n0", "a", "r2", "b", "Running", True, True, 1, "", 500.0, 600.0)
HOST = NodeRecord(
    "n0",
    machine_id="m1",
    seen=900.0,
    runtime="docker",
    facts_json=json.dumps(
        asdict(HostFacts("n0.example", "linux", "amd64", "6.1", "Debian 12", 252, "4.3", "24.0"))
    ),
)


def pod(**more: Any) -> dict[str, Any]:
    host = replace(HOST, unreachable=more.pop("unreachable", ""))
    return pod_view(Pod(replace(COPY, **more), OWNER, REVISION, host, "uid-2"))


def test_a_spec_is_shown_with_the_defaults_it_has() -> None:
    """The view writes them out, so that reading needs no models; these are the models' own."""
    shown = daemonset_view(OWNER, None)["spec"]
    history = DaemonSetSpec.model_fields["revision_history_limit"].default
    assert shown["revisionHistoryLimit"] == history
    rolling = UpdateStrategy().rolling_update
    assert shown["updateStrategy"] == {
        "type": UpdateStrategy().type,
        "rollingUpdate": {
            "maxUnavailable": rolling.max_unavailable,
            "maxSurge": rolling.max_surge,
        },
    }


def test_daemonset() -> None:
    status = Status(5, 4, 3, 2, 1, 4, 6, 7, (Condition("Progressing", "True", "RollingUpdate"),))
    view = daemonset_view(OWNER, StatusRecord(*AGENT, json.dumps(asdict(status)), 0.0))
    assert view["status"] == {
        "desiredNumberScheduled": 5,
        "currentNumberScheduled": 4,
        "numberReady": 3,
        "updatedNumberScheduled": 2,
        "numberAvailable": 1,
        "numberUnavailable": 4,
        "numberMisscheduled": 6,
        "numberUnknown": 7,
        "observedGeneration": 2,
        "conditions": [
            {"type": "Progressing", "status": "True", "reason": "RollingUpdate", "message": ""}
        ],
    }
    assert view["metadata"]["resourceVersion"] == "42"
    assert view["metadata"]["creationTimestamp"] == "1970-01-01T00:16:40Z"
    assert view["spec"]["template"]["spec"]["containers"][0]["image"] == "agent:1"


def test_daemonset_that_no_pass_has_seen() -> None:
    status = daemonset_view(OWNER, None)["status"]
    assert (status["desiredNumberScheduled"], status["conditions"]) == (0, [])


def test_pod() -> None:
    view = pod()
    assert view["metadata"]["name"] == "agent-n0"
    assert view["metadata"]["labels"] == {"app": "agent", "controller-revision-hash": "r2"}
    assert view["metadata"]["ownerReferences"][0]["name"] == "agent"
    assert view["spec"]["nodeName"] == "n0"
    assert view["spec"]["containers"][0]["name"] == "main"
    (container,) = view["status"]["containerStatuses"]
    assert (container["ready"], container["restartCount"]) == (True, 1)
    assert container["state"] == {"running": {"startedAt": timestamp(500.0)}}


@pytest.mark.parametrize(
    ("more", "phase", "ready", "reason"),
    [
        pytest.param({}, "Running", "True", None, id="running"),
        pytest.param(
            {"phase": "Starting", "ready": False, "restarts": 0},
            "Pending",
            "False",
            "ContainerCreating",
            id="starting",
        ),
        pytest.param(
            {"phase": "Starting", "ready": False},
            "Running",
            "False",
            "CrashLoopBackOff",
            id="crash-loop",
        ),
        pytest.param({"phase": "Failed", "ready": False}, "Failed", "False", "Error", id="failed"),
        pytest.param(
            {"phase": "Stopped", "ready": False}, "Failed", "False", "Stopped", id="stopped"
        ),
        pytest.param(
            {"unreachable": "timed out"}, "Unknown", "Unknown", None, id="unreachable-K138"
        ),
    ],
)
def test_pod_states(more: dict[str, Any], phase: str, ready: str, reason: str | None) -> None:
    status = pod(**more)["status"]
    (container,) = status["containerStatuses"]
    state = next(iter(container["state"].values()))
    assert status["phase"] == phase
    (found,) = [each["status"] for each in status["conditions"] if each["type"] == "Ready"]
    assert found == ready
    assert container["ready"] is (ready == "True")
    assert state.get("reason") == reason


def test_containers_are_told_one_by_one() -> None:
    members = (
        Member("first", MemberState.DONE, ready=True),
        Member("helper", MemberState.RUNNING, ready=True),
        Member("main", MemberState.RUNNING, ready=True),
        Member("side", MemberState.WAITING, restarts=4, status=7),
        Member("old", MemberState.FAILED, status=9),
    )
    template = json.dumps(
        {
            "spec": {
                "initContainers": [{"name": "first"}, {"name": "helper"}],
                "containers": [{"name": name} for name in ("main", "side", "old", "new")],
            }
        }
    )
    copy = replace(COPY, phase="Starting", ready=False, members_json=json.dumps(to_plain(members)))
    status = pod_view(Pod(copy, OWNER, replace(REVISION, template_json=template), None))["status"]
    told = {
        each["name"]: (each["ready"], each["restartCount"], *_reason(each["state"]))
        for each in (*status["initContainerStatuses"], *status["containerStatuses"])
    }
    assert told == {
        "first": (True, 0, "terminated", "Completed"),
        "helper": (True, 0, "running", ""),
        "main": (True, 0, "running", ""),
        "side": (False, 4, "waiting", "CrashLoopBackOff"),
        "old": (False, 0, "terminated", "Error"),
        "new": (False, COPY.restarts, "waiting", "CrashLoopBackOff"),
    }


def _reason(state: dict[str, Any]) -> tuple[str, str]:
    ((kind, about),) = state.items()
    return kind, about.get("reason", "")


def test_no_container_is_ready_on_a_silent_host_k138() -> None:
    members = json.dumps(to_plain((Member("main", MemberState.RUNNING, ready=True),)))
    view = pod(unreachable="timed out", members_json=members)
    (container,) = view["status"]["containerStatuses"]
    assert container["ready"] is False


def test_pod_of_a_forgotten_revision() -> None:
    view = pod_view(Pod(COPY, OWNER, None, None))
    assert view["spec"] == {"nodeName": "n0"}
    assert len(view["status"]["containerStatuses"]) == 1


def test_node() -> None:
    one = node("n0", "a=b:NoSchedule", "c:NoExecute", labels={"role": "web"}, uid="m1")
    view = node_view(one, HOST)
    assert view["spec"] == {
        "taints": [
            {"key": "a", "effect": "NoSchedule", "value": "b"},
            {"key": "c", "effect": "NoExecute"},
        ]
    }
    assert view["status"]["conditions"][0]["status"] == "True"
    assert view["status"]["addresses"][0] == {"type": "InternalIP", "address": "192.0.2.1"}
    assert "creationTimestamp" not in view["metadata"]
    joined = node_view(one, replace(HOST, joined=60.0))
    assert joined["metadata"]["creationTimestamp"] == "1970-01-01T00:01:00Z"
    info = view["status"]["nodeInfo"]
    assert info["kubeletVersion"] == "systemd 252"
    assert (info["osImage"], info["containerRuntimeVersion"]) == ("Debian 12", "docker://24.0")


@pytest.mark.parametrize(
    ("record", "status", "reason"),
    [
        pytest.param(None, "Unknown", "NeverVisited", id="no-record"),
        pytest.param(NodeRecord("n0"), "Unknown", "NeverVisited", id="never"),
        pytest.param(HOST, "True", "HostAnswers", id="answers"),
        pytest.param(
            replace(HOST, unreachable="timed out"), "Unknown", "NodeUnreachable", id="silent"
        ),
        pytest.param(
            replace(HOST, unreachable=f"{HOST_KEY_CHANGED} in x"),
            "Unknown",
            "HostKeyChanged",
            id="another-host-key",
        ),
    ],
)
def test_node_readiness(record: NodeRecord | None, status: str, reason: str) -> None:
    (ready,) = node_view(node("n0"), record)["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", status, reason)


def test_node_cordoned_and_held() -> None:
    view = node_view(node("n0", cordoned=True, held=True), None)
    assert view["spec"]["unschedulable"] is True
    assert view["metadata"]["annotations"] == {"fleetd/hold": "true"}


def test_event() -> None:
    record = EventRecord(*_event(), count=3, first=10.0, last=20.0)
    view = event_view(record)
    assert (view["type"], view["count"], view["source"]["host"]) == ("Warning", 3, "n0")
    assert view["involvedObject"] == {"kind": "DaemonSet", "namespace": "default", "name": "agent"}
    assert view == event_view(record)
    assert view["metadata"]["name"] != event_view(replace(record, node="n1"))["metadata"]["name"]


def _event() -> tuple[str, str, str, str, str, bool, str]:
    return ("default", "DaemonSet", "agent", "n0", "FailedStart", True, "no such image")


def test_revision_k111() -> None:
    view = revision_view(REVISION, OWNER)
    assert (view["metadata"]["name"], view["revision"]) == ("agent-r2", 7)
    assert view["metadata"]["annotations"] == {"kubernetes.io/change-cause": "upgrade"}
    assert view["data"]["spec"]["template"]["$patch"] == "replace"


def test_secret_is_hidden_unless_asked_for() -> None:
    document = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "c2VjcmV0"}}
    record = replace(OWNER, kind="Secret", document_json=json.dumps(document))
    assert object_view(record)["data"] == {"key": ""}
    assert object_view(record)["type"] == "Opaque"
    assert object_view(record, reveal=True)["data"] == {"key": "c2VjcmV0"}


def test_views_are_json() -> None:
    views = [pod(), node_view(node("n0"), HOST), daemonset_view(OWNER, None)]
    assert json.loads(json.dumps(views)) == views


def test_two_copies_side_by_side_have_names_and_uids_of_their_own() -> None:
    key = Key("default", "agent")
    assert [pod_name(key, "web-1", slot) for slot in Slot] == ["agent-web-1", "agent-web-1-b"]
    assert len({pod_uid("f1", key, "web-1", slot) for slot in Slot}) == len(Slot)
    assert pod_uid("f1", key, "web-1", "a") == pod_uid("f1", key, "web-1")
