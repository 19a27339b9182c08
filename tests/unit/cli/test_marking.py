from __future__ import annotations

import pytest

from fleetd.client import Marks
from fleetd.core.key import Key
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import daemonset, node


@pytest.fixture(autouse=True)
def objects(fleetd: CommandLine) -> None:
    other = daemonset("other")
    other["metadata"]["labels"] = {"team": "infra"}
    fleetd.client.objects = {
        "daemonsets": [daemonset("ne"), other],
        "nodes": [node("a"), node("b")],
    }


def marked(fleetd: CommandLine, *argv: str) -> list[tuple[str, Key]]:
    """What was asked of the client: (kind, key), in order."""
    ended = fleetd(*argv)
    assert ended.code == 0, ended.err
    return [call[1:3] for call in fleetd.client.calls if call[0] == "mark"]


@pytest.mark.parametrize(
    ("argv", "places"),
    [
        (["node", "a", "x=1"], [("nodes", Key("", "a"))]),
        (["nodes", "a", "b", "x=1"], [("nodes", Key("", "a")), ("nodes", Key("", "b"))]),
        (["node/a", "x=1"], [("nodes", Key("", "a"))]),
        (["a", "x=1"], [("nodes", Key("", "a"))]),
        (["nodes", "--all", "x=1"], [("nodes", Key("", "a")), ("nodes", Key("", "b"))]),
        (["ds", "ne", "x=1"], [("daemonsets", Key("default", "ne"))]),
        (["ds/ne", "ds/other", "x-"], [("daemonsets", Key("default", n)) for n in ("ne", "other")]),
        (["ds", "-l", "team=infra", "x-"], [("daemonsets", Key("default", "other"))]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
@pytest.mark.parametrize("verb", ["label", "annotate"])
def test_objects_are_named_as_with_kubectl(
    fleetd: CommandLine, verb: str, argv: list[str], places: list[tuple[str, Key]]
) -> None:
    assert marked(fleetd, verb, *argv) == places


def test_changes_reach_the_client_as_they_were_written(fleetd: CommandLine) -> None:
    ended = fleetd("annotate", "ds/ne", "a=b=c d", "old-", "--overwrite")
    assert ended.out == "daemonsets/ne marked\n"
    marks = Marks("annotations", ("a=b=c d", "old-"), overwrite=True)
    assert fleetd.client.calls[-2] == ("mark", "daemonsets", Key("default", "ne"), marks, False)
    assert [mutating for _, mutating in fleetd.opener.opened] == [True]


def test_a_dry_run_takes_no_lock(fleetd: CommandLine) -> None:
    assert fleetd("label", "a", "x=1", "--dry-run=server").out == "nodes/a marked (dry run)\n"
    assert fleetd.client.calls[-1][-1] is True
    assert [mutating for _, mutating in fleetd.opener.opened] == [False]


def test_what_there_is_can_be_listed(fleetd: CommandLine) -> None:
    assert fleetd("label", "ds/other", "--list").out == "team=infra\n"
    out = fleetd("label", "nodes", "--all", "--list").out
    assert out.splitlines()[:3] == [
        "Listing labels for node/a:",
        " node-role.kubernetes.io/edge=",
        " role=web",
    ]
    assert all(not mutating for _, mutating in fleetd.opener.opened)


def test_a_missing_object_does_not_hide_the_others(fleetd: CommandLine) -> None:
    ended = fleetd("label", "ds/gone", "ds/ne", "x=1")
    assert (ended.code, ended.out) == (2, "daemonsets/ne marked\n")
    assert ended.err == 'fleetd: daemonsets.apps "gone" not found\n'


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["x=1"], "name an object and a change"),
        (["ds/ne"], "name an object and a change"),
        (["ds/ne", "x=1", "--list"], "name an object and a change"),
        (["ds", "x=1"], "say which: names, -l SELECTOR or --all"),
        (["ds", "ne", "--all", "x=1"], "say which: names, -l SELECTOR or --all"),
        (["pods/x", "x=1"], 'no resource type "pods" here'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_clear_is_refused(fleetd: CommandLine, argv: list[str], message: str) -> None:
    ended = fleetd("label", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert fleetd.opener.opened == []
