"""The API as Kubernetes' own client sees it: what it sends is taken, what it gets it can read.

The client's models refuse an object that lacks what Kubernetes promises, so reading is a check.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes.aio import client, watch
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTClientObject

from fleetd.core.key import Key
from fleetd.core.records import EventRecord, InstanceRecord, NodeRecord, Phase
from fleetd.ports import Put
from tests.unit.server.service import Caller, Desk

NS = "default"
FACTS = (
    '{"hostname": "a", "os": "linux", "arch": "amd64", "kernel": "6.1", "distribution": "Debian 12"'
    ', "systemd": 252, "podman": "4.3.1"}'
)


class OverSocket(RESTClientObject):
    """The client's connections, to a Unix socket."""

    def __init__(self, configuration: client.Configuration, path: Path) -> None:
        super().__init__(configuration)
        self.path = path

    def _create_pool_manager(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.path)))


@pytest.fixture
async def api(ann: Caller) -> AsyncIterator[client.ApiClient]:
    configuration = client.Configuration(host="http://fleetd")
    async with client.ApiClient(configuration) as made:
        await made.rest_client.close()
        made.rest_client = OverSocket(configuration, ann.path)
        yield made


def daemonset(name: str = "web", image: str = "x:1") -> client.V1DaemonSet:
    labels = {"app": name}
    containers = [client.V1Container(name="main", image=image)]
    return client.V1DaemonSet(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DaemonSetSpec(
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=containers),
            ),
        ),
    )


def plain(found: Any) -> Any:
    """What the client holds, as JSON."""
    return json.loads(found.to_json())


def images(found: Any) -> list[str]:
    containers = plain(found)["spec"]["template"]["spec"]["containers"]
    return [container["image"] for container in containers]


