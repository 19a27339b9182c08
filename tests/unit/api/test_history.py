from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetd.api.fleet import open_fleet
from fleetd.core.records import (
    BundleRecord,
    ImageRecord,
    InstanceRecord,
    RevisionRecord,
    RolloutRecord,
    RolloutState,
    SecretValue,
    SlotRecord,
)
from fleetd.errors import NotFound, Refused
from fleetd.ports import Put
from tests.unit.api.desk import Desk, config, daemonset, env_from, secret


def image(desk: Desk, name: str = "web") -> str:
    (container,) = desk.document(name)["spec"]["template"]["spec"]["containers"]
    found: str = container["image"]
    return found


def caused(text: str, cause: str) -> str:
    return text.replace(
        "metadata:\n", f"metadata:\n  annotations: {{kubernetes.io/change-cause: {cause}}}\n", 1
    )


def limited(text: str, limit: int) -> str:
    return text.replace("spec:\n", f"spec:\n  revisionHistoryLimit: {limit}\n", 1)


def test_every_new_template_has_a_higher_number(desk: Desk) -> None:
    for tag in ("1", "2", "3"):
        desk.apply(daemonset(image=f"web:{tag}"))
    assert desk.numbers() == [1, 2, 3]
    assert json.loads(desk.current().template_json)["spec"]["containers"][0]["image"] == "web:3"


def test_a_template_seen_before_is_used_again_with_the_highest_number(desk: Desk) -> None:
    desk.apply(daemonset(image="web:1"))
    first = desk.current()
    desk.apply(daemonset(image="web:2"))
    desk.apply(daemonset(image="web:1"))
    assert desk.numbers() == [2, 3]
    assert desk.current() == replace(first, number=3)


def test_a_revision_carries_the_change_cause(desk: Desk) -> None:
    desk.apply(caused(daemonset(), "first"))
    desk.apply(caused(daemonset(image="web:2"), "second"))
    rows = desk.store.read(RevisionRecord)
    assert {row.number: row.cause for row in rows} == {1: "first", 2: "second"}
    desk.apply(caused(daemonset(image="web:2"), "better words"))
    assert (desk.numbers(), desk.current().cause) == ([1, 2], "better words")


def test_the_history_keeps_as_many_old_revisions_as_asked(desk: Desk) -> None:
    for tag in range(1, 6):
        desk.apply(limited(daemonset(image=f"web:{tag}"), 2))
    assert desk.numbers() == [3, 4, 5]
    desk.apply(limited(daemonset(image="web:5"), 0))
    assert desk.numbers() == [5]


def in_use_by_instance(revision: str) -> Put:
    return Put(
        InstanceRecord(
            "default", "web", "n1", "a", revision, "b", "Running", True, True, 0, "", 1, 1
        )
    )


def in_use_by_baseline(revision: str) -> Put:
    return Put(
        RolloutRecord("default", "web", "x", RolloutState.PROGRESSING, revision, "", 1.0, 1.0)
    )


def in_use_by_rollout(revision: str) -> Put:
    return Put(RolloutRecord("default", "web", revision, RolloutState.FAILED, "", "", 1.0, 1.0))


def in_use_by_slot(revision: str) -> Put:
    return Put(SlotRecord("default", "web", "n1", revision, "update", 1.0))


@pytest.mark.parametrize(
    "use", [in_use_by_instance, in_use_by_baseline, in_use_by_rollout, in_use_by_slot]
)
def test_a_revision_in_use_is_never_forgotten(desk: Desk, use: Callable[[str], Put]) -> None:
    desk.apply(limited(daemonset(image="web:1"), 1))
    bundle = BundleRecord("default", "web", desk.current().revision, "podman", "a", "d", "{}")
    desk.store.commit([use(desk.current().revision), Put(bundle)])
    for tag in (2, 3, 4):
        desk.apply(limited(daemonset(image=f"web:{tag}"), 1))
    assert desk.numbers() == [1, 4]
    assert desk.store.read(BundleRecord) == (bundle,)


