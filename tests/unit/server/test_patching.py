from __future__ import annotations

from typing import Any

import pytest

from fleetd.server.bodies import JSON_PATCH, MERGE, STRATEGIC
from fleetd.server.patching import patched
from fleetd.server.status import Failure


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": spec}}}


def named(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, **more} for name in names]


PORTS = [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]

STRATEGIC_ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a map merges": ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
    "a null takes away": ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    "a list without a key is replaced": ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    "an item merges by its name": (
        pod(containers=[{"name": "a", "image": "x:1", "tty": True}]),
        pod(containers=[{"name": "a", "image": "x:2"}]),
        pod(containers=[{"name": "a", "image": "x:2", "tty": True}]),
    ),
    "another item is added": (
        pod(containers=named("a")),
        pod(containers=named("b")),
        pod(containers=named("a", "b")),
    ),
    "an item is deleted": (
        pod(containers=named("a", "b")),
        pod(containers=[{"name": "a", "$patch": "delete"}]),
        pod(containers=named("b")),
    ),
    "an item of an item is deleted": (
        pod(containers=[{"name": "a", "env": named("A", "B", value="1")}]),
        pod(containers=[{"name": "a", "env": [{"name": "A", "$patch": "delete"}]}]),
        pod(containers=[{"name": "a", "env": named("B", value="1")}]),
    ),
    "who is deleted is not added": (
        pod(containers=named("a")),
        pod(containers=[{"name": "b", "$patch": "delete"}]),
        pod(containers=named("a")),
    ),
    "a list is replaced when asked": (
        pod(containers=named("a", "b")),
        pod(containers=[*named("c"), {"$patch": "replace"}]),
        pod(containers=named("c")),
    ),
    "a map is replaced when asked": (
        {"spec": {"template": {"a": 1, "b": 2}}},
        {"spec": {"template": {"$patch": "replace", "b": 3}}},
        {"spec": {"template": {"b": 3}}},
    ),
    "a map is deleted when asked": ({"a": {"b": 1}}, {"a": {"$patch": "delete"}}, {"a": {}}),
    "merging is what it does anyway": (
        {"a": {"b": 1}},
        {"a": {"$patch": "merge", "c": 2}},
        {"a": {"b": 1, "c": 2}},
    ),
    "keys are retained": (
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
        pod(
            volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]
        ),
        pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    ),
    "items are put in order": (
        pod(initContainers=named("a", "b", "c")),
        pod(**{"$setElementOrder/initContainers": named("c", "a")}),
        pod(initContainers=named("c", "b", "a")),
    ),
    "a new item takes its place": (
        pod(initContainers=named("a", "b")),
        pod(
            **{"$setElementOrder/initContainers": named("new", "a", "b")},
            initContainers=named("new"),
        ),
        pod(initContainers=named("new", "a", "b")),
    ),
    "an order of what has no key": (
        {"a": [2, 1]},
        {"$setElementOrder/a": [1, 2]},
        {"a": [2, 1]},
    ),
    "plain items are deleted": (
        {"a": ["x", "y"]},
        {"$deleteFromPrimitiveList/a": ["x"]},
        {"a": ["y"]},
    ),
    "ports of two protocols are two": (
        pod(containers=[{"name": "a", "ports": PORTS}]),
        pod(containers=[{"name": "a", "ports": [{"containerPort": 53, "name": "dns"}]}]),
        pod(
            containers=[
                {"name": "a", "ports": [{"containerPort": 53, "name": "dns"}, PORTS[1]]},
            ]
        ),
    ),
    "directives of new items are not kept": (
        pod(),
        pod(volumes=[{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]),
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
    ),
}


@pytest.mark.parametrize(
    ("document", "patch", "after"), STRATEGIC_ROWS.values(), ids=STRATEGIC_ROWS
)
def test_strategic(document: dict[str, Any], patch: dict[str, Any], after: dict[str, Any]) -> None:
    before = repr(document)
    assert patched(document, patch, STRATEGIC) == after
    assert repr(document) == before


@pytest.mark.parametrize("patch", [{"$patch": "mix"}, {"a": {"$mix": 1}}], ids=["how", "name"])
def test_an_unknown_directive(patch: dict[str, Any]) -> None:
    with pytest.raises(Failure) as refused:
        patched({}, patch, STRATEGIC)
    assert refused.value.code == 400


def test_merge() -> None:
    before = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert patched(before, {"a": {"b": None}, "d": [2]}, MERGE) == {"a": {"c": 2}, "d": [2]}
    assert patched({"a": 1}, {"a": {"b": None, "c": 2}}, MERGE) == {"a": {"c": 2}}


def test_json_patch() -> None:
    before = {"a": [1, 2], "b": {"c/d": 1}}
    operations: list[Any] = [
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "remove", "path": "/b/c~1d"},
    ]
    assert patched(before, operations, JSON_PATCH) == {"a": [1, 2, 3], "b": {}}
    assert before == {"a": [1, 2], "b": {"c/d": 1}}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/b"}],
        [{"op": "replace", "path": "/b/c", "value": 1}],
        [{"op": "mix", "path": "/a"}],
        [{"path": "/a"}],
        ["x"],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "path": 1, "value": 1}],
        [{"op": "replace", "path": "", "value": 1}],
        [{"op": "remove", "path": ""}],
        [{"op": "add", "path": "/l/x", "value": 1}],
        [{"op": "add", "path": "/l/9", "value": 1}],
        [{"op": "move", "path": "/a", "from": 1}],
        [{"op": "add", "path": "/a/b", "value": 1}],
    ],
    ids=[
        *("test", "remove", "replace", "op", "no-op", "text", "pointer", "number", "whole", "all"),
        *("index", "far", "from", "scalar"),
    ],
)
def test_a_json_patch_that_does_not_fit(operations: list[Any]) -> None:
    with pytest.raises(Failure) as refused:
        patched({"a": 1, "l": []}, operations, JSON_PATCH)
    assert refused.value.code == 422