async def test_a_daemonset_from_its_making_to_its_end(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    made = await apps.create_namespaced_daemon_set(NS, daemonset())
    assert plain(made)["metadata"]["generation"] == 1
    with pytest.raises(ApiException) as again:
        await apps.create_namespaced_daemon_set(NS, daemonset())
    assert again.value.status == 409

    read: Any = await apps.read_namespaced_daemon_set("web", NS)
    told = plain(read)
    assert told["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1
    assert told["spec"]["revisionHistoryLimit"] == 10
    assert told["status"]["desiredNumberScheduled"] == 0
    read.spec.template.spec.containers[0].image = "x:2"
    written = await apps.replace_namespaced_daemon_set("web", NS, read)
    assert (plain(written)["metadata"]["generation"], images(written)) == (2, ["x:2"])
    with pytest.raises(ApiException) as stale:
        await apps.replace_namespaced_daemon_set("web", NS, read)
    assert stale.value.status == 409

    revisions = await apps.list_namespaced_controller_revision(NS)
    assert sorted(plain(item)["revision"] for item in revisions.items) == [1, 2]
    await apps.delete_namespaced_daemon_set("web", NS)
    assert (await apps.list_daemon_set_for_all_namespaces()).items == []


async def test_what_is_read_and_written_back_as_it_was_changes_nothing(
    api: client.ApiClient,
) -> None:
    apps = client.AppsV1Api(api)
    await apps.create_namespaced_daemon_set(NS, daemonset())
    read = await apps.read_namespaced_daemon_set("web", NS)
    await apps.replace_namespaced_daemon_set("web", NS, read)
    assert len((await apps.list_namespaced_controller_revision(NS)).items) == 1


CONTAINER = {"name": "main", "image": "x:2"}
PATCHES: dict[str, tuple[str, Any]] = {
    "merge": (
        "application/merge-patch+json",
        {"spec": {"template": {"spec": {"containers": [CONTAINER]}}}},
    ),
    "strategic": (
        "application/strategic-merge-patch+json",
        {"spec": {"template": {"spec": {"containers": [CONTAINER]}}}},
    ),
    "json": (
        "application/json-patch+json",
        [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "x:2"}],
    ),
}


@pytest.mark.parametrize(("kind", "patch"), PATCHES.values(), ids=PATCHES)
async def test_patches(api: client.ApiClient, kind: str, patch: Any) -> None:
    apps = client.AppsV1Api(api)
    await apps.create_namespaced_daemon_set(NS, daemonset())
    done = await apps.patch_namespaced_daemon_set("web", NS, patch, _content_type=kind)
    assert images(done) == ["x:2"]


async def test_server_side_apply(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    for image in ("x:1", "x:2"):
        body = plain(daemonset(image=image))
        done = await apps.patch_namespaced_daemon_set(
            "web",
            NS,
            body,
            field_manager="me",
            force=True,
            _content_type="application/apply-patch+yaml",
        )
        assert images(done) == [image]


async def test_a_dry_run(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    shown = await apps.create_namespaced_daemon_set(NS, daemonset(), dry_run="All")
    assert plain(shown)["spec"]["updateStrategy"]["type"] == "RollingUpdate"
    assert (await apps.list_namespaced_daemon_set(NS)).items == []


async def test_configmaps_and_secrets(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    meta = client.V1ObjectMeta(name="conf", labels={"team": "a"})
    await core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=meta, data={"k": "v"}))
    secret = client.V1Secret(metadata=meta, string_data={"k": "v"})
    await core.create_namespaced_secret(NS, secret)
    assert (await core.read_namespaced_secret("conf", NS)).data == {"k": "dg=="}
    found = await core.list_namespaced_config_map(NS, label_selector="team in (a, b)")
    assert [item.data for item in found.items] == [{"k": "v"}]
    await core.delete_namespaced_config_map("conf", NS)
    assert (await core.list_config_map_for_all_namespaces()).items == []


async def test_nodes_pods_and_events(desk: Desk, api: client.ApiClient) -> None:
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    await apps.create_namespaced_daemon_set(NS, daemonset())
    (revision,) = (await apps.list_namespaced_controller_revision(NS)).items
    number = plain(revision)["metadata"]["name"].removeprefix("web-")
    node = NodeRecord("a", machine_id="m" * 32, boot_id="b", seen=5.0, facts_json=FACTS)
    copy = InstanceRecord(
        *(NS, "web", "a", "a", number, "bundle", Phase.RUNNING),
        ready=True,
        available=True,
        restarts=0,
        message="",
        started=5.0,
        seen=6.0,
    )
    event = EventRecord.once(Key(NS, "web"), "a", "Started", "it runs", 5.0, warning=False)
    desk.store.commit([Put(node), Put(copy), Put(event)])

    nodes = {each["metadata"]["name"]: each for each in map(plain, (await core.list_node()).items)}
    assert nodes["a"]["status"]["nodeInfo"]["machineID"] == "m" * 32
    assert "nodeInfo" not in nodes["b"]["status"]
    (pod,) = (await core.list_pod_for_all_namespaces(field_selector="spec.nodeName=a")).items
    assert plain(pod)["spec"]["nodeName"] == "a"
    assert plain(pod)["metadata"]["ownerReferences"][0]["name"] == "web"
    (told,) = map(plain, (await core.list_namespaced_event(NS)).items)
    assert (told["reason"], told["count"], told["involvedObject"]["name"]) == ("Started", 1, "web")


async def test_marks_of_nodes(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    await core.patch_node("a", {"spec": {"unschedulable": True}})
    taints = [{"key": "team", "effect": "NoSchedule"}]
    patch = [{"op": "add", "path": "/spec/taints", "value": taints}]
    await core.patch_node("a", patch, _content_type="application/json-patch+json")
    spec = plain(await core.read_node("a"))["spec"]
    assert spec["unschedulable"]
    assert "team" in [taint["key"] for taint in spec["taints"]]


async def test_a_watch(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    begun = plain(await apps.list_daemon_set_for_all_namespaces())
    version = begun["metadata"]["resourceVersion"]
    seen: list[tuple[str, list[str]]] = []
    made: Any = watch.Watch  # it has no types
    async with made() as watching, asyncio.timeout(10):
        await apps.create_namespaced_daemon_set(NS, daemonset())
        patch = PATCHES["merge"][1]
        await apps.patch_namespaced_daemon_set(
            "web", NS, patch, _content_type="application/merge-patch+json"
        )
        await apps.delete_namespaced_daemon_set("web", NS)
        events = watching.stream(
            apps.list_daemon_set_for_all_namespaces, resource_version=version, timeout_seconds=5
        )
        async for event in events:
            seen.append((event["type"], images(event["object"])))
            if event["type"] == "DELETED":
                break
    assert seen == [("ADDED", ["x:1"]), ("MODIFIED", ["x:2"]), ("DELETED", ["x:2"])]


async def test_discovery_and_version(api: client.ApiClient) -> None:
    (group,) = plain(await client.ApisApi(api).get_api_versions())["groups"]
    assert group["preferredVersion"]["groupVersion"] == "apps/v1"
    core = await client.CoreV1Api(api).get_api_resources()
    assert {"Node", "Pod"} < {resource.kind for resource in core.resources}
    assert (await client.VersionApi(api).get_code()).git_version.startswith("v")


async def test_errors_are_told_as_a_status(api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    with pytest.raises(ApiException) as missing:
        await apps.read_namespaced_daemon_set("web", NS)
    assert missing.value.status == 404
    with pytest.raises(ApiException) as wrong:
        await apps.create_namespaced_daemon_set(NS, daemonset("W_b"))
    assert (wrong.value.status, "metadata.name" in str(wrong.value.body)) == (422, True)
