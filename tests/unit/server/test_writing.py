from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fleetd.client.local import Local
from fleetd.core.records import InstanceRecord, NodeRecord, SlotRecord, StatusRecord
from fleetd.errors import Refused
from fleetd.ports import Put
from fleetd.server.http import build
from fleetd.server.peers import Peer
from tests.unit.api.desk import Desk as Documents, config, daemonset
from tests.unit.server.service import ANN, Caller, Desk, HeardStore, seen_as, serving

SETS = "/apis/apps/v1/namespaces/default/daemonsets"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def body(name: str = "web", image: str = "web:1", **more: Any) -> dict[str, Any]:
    labels = {"app": "x"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": image, **more}]},
            },
        },
    }


def data(value: str, name: str = "conf") -> dict[str, Any]:
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return {**named, "data": {"a": value}}


@pytest.fixture
def made(desk: Desk) -> Documents:
    return Documents(store=desk.store)


async def test_create(desk: Desk, made: Documents, ann: Caller) -> None:
    answer = await ann.ask("POST", SETS, body())
    assert (answer.status, answer.json["metadata"]["generation"]) == (201, 1)
    assert answer.json["status"]["desiredNumberScheduled"] == 0
    assert made.document()["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
    assert made.numbers() == [1]
    assert desk.audited() == [("ann", "apply", "DaemonSet default/web")]


async def test_create_in_the_namespace_of_the_path(made: Documents, ann: Caller) -> None:
    answer = await ann.ask("POST", "/api/v1/namespaces/other/configmaps", data("1"))
    assert answer.json["metadata"]["namespace"] == "other"
    assert (await ann.get("/api/v1/namespaces/other/configmaps/conf")).status == 200


async def test_create_from_yaml(made: Documents, ann: Caller) -> None:
    answer = await ann.ask("POST", SETS, daemonset("web"), "application/yaml")
    assert (answer.status, made.names()) == (201, ["DaemonSet/web"])


async def test_what_is_there_is_not_created_again(made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    answer = await ann.ask("POST", SETS, body(image="web:2"))
    assert (answer.status, answer.json["reason"]) == (409, "AlreadyExists")
    assert made.document()["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"


async def test_what_breaks_the_rules_is_told_field_by_field(made: Documents, ann: Caller) -> None:
    wrong = body(imagePullPolicyy="Always", ports=[{"containerPort": "x"}])
    answer = await ann.ask("POST", SETS, wrong)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    at = "spec.template.spec.containers[0]"
    fields = {cause["field"]: cause["message"] for cause in answer.json["details"]["causes"]}
    assert fields.keys() == {f"{at}.imagePullPolicyy", f"{at}.ports[0].containerPort"}
    assert "imagePullPolicy" in fields[f"{at}.imagePullPolicyy"]
    assert made.names() == []


async def test_no_file_of_the_service_is_read(made: Documents, ann: Caller) -> None:
    document = body()
    document["apiVersion"] = "fleetd/v1"
    unit = "[Service]\nExecStart=/bin/true\n"
    files = [{"path": "/etc/x", "source": "/etc/hostname"}]
    document["spec"]["template"]["spec"] = {"systemd": {"unit": unit, "files": files}}
    answer = await ann.ask("POST", SETS, document)
    assert answer.status == 422, answer.json
    (cause,) = answer.json["details"]["causes"]
    assert cause["field"] == "spec.template.spec.systemd.files[0].source"


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("POST", SETS, {**data("1")}),
        ("POST", SETS, {**body(), "metadata": {"name": "web", "namespace": "other"}}),
        ("PUT", f"{SETS}/web", body("other")),
        ("POST", SETS, "[1]"),
        ("POST", SETS, "{"),
        ("POST", SETS, '{"a": NaN}'),
        ("POST", SETS, '{"a": "\\ud800"}'),
        ("POST", SETS, "[" * 100_000),
        ("POST", f"{SETS}?dryRun=Some", body()),
        ("DELETE", f"{SETS}/web?propagationPolicy=Sideways", None),
    ],
    ids=[
        *("other kind", "other namespace", "other name", "list", "no json", "nan", "surrogate"),
        *("deep", "dry run", "policy"),
    ],
)
async def test_bad_requests(
    made: Documents, ann: Caller, method: str, path: str, what: Any
) -> None:
    made.apply(daemonset())
    before = made.commits
    answer = await ann.ask(method, path, what)
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest"), answer.json
    assert made.commits == before


async def test_update(desk: Desk, made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    shown = (await ann.get(f"{SETS}/web")).json
    shown["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    answer = await ann.ask("PUT", f"{SETS}/web", shown)
    assert answer.status == 200, answer.json
    assert answer.json["metadata"]["generation"] == 2
    assert int(answer.json["metadata"]["resourceVersion"]) > int(
        shown["metadata"]["resourceVersion"]
    )
    assert made.numbers() == [1, 2]
    assert desk.audited()[-1] == ("ann", "edit", "DaemonSet default/web")


async def test_an_update_from_an_old_version_is_a_conflict(made: Documents, ann: Caller) -> None:
    made.apply(config("conf", a="1"))
    shown = (await ann.get(f"{CONFIGMAPS}/conf")).json
    made.apply(config("conf", a="2"))
    answer = await ann.ask("PUT", f"{CONFIGMAPS}/conf", {**shown, "data": {"a": "3"}})
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    assert made.document("conf", "ConfigMap")["data"] == {"a": "2"}
    del shown["metadata"]["resourceVersion"]
    answer = await ann.ask("PUT", f"{CONFIGMAPS}/conf", {**shown, "data": {"a": "3"}})
    assert (answer.status, answer.json["data"]) == (200, {"a": "3"})


async def test_a_status_that_changed_since_is_no_conflict(
    desk: Desk, made: Documents, ann: Caller
) -> None:
    made.apply(daemonset())
    shown = (await ann.get(f"{SETS}/web")).json
    desk.store.commit([Put(StatusRecord("default", "web", '{"ready": 1}', 1.0))])
    newer = (await ann.get(f"{SETS}/web")).json
    assert newer["metadata"]["resourceVersion"] != shown["metadata"]["resourceVersion"]
    assert (await ann.ask("PUT", f"{SETS}/web", shown)).status == 200


@pytest.mark.parametrize("version", ["1", "999", "x", "99999999999999999999999"])
async def test_a_version_that_nobody_was_given_is_a_conflict(
    made: Documents, ann: Caller, version: str
) -> None:
    made.apply(config("conf", a="1"), config("two", a="1"))
    made.apply(config("conf", a="2"))
    patch = {"metadata": {"resourceVersion": version}, "data": {"a": "3"}}
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", patch, MERGE)
    assert answer.status == 409


async def test_the_versions_of_the_command_line_are_known(made: Documents, ann: Caller) -> None:
    made.apply(config("conf", a="1"))
    version = str(made.record("conf", "ConfigMap").resource_version)
    patch = {"metadata": {"resourceVersion": version}, "data": {"a": "3"}}
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", patch, MERGE)
    assert answer.status == 200


async def test_a_merge_patch(made: Documents, ann: Caller) -> None:
    made.apply(config("conf", a="1", b="2"))
    patch = {"metadata": {"labels": {"x": "y"}}, "data": {"a": None, "c": "3"}}
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", patch, MERGE)
    assert answer.status == 200
    assert answer.json["data"] == {"b": "2", "c": "3"}
    assert answer.json["metadata"]["labels"] == {"x": "y"}


async def test_a_merge_patch_is_held_to_the_rules(made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    patch = {"spec": {"selector": {"matchLabels": {"app": "y"}}}}
    answer = await ann.ask("PATCH", f"{SETS}/web", patch, MERGE)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


async def test_a_strategic_patch_merges_containers_by_name(made: Documents, ann: Caller) -> None:
    made.apply(daemonset(more=["command: [run]"]))
    containers = [{"name": "main", "image": "web:2"}]
    order = {"$setElementOrder/containers": [{"name": "main"}]}
    patch = {"spec": {"template": {"spec": {**order, "containers": containers}}}}
    answer = await ann.ask("PATCH", f"{SETS}/web", patch, STRATEGIC)
    (container,) = answer.json["spec"]["template"]["spec"]["containers"]
    assert container == {"name": "main", "image": "web:2", "command": ["run"]}


async def test_what_a_directive_leaves_is_held_to_the_rules(made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    containers = [{"name": "main", "$patch": "delete"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    answer = await ann.ask("PATCH", f"{SETS}/web", patch, STRATEGIC)
    assert answer.status == 422
    assert "at least one container" in answer.json["message"]
    assert made.numbers() == [1]


async def test_a_json_patch(made: Documents, ann: Caller) -> None:
    made.apply(config("conf", a="1"))
    patch = [{"op": "add", "path": "/data/b", "value": "2"}]
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", patch, JSON_PATCH)
    assert (answer.status, answer.json["data"]) == (200, {"a": "1", "b": "2"})
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", {"data": {}}, JSON_PATCH)
    assert (answer.status, "list of operations" in answer.json["message"]) == (400, True)


async def test_a_body_of_no_type_is_json(made: Documents, ann: Caller) -> None:
    answer = await ann.ask("POST", SETS, body(), kind="")
    assert (answer.status, made.numbers()) == (201, [1])


async def test_what_kubectl_notes_on_an_object_is_kept(made: Documents, ann: Caller) -> None:
    """Its next apply works out from that what is to be taken away."""
    note = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    document = {**body(), "metadata": {"name": "web", "annotations": note}}
    assert (await ann.ask("POST", SETS, document)).json["metadata"]["annotations"] == note
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": note}}
    answer = await ann.ask("POST", "/api/v1/namespaces/default/secrets", secret)
    assert (answer.status, answer.json["metadata"].get("annotations", {})) == (201, {})


async def test_an_apply_patch_merges_three_ways(made: Documents, ann: Caller) -> None:
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", config("conf", a="1", b="2"), APPLY)
    assert answer.status == 201
    patch = {"data": {"live": "yes"}}
    assert (await ann.ask("PATCH", f"{CONFIGMAPS}/conf", patch, MERGE)).status == 200
    target = f"{CONFIGMAPS}/conf?fieldManager=me&force=true"
    answer = await ann.ask("PATCH", target, config("conf", a="3"), APPLY)
    assert (answer.status, answer.json["data"]) == (200, {"a": "3", "live": "yes"})


@pytest.mark.parametrize("kind", ["application/json", "", "text/html"])
async def test_other_patches_are_not_taken(made: Documents, ann: Caller, kind: str) -> None:
    made.apply(config("conf", a="1"))
    answer = await ann.ask("PATCH", f"{CONFIGMAPS}/conf", "[]", kind)
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")
    assert MERGE in answer.json["message"]
    assert APPLY in answer.json["message"]


async def test_only_json_can_be_given(made: Documents, ann: Caller) -> None:
    answer = await ann.get(CONFIGMAPS, accept="application/vnd.kubernetes.protobuf")
    assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    assert (await ann.get(CONFIGMAPS, accept=table)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "what", "kind"),
    [
        ("POST", f"{SETS}?dryRun=All", body("new"), "application/json"),
        ("PUT", f"{SETS}/web?dryRun=All", body(image="web:2"), "application/json"),
        ("PATCH", f"{SETS}/web?dryRun=All", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        ("PATCH", f"{SETS}/new?dryRun=All", body("new"), APPLY),
        ("DELETE", f"{SETS}/web?dryRun=All", None, ""),
        ("DELETE", f"{SETS}/web", {"dryRun": ["All"]}, "application/json"),
    ],
    ids=["create", "update", "patch", "apply", "delete", "delete by options"],
)
async def test_a_dry_run_keeps_nothing(
    made: Documents, ann: Caller, method: str, path: str, what: Any, kind: str
) -> None:
    made.apply(daemonset())
    before = made.commits
    answer = await ann.ask(method, path, what, kind)
    assert answer.status in {200, 201}, answer.json
    assert made.commits == before
    assert made.names() == ["DaemonSet/web"]


async def test_a_dry_run_shows_what_would_be(made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    answer = await ann.ask("PUT", f"{SETS}/web?dryRun=All", body(image="web:2"))
    (container,) = answer.json["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "web:2"


async def test_delete(desk: Desk, made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    answer = await ann.ask("DELETE", f"{SETS}/web")
    assert (answer.status, answer.json["status"]) == (200, "Success")
    told = answer.json["details"]
    assert (told["name"], told["group"], told["kind"]) == ("web", "apps", "daemonsets")
    assert made.names() == []
    assert desk.audited()[-1] == ("ann", "delete", "DaemonSet default/web")
    assert (await ann.ask("DELETE", f"{SETS}/web")).status == 404


@pytest.mark.parametrize("by", ["options", "query"])
async def test_a_foreground_deletion_stays_until_copies_are_gone(
    made: Documents, ann: Caller, by: str
) -> None:
    made.apply(daemonset())
    options = {"propagationPolicy": "Foreground"} if by == "options" else None
    query = "" if options else "?propagationPolicy=Foreground"
    answer = await ann.ask("DELETE", f"{SETS}/web{query}", options)
    assert answer.json["metadata"]["deletionTimestamp"]
    assert made.record().deleting
    answer = await ann.ask("PUT", f"{SETS}/web", body(image="web:2"))
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")


async def test_an_orphaning_deletion_keeps_the_revisions(made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    answer = await ann.ask("DELETE", f"{SETS}/web?propagationPolicy=Orphan")
    assert answer.status == 200
    assert made.numbers() == [1]


@pytest.mark.parametrize(
    "preconditions", [{"uid": "another"}, {"resourceVersion": "1"}], ids=["uid", "version"]
)
async def test_a_precondition_that_does_not_hold_is_a_conflict(
    made: Documents, ann: Caller, preconditions: dict[str, str]
) -> None:
    made.apply(daemonset())
    made.apply(daemonset(image="web:2"))
    answer = await ann.ask("DELETE", f"{SETS}/web", {"preconditions": preconditions})
    assert (answer.status, made.names()) == (409, ["DaemonSet/web"])


async def test_a_deleted_pod_is_asked_to_go(desk: Desk, made: Documents, ann: Caller) -> None:
    made.apply(daemonset())
    copy = InstanceRecord(
        *("default", "web", "a", "a", made.current().revision, "", "Running"),
        ready=True,
        available=True,
        restarts=0,
        message="",
        started=1.0,
        seen=1.0,
    )
    desk.store.commit([Put(copy)])
    path = "/api/v1/namespaces/default/pods/web-a"
    answer = await ann.ask("DELETE", f"{path}?dryRun=All")
    assert answer.status == 200
    assert desk.store.read(SlotRecord) == ()
    answer = await ann.ask("DELETE", path)
    assert (answer.status, answer.json["kind"]) == (200, "Pod")
    (slot,) = desk.store.read(SlotRecord)
    assert (slot.node, slot.kind) == ("a", "delete")
    desk.store.commit([Put(NodeRecord("a", held=True))])
    answer = await ann.ask("DELETE", path)
    assert (answer.status, answer.json["reason"]) == (409, "Conflict")
    assert (await ann.ask("DELETE", f"{path}x")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/api/v1/nodes", "inventory"),
        ("DELETE", "/api/v1/nodes/a", "inventory"),
        ("POST", "/api/v1/namespaces/default/pods", "DaemonSet"),
        ("PUT", "/api/v1/namespaces/default/events/x", "fleetd alone"),
        ("DELETE", "/apis/apps/v1/namespaces/default/controllerrevisions/x", "DaemonSet"),
        ("DELETE", SETS, "not possible"),
        ("POST", "/apis/apps/v1/daemonsets", "not possible"),
        ("PUT", f"{SETS}/web/status", "not possible"),
        ("PUT", "/api/v1", "not possible"),
    ],
)
async def test_what_cannot_be_done_says_what_can(
    made: Documents, ann: Caller, method: str, path: str, hint: str
) -> None:
    answer = await ann.ask(method, path, {})
    assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")
    assert hint in answer.json["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_who_may_only_read_changes_nothing(made: Documents, bob: Caller, method: str) -> None:
    made.apply(daemonset())
    before = made.commits
    for path in (SETS, f"{SETS}/web", "/api/v1/nodes/a", "/api/v1/namespaces/default/pods/x"):
        answer = await bob.ask(method, path, body())
        assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
        assert "bob" in answer.json["message"]
    assert made.commits == before


async def test_a_service_that_ends_takes_no_more(made: Documents, tmp_path: Path) -> None:
    made.apply(daemonset())
    desk = Desk(store=cast("HeardStore", made.store))

    def ending(peer: Peer) -> Local:
        raise Refused("the service is ending")

    app = build(replace(desk.service(), client=ending))
    before = made.commits
    async with serving(app, tmp_path / "s", seen_as(ANN)) as ann:
        for method, path in (("POST", SETS), ("PUT", f"{SETS}/web"), ("DELETE", f"{SETS}/web")):
            answer = await ann.ask(method, path, body())
            assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
        assert (await ann.ask("PATCH", "/api/v1/nodes/a", {}, MERGE)).status == 503
        assert (await ann.get(SETS)).status == 200
    assert made.commits == before
