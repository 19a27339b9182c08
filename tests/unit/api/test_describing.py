"""`describe` in kubectl's layout (K 181), on a fleet in virtual time."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fleetd.api.describing import describe
from fleetd.api.describing_template import template
from fleetd.api.reports import Query
from fleetd.errors import InvalidInput, NotFound
from fleetd.testing import loop
from fleetd.testing.fleet import Fault
from tests.sim.harness import Sim, agent

POD: dict[str, Any] = {
    "nodeSelector": {},
    "hostNetwork": True,
    "priorityClassName": "system-node-critical",
    "tolerations": [
        {"operator": "Exists"},
        {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 300},
    ],
    "initContainers": [{"name": "first", "image": "example/init:v1"}],
    "containers": [
        {
            "name": "main",
            "image": "example/agent:v1",
            "args": ["--is=v1"],
            "ports": [{"containerPort": 9100, "hostPort": 9100}],
            "resources": {"limits": {"memory": "64Mi"}},
            "livenessProbe": {"httpGet": {"path": "/ok", "port": 9100}},
            "env": [
                {"name": "A", "value": "b"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "volumeMounts": [{"name": "root", "mountPath": "/host", "readOnly": True}],
        }
    ],
    "volumes": [{"name": "root", "hostPath": {"path": "/", "type": "Directory"}}],
}


TOLD = """
  Labels:           app=agent
  Init Containers:
   first:
    Image:       example/init:v1
    Environment: <none>
    Mounts:      <none>
  Containers:
   main:
    Image:       example/agent:v1
    Port:        9100/TCP
    Host Port:   9100/TCP
    Args:
      --is=v1
    Limits:
      memory:  64Mi
    Liveness:    http-get http://:9100/ok delay=0s timeout=1s period=10s #success=1 #failure=3
    Environment:
      A:     b
      NODE:  (v1:spec.nodeName)
    Mounts:
      /host from root (ro)
  Volumes:
   root:
    Type:         HostPath (bare host directory volume)
    Path:         /
    HostPathType: Directory
  Priority Class Name:  system-node-critical
  Node-Selectors:       <none>
  Tolerations:          op=Exists
                        a=b:NoExecute for 300s
