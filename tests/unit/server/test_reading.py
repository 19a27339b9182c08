from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.core.records import InstanceRecord
from fleetd.ports import Put
from tests.unit.api.desk import Desk as Documents, config, daemonset
from tests.unit.server.service import EVE, Caller, Desk, as_peer


def filled(desk: Desk) -> Documents:
    made = Documents(store=desk.store)
    made.apply(daemonset("web"), daemonset("log"), config("conf", a="1"))
    copy = InstanceRecord(
        *("default", "web", "a", "a", made.current("web").revision, "", "Running"),
        ready=True,
        available=True,
        restarts=0,
        message="",
        started=1700000000.0,
        seen=1700000000.0,
    )
    desk.store.commit([Put(copy)])
    return made


@pytest.mark.parametrize(
    ("path", "kind", "names"),
    [
        ("/apis/apps/v1/daemonsets", "DaemonSetList", ["log", "web"]),
        ("/apis/apps/v1/namespaces/default/daemonsets", "DaemonSetList", ["log", "web"]),
        ("/apis/apps/v1/namespaces/other/daemonsets", "DaemonSetList", []),
        ("/api/v1/nodes", "NodeList", ["a", "b"]),
        ("/api/v1/pods", "PodList", ["web-a"]),
        ("/api/v1/namespaces/default/pods", "PodList", ["web-a"]),
        ("/api/v1/namespaces/default/configmaps", "ConfigMapList", ["conf"]),
        ("/api/v1/namespaces/default/secrets", "SecretList", []),
        ("/api/v1/events", "EventList", []),
    ],
)
async def test_list(desk: Desk, bob: Caller, path: str, kind: str, names: list[str]) -> None:
    filled(desk)
    answer = await bob.get(path)
    assert (answer.status, answer.json["kind"]) == (200, kind)
    assert [item["metadata"]["name"] for item in answer.json["items"]] == names


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis/apps/v1/namespaces/default/daemonsets/web", "DaemonSet"),
        ("/apis/apps/v1/namespaces/default/daemonsets/web/status", "DaemonSet"),
        ("/api/v1/nodes/a", "Node"),
        ("/api/v1/namespaces/default/pods/web-a", "Pod"),
        ("/api/v1/namespaces/default/configmaps/conf", "ConfigMap"),
    ],
)
async def test_get(desk: Desk, bob: Caller, path: str, kind: str) -> None:
    filled(desk)
    answer = await bob.get(path)
    assert (answer.status, answer.json["kind"]) == (200, kind)


async def test_what_is_not_there_is_a_status(desk: Desk, bob: Caller) -> None:
    answer = await bob.get("/apis/apps/v1/namespaces/default/daemonsets/web")
    assert answer.status == 404
    assert answer.json["kind"] == "Status"
    assert answer.json["reason"] == "NotFound"


async def test_a_path_that_is_not_there_is_a_status(bob: Caller) -> None:
    answer = await bob.get("/apis/batch/v1/jobs")
    assert (answer.status, answer.json["reason"]) == (404, "NotFound")


@pytest.mark.parametrize("peer", [EVE, None], ids=["no right", "unknown peer"])
async def test_who_has_no_right_sees_nothing(desk: Desk, tmp_path: Path, peer: None) -> None:
    async with as_peer(desk, peer, tmp_path / "s") as caller:
        for path in ("/api/v1/nodes", "/api/v1", "/apis/apps/v1/namespaces/default/daemonsets/x"):
            answer = await caller.get(path)
            assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
        assert (await caller.get("/livez")).status == 200
