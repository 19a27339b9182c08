"""The numbered behaviours of Kubernetes' controller, G to I: revisions, and the life of objects."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleetd.api import rollouts
from fleetd.api.delete import finish
from fleetd.core import views
from fleetd.core.actions import Reason, Remove, Skipped, UnknownHost
from fleetd.core.daemonset import DaemonSet
from fleetd.core.meta import Key
from fleetd.core.records import (
    InstanceRecord,
    ObjectRecord,
    PauseRecord,
    RemovalRecord,
    RevisionRecord,
    RolloutRecord,
    RolloutState,
    SlotKind,
    SlotRecord,
)
from fleetd.core.revision import revision_of
from fleetd.errors import InvalidInput, NotFound, Refused
from fleetd.ports import Put
from tests.unit.api.desk import Desk, daemonset

WEB = Key("default", "web")


def spec(text: str, line: str) -> str:
    return text.replace("spec:\n", f"spec:\n  {line}\n", 1)


def meta(text: str, line: str) -> str:
    return text.replace("metadata:\n", f"metadata:\n  {line}\n", 1)


def copy_of(revision: str, node: str = "n1") -> InstanceRecord:
    return InstanceRecord(*WEB, node, "a", revision, "b", "Running", True, True, 0, "", 1.0, 1.0)


def images(desk: Desk) -> list[str]:
    rows = sorted(desk.store.read(RevisionRecord), key=lambda row: row.number)
    templates = [json.loads(row.template_json) for row in rows]
    return [template["spec"]["containers"][0]["image"] for template in templates]


def releases(desk: Desk, *tags: int, limit: int = 10, text: str = "") -> None:
    for tag in tags:
        document = daemonset(image=f"web:{tag}")
        desk.apply(spec(document, text or f"revisionHistoryLimit: {limit}"))


# Revisions.


@pytest.mark.parametrize("field", [pytest.param("nodeSelector: {}", id="K 112 empty is absent")])
def test_equal_templates(desk: Desk, field: str) -> None:
    desk.apply(daemonset())
    desk.apply(daemonset().replace("      containers:", f"      {field}\n      containers:"))
    assert desk.numbers() == [1]


@pytest.mark.parametrize("name", [pytest.param("web", id="K 113 set name, dash, hash")])
def test_name_of_a_revision(desk: Desk, name: str) -> None:
    desk.apply(daemonset(name))
    row = desk.current(name)
    view = views.revision_view(row, desk.record(name))
    template = DaemonSet.model_validate(desk.document(name)).spec.template
    assert row.revision == revision_of(template, {})
    assert view["metadata"]["name"] == f"{name}-{row.revision}"
    assert view["metadata"]["labels"][views.REVISION_LABEL] == row.revision


@pytest.mark.parametrize("cause", [pytest.param("first", id="K 114 labels and the cause")])
def test_labels_of_a_revision(desk: Desk, cause: str) -> None:
    desk.apply(meta(daemonset(), f"annotations: {{kubernetes.io/change-cause: {cause}}}"))
    metadata = views.revision_view(desk.current(), desk.record())["metadata"]
    assert metadata["labels"]["app"] == "x"
    assert metadata["annotations"][views.CHANGE_CAUSE] == cause


@pytest.mark.parametrize(
    ("tags", "numbers"),
    [
        pytest.param((1, 2, 3), [1, 2, 3], id="K 115 the highest plus one"),
        pytest.param((1, 2, 1), [2, 3], id="K 116 used again, with a number raised: gaps"),
        pytest.param((1, 2, 2), [1, 2], id="K 116 the one in force keeps its number"),
    ],
)
def test_numbers(desk: Desk, tags: tuple[int, ...], numbers: list[int]) -> None:
    releases(desk, *tags)
    assert desk.numbers() == numbers


@pytest.mark.parametrize("to", [pytest.param(1, id="K 176 it comes back with a new number")])
def test_undo(desk: Desk, to: int) -> None:
    releases(desk, 1, 2)
    first = min(desk.store.read(RevisionRecord), key=lambda row: row.number)
    desk.undo(to=to)
    assert desk.numbers() == [2, 3]
    assert desk.current().revision == first.revision
    assert images(desk) == ["web:2", "web:1"]


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [
        pytest.param(10, None, 4, id="K 120 within the limit"),
        pytest.param(2, None, 3, id="K 120 so many beside the current one"),
        pytest.param(0, None, 1, id="K 122 none: no way back"),
        pytest.param(0, 1, 2, id="K 122 but for those in use"),
    ],
)
def test_history_limit(desk: Desk, limit: int, used: int | None, left: int) -> None:
    releases(desk, 1, limit=limit)
    if used:
        desk.store.commit([Put(copy_of(desk.current().revision))])
    releases(desk, 2, 3, 4, limit=limit)
    assert len(desk.numbers()) == left
    if limit == 0 and not used:
        with pytest.raises(Refused):
            desk.undo()


@pytest.mark.parametrize("used", [pytest.param(1, id="K 121 younger unused ones go instead")])
def test_a_revision_in_use_is_kept(desk: Desk, used: int) -> None:
    releases(desk, used, limit=10)
    desk.store.commit([Put(copy_of(desk.current().revision))])
    releases(desk, 2, 3, 4, limit=2)
    assert images(desk) == ["web:1", "web:3", "web:4"]


@pytest.mark.parametrize(
    "strategy", [pytest.param("updateStrategy: {type: OnDelete}", id="K 124 under OnDelete, too")]
)
def test_revisions_under_on_delete(desk: Desk, strategy: str) -> None:
    releases(desk, 1, 2, text=strategy)
    assert desk.numbers() == [1, 2]


# Objects.


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        pytest.param(daemonset(), 1, id="K 139 made with 1"),
        pytest.param(daemonset(image="web:2"), 2, id="K 139 a change of the spec"),
        pytest.param(meta(daemonset(), "labels: {a: b}"), 1, id="K 139 not one of labels"),
    ],
)
def test_generation(desk: Desk, text: str, generation: int) -> None:
    desk.apply(daemonset())
    desk.apply(text)
    assert desk.record().generation == generation


@pytest.mark.parametrize("number", [pytest.param(7, id="K 140 a status in a file is not taken")])
def test_status_is_not_written_by_people(desk: Desk, number: int) -> None:
    desk.apply(f"{daemonset()}\nstatus: {{numberReady: {number}}}")
    assert "status" not in desk.document()


@pytest.mark.parametrize("labels", [pytest.param("{app: y}", id="K 141 the selector stays")])
def test_the_selector_cannot_change(desk: Desk, labels: str) -> None:
    desk.apply(daemonset())
    with pytest.raises(InvalidInput) as error:
        desk.apply(daemonset().replace("{app: x}", labels))
    assert [problem.path for problem in error.value.problems] == ["spec.selector"]


@pytest.mark.parametrize("name", [pytest.param("web2", id="K 158 another name, another object")])
def test_a_name_is_for_ever(desk: Desk, name: str) -> None:
    desk.apply(daemonset())
    desk.apply(daemonset(name))
    assert desk.names() == ["DaemonSet/web", f"DaemonSet/{name}"]


@pytest.mark.parametrize("verb", [pytest.param("delete", id="K 142 in the background by default")])
def test_default_deletion(desk: Desk, verb: str) -> None:
    desk.apply(daemonset())
    desk.delete("DaemonSet/web")
    assert desk.names() == []
    assert [row.name for row in desk.store.read(RemovalRecord)] == ["web"]
    assert desk.store.read(RevisionRecord) == ()


REMOVE = Remove("n1", WEB, None, Reason.DELETED)
SILENT = UnknownHost("n1", WEB, Reason.UNREACHABLE, "no answer")
OTHER = Skipped("n1", Key("default", "else"), Reason.NOT_ELIGIBLE)


@pytest.mark.parametrize(
    ("decisions", "scope", "gone"),
    [
        pytest.param([REMOVE], None, False, id="K 143 stays while a copy is there"),
        pytest.param([SILENT], None, False, id="K 143 or was, on a host out of reach"),
        pytest.param([OTHER], None, True, id="K 143 and goes after the last copy"),
        pytest.param([], frozenset[Key](), False, id="K 143 not by a run about others"),
    ],
)
def test_foreground(
    desk: Desk, decisions: list[Remove | UnknownHost], scope: frozenset[Key] | None, gone: bool
) -> None:
    desk.apply(daemonset())
    desk.delete("DaemonSet/web", cascade="foreground")
    assert views.object_view(desk.record())["metadata"]["deletionTimestamp"]
    finish(desk.store, decisions, scope, now=desk.now, who="ann")
    assert desk.names() == ([] if gone else ["DaemonSet/web"])
    assert bool(desk.store.read(RemovalRecord)) is gone


@pytest.mark.parametrize(
    "cascade", [pytest.param("background", id="K 143 deleted again, it is forgotten at once")]
)
def test_foreground_given_up(desk: Desk, cascade: str) -> None:
    desk.apply(daemonset())
    desk.delete("DaemonSet/web", cascade="foreground")
    desk.delete("DaemonSet/web", cascade="foreground")
    assert desk.names() == ["DaemonSet/web"]
    desk.delete("DaemonSet/web", cascade="background")
    assert desk.names() == []


@pytest.mark.parametrize("image", [pytest.param("web:2", id="K 72 nothing is done to it any more")])
def test_what_is_being_deleted_is_left_alone(desk: Desk, image: str) -> None:
    desk.apply(daemonset())
    desk.delete("DaemonSet/web", cascade="foreground")
    for change in (
        lambda: desk.apply(daemonset(image=image)),
        desk.restart,
        lambda: rollouts.pause(desk.store, WEB, now=1.0, who="ann"),
    ):
        with pytest.raises(Refused, match="being deleted"):
            change()


@pytest.mark.parametrize(
    "tag", [pytest.param("web:1", id="K 143 K 144 orphans keep revisions and are taken over")]
)
def test_orphans(desk: Desk, tag: str) -> None:
    desk.apply(daemonset(image=tag))
    before = desk.current()
    desk.delete("DaemonSet/web", cascade="orphan")
    assert (desk.names(), desk.store.read(RemovalRecord)) == ([], ())
    desk.apply(daemonset(image=tag))
    assert desk.current() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("min_ready_seconds", 0, id="K 145 minReadySeconds"),
        pytest.param("revision_history_limit", 10, id="K 145 revisionHistoryLimit"),
    ],
)
def test_defaults(desk: Desk, field: str, value: int) -> None:
    desk.apply(daemonset())
    made = DaemonSet.model_validate(desk.document()).spec
    assert getattr(made, field) == value
    strategy = made.update_strategy
    knobs = strategy.rolling_update
    assert (strategy.type, knobs.max_unavailable, knobs.max_surge) == ("RollingUpdate", 1, 0)


@pytest.mark.parametrize(
    "labels", [pytest.param({"app": "x"}, id="K 66 the template's and a hash")]
)
def test_labels_of_a_copy(desk: Desk, labels: dict[str, str]) -> None:
    desk.apply(daemonset())
    row = desk.current()
    pod = views.pod_view(views.Pod(copy_of(row.revision), desk.record(), row, None))
    assert pod["metadata"]["labels"] == {**labels, views.REVISION_LABEL: row.revision}
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["name"], owner["controller"]) == ("web", True)


# What people say to rollouts: ours.


def test_pause_and_resume(desk: Desk) -> None:
    desk.apply(daemonset())
    said = {"now": 5.0, "who": "ann"}
    assert rollouts.pause(desk.store, WEB, **said) is True  # type: ignore[arg-type]
    assert rollouts.pause(desk.store, WEB, **said) is False  # type: ignore[arg-type]
    assert desk.store.read(PauseRecord) == (PauseRecord(*WEB, paused=True, at=5.0),)
    assert rollouts.resume(desk.store, WEB, now=6.0, who="ann") is True
    assert rollouts.resume(desk.store, WEB, now=7.0, who="ann") is False
    assert desk.store.read(PauseRecord) == (PauseRecord(*WEB, paused=False, at=6.0),)


def test_a_failed_rollout_can_be_resumed(desk: Desk) -> None:
    desk.apply(daemonset())
    failed = RolloutRecord(*WEB, "r", RolloutState.FAILED, "", "late", 1.0, 1.0)
    desk.store.commit([Put(failed)])
    assert rollouts.resume(desk.store, WEB, now=6.0, who="ann") is True


def test_a_deleted_daemonset_forgets_its_pause(desk: Desk) -> None:
    desk.apply(daemonset())
    rollouts.pause(desk.store, WEB, now=5.0, who="ann")
    desk.delete("DaemonSet/web")
    assert desk.store.read(PauseRecord) == ()


def test_a_pod_is_asked_to_go_by_a_slot(desk: Desk) -> None:
    desk.apply(daemonset())
    with pytest.raises(NotFound, match="web-n1"):
        rollouts.delete_pod(desk.store, WEB, "n1", now=5.0, who="ann")
    desk.store.commit([Put(copy_of("r1"))])
    assert rollouts.delete_pod(desk.store, WEB, "n1", now=5.0, who="ann") == "web-n1"
    assert desk.store.read(SlotRecord) == (SlotRecord(*WEB, "n1", "", SlotKind.DELETE, 5.0),)


def test_a_pod_in_the_other_slot_is_told_by_its_own_name(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.store.commit([Put(replace(copy_of("r1"), slot="b"))])
    assert rollouts.delete_pod(desk.store, WEB, "n1", now=5.0, who="ann") == "web-n1-b"


def test_verbs_want_a_daemonset(desk: Desk) -> None:
    for verb in (rollouts.pause, rollouts.resume):
        with pytest.raises(NotFound):
            verb(desk.store, WEB, now=1.0, who="ann")
    assert desk.store.read(ObjectRecord) == ()
