"""`label` and `annotate`: what they change, and what they leave alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fleetd.api.marks import mark_object
from fleetd.api.reports import Marks
from fleetd.core.meta import Key
from fleetd.errors import InvalidInput, NotFound, Refused
from tests.unit.api.desk import Desk, config, daemonset

CAUSE = "kubernetes.io/change-cause"


def mark(desk: Desk, marks: Marks, kind: str = "DaemonSet", name: str = "web") -> str:
    return mark_object(desk.store, kind, Key("default", name), marks, now=desk.now, who="ann")


def labels(*changes: str, overwrite: bool = False) -> Marks:
    return Marks("labels", changes, overwrite)


def metadata(desk: Desk, name: str = "web", kind: str = "DaemonSet") -> Mapping[str, Any]:
    found: Mapping[str, Any] = desk.document(name, kind)["metadata"]
    return found


@pytest.mark.parametrize(
    ("changes", "line", "expected"),
    [
        pytest.param(["team=infra"], "labeled", {"team": "infra"}, id="adds"),
        pytest.param(["team=a", "b="], "labeled", {"team": "a", "b": ""}, id="adds-two"),
        pytest.param(["nobody-"], "not labeled", None, id="takes-nothing"),
    ],
)
def test_labels(desk: Desk, changes: list[str], line: str, expected: dict[str, str] | None) -> None:
    desk.apply(daemonset())
    assert mark(desk, labels(*changes)) == f"daemonset.apps/web {line}"
    assert metadata(desk).get("labels") == expected


def test_a_label_raises_no_generation_but_the_version_k139(desk: Desk) -> None:
    desk.apply(daemonset())
    before, revision = desk.record(), desk.current()
    mark(desk, labels("team=infra"))
    after = desk.record()
    assert after.generation == before.generation
    assert after.resource_version > before.resource_version
    assert desk.current() == revision
    assert desk.audited()[-1] == ("ann", "label", "DaemonSet default/web")


def test_what_changes_nothing_writes_nothing(desk: Desk) -> None:
    desk.apply(daemonset())
    mark(desk, labels("team=infra"))
    commits = desk.commits
    assert mark(desk, labels("team=infra")) == "daemonset.apps/web not labeled"
    assert desk.commits == commits


def test_a_value_is_replaced_only_when_told(desk: Desk) -> None:
    desk.apply(config("conf"))
    mark(desk, labels("team=a"), "ConfigMap", "conf")
    with pytest.raises(Refused, match=r"'team' already has a value \(a\)"):
        mark(desk, labels("team=b"), "ConfigMap", "conf")
    told = mark(desk, labels("team=b", overwrite=True), "ConfigMap", "conf")
    assert told == "configmap/conf labeled"
    assert mark(desk, labels("team-"), "ConfigMap", "conf") == "configmap/conf unlabeled"
    assert metadata(desk, "conf", "ConfigMap")["labels"] == {}


def test_the_next_apply_keeps_what_was_marked(desk: Desk) -> None:
    desk.apply(daemonset())
    mark(desk, labels("team=infra"))
    mark(desk, Marks("annotations", ("note=by hand",)))
    assert desk.apply(daemonset()) == {"DaemonSet/web": "unchanged"}
    assert desk.apply(daemonset(image="web:2")) == {"DaemonSet/web": "configured"}
    assert metadata(desk)["labels"] == {"team": "infra"}
    assert metadata(desk)["annotations"] == {"note": "by hand"}


def test_a_change_cause_is_that_of_the_revision_in_force(desk: Desk) -> None:
    desk.apply(daemonset())
    desk.apply(daemonset(image="web:2"))
    assert mark(desk, Marks("annotations", (f"{CAUSE}=why",))) == "daemonset.apps/web annotated"
    assert (desk.current().cause, desk.current().number) == ("why", 2)
    assert desk.numbers() == [1, 2]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (labels("role"), "no change of a label: write KEY=VALUE or KEY-"),
        (labels("a=b c"), "the value of a label"),
        (labels("a=1", "a-"), "a is written twice"),
        (Marks("annotations", ("a b=x",)), "the key of an annotation"),
        (Marks("annotations", ("fleetd/max-unreachable=many",)), "fleetd/max-unreachable"),
    ],
    ids=["form", "value", "twice", "key", "meaning"],
)
def test_what_cannot_be_marked(desk: Desk, marks: Marks, message: str) -> None:
    desk.apply(daemonset())
    before = desk.record()
    with pytest.raises(InvalidInput, match=message):
        mark(desk, marks)
    assert desk.record() == before


def test_what_is_not_there_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        mark(desk, labels("a=b"))
