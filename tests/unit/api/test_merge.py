from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleetd.api.merge import MERGE_KEYS, merge

Json = Any
Case = tuple[str, Json, Json, Json, Json]


def pod(**fields: Json) -> Json:
    return {"spec": {"template": {"spec": fields}}}


def of(container: Json) -> Json:
    return pod(containers=[{"name": "c", **container}])


UDP, TCP = {"protocol": "UDP"}, {"protocol": "TCP"}

# What kubectl apply does: name, last applied, live, the file, what comes out.
MAPS: list[Case] = [
    ("creates_without_live", None, None, {"a": 1}, {"a": 1}),
    ("adds_a_field", {"a": 1}, {"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ("changes_a_field", {"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
    ("sets_back_what_another_changed", {"a": 1}, {"a": 9}, {"a": 1}, {"a": 1}),
    ("deletes_what_it_set_and_no_longer_says", {"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1},
     {"a": 1}),
    ("deletes_it_even_if_another_changed_it", {"a": 1}, {"a": 9}, {}, {}),
    ("forgets_what_is_gone_already", {"a": 1}, {}, {}, {}),
    ("keeps_what_it_never_set", {}, {"b": 2}, {"a": 1}, {"b": 2, "a": 1}),
    ("null_deletes_what_another_set", {}, {"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    ("null_of_what_is_not_there", None, {}, {"a": None}, {}),
    ("null_inside_a_new_map", None, None, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ("an_empty_map_keeps_what_is_there", {}, {"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
    ("an_emptied_map_deletes_its_own_only", {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {"a": {}},
     {"a": {"c": 2}}),
    ("a_map_that_goes_takes_all_in_it", {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {}, {}),
    ("a_map_becomes_a_scalar", {"a": {"b": 1}}, {"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ("a_scalar_becomes_a_map", {"a": 5}, {"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ("an_annotation_of_another_verb_stays",
     {"metadata": {"annotations": {"a": "1"}}},
     {"metadata": {"annotations": {"a": "1", "kubectl.kubernetes.io/restartedAt": "now"}}},
     {"metadata": {"annotations": {"a": "2"}}},
     {"metadata": {"annotations": {"a": "2", "kubectl.kubernetes.io/restartedAt": "now"}}}),
    ("data_merges_key_by_key", {"data": {"a": "1", "b": "2"}},
     {"data": {"a": "1", "b": "2", "c": "3"}}, {"data": {"a": "x"}},
     {"data": {"a": "x", "c": "3"}}),
]  # fmt: skip

LISTS: list[Case] = [
    ("command_is_replaced_whole", of({"command": ["a", "b"]}), of({"command": ["a", "b"]}),
     of({"command": ["a"]}), of({"command": ["a"]})),
    ("tolerations_are_replaced_whole", pod(tolerations=[{"key": "a"}]),
     pod(tolerations=[{"key": "a"}, {"key": "b"}]), pod(tolerations=[{"key": "c"}]),
     pod(tolerations=[{"key": "c"}])),
    ("an_empty_list_empties", {"l": [1]}, {"l": [1]}, {"l": []}, {"l": []}),
    ("containers_merge_by_name",
     pod(containers=[{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]),
     pod(containers=[{"name": "a", "image": "1", "x": 1}, {"name": "b", "image": "1"}]),
     pod(containers=[{"name": "a", "image": "2"}]),
     pod(containers=[{"name": "a", "image": "2", "x": 1}])),
    ("containers_take_the_order_of_the_file",
     pod(containers=[{"name": "a"}, {"name": "b"}]), pod(containers=[{"name": "a"}, {"name": "b"}]),
     pod(containers=[{"name": "b"}, {"name": "a"}]),
     pod(containers=[{"name": "b"}, {"name": "a"}])),
    ("a_sidecar_of_another_stays_in_its_place",
     pod(containers=[{"name": "a"}, {"name": "c"}]),
     pod(containers=[{"name": "a"}, {"name": "b"}, {"name": "c"}]),
     pod(containers=[{"name": "a", "image": "2"}, {"name": "c"}, {"name": "d"}]),
     pod(containers=[{"name": "a", "image": "2"}, {"name": "b"}, {"name": "c"}, {"name": "d"}])),
    ("a_first_item_of_another_stays_first", of({"env": []}),
     of({"env": [{"name": "x"}, {"name": "y"}]}), of({"env": [{"name": "z"}]}),
     of({"env": [{"name": "x"}, {"name": "y"}, {"name": "z"}]})),
    ("an_env_value_becomes_a_source", of({"env": [{"name": "A", "value": "1"}]}),
     of({"env": [{"name": "A", "value": "1"}]}),
     of({"env": [{"name": "A", "valueFrom": {"f": 1}}]}),
     of({"env": [{"name": "A", "valueFrom": {"f": 1}}]})),
    ("ports_of_two_protocols_are_two", of({"ports": [{"containerPort": 53}]}),
     of({"ports": [{"containerPort": 53}, {"containerPort": 53, **UDP, "hostPort": 5}]}),
     of({"ports": [{"containerPort": 53, **TCP, "name": "dns"}]}),
     of({"ports": [{"containerPort": 53, **TCP, "name": "dns"},
                   {"containerPort": 53, **UDP, "hostPort": 5}]})),
    ("mounts_merge_by_path", of({"volumeMounts": [{"mountPath": "/a", "name": "v"}]}),
     of({"volumeMounts": [{"mountPath": "/a", "name": "v"}, {"mountPath": "/b", "name": "v"}]}),
     of({"volumeMounts": [{"mountPath": "/a", "name": "w"}]}),
     of({"volumeMounts": [{"mountPath": "/a", "name": "w"}, {"mountPath": "/b", "name": "v"}]})),
    ("a_volume_has_one_source", pod(volumes=[{"name": "v"}]),
     pod(volumes=[{"name": "v", "emptyDir": {}}]),
     pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
     pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}])),
    ("files_merge_by_path", pod(systemd={"files": [{"path": "/a"}, {"path": "/b"}]}),
     pod(systemd={"files": [{"path": "/a", "mode": 1}, {"path": "/b"}]}),
     pod(systemd={"files": [{"path": "/a", "content": "x"}]}),
     pod(systemd={"files": [{"path": "/a", "mode": 1, "content": "x"}]})),
    ("users_merge_by_name", pod(systemd={"users": []}),
     pod(systemd={"users": [{"name": "a"}]}), pod(systemd={"users": [{"name": "b"}]}),
     pod(systemd={"users": [{"name": "a"}, {"name": "b"}]})),
    ("items_without_a_key_are_replaced_whole", of({"env": [{"name": "A"}]}),
     of({"env": [{"name": "A"}]}), of({"env": [{"value": "1"}]}), of({"env": [{"value": "1"}]})),
    ("items_with_one_key_twice_are_replaced_whole", of({"env": [{"name": "A"}]}),
     of({"env": [{"name": "A"}, {"name": "B"}]}), of({"env": [{"name": "A"}, {"name": "A"}]}),
     of({"env": [{"name": "A"}, {"name": "A"}]})),
    ("a_key_elsewhere_is_no_merge_key", {"env": [{"name": "A"}]},
     {"env": [{"name": "A"}, {"name": "B"}]}, {"env": [{"name": "C"}]}, {"env": [{"name": "C"}]}),
    ("null_removes_a_list", pod(tolerations=[]), pod(tolerations=[{"key": "a"}]),
     pod(tolerations=None), pod()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("last", "live", "new", "expected"),
    [pytest.param(*case[1:], id=case[0]) for case in [*MAPS, *LISTS]],
)
def test_merge(last: Json, live: Json, new: Json, expected: Json) -> None:
    given_values = copy.deepcopy((last, live, new))
    merged = merge(last, live, new)
    assert merged == expected
    assert (last, live, new) == given_values
    assert merge(new, merged, new) == expected


def names(keys: Any) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {name: st.sampled_from("abc") for name in keys},
        optional={"x": st.integers(0, 2), "m": st.dictionaries(st.sampled_from("pq"), st.just(1))},
    )


@st.composite
def documents(draw: st.DrawFn) -> Json:
    """Documents with every list that merges item by item, and maps between them."""
    document: Json = {}
    for path, keys in sorted(MERGE_KEYS.items(), key=lambda entry: len(entry[0])):
        if draw(st.booleans()):
            continue
        place = document
        for field in path[:-1]:
            if isinstance(place, list):
                if not place:
                    break
                place = place[0]
            place = place.setdefault(field, {})
        else:
            if isinstance(place, list):
                if not place:
                    continue
                place = place[0]
            place[path[-1]] = draw(st.lists(names(keys), max_size=3))
    return document


@given(documents(), documents(), documents())
def test_merging_the_same_file_again_changes_nothing(last: Json, live: Json, new: Json) -> None:
    merged = merge(last, live, new)
    assert merge(new, merged, new) == merged


@given(documents(), documents())
def test_what_was_applied_by_a_file_alone_is_that_file(last: Json, new: Json) -> None:
    assert merge(last, last, new) == new