def test_a_forgotten_revision_takes_all_that_was_kept_for_it(desk: Desk) -> None:
    env = env_from("Secret", "pass", "key")
    desk.apply(secret(key="one"), limited(daemonset(more=env), 1))
    old = desk.current().revision
    row = BundleRecord("default", "web", old, "podman", "a", "digest", "{}")
    pin = ImageRecord("default", "web", old, "web:1", "amd64", "sha256:1")
    other = replace(row, name="other")
    desk.store.commit([Put(row), Put(pin), Put(other)])
    for value in ("two", "three"):
        desk.apply(secret(key=value))
    assert desk.numbers() == [2, 3]
    assert desk.store.read(BundleRecord) == (other,)
    assert desk.store.read(ImageRecord) == ()
    assert {row.data_base64 for row in desk.store.read(SecretValue)} == {"dHdv", "dGhyZWU="}


def test_a_secret_value_that_another_set_uses_stays(desk: Desk) -> None:
    env = env_from("Secret", "pass", "key")
    desk.apply(secret(key="one"), daemonset("a", more=env), daemonset("b", more=env))
    desk.delete("DaemonSet/a")
    assert len(desk.store.read(SecretValue)) == 1
    desk.delete("DaemonSet/b")
    assert desk.store.read(SecretValue) == ()


def test_undo_brings_the_revision_before_back_with_a_new_number_k176(desk: Desk) -> None:
    desk.apply(caused(daemonset(image="web:1"), "good"))
    first = desk.current()
    desk.apply(caused(daemonset(image="web:2"), "bad"))
    assert desk.undo() == replace(first, number=3)
    assert desk.numbers() == [2, 3]
    assert (image(desk), desk.record().generation) == ("web:1", 3)
    assert desk.current().cause == "good"
    assert desk.audited()[-1] == ("ann", "undo", "DaemonSet default/web")


def test_undo_of_an_undo_is_where_we_were(desk: Desk) -> None:
    for tag in ("1", "2"):
        desk.apply(daemonset(image=f"web:{tag}"))
    desk.undo()
    desk.undo()
    assert (image(desk), desk.numbers()) == ("web:2", [3, 4])


def test_undo_goes_to_the_number_that_is_named(desk: Desk) -> None:
    for tag in ("1", "2", "3"):
        desk.apply(daemonset(image=f"web:{tag}"))
    desk.undo(to=1)
    assert (image(desk), desk.numbers()) == ("web:1", [2, 3, 4])


def test_undo_to_the_present_changes_nothing(desk: Desk) -> None:
    desk.apply(daemonset(image="web:1"))
    desk.apply(daemonset(image="web:2"))
    commits = desk.commits
    assert desk.undo(to=2) == desk.current()
    assert desk.commits == commits


def test_undo_has_to_know_where_to(desk: Desk) -> None:
    desk.apply(daemonset())
    with pytest.raises(Refused, match="no last revision to roll back to"):
        desk.undo()
    with pytest.raises(NotFound, match=r"unable to find .* revision 7 of .*; there are 1"):
        desk.undo(to=7)
    with pytest.raises(NotFound, match="DaemonSet default/nobody"):
        desk.undo("nobody")


def test_a_file_applied_after_an_undo_gives_that_file(desk: Desk) -> None:
    desk.apply(daemonset(image="web:1", more=["command: [a]"]))
    desk.apply(daemonset(image="web:2"))
    second = desk.current()
    desk.undo()
    assert desk.apply(daemonset(image="web:2")) == {"DaemonSet/web": "configured"}
    assert desk.current() == replace(second, number=4)


def test_undo_brings_config_maps_back_as_they_were(desk: Desk) -> None:
    volume = "\n      volumes:\n      - name: v\n        configMap: {name: conf}"
    desk.apply(config(a="1", b="1"), daemonset() + volume)
    first = desk.current()
    desk.apply(config(a="2", c="2"))
    assert desk.undo() == replace(first, number=3)
    assert desk.document("conf", "ConfigMap")["data"] == {"a": "1", "b": "1"}
    assert desk.apply(config(a="2", c="2")) == {"ConfigMap/conf": "configured"}
    assert desk.document("conf", "ConfigMap")["data"] == {"a": "2", "c": "2"}


