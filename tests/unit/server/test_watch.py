from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.node import Host, Inventory, Ssh
from fleetd.core.records import InstanceRecord, NodeRecord, StatusRecord
from fleetd.errors import InventoryUnknown
from fleetd.ports import Drop, Put
from fleetd.server import hub, shapes
from fleetd.server.http import build
from fleetd.server.watch import Watch
from tests.unit.api.desk import Desk as Documents, config, daemonset
from tests.unit.server.service import BOB, Caller, Desk, seen_as, serving

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"


def copy(made: Documents, node: str = "a", **more: Any) -> InstanceRecord:
    told: dict[str, Any] = {
        "phase": "Running",
        "ready": True,
        "available": True,
        "restarts": 0,
        "message": "",
        "started": 1700000000.0,
        "seen": 1700000000.0,
        **more,
    }
    revision = made.current("web").revision
    return InstanceRecord("default", "web", node, "a", revision=revision, bundle="", **told)


async def take(events: Any, number: int) -> list[tuple[str, Any]]:
    """So many events of a watch."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < number:
            event = await anext(events)
            found.append((event["type"], event["object"]))
    return found


def names(events: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(kind, thing["metadata"]["name"]) for kind, thing in events]


@pytest.fixture
def made(desk: Desk) -> Documents:
    documents = Documents(store=desk.store)
    documents.apply(daemonset("web"), config("one", a="1"))
    return documents


async def version(caller: Caller, path: str) -> str:
    told: str = (await caller.get(path)).json["metadata"]["resourceVersion"]
    return told


async def test_what_comes_changes_and_goes(made: Documents, bob: Caller) -> None:
    since = await version(bob, CONFIGMAPS)
    made.apply(config("two", a="1"))
    async with bob.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}") as events:
        assert names(await take(events, 1)) == [("ADDED", "two")]
        made.apply(config("two", a="2"))
        ((kind, thing),) = await take(events, 1)
        assert (kind, thing["data"]) == ("MODIFIED", {"a": "2"})
        made.delete("ConfigMap/two")
        ((kind, thing),) = await take(events, 1)
        assert (kind, thing["data"]) == ("DELETED", {"a": "2"})


async def test_versions_rise_from_event_to_event_and_are_the_objects_own(
    made: Documents, bob: Caller
) -> None:
    since = await version(bob, CONFIGMAPS)
    made.apply(config("one", a="2"), config("two", a="1"))
    async with bob.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}") as events:
        told = [int(thing["metadata"]["resourceVersion"]) for _, thing in await take(events, 2)]
    assert int(since) < told[0] < told[1]
    answer = await bob.get(f"{CONFIGMAPS}/two")
    assert int(answer.json["metadata"]["resourceVersion"]) == told[1]


async def test_without_a_version_it_begins_with_what_is_there(made: Documents, bob: Caller) -> None:
    async with bob.watch(f"{CONFIGMAPS}?watch=true") as events:
        assert names(await take(events, 1)) == [("ADDED", "one")]
        made.apply(config("two", a="1"))
        assert names(await take(events, 1)) == [("ADDED", "two")]


async def test_initial_events_end_with_a_bookmark(made: Documents, bob: Caller) -> None:
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true"
    async with bob.watch(f"{CONFIGMAPS}?{query}&resourceVersionMatch=NotOlderThan") as events:
        (_, (kind, mark)) = await take(events, 2)
    assert kind == "BOOKMARK"
    assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("labelSelector=team%3Dred", [("ADDED", "one"), ("DELETED", "one")]),
        ("fieldSelector=metadata.name%3Dtwo", [("ADDED", "two"), ("DELETED", "two")]),
        ("labelSelector=!team", [("DELETED", "one"), ("ADDED", "two"), ("ADDED", "one")]),
    ],
    ids=["label", "field", "no label"],
)
async def test_objects_come_and_go_by_what_is_chosen(
    made: Documents, bob: Caller, selector: str, told: list[tuple[str, str]]
) -> None:
    since = await version(bob, CONFIGMAPS)
    labelled = "metadata: {name: one, labels: {team: red}}"
    async with bob.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}&{selector}") as events:
        for document in (
            f"apiVersion: v1\nkind: ConfigMap\n{labelled}",
            config("two", a="1"),
            config("one", a="1"),
        ):
            made.apply(document)
            await bob.get(CONFIGMAPS)  # each change is compared by itself
        made.delete("ConfigMap/two")
        assert names(await take(events, len(told))) == told


async def test_other_namespaces_are_left_out(made: Documents, bob: Caller) -> None:
    since = await version(bob, CONFIGMAPS)
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: other}"
    made.apply(other)
    made.apply(config("two", a="1"))
    async with bob.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}") as events:
        assert names(await take(events, 1)) == [("ADDED", "two")]
    async with bob.watch(f"/api/v1/configmaps?watch=1&resourceVersion={since}") as events:
        assert names(await take(events, 2)) == [("ADDED", "two"), ("ADDED", "x")]


async def test_a_pod_changes_with_its_host_and_goes_with_its_daemonset(
    desk: Desk, made: Documents, bob: Caller
) -> None:
    desk.store.commit([Put(copy(made)), Put(copy(made, "b")), Put(NodeRecord("a"))])
    since = await version(bob, PODS)
    async with bob.watch(f"{PODS}?watch=1&resourceVersion={since}") as events:
        desk.store.commit([Put(NodeRecord("a", seen=5.0))])  # no pod shows when a host was seen
        desk.store.commit([Put(NodeRecord("a", unreachable="no route"))])
        ((kind, pod),) = await take(events, 1)
        assert (kind, pod["metadata"]["name"]) == ("MODIFIED", "web-a")
        assert pod["status"]["phase"] == "Unknown"
        made.delete("DaemonSet/web")
        assert names(await take(events, 2)) == [("DELETED", "web-a"), ("DELETED", "web-b")]


async def test_a_status_is_a_change_of_its_daemonset(
    desk: Desk, made: Documents, bob: Caller
) -> None:
    path = "/apis/apps/v1/daemonsets"
    since = await version(bob, path)
    async with bob.watch(f"{path}?watch=1&resourceVersion={since}") as events:
        desk.store.commit([Put(StatusRecord("default", "web", '{"ready": 3}', 1.0))])
        await bob.get(path)
        desk.store.commit([Put(StatusRecord("default", "web", '{"ready": 3}', 2.0))])
        await bob.get(path)
        desk.store.commit([Put(StatusRecord("default", "web", '{"ready": 4}', 3.0))])
        told = await take(events, 2)
    assert [thing["status"]["numberReady"] for _, thing in told] == [3, 4]


async def test_another_inventory_is_seen_though_it_is_no_commit(
    desk: Desk, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes.Nodes, "look_s", 0.01)
    since = await version(bob, NODES)
    async with bob.watch(f"{NODES}?watch=1&resourceVersion={since}") as events:
        joined = Host("c", Ssh("192.0.2.3"))
        desk.inventory = Inventory((desk.hosts[0], joined), ("hosts.yaml",))
        assert names(await take(events, 2)) == [("DELETED", "b"), ("ADDED", "c")]


async def test_nodes_are_not_told_while_the_inventory_is_not_known(
    desk: Desk, made: Documents, tmp_path: Path
) -> None:
    known = False

    def inventory() -> Inventory:
        if not known:
            raise InventoryUnknown("the program has failed")
        return desk.inventory

    app = build(replace(desk.service(), inventory=inventory))
    async with serving(app, tmp_path / "s", seen_as(BOB)) as bob:
        since = await version(bob, CONFIGMAPS)
        answer = await bob.get(NODES)
        assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
        assert "the program has failed" in answer.json["message"]
        made.apply(config("two", a="1"))
        async with bob.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={since}") as events:
            assert names(await take(events, 1)) == [("ADDED", "two")]
        known = True
        told = (await bob.get(NODES)).json["items"]
        assert [node["metadata"]["name"] for node in told] == ["a", "b"]


async def test_a_record_that_cannot_be_read_silences_no_other_resource(
    desk: Desk, made: Documents, bob: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    desk.store.commit([Put(copy(made))])
    pods, configs = await version(bob, PODS), await version(bob, CONFIGMAPS)
    async with bob.watch(f"{PODS}?watch=1&resourceVersion={pods}") as events:
        garbled = replace(made.record(), document_json="{", resource_version=9)
        desk.store.commit([Put(garbled)])
        made.store.commit([Put(replace(made.record("one", "ConfigMap"), resource_version=9))])
        async with bob.watch(f"{CONFIGMAPS}?watch=1&resourceVersion={configs}") as others:
            assert names(await take(others, 1)) == [("MODIFIED", "one")]
        ((kind, status),) = await take(events, 1)
        assert (kind, status["code"]) == ("ERROR", 410)
    assert "watching what changes failed" in caplog.text
    assert (await bob.get(PODS)).status == 500
    desk.store.commit([Put(replace(garbled, document_json="{}"))])
    assert len((await bob.get(PODS)).json["items"]) == 1


async def test_a_record_that_cannot_be_read_is_no_empty_list(
    desk: Desk, made: Documents, bob: Caller
) -> None:
    desk.store.commit([Put(copy(made))])
    assert len((await bob.get(PODS)).json["items"]) == 1
    desk.store.commit([Put(replace(made.record(), document_json="{", resource_version=9))])
    assert (await bob.get(PODS)).status == 500


async def test_dropping_by_a_part_of_the_identity_takes_all_of_them(
    desk: Desk, made: Documents, bob: Caller
) -> None:
    desk.store.commit([Put(copy(made, node)) for node in "ab"])
    since = await version(bob, PODS)
    desk.store.commit([Drop(InstanceRecord, namespace="default", name="web")])
    async with bob.watch(f"{PODS}?watch=1&resourceVersion={since}") as events:
        assert names(await take(events, 2)) == [("DELETED", "web-a"), ("DELETED", "web-b")]


async def test_what_is_not_kept_any_more_has_expired(
    made: Documents, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "KEPT", 3)
    since = await version(bob, CONFIGMAPS)
    for number in range(5):
        made.apply(config("one", a=str(number + 10)))
        await bob.get(CONFIGMAPS)
    answer = await bob.get(f"{CONFIGMAPS}?watch=1&resourceVersion={since}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")


async def test_a_version_of_an_earlier_run_has_expired(
    desk: Desk, made: Documents, bob: Caller, ann: Caller
) -> None:
    """Two applications over one state: as a service and the one that ran before it."""
    earlier = await version(ann, CONFIGMAPS)
    later = await version(bob, CONFIGMAPS)
    assert int(earlier) < int(later)
    answer = await bob.get(f"{CONFIGMAPS}?watch=1&resourceVersion={earlier}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")


async def test_a_version_that_was_never_given_has_expired(made: Documents, bob: Caller) -> None:
    far = int(await version(bob, CONFIGMAPS)) + 1000
    answer = await bob.get(f"{CONFIGMAPS}?watch=1&resourceVersion={far}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")


async def test_time_is_up_with_a_bookmark(made: Documents, bob: Caller) -> None:
    since = await version(bob, CONFIGMAPS)
    await bob.get("/apis/apps/v1/daemonsets")  # versions are of all resources together
    query = f"watch=1&resourceVersion={since}&timeoutSeconds=1&allowWatchBookmarks=true"
    async with bob.watch(f"{CONFIGMAPS}?{query}") as events:
        told = [event async for event in events]
    assert [event["type"] for event in told] == ["BOOKMARK"]
    mark = told[0]["object"]
    assert mark["kind"] == "ConfigMap"
    assert int(mark["metadata"]["resourceVersion"]) >= int(since)


async def test_secrets_are_masked_for_who_may_only_read(
    made: Documents, ann: Caller, bob: Caller
) -> None:
    path = "/api/v1/namespaces/default/secrets"
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: hush}"
    told = {}
    for name, caller in (("ann", ann), ("bob", bob)):
        since = await version(caller, path)
        async with caller.watch(f"{path}?watch=1&resourceVersion={since}") as events:
            made.apply(secret if name == "ann" else secret.replace("hush", "hush!"))
            ((_, thing),) = await take(events, 1)
            listed = (await caller.get(path)).json["items"][0]
            got = (await caller.get(f"{path}/s")).json
            assert thing["data"] == listed["data"] == got["data"]
            told[name] = thing["data"]
    assert told == {"ann": {"key": "aHVzaA=="}, "bob": {"key": ""}}


async def test_a_view_is_made_once_for_all_who_watch(
    desk: Desk, made: Documents, ann: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of: list[int] = []
    view = shapes.Objects.view

    def counted(self: shapes.Objects, source: Any, *, reveal: bool) -> Any:
        made_of.append(source[0].resource_version)
        return view(self, source, reveal=reveal)

    monkeypatch.setattr(shapes.Objects, "view", counted)
    since = await version(bob, CONFIGMAPS)
    path = f"{CONFIGMAPS}?watch=1&resourceVersion={since}"
    async with bob.watch(path) as one, bob.watch(path) as two, bob.watch(path) as three:
        made.apply(config("two", a="1"))
        for events in (one, two, three):
            assert names(await take(events, 1)) == [("ADDED", "two")]
    assert made_of.count(made.record("two", "ConfigMap").resource_version) == 1


async def test_a_watcher_with_much_to_read_lets_others_have_their_turn(
    desk: Desk, made: Documents
) -> None:
    held = hub.Hub(desk.service())
    configs = held.collections["configmaps"]
    await configs.settle()
    since, turns = held.version, 0
    for number in range(5 * hub.TOLD):
        made.apply(config("one", a=str(number + 10)))
        held.stir()
    watch = Watch(held, configs, hub.Wanted("other"), asyncio.Event(), 0.0)

    async def read() -> None:
        async for _ in watch.after(since):
            raise AssertionError("nothing happened in that namespace")

    reading = asyncio.create_task(read())
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    await reading
    assert turns >= 5


async def test_nothing_is_compared_before_anybody_asks(
    desk: Desk, made: Documents, bob: Caller
) -> None:
    class Counting(shapes.Pods):
        sources = 0

        def source(self, place: shapes.Place) -> Any:
            Counting.sources += 1
            return super().source(place)

    held = hub.Hub(desk.service())
    pods = held.collections["pods"]
    pods.shapes = Counting(pods.shapes.resource, desk.store)
    desk.store.commit([Put(copy(made)), Put(NodeRecord("a"))])
    held.stir()
    assert Counting.sources == 0
    await pods.settle()
    assert Counting.sources == 1
    desk.store.commit([Put(NodeRecord("a", seen=1.0))])
    held.stir()
    assert Counting.sources == 1
    desk.store.commit([Put(replace(copy(made), ready=False))])
    held.stir()
    assert Counting.sources == 2
