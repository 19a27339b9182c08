from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleetd.api.rehearsal import Rehearsal
from fleetd.core.meta import Key
from fleetd.core.records import ObjectRecord, RemovalRecord, RevisionRecord, SecretValue
from fleetd.errors import InvalidInput
from fleetd.ports import Put
from tests.unit.api.desk import Desk, config, daemonset, env_from, secret


def problems(caught: pytest.ExceptionInfo[InvalidInput]) -> list[tuple[int, str]]:
    return [(problem.line, problem.path) for problem in caught.value.problems]


def test_a_new_object_is_created_with_uid_generation_version_and_revision(desk: Desk) -> None:
    assert desk.apply(daemonset()) == {"DaemonSet/web": "created"}
    record = desk.record()
    assert (record.uid, record.generation, record.created) == ("uid-1", 1, desk.now)
    assert record.resource_version > 0
    assert desk.numbers() == [1]
    assert desk.audited() == [("ann", "apply", "DaemonSet default/web")]


def test_an_unchanged_file_writes_nothing(desk: Desk) -> None:
    files = (config(a="1"), secret(key="s"), daemonset(more=env_from("ConfigMap", "conf", "a")))
    desk.apply(*files)
    commits = desk.commits
    assert set(desk.apply(*files).values()) == {"unchanged"}
    assert desk.commits == commits


def test_a_default_spelled_out_is_no_change_but_is_remembered(desk: Desk) -> None:
    desk.apply(daemonset())
    spelled = daemonset(more=["ports: []"])
    assert desk.apply(spelled) == {"DaemonSet/web": "unchanged"}
    assert desk.record().generation == 1
    assert desk.numbers() == [1]
    applied = json.loads(desk.record().last_applied_json)
    assert applied["spec"]["template"]["spec"]["containers"][0]["ports"] == []


def test_a_spec_change_raises_the_generation_and_a_label_change_does_not(desk: Desk) -> None:
    desk.apply(daemonset())
    first = desk.record()
    labelled = daemonset().replace("  name: web\n", "  name: web\n  labels: {team: a}\n", 1)
    assert desk.apply(labelled) == {"DaemonSet/web": "configured"}
    second = desk.record()
    assert (second.generation, second.uid) == (1, first.uid)
    assert second.resource_version > first.resource_version
    assert desk.numbers() == [1]
    assert desk.apply(daemonset(image="web:2")) == {"DaemonSet/web": "configured"}
    assert desk.record().generation == 2
    assert desk.numbers() == [1, 2]


def test_what_is_no_template_makes_no_revision(desk: Desk) -> None:
    desk.apply(daemonset())
    patient = daemonset().replace("spec:\n", "spec:\n  minReadySeconds: 5\n", 1)
    assert desk.apply(patient) == {"DaemonSet/web": "configured"}
    assert desk.record().generation == 2
    assert desk.numbers() == [1]