def test_undo_leaves_keys_that_the_set_does_not_use(desk: Desk) -> None:
    desk.apply(config(a="1", b="1"), daemonset(more=env_from("ConfigMap", "conf", "a")))
    desk.apply(config(a="2", b="2"))
    desk.undo()
    assert desk.document("conf", "ConfigMap")["data"] == {"a": "1", "b": "2"}


def test_undo_keeps_binary_data_binary(desk: Desk) -> None:
    volume = "\n      volumes:\n      - name: v\n        configMap: {name: conf}"
    desk.apply(config(more="binaryData: {raw: aGk=}"), daemonset() + volume)
    desk.apply(config(more="binaryData: {raw: gICA}"))
    desk.undo()
    assert desk.document("conf", "ConfigMap")["binaryData"] == {"raw": "aGk="}


def test_undo_makes_a_config_map_that_is_gone(desk: Desk) -> None:
    desk.apply(config(a="1"), daemonset(more=env_from("ConfigMap", "conf", "a")))
    first = desk.current()
    desk.apply(daemonset(image="web:2"))
    desk.delete("ConfigMap/conf")
    assert desk.undo() == replace(first, number=3)
    assert desk.document("conf", "ConfigMap")["data"] == {"a": "1"}


def test_undo_rolls_out_to_others_that_use_the_config_map(desk: Desk) -> None:
    env = env_from("ConfigMap", "conf", "a")
    desk.apply(config(a="1"), daemonset("web", more=env), daemonset("other", more=env))
    desk.apply(config(a="2"))
    desk.undo("web")
    assert desk.numbers("other") == [2, 3]


def test_undo_does_not_touch_an_immutable_config_map(desk: Desk) -> None:
    desk.apply(config(a="1"), daemonset(more=env_from("ConfigMap", "conf", "a")))
    desk.apply(config(more="immutable: true", a="2"))
    with pytest.raises(Refused, match="immutable"):
        desk.undo()


def test_undo_keeps_the_secrets_of_today(desk: Desk) -> None:
    env = env_from("Secret", "pass", "key")
    desk.apply(secret(key="one"), daemonset(image="web:1", more=env))
    first = desk.current().revision
    desk.apply(secret(key="two"), daemonset(image="web:2", more=env))
    back = desk.undo()
    assert (image(desk), back.number) == ("web:1", 3)
    assert back.revision != first
    assert desk.document("pass", "Secret")["data"] == {"key": "dHdv"}


def test_undo_needs_the_secrets_that_it_uses(desk: Desk) -> None:
    desk.apply(secret(key="one"), daemonset(more=env_from("Secret", "pass", "key")))
    desk.apply(daemonset(image="web:2"))
    desk.delete("Secret/pass")
    with pytest.raises(Refused, match="there is no Secret default/pass"):
        desk.undo()
    assert image(desk) == "web:2"


def test_restart_makes_a_revision_of_the_same_template(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.now += 60
    restarted = desk.restart()
    assert (restarted.number, desk.record().generation) == (2, 2)
    assert desk.restart() == restarted
    desk.now += 60
    assert desk.restart().number == 3


def test_undo_of_a_restart_leaves_no_mark_in_what_was_applied(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.restart()
    desk.apply(daemonset(image="web:2"))
    desk.undo()
    applied = json.loads(desk.record().last_applied_json)
    assert "restartedAt" not in json.dumps(applied)
    assert "restartedAt" in json.dumps(desk.document())


def test_a_revision_that_an_orphan_left_is_taken_up_again(desk: Desk) -> None:
    desk.apply(daemonset())
    first = desk.current()
    desk.delete("DaemonSet/web", cascade="orphan")
    assert desk.current() == first
    desk.apply(daemonset())
    assert desk.current() == first


def test_the_fleets_key_decides_the_digest_of_a_secret(desk: Desk) -> None:
    other = Desk()
    open_fleet(other.store, "f" * 32, b"z" * 32)
    for place in (desk, other):
        place.apply(secret(key="one"), daemonset(more=env_from("Secret", "pass", "key")))
    assert desk.current().revision != other.current().revision
