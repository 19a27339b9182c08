from __future__ import annotations

import json

import pytest
import yaml

from fleetd.client import LogQuery, Query
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import config_map, daemonset, event, node, pod, secret


def test_get_prints_a_table_to_stdout(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a"), daemonset("b"), daemonset("c", "other")]
    ended = fleetd("get", "ds")
    assert ended.code == 0
    assert ended.err == ""
    assert [row.split()[0] for row in ended.out.splitlines()] == ["NAME", "a", "b"]


def test_get_reads_only(fleetd: CommandLine) -> None:
    fleetd("get", "ds", "--refresh")
    assert [mutating for _, mutating in fleetd.opener.opened] == [False]
    assert fleetd.client.calls == [("get", "daemonsets", Query("default", "", refresh=True))]


def test_all_namespaces_come_first(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a"), daemonset("c", "other")]
    rows = fleetd("get", "ds", "-A").out.splitlines()
    assert [row.split()[:2] for row in rows] == [
        ["NAMESPACE", "NAME"],
        ["default", "a"],
        ["other", "c"],
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["get", "ds"], "No resources found in default namespace."),
        (["get", "ds", "-n", "prod"], "No resources found in prod namespace."),
        (["get", "ds", "-A"], "No resources found"),
        (["get", "nodes"], "No resources found"),
    ],
    ids=" ".join,
)
def test_nothing_found_is_said_on_stderr(
    fleetd: CommandLine, argv: list[str], message: str
) -> None:
    ended = fleetd(*argv)
    assert (ended.code, ended.out, ended.err) == (0, "", message + "\n")


def test_a_name_that_is_not_there_is_an_error(fleetd: CommandLine) -> None:
    ended = fleetd("get", "ds", "gone")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == 'fleetd: daemonsets.apps "gone" not found\n'


@pytest.mark.parametrize("form", [["ds", "a"], ["ds/a"]], ids=["two-words", "slash"])
def test_one_named_object_is_printed_as_itself(fleetd: CommandLine, form: list[str]) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a"), daemonset("b")]
    assert json.loads(fleetd("get", *form, "-o", "json").out) == daemonset("a")
    assert yaml.safe_load(fleetd("get", *form, "-o", "yaml").out) == daemonset("a")


@pytest.mark.parametrize("names", [[], ["a", "b"]], ids=["all", "two-names"])
def test_everything_else_is_a_list(fleetd: CommandLine, names: list[str]) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a"), daemonset("b")]
    expected = {
        "apiVersion": "v1",
        "kind": "List",
        "metadata": {},
        "items": [daemonset("a"), daemonset("b")],
    }
    assert json.loads(fleetd("get", "ds", *names, "-o", "json").out) == expected
    assert yaml.safe_load(fleetd("get", "ds", *names, "-o", "yaml").out) == expected


def test_an_empty_list_is_a_list(fleetd: CommandLine) -> None:
    ended = fleetd("get", "pods", "-o", "json")
    assert json.loads(ended.out)["items"] == []
    assert ended.err == ""


def test_names_can_be_fed_back(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a")]
    fleetd.client.objects["nodes"] = [node()]
    ended = fleetd("get", "ds,nodes", "-o", "name")
    assert ended.out == "daemonset.apps/a\nnode/web-01\n"
    again = fleetd("get", *ended.out.split(), "-o", "name")
    assert again.out == ended.out


def test_several_kinds_are_several_tables(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a")]
    fleetd.client.objects["pods"] = [pod()]
    blocks = fleetd("get", "ds,po").out.split("\n\n")
    assert [block.splitlines()[1].split()[0] for block in blocks] == [
        "daemonset.apps/a",
        "pod/ne-web-01",
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_secrets_are_hidden_unless_asked_for(fleetd: CommandLine, form: str) -> None:
    fleetd.client.objects["secrets"] = [secret()]
    hidden = fleetd("get", "secret", "token", "-o", form).out
    assert "aHVudGVyMg" not in hidden
    assert "hunter2" not in hidden
    assert yaml.safe_load(hidden)["data"] == {"key": "<7 bytes, hidden>"}
    shown = fleetd("get", "secret", "token", "-o", form, "--show-secrets").out
    assert yaml.safe_load(shown) == secret()


def test_config_maps_are_shown(fleetd: CommandLine) -> None:
    fleetd.client.objects["configmaps"] = [config_map()]
    assert json.loads(fleetd("get", "cm/settings", "-o", "json").out) == config_map()


@pytest.mark.parametrize("form", ["json", "yaml", "wide"])
def test_no_output_carries_escape_sequences(fleetd: CommandLine, form: str) -> None:
    nasty = event("\x1b]0;owned\x07 \x9b31m \x7f \u202e ü")
    fleetd.client.objects["events"] = [nasty]
    out = fleetd("get", "ev", "-o", form).out
    assert [
        character for character in out if character != "\n" and not character.isprintable()
    ] == []
    if form != "wide":
        assert yaml.safe_load(out)["items"] == [nasty]


def test_describe_takes_several(fleetd: CommandLine) -> None:
    fleetd.client.objects["nodes"] = [node("a"), node("b")]
    assert fleetd("describe", "node", "a", "b").out == "Name:  a\n\nName:  b\n"
    assert fleetd("describe", "events").code == 2


@pytest.mark.parametrize(
    ("argv", "daemonset"),
    [
        (["web-01"], None),
        (["web-01", "ne"], ("default", "ne")),
        (["web-01", "ds/ne", "-n", "prod"], ("prod", "ne")),
        (["node/web-01", "prod/ne"], ("prod", "ne")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_why_names_one_daemonset_or_none(
    fleetd: CommandLine, argv: list[str], daemonset: tuple[str, str] | None
) -> None:
    assert fleetd("why", *argv).out == "web-01: eligible\n"
    assert fleetd.client.calls == [("why", "web-01", daemonset)]


def test_logs_of_a_daemonset_say_the_node(fleetd: CommandLine) -> None:
    fleetd.client.lines = (("web-01", "one"), ("web-02", "\x1b[31mtwo"))
    ended = fleetd("logs", "daemonset/ne", "--node", "web-01", "--since", "5m", "--tail=3")
    assert ended.out == "web-01: one\nweb-02: \\x1b[31mtwo\n"
    assert fleetd.client.calls == [("logs", LogQuery("ds/ne", node="web-01", since=300.0, lines=3))]


@pytest.mark.parametrize("target", ["ne-web-01", "pod/ne-web-01"])
def test_logs_of_a_pod_are_its_lines(fleetd: CommandLine, target: str) -> None:
    fleetd.client.lines = (("web-01", "one"),)
    assert fleetd("logs", target, "-f", "-c", "side").out == "one\n"
    assert fleetd.client.calls == [("logs", LogQuery("ne-web-01", container="side", follow=True))]
