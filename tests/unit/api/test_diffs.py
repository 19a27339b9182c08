from __future__ import annotations

import base64

import pytest

from fleetd.api.diffs import changes, concerned
from fleetd.core.meta import Key
from tests.unit.api.desk import Desk, config, daemonset, env_from, secret


def diff_of(desk: Desk, *texts: str) -> str:
    (change,) = [item for item in changes(desk.changes(*texts)) if item.verb != "unchanged"]
    return change.diff


def trace_free(text: str, *values: str) -> bool:
    forms = [
        form for value in values for form in (value, base64.b64encode(value.encode()).decode())
    ]
    return not any(form in text for form in forms)


@pytest.mark.parametrize("before", [None, "hunter2"], ids=["created", "configured"])
def test_no_value_of_a_secret_is_ever_shown(desk: Desk, before: str | None) -> None:
    if before:
        desk.apply(secret(key=before, same="unchanged-value"))
    text = diff_of(desk, secret(key="correct-horse", same="unchanged-value"))
    assert trace_free(text, "hunter2", "correct-horse", "unchanged-value")
    assert "key: '***" in text


def test_a_changed_secret_tells_which_key_changes(desk: Desk) -> None:
    desk.apply(secret(key="hunter2", same="x1234567"))
    lines = diff_of(desk, secret(key="correct-horse", same="x1234567")).splitlines()
    changed = [line for line in lines if line.startswith(("+ ", "- "))]
    assert changed == ["-  key: '***'", "+  key: '*** (new)'"]


def test_a_secret_with_another_key_and_the_same_values_differs_by_the_key(desk: Desk) -> None:
    desk.apply(secret(a="hunter2"))
    text = diff_of(desk, secret(b="hunter2"))
    assert trace_free(text, "hunter2")
    assert "b:" in text


def test_what_is_no_secret_is_shown(desk: Desk) -> None:
    desk.apply(config(a="1"))
    text = diff_of(desk, config(a="2"))
    assert text.startswith("--- now/ConfigMap/default/conf\n+++ then/ConfigMap/default/conf")
    assert "-  a: '1'" in text
    assert "+  a: '2'" in text


def test_what_does_not_change_has_no_diff(desk: Desk) -> None:
    desk.apply(config(a="1"))
    (change,) = changes(desk.changes(config(a="1")))
    assert (change.verb, change.diff) == ("unchanged", "")


def test_content_concerns_those_who_use_it(desk: Desk) -> None:
    env = env_from("ConfigMap", "conf", "a")
    desk.apply(config(a="1"), daemonset("user", more=env), daemonset("other"))
    applied = desk.changes(config(a="2"))
    assert concerned(desk.store, applied) == {Key("default", "user")}
    applied = desk.changes(daemonset("other", image="web:2"))
    assert concerned(desk.store, applied) == {Key("default", "other")}