"""


def told(kind: str, name: str, *, silent: bool = False) -> str:
    found: list[str] = []

    async def story() -> None:
        sim = Sim.of(3)
        sim.put(agent("v1"))
        await sim.converge()
        if silent:
            sim.fleet.fault("h02", Fault(unreachable=True))
            await sim.converge()
        inventory = sim.session().inventory
        found.append(describe(sim.store, lambda: inventory, kind, Query("default", name)))

    loop.run(story(), seed=1)
    return found[0]


def fields(text: str) -> list[str]:
    """The names that stand at the left margin, in order."""
    return [m[1] for line in text.splitlines() if (m := re.match(r"(\S[^:]*):", line))]


@pytest.mark.parametrize("rule", ["K181"])
def test_a_daemonset_has_kubectls_fields_in_its_order(rule: str) -> None:
    text = told("daemonsets", "agent")
    assert fields(text) == [
        "Name",
        "Namespace",
        "Selector",
        "Node-Selector",
        "Labels",
        "Annotations",
        "Desired Number of Nodes Scheduled",
        "Current Number of Nodes Scheduled",
        "Number of Nodes Scheduled with Up-to-date Pods",
        "Number of Nodes Scheduled with Available Pods",
        "Number of Nodes Misscheduled",
        "Pods Status",
        "Conditions",
        "Pod Template",
        "Events",
    ]
    assert "Selector:       app=agent\n" in text
    assert "Desired Number of Nodes Scheduled: 3\n" in text
    assert "Pods Status:  3 Running / 0 Waiting / 0 Succeeded / 0 Failed\n" in text


@pytest.mark.parametrize("kind", ["Progressing", "Available", "Degraded"])
def test_conditions_have_a_reason(kind: str) -> None:
    (line,) = [one for one in told("daemonsets", "agent").splitlines() if f"  {kind} " in one]
    assert len(line.split()) >= 3


def test_the_hosts_that_hold_it_are_named_with_the_reason() -> None:
    text = told("daemonsets", "agent", silent=True)
    assert "Nodes not as wanted:\n  Node  Why\n  ----  ---\n  h02 " in text
    (degraded,) = [line for line in text.splitlines() if line.startswith("  Degraded")]
    assert "h02" in degraded


@pytest.mark.parametrize("rule", ["K181"])
def test_a_template_is_told_as_kubectl_does(rule: str) -> None:
    lines = template({"metadata": {"labels": {"app": "agent"}}, "spec": POD})
    assert "\n".join(lines) == TOLD.strip("\n")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"emptyDir": {"medium": "Memory"}}, ["Medium:       Memory", "SizeLimit:    <unset>"]),
        ({"configMap": {"name": "c"}}, ["Name:         c", "Optional:     false"]),
        ({"secret": {"secretName": "s", "optional": True}}, ["SecretName:   s"]),
        ({"projected": {"sources": [{"secret": {"name": "s"}}]}}, ["sources:"]),
    ],
    ids=["emptyDir", "configMap", "secret", "projected"],
)
def test_volumes_of_every_kind(source: dict[str, Any], expected: list[str]) -> None:
    lines = template({"spec": {"containers": [], "volumes": [{"name": "v", **source}]}})
    assert {f"    {line}" for line in expected} <= set(lines)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            "A:  <set to the key 'k' of secret 's'>  Optional: false",
        ),
        (
            {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            "A:  (:limits.cpu)",
        ),
        ({"name": "A", "value": "one\ntwo"}, "A:  one"),
    ],
    ids=["secret", "resource", "lines"],
)
def test_environment_never_shows_a_secret(entry: dict[str, Any], expected: str) -> None:
    lines = template({"spec": {"containers": [{"name": "c", "image": "i", "env": [entry]}]}})
    assert f"      {expected}" in lines


def test_a_systemd_workload_is_told_as_it_is_written() -> None:
    lines = template({"spec": {"systemd": {"unit": "[Service]\nExecStart=/bin/x\n"}}})
    assert lines[1:5] == [
        "  Systemd:",
        "    unit: |",
        "      [Service]",
        "      ExecStart=/bin/x",
    ]


def test_a_node() -> None:
    text = told("nodes", "h01")
    assert fields(text) == [
        *("Name", "Roles", "Labels", "Annotations", "CreationTimestamp", "Taints"),
        *("Unschedulable", "Conditions", "Addresses", "System Info", "Pods", "Events"),
    ]
    assert "Pods:               (1 in total)\n" in text
    assert re.search(r"^  default +agent-h01 +Running +0 ", text, re.MULTILINE)
    assert "  Ready  True    HostAnswers" in text


def test_a_pod() -> None:
    text = told("pods", "agent-h01")
    assert fields(text) == [
        *("Name", "Namespace", "Node", "Start Time", "Labels", "Annotations", "Status"),
        *("Controlled By", "Containers", "Volumes", "Conditions"),
        *("Node-Selectors", "Tolerations", "Events"),
    ]
    assert "Controlled By:  DaemonSet/agent\n" in text
    assert "    State:          Running\n" in text
    assert "    Restart Count:  0\n" in text
    assert re.search(r"^  Ready +True", text, re.MULTILINE)


def test_a_pod_on_a_silent_host_is_unknown() -> None:
    text = told("pods", "agent-h02", silent=True)
    assert "Status:         Unknown\n" in text
    assert "Reason:         NodeUnreachable\n" in text
    assert re.search(r"^  Ready +Unknown +NodeUnreachable", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("kind", "name", "error", "message"),
    [
        ("daemonsets", "gone", NotFound, 'daemonsets.apps "gone" not found'),
        ("events", "", InvalidInput, "events cannot be described"),
    ],
)
def test_what_cannot_be_told(kind: str, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        told(kind, name)


def test_without_a_name_all_are_told() -> None:
    assert told("pods", "").count("Controlled By:") == 3
