from __future__ import annotations

import pytest

from fleetd.cli.kinds import DELETABLE, kind_of, one_target, targets
from fleetd.errors import InvalidInput


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        *((w, "daemonsets") for w in ("ds", "daemonset", "daemonsets", "DaemonSet")),
        *((w, "daemonsets") for w in ("daemonset.apps", "daemonsets.apps", "daemonset.fleetd")),
        *((w, "pods") for w in ("po", "pod", "pods")),
        *((w, "nodes") for w in ("no", "node", "nodes")),
        *((w, "events") for w in ("ev", "event", "events")),
        *((w, "controllerrevisions") for w in ("revision", "revisions", "controllerrevisions")),
        *((w, "configmaps") for w in ("cm", "configmap", "configmaps")),
        *((w, "secrets") for w in ("secret", "secrets")),
    ],
)
def test_every_word_of_kubectl_means_its_kind(word: str, plural: str) -> None:
    assert kind_of(word).plural == plural


def test_an_unknown_word_names_the_nearest_or_all() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean daemonset\?"):
        kind_of("demonset")
    with pytest.raises(InvalidInput, match="known are configmaps, daemonsets, pods, secrets"):
        kind_of("zzz", DELETABLE)
    with pytest.raises(InvalidInput, match='no resource type "nodes" here'):
        kind_of("nodes", DELETABLE)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ds"], [("daemonsets", "")]),
        (["ds", "a", "b"], [("daemonsets", "a"), ("daemonsets", "b")]),
        (["ds/a"], [("daemonsets", "a")]),
        (["ds/a", "no/b"], [("daemonsets", "a"), ("nodes", "b")]),
        (["ds,po"], [("daemonsets", ""), ("pods", "")]),
        (["all"], [("pods", ""), ("daemonsets", "")]),
        (["daemonsets.apps", "a"], [("daemonsets", "a")]),
        (["daemonset/a", "daemonset.apps/b"], [("daemonsets", "a"), ("daemonsets", "b")]),
        (["ds,cm", "a"], [("daemonsets", "a"), ("configmaps", "a")]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_objects_are_named_as_with_kubectl(
    arguments: list[str], expected: list[tuple[str, str]]
) -> None:
    assert [(kind.plural, name) for kind, name in targets(arguments)] == expected


@pytest.mark.parametrize("arguments", [["ds/a", "b"], ["ds/"], ["ds/a/b"], ["ds", "a/b"]])
def test_mixed_and_empty_names_are_refused(arguments: list[str]) -> None:
    with pytest.raises(InvalidInput):
        targets(arguments)


@pytest.mark.parametrize("arguments", [["ds/ne"], ["ds", "ne"], ["ne"], ["daemonset.apps/ne"]])
def test_one_daemonset_is_named_in_any_form(arguments: list[str]) -> None:
    assert one_target(arguments, "daemonsets") == "ne"


@pytest.mark.parametrize("arguments", [["ds", "a", "b"], ["po/a"], ["ds/a", "ds/b"]])
def test_one_daemonset_is_exactly_one(arguments: list[str]) -> None:
    with pytest.raises(InvalidInput):
        one_target(arguments, "daemonsets")