def test_what_restart_set_survives_an_apply(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.restart()
    assert desk.apply(daemonset()) == {"DaemonSet/web": "unchanged"}
    desk.apply(daemonset(image="web:2"))
    annotations = desk.document()["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/restartedAt": "2023-11-14T22:13:20Z"}


def test_what_the_file_no_longer_says_is_gone(desk: Desk) -> None:
    desk.apply(daemonset(more=["command: [/bin/x]"]))
    desk.apply(daemonset())
    (container,) = desk.document()["spec"]["template"]["spec"]["containers"]
    assert container == {"name": "main", "image": "web:1"}


def test_one_wrong_document_keeps_all_out(desk: Desk) -> None:
    with pytest.raises(InvalidInput):
        desk.apply(config(a="1"), daemonset(more=env_from("ConfigMap", "conf", "b")))
    assert desk.names() == []
    assert desk.audited() == []


def test_the_selector_cannot_change(desk: Desk) -> None:
    desk.apply(daemonset())
    with pytest.raises(InvalidInput, match="cannot be changed") as caught:
        desk.apply(daemonset().replace("{app: x}", "{app: y}"))
    assert problems(caught) == [(6, "spec.selector")]
    assert desk.document()["spec"]["selector"] == {"matchLabels": {"app": "x"}}


def test_two_sets_may_select_alike(desk: Desk) -> None:
    desk.apply(daemonset("a"), daemonset("b"))
    assert desk.names() == ["DaemonSet/a", "DaemonSet/b"]


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("ConfigMap", [], "there is no ConfigMap default/conf"),
        ("ConfigMap", [config(b="1")], r"ConfigMap default/conf has no key a \(its keys: b\)"),
        ("Secret", [config(a="1")], "there is no Secret default/conf"),
        ("Secret", [secret("conf")], r"Secret default/conf has no key a \(its keys: none\)"),
    ],
    ids=["no_config_map", "no_key", "no_secret", "empty_secret"],
)
def test_a_reference_needs_its_target(
    desk: Desk, kind: str, given: list[str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        desk.apply(daemonset(more=env_from(kind, "conf", "a")), *given)
    ref = "configMapKeyRef" if kind == "ConfigMap" else "secretKeyRef"
    path = f"spec.template.spec.containers[0].env[0].valueFrom.{ref}"
    assert problems(caught) == [(15, path)]


def test_a_reference_finds_its_target_in_the_state(desk: Desk) -> None:
    desk.apply(config(a="1"))
    assert desk.apply(daemonset(more=env_from("ConfigMap", "conf", "a"))) == {
        "DaemonSet/web": "created"
    }


def test_an_optional_reference_needs_nothing(desk: Desk) -> None:
    env = env_from("ConfigMap", "conf", "a")
    desk.apply(daemonset(more=[line.replace("key: a}", "key: a, optional: true}") for line in env]))
    assert desk.numbers() == [1]


def test_a_config_map_keeps_the_keys_that_others_need(desk: Desk) -> None:
    desk.apply(config(a="1", b="2"), daemonset(more=env_from("ConfigMap", "conf", "a")))
    with pytest.raises(InvalidInput, match="DaemonSet default/web needs the key a") as caught:
        desk.apply(config(b="2"))
    assert problems(caught) == [(4, "data")]


def test_an_immutable_config_map_stays(desk: Desk) -> None:
    desk.apply(config(more="immutable: true", a="1"))
    with pytest.raises(InvalidInput, match="is immutable") as caught:
        desk.apply(config(a="2"))
    assert problems(caught) == [(1, "immutable"), (4, "data")]
    assert desk.document("conf", "ConfigMap")["data"] == {"a": "1"}


def test_a_changed_config_map_rolls_out_where_it_is_used(desk: Desk) -> None:
    users = daemonset("a", more=env_from("ConfigMap", "conf", "x")), daemonset("b")
    desk.apply(config(x="1", y="1"), *users)
    assert desk.apply(config(x="2", y="1"), *users) == {
        "ConfigMap/conf": "configured",
        "DaemonSet/a": "unchanged",
        "DaemonSet/b": "unchanged",
    }
    assert (desk.numbers("a"), desk.numbers("b")) == ([1, 2], [1])
    assert json.loads(desk.current("a").content_json) == {"ConfigMap/conf": {"x": "Mg=="}}
    assert desk.record("a").generation == 1


def test_a_key_that_nobody_uses_rolls_nothing_out(desk: Desk) -> None:
    desk.apply(config(x="1", y="1"), daemonset(more=env_from("ConfigMap", "conf", "x")))
    desk.apply(config(x="1", y="2"))
    assert desk.numbers() == [1]


VOLUME = """
      volumes:
      - name: v
        configMap: {name: conf%s}"""


@pytest.mark.parametrize(
    ("items", "content"),
    [
        ("", {"x": "MQ==", "y": "MQ=="}),
        (", items: [{key: y, path: p}]", {"y": "MQ=="}),
    ],
    ids=["whole", "items"],
)
def test_a_volume_uses_the_keys_that_it_shows(
    desk: Desk, items: str, content: dict[str, str]
) -> None:
    desk.apply(config(x="1", y="1"), daemonset() + VOLUME % items)
    assert json.loads(desk.current().content_json) == {"ConfigMap/conf": content}


WHOLE = {"x": "MQ==", "y": "MQ=="}
PROJECTED = "\n      volumes:\n      - name: v\n        projected: {sources: [%s]}"
REACHED = {
    "envFrom": (daemonset(more=["envFrom:", "- configMapRef: {name: conf}"]), WHOLE),
    "envFrom-optional": (
        daemonset(more=["envFrom:", "- configMapRef: {name: conf, optional: true}"]),
        WHOLE,
    ),
    "projected": (daemonset() + PROJECTED % "{configMap: {name: conf}}", WHOLE),
    "projected-items": (
        daemonset() + PROJECTED % "{configMap: {name: conf, items: [{key: y, path: p}]}}",
        {"y": "MQ=="},
    ),
    "init": (
        daemonset()
        + "\n      initContainers:\n      - {name: i, image: 'a:1', "
        + "envFrom: [{configMapRef: {name: conf}}]}",
        WHOLE,
    ),
}


@pytest.mark.parametrize(("text", "content"), REACHED.values(), ids=REACHED)
def test_all_that_reaches_a_config_map_is_held_to_it(
    desk: Desk, text: str, content: dict[str, str]
) -> None:
    if "optional" not in text:
        with pytest.raises(InvalidInput, match="there is no ConfigMap default/conf"):
            desk.apply(text)
    else:
        desk.apply(text)
        assert json.loads(desk.current().content_json) == {}
    desk.apply(config(x="1", y="1"), text)
    assert json.loads(desk.current().content_json) == {"ConfigMap/conf": content}
    before = desk.current().revision
    desk.apply(config(x="1", y="2"))
    assert desk.current().revision != before


def test_a_secret_is_in_a_revision_by_digest_only(desk: Desk) -> None:
    desk.apply(secret(key="hunter2"), daemonset(more=env_from("Secret", "pass", "key")))
    (digest,) = json.loads(desk.current().content_json)["Secret/pass"].values()
    (row,) = desk.store.read(RevisionRecord)
    assert "hunter2" not in repr(row)
    assert "aHVudGVyMg==" not in repr(row)
    assert desk.store.read(SecretValue) == (SecretValue(digest, "aHVudGVyMg=="),)
    desk.apply(secret(key="hunter3"))
    assert desk.numbers() == [1, 2]
    assert len(desk.store.read(SecretValue)) == 2


def test_errors_about_secrets_do_not_tell_them(desk: Desk) -> None:
    desk.apply(secret(key="hunter2"))
    with pytest.raises(InvalidInput) as caught:
        desk.apply(daemonset(more=env_from("Secret", "pass", "other")))
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg==" not in str(caught.value)
    assert desk.audited() == [("ann", "apply", "Secret default/pass")]


def test_containers_may_become_a_unit_of_systemd(desk: Desk) -> None:
    desk.apply(
        daemonset(more=["command: [a]"]).replace("    spec:", "    spec:\n      hostPID: true")
    )
    unit = """
        apiVersion: fleetd/v1
        kind: DaemonSet
        metadata: {name: web}
        spec:
          selector: {matchLabels: {app: x}}
          template:
            metadata: {labels: {app: x}}
            spec:
              systemd: {existingUnit: chrony.service}
        """
    assert desk.apply(unit) == {"DaemonSet/web": "configured"}
    assert desk.document()["spec"]["template"]["spec"] == {
        "systemd": {"existingUnit": "chrony.service"}
    }
    assert desk.numbers() == [1, 2]


def test_an_object_that_is_made_again_is_no_longer_to_be_removed(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.delete("DaemonSet/web")
    assert len(desk.store.read(RemovalRecord)) == 1
    desk.apply(daemonset())
    assert desk.store.read(RemovalRecord) == ()
    assert desk.record().uid == "uid-2"


def test_a_rehearsed_apply_tells_the_same_and_writes_nothing(desk: Desk) -> None:
    desk.apply(daemonset())
    commits = desk.commits
    rehearsed = Desk(Rehearsal(desk.store)).changes(daemonset(image="web:2"), daemonset("new"))
    assert [change.outcome for change in rehearsed] == ["configured", "created"]
    assert rehearsed[0].new is not None
    assert "web:2" in rehearsed[0].new.document_json
    assert (desk.commits, desk.numbers()) == (commits, [1])


def test_all_changes_come_with_the_objects_before_and_after(desk: Desk) -> None:
    (created,) = desk.changes(daemonset())
    assert (created.old, created.new) == (None, desk.record())
    before = desk.record()
    (changed,) = desk.changes(daemonset(image="web:2"))
    assert (changed.old, changed.new) == (before, desk.record())
    assert changed.key == Key("default", "web")


def in_set(name: str, text: str) -> str:
    if "metadata: {name:" in text:
        return text.replace(
            "metadata: {name:", f"metadata: {{annotations: {{fleetd/set: {name}}}, name:", 1
        )
    return text.replace("metadata:\n", f"metadata:\n  annotations: {{fleetd/set: {name}}}\n", 1)


def test_prune_removes_what_the_set_has_lost(desk: Desk) -> None:
    old = daemonset("old", more=env_from("ConfigMap", "conf", "a"))
    desk.apply(in_set("s", daemonset()), in_set("s", old), in_set("s", config(a="1")))
    desk.apply(in_set("other", daemonset("else")), daemonset("none"))
    assert desk.apply(in_set("s", daemonset()), prune=True) == {
        "DaemonSet/web": "unchanged",
        "DaemonSet/old": "pruned",
        "ConfigMap/conf": "pruned",
    }
    assert desk.names() == ["DaemonSet/else", "DaemonSet/none", "DaemonSet/web"]
    assert [row.name for row in desk.store.read(RemovalRecord)] == ["old"]


def test_without_prune_nothing_is_removed(desk: Desk) -> None:
    desk.apply(in_set("s", daemonset("a")), in_set("s", daemonset("b")))
    desk.apply(in_set("s", daemonset("a")))
    assert desk.names() == ["DaemonSet/a", "DaemonSet/b"]


def test_prune_needs_every_object_to_name_its_set(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="fleetd/set: NAME") as caught:
        desk.apply(in_set("s", daemonset("a")), daemonset("b"), prune=True)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].path == "metadata.annotations"
    assert desk.names() == []


def test_prune_spares_what_is_in_use_elsewhere(desk: Desk) -> None:
    desk.apply(in_set("s", config(a="1")), in_set("s", daemonset("a")))
    desk.apply(daemonset("user", more=env_from("ConfigMap", "conf", "a")))
    with pytest.raises(InvalidInput, match="still in use by DaemonSet default/user"):
        desk.apply(in_set("s", daemonset("a")), prune=True)
    assert "ConfigMap/conf" in desk.names()


def test_a_set_is_what_was_applied_not_what_was_added(desk: Desk) -> None:
    desk.apply(daemonset("a"), in_set("s", daemonset("b")))
    document = desk.document("a")
    document["metadata"]["annotations"] = {"fleetd/set": "s"}
    desk.store.commit([Put(replace(desk.record("a"), document_json=json.dumps(document)))])
    desk.apply(in_set("s", daemonset("c")), prune=True)
    assert [row.name for row in desk.store.read(ObjectRecord)] == ["a", "c"]
