"""The form in which arguments and results cross: the same again, and nothing else."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from fleetd.client import (
    Change,
    Client,
    Edited,
    Entry,
    LogQuery,
    Marks,
    Query,
    Report,
    Revision,
    RunOptions,
)
from fleetd.client.codec import form_of, pack, unpack
from fleetd.core.facts import Slot
from fleetd.core.key import Key
from fleetd.errors import InvalidInput

VALUES: list[tuple[Any, Any]] = [
    (str, "ü\x00"),
    (bool, True),
    (int, -7),
    (float, 0.5),
    (float | None, None),
    (float | None, 3.0),
    (Literal["a", "b"], "b"),
    (Key, Key("default", "x")),
    (tuple[str, str] | None, ("a", "b")),
    (Sequence[tuple[str, str, str]], (("a", "b", "c"), ("d", "e", "f"))),
    (Mapping[str, Mapping[str, str]], {"a": {"b": "c"}}),
    (list[dict[str, Any]], [{"a": [1, None, {"b": True}]}]),
    (Query, Query(None, "x", refresh=True)),
    (LogQuery, LogQuery("ds/x", since=1.5, lines=3, follow=True)),
    (Edited, Edited("x.yaml", "7")),
    (Marks, Marks("labels", ("a=b", "c-"), overwrite=True)),
    (RunOptions, RunOptions(timeout_s=60.0, max_unreachable=2, confirm_removals=0)),
    (
        Report,
        Report(
            changes=(Change("DaemonSet", "default", "x", "configured", "- a\n+ b\n"),),
            entries=(Entry("h1", "default/x", "update", "Drift", outcome="done", revision="r"),),
            daemonsets=({"kind": "DaemonSet", "status": {"numberReady": 1}},),
            holders={"default/x": {"h2": "why"}},
            problems=("p",),
            notes=("n",),
            converged=False,
        ),
    ),
    (tuple[Revision, ...], (Revision(1, "r", "apply", True, {"spec": {}}),)),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_what_crosses_is_the_same_again(kind: Any, value: Any) -> None:
    there = unpack(kind, json.loads(json.dumps(pack(value))))
    assert there == value
    assert type(there) is type(value)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        pytest.param(str, 7, id="number-for-text"),
        pytest.param(str, None, id="nothing-for-text"),
        pytest.param(bool, 1, id="number-for-truth"),
        pytest.param(int, True, id="truth-for-number"),
        pytest.param(int, 1.5, id="fraction-for-number"),
        pytest.param(float, "1", id="text-for-fraction"),
        pytest.param(float, float("nan"), id="not-a-number"),
        pytest.param(float, float("inf"), id="infinity"),
        pytest.param(Literal["a"], "b", id="another-word"),
        pytest.param(Literal["a"], ["a"], id="list-for-word"),
        pytest.param(Key, ["a"], id="too-short"),
        pytest.param(Key, ["a", "b", "c"], id="too-long"),
        pytest.param(Key, {"namespace": "a"}, id="map-for-list"),
        pytest.param(tuple[str, str], ["a"], id="short-pair"),
        pytest.param(Sequence[str], "abc", id="text-for-list"),
        pytest.param(Sequence[str], ["a", 7], id="number-in-list"),
        pytest.param(Mapping[str, str], ["a"], id="list-for-map"),
        pytest.param(Query, [], id="list-for-object"),
        pytest.param(Query, {"name": 7}, id="wrong-field"),
        pytest.param(Query, {"colour": "red"}, id="unknown-field"),
        pytest.param(LogQuery, {}, id="field-missing"),
        pytest.param(RunOptions, {"timeout_s": "soon"}, id="text-for-seconds"),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, plain: Any) -> None:
    with pytest.raises(InvalidInput):
        unpack(kind, plain, "here")


def test_where_it_does_not_fit_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"apply: options\.timeout_s: 'soon' is not what"):
        form_of(Client.apply).unpack({"specs": [], "options": {"timeout_s": "soon"}})


def test_what_has_no_form_is_told_as_text() -> None:
    assert pack({"slot": Slot.A, "set": {"b", "a"}, 7: b"x", "error": ValueError("no")}) == {
        "slot": "a",
        "set": ["a", "b"],
        "7": "b'x'",
        "error": "no",
    }


def test_every_verb_has_a_form() -> None:
    for name, verb in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_"):
            continue
        form = form_of(verb)
        assert form.name == name
        assert form.optional <= set(inspect.signature(verb).parameters)
        assert not form.callbacks & form.arguments.keys()
    assert form_of(Client.logs).streams
    assert form_of(Client.exec).callbacks == {"write"}


def test_arguments_go_by_position_where_they_may() -> None:
    class Other:
        async def enroll(self, these: Any, *, every: Any, accept: Any, progress: Any) -> Any:
            return these, every, accept, progress

    form = form_of(Client.enroll)
    given = {"progress": 1, "hosts": ["a"], "accept": True, "every": False}
    call = form.call(Other(), given)
    with pytest.raises(StopIteration) as ended:
        call.send(None)
    assert ended.value.value == (["a"], False, True, 1)
