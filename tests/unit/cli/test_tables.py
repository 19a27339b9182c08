from __future__ import annotations

import re
from textwrap import dedent

import pytest

from fleetd.cli.kinds import kind_of
from fleetd.cli.tables import Look, table
from fleetd.client import Shape
from tests.unit.cli.shapes import (
    NOW,
    config_map,
    daemonset,
    event,
    node,
    pod,
    revision,
    secret,
)


def drawn(kind: str, *objects: Shape, wide: bool = False, namespaces: bool = False) -> str:
    look = Look(wide=wide, namespaces=namespaces)
    return "\n" + table(kind_of(kind), objects, NOW, look) + "\n"


def golden(text: str) -> str:
    return dedent(text)


def cells(drawing: str) -> list[str]:
    return [re.sub(r" {3,}", "|", row) for row in drawing.strip().splitlines()]


def test_daemonsets() -> None:
    assert golden("""
        NAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR       AGE
        ne     3         3         2       3            2           disk=ssd,role=web   3m2s
        """) == drawn("ds", daemonset())


def test_daemonsets_of_all_namespaces_wide() -> None:
    drawing = drawn("ds", daemonset(namespace="monitoring"), wide=True, namespaces=True)
    heading = (
        "NAMESPACE|NAME|DESIRED|CURRENT|READY|UP-TO-DATE|AVAILABLE"
        "|NODE SELECTOR|AGE|CONTAINERS|IMAGES|SELECTOR"
    )
    row = (
        "monitoring|ne|3|3|2|3|2|disk=ssd,role=web|3m2s"
        "|main,side|quay.io/ne:v1,quay.io/side:v2|app=ne,tier in (a,b),!old"
    )
    assert cells(drawing) == [heading, row]


def test_a_daemonset_without_status_or_selector_has_zeros() -> None:
    bare: Shape = {"metadata": {"name": "new"}}
    assert golden("""
        NAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE
        new    0         0         0       0            0           <none>          <unknown>
        """) == drawn("ds", bare)


def test_pods() -> None:
    assert golden("""
        NAME        READY   STATUS    RESTARTS   AGE
        ne-web-01   1/1     Running   4          4h
        """) == drawn("pods", pod())


def test_pods_wide() -> None:
    assert golden("""
        NAME        READY   STATUS    RESTARTS   AGE   IP          NODE     REVISION
        ne-web-01   1/1     Running   4          4h    10.0.0.11   web-01   7d9f
        """) == drawn("po", pod(), wide=True)


DONE = {"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}
BUSY = {"state": {"running": {}}, "ready": False}
SIDECAR = {"state": {"running": {}}, "ready": True}
LOOPING = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
CREATING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


def starting(*states: Shape) -> Shape:
    return pod(phase="Pending", initContainerStatuses=[*states], containerStatuses=[CREATING])


@pytest.mark.parametrize(
    ("item", "status"),
    [
        pytest.param(starting(DONE, BUSY), "Init:1/2", id="second-init"),
        pytest.param(starting(CREATING, CREATING), "Init:0/2", id="no-init-yet"),
        pytest.param(starting(DONE, LOOPING), "Init:CrashLoopBackOff", id="init-fails"),
        pytest.param(starting(SIDECAR, DONE), "ContainerCreating", id="inits-done"),
        pytest.param(
            pod(containerStatuses=[{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            "CrashLoopBackOff",
            id="waiting",
        ),
        pytest.param(
            pod(containerStatuses=[{"state": {"terminated": {"reason": "Error"}}}]),
            "Error",
            id="terminated",
        ),
        pytest.param(pod(containerStatuses=[], reason="NodeLost"), "NodeLost", id="reason"),
        pytest.param(pod(containerStatuses=[], phase="Pending"), "Pending", id="phase"),
        pytest.param(pod(containerStatuses=[], phase=None), "Unknown", id="nothing-known"),
        pytest.param(
            {"metadata": {"name": "x", "deletionTimestamp": "2027-01-15T07:00:00Z"}},
            "Terminating",
            id="deleted",
        ),
    ],
)
def test_pod_status(item: Shape, status: str) -> None:
    heading, row = drawn("pods", item).strip().splitlines()
    assert row[heading.index("STATUS") :].split()[0] == status


def test_nodes() -> None:
    rows = (node(), node("web-02", "Unknown", unschedulable=True, held=True))
    assert golden("""
        NAME     STATUS                             ROLES   AGE   VERSION
        web-01   Ready                              edge    2d    systemd 252
        web-02   NotReady,SchedulingDisabled,Held   edge    2d    systemd 252
        """) == drawn("no", *rows)


def test_a_node_with_another_host_key_says_so_in_its_status() -> None:
    changed = node("web-03", "Unknown")
    changed["status"]["conditions"][0]["reason"] = "HostKeyChanged"
    assert "NotReady,HostKeyChanged " in drawn("no", changed)


def test_nodes_wide_and_never_with_a_namespace() -> None:
    heading = "NAME|STATUS|ROLES|AGE|VERSION|ADDRESS|OS-IMAGE|KERNEL-VERSION|CONTAINER-RUNTIME"
    row = "web-01|Ready|edge|2d|systemd 252|10.0.0.11|Debian GNU/Linux 12 (bookworm)|6.1.0"
    assert cells(drawn("nodes", node(), wide=True, namespaces=True)) == [
        heading,
        row + "|podman://4.3.1",
    ]


def test_events() -> None:
    assert golden("""
        LAST SEEN   TYPE     REASON             OBJECT         MESSAGE
        5s          Normal   SuccessfulCreate   daemonset/ne   Started ne on web-01
        """) == drawn("ev", event())


def test_revisions() -> None:
    assert golden("""
        NAME      CONTROLLER          REVISION   AGE
        ne-7d9f   daemonset.apps/ne   3          120m
        """) == drawn("revisions", revision())


def test_config_maps_and_secrets_show_counts_only() -> None:
    assert golden("""
        NAME       DATA   AGE
        settings   3      <unknown>
        """) == drawn("cm", config_map())
    assert golden("""
        NAME    TYPE     DATA   AGE
        token   Opaque   1      <unknown>
        """) == drawn("secrets", secret())


def test_what_a_host_wrote_cannot_reach_the_terminal_nor_break_a_row() -> None:
    drawing = drawn("events", event("bad\x1b[2J\nnews\x9b\u202e"))
    assert r"bad\x1b[2J news\x9b\u202e" in drawing
    assert len(drawing.strip().splitlines()) == 2


def test_several_tables_have_names_with_their_kind() -> None:
    drawing = table(kind_of("ds"), [daemonset()], NOW, Look(prefix=True))
    assert "daemonset.apps/ne   3 " in drawing
