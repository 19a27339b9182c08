"""`edit`: an edited document takes the place of the live one, held to the rules of apply."""

from __future__ import annotations

import io
import textwrap

import pytest

from fleetd.api.apply import AppliedChange, replace_object
from fleetd.core.meta import Key
from fleetd.documents.load import load
from fleetd.errors import InvalidInput, NotFound, Refused
from tests.unit.api.desk import Desk, config, daemonset, env_from


def edit(
    desk: Desk, text: str, kind: str = "DaemonSet", name: str = "web", version: str = ""
) -> AppliedChange:
    (loaded,) = load(["-"], io.BytesIO(textwrap.dedent(text).encode())).objects
    version = version or str(desk.record(name, kind).resource_version)
    place = (kind, Key("default", name))
    return replace_object(desk.store, place, loaded, version, now=desk.now, who="ann")


def test_an_edit_of_the_template_makes_a_revision(desk: Desk) -> None:
    desk.apply(daemonset())
    assert edit(desk, daemonset(image="web:2")).outcome == "configured"
    assert desk.record().generation == 2
    assert desk.numbers() == [1, 2]
    assert desk.audited()[-1] == ("ann", "edit", "DaemonSet default/web")


def test_an_edit_takes_away_what_it_does_not_say(desk: Desk) -> None:
    desk.apply(daemonset(more=["command: [a]"]))
    edit(desk, daemonset())
    (container,) = desk.document()["spec"]["template"]["spec"]["containers"]
    assert "command" not in container


def test_the_next_apply_keeps_edited_fields_that_its_file_does_not_name(desk: Desk) -> None:
    desk.apply(daemonset())
    edit(desk, daemonset(more=["command: [a]"]))
    assert desk.apply(daemonset()) == {"DaemonSet/web": "unchanged"}
    desk.apply(daemonset(image="web:2"))
    (container,) = desk.document()["spec"]["template"]["spec"]["containers"]
    assert container == {"name": "main", "image": "web:2", "command": ["a"]}


def test_an_edit_that_says_the_same_writes_nothing(desk: Desk) -> None:
    desk.apply(daemonset())
    commits = desk.commits
    assert edit(desk, daemonset()).outcome == "unchanged"
    assert desk.commits == commits


def test_an_edited_config_map_makes_revisions_of_its_users(desk: Desk) -> None:
    desk.apply(config("conf", a="1"), daemonset(more=env_from("ConfigMap", "conf", "a")))
    edit(desk, config("conf", a="2"), "ConfigMap", "conf")
    assert desk.numbers() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(daemonset("other"), "metadata.name: an edit of .* stays that", id="name"),
        pytest.param(
            daemonset()
            .replace("matchLabels: {app: x}", "matchLabels: {app: y}")
            .replace("labels: {app: x}}\n    spec", "labels: {app: y}}\n    spec"),
            "the selector of .* cannot be changed",
            id="selector-K141",
        ),
        pytest.param(
            daemonset(more=env_from("ConfigMap", "gone", "a")),
            "there is no ConfigMap default/gone",
            id="reference",
        ),
    ],
)
def test_an_edit_is_held_to_the_rules_of_apply(desk: Desk, text: str, message: str) -> None:
    desk.apply(daemonset())
    before = desk.record()
    with pytest.raises(InvalidInput, match=message):
        edit(desk, text)
    assert desk.record() == before


def test_an_edit_of_what_has_changed_meanwhile_is_refused(desk: Desk) -> None:
    desk.apply(daemonset())
    version = str(desk.record().resource_version)
    desk.apply(daemonset(image="web:2"))
    with pytest.raises(Refused, match="changed by somebody else meanwhile"):
        edit(desk, daemonset(image="web:3"), version=version)
    desk.delete("DaemonSet/web")
    with pytest.raises(NotFound):
        edit(desk, daemonset(), version=version)
