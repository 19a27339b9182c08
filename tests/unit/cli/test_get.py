"""`get` in all its forms, and `events`: what kubectl prints, and what it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fleetd.cli.kinds import kind_of
from fleetd.cli.output import Found
from fleetd.cli.watching import news
from fleetd.client import Shape
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import daemonset, event, node, pod


def labelled(name: str, **labels: str) -> Shape:
    item = daemonset(name)
    item["metadata"]["labels"] = labels
    return item


def heading(out: str) -> str:
    return " ".join(out.splitlines()[0].split())


def first(out: str) -> list[str]:
    """The first column, without the heading."""
    return [row.split()[0] for row in out.splitlines()[1:]]


# ----------------------------------------------------------------------------------- selectors


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["ds", "-l", "app=a"], ["a"]),
        (["ds", "--selector", "app!=a"], ["b", "c"]),
        (["ds", "-l", "app in (a,b)"], ["a", "b"]),
        (["ds", "-l", "!app"], ["c"]),
        (["ds", "--field-selector", "metadata.name=b"], ["b"]),
        (["ds", "-l", "app", "--field-selector", "metadata.name!=b"], ["a"]),
    ],
    ids=lambda value: " ".join(value) or "all",
)
def test_objects_are_selected(fleetd: CommandLine, argv: list[str], names: list[str]) -> None:
    fleetd.client.objects["daemonsets"] = [
        labelled("a", app="a"),
        labelled("b", app="b"),
        labelled("c"),
    ]
    assert first(fleetd("get", *argv).out) == names


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["ds", "a", "-l", "x=y"], "names and a selector do not go together"),
        (["ds", "--field-selector", "spec.x=y"], "daemonsets cannot be selected by the field"),
        (["ds", "-o", "go-template={{.items}}"], "write -o jsonpath=TEMPLATE"),
        (["ds", "-o", "xml"], "'xml' is no output format"),
        (["ds", "-o", "jsonpath"], "say what to print: -o jsonpath=..."),
        (["ds", "-o", "jsonpath={.items[}"], "cannot be read at"),
        (["ds", "-o", "custom-columns=NAME"], "'NAME' is no column"),
        (["ds", "-o", "jsonpath-file=nowhere"], "nowhere: cannot be read"),
        (["ds,pods", "-w"], "a watch is of one kind"),
        (["ds", "-w", "--refresh"], "a watch follows the state"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_had_is_refused_before_anything_is_asked(
    fleetd: CommandLine, argv: list[str], message: str
) -> None:
    ended = fleetd("get", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert fleetd.opener.opened == []


# -------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(
            ["ds"],
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE",
            id="K180",
        ),
        pytest.param(
            ["ds", "-o", "wide"],
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE "
            "CONTAINERS IMAGES SELECTOR",
            id="K180-wide",
        ),
        pytest.param(
            ["ds", "-L", "app,example.com/tier", "--show-labels"],
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE APP TIER LABELS",
            id="labels",
        ),
    ],
)
def test_daemonsets_have_kubectls_columns(
    fleetd: CommandLine, argv: list[str], expected: str
) -> None:
    fleetd.client.objects["daemonsets"] = [labelled("ne", app="a")]
    assert heading(fleetd("get", *argv).out) == expected


def test_labels_are_shown(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [labelled("ne", app="a", b="c"), labelled("x")]
    rows = fleetd("get", "ds", "-L", "app", "--show-labels", "--no-headers").out.splitlines()
    assert rows[0].split()[-2:] == ["a", "app=a,b=c"]
    assert rows[1].endswith("<none>")
    assert len(rows) == 2


def test_all_is_pods_and_daemonsets_each_named_with_its_kind(fleetd: CommandLine) -> None:
    fleetd.client.objects = {"daemonsets": [daemonset()], "pods": [pod()]}
    out = fleetd("get", "all").out
    assert [row.split()[0] for row in out.splitlines() if row] == [
        "NAME",
        "pod/ne-web-01",
        "NAME",
        "daemonset.apps/ne",
    ]


def test_a_missing_name_does_not_hide_the_others(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a")]
    ended = fleetd("get", "ds", "a", "gone")
    assert ended.code == 2
    assert first(ended.out) == ["a"]
    assert ended.err == 'fleetd: daemonsets.apps "gone" not found\n'
    assert fleetd("get", "ds/gone", "--ignore-not-found").code == 0


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (".metadata.name", ["a", "b", "c"]),
        ("{.status.numberReady}", ["c", "a", "b"]),
        (".metadata.annotations.rank", ["b", "a", "c"]),
    ],
)
def test_rows_are_sorted_by_a_field(fleetd: CommandLine, path: str, names: list[str]) -> None:
    a, b, c = daemonset("a", numberReady=2), daemonset("b", numberReady=10), daemonset("c")
    c["status"]["numberReady"] = 0
    a["metadata"]["annotations"], c["metadata"]["annotations"] = {"rank": "1"}, {"rank": "2"}
    fleetd.client.objects["daemonsets"] = [b, a, c]
    assert first(fleetd("get", "ds", "--sort-by", path).out) == names


# ------------------------------------------------------------------------------- other formats


def test_jsonpath_sees_a_list_or_the_one_object(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset("a"), daemonset("b")]
    every = fleetd("get", "ds", "-o", 'jsonpath={range .items[*]}{.metadata.name}{"\\n"}{end}')
    assert every.out == "a\nb\n"
    assert fleetd("get", "ds/b", "-o", "jsonpath={.metadata.name}").out == "b"
    assert fleetd("get", "ds/b", "-o=jsonpath={.nobody}").out == ""


def test_jsonpath_cannot_bring_control_characters_to_a_terminal(fleetd: CommandLine) -> None:
    fleetd.client.objects["events"] = [event("\x1b[2Jboo")]
    assert fleetd("get", "ev", "-o", "jsonpath={..message}").out == r"\x1b[2Jboo"


def test_custom_columns(fleetd: CommandLine, tmp_path: Path) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset()]
    spec = "NAME:.metadata.name,IMAGES:.spec.template.spec.containers[*].image,X:.nobody"
    out = fleetd("get", "ds", "-o", f"custom-columns={spec}").out
    assert [row.split() for row in out.splitlines()] == [
        ["NAME", "IMAGES", "X"],
        ["ne", "quay.io/ne:v1,quay.io/side:v2", "<none>"],
    ]
    bare = fleetd("get", "ds", "-o", f"custom-columns={spec}", "--no-headers").out
    assert [bare.split()] == [out.splitlines()[1].split()]
    file = tmp_path / "columns"
    file.write_text("NAME           READY\nmetadata.name  {.status.numberReady}\n")
    out = fleetd("get", "ds", "-o", f"custom-columns-file={file}").out
    assert [row.split() for row in out.splitlines()] == [["NAME", "READY"], ["ne", "2"]]


def test_a_template_may_be_in_a_file(fleetd: CommandLine, tmp_path: Path) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset()]
    (tmp_path / "names").write_text("{.items[*].metadata.name}")
    assert fleetd("get", "ds", "-o", "jsonpath-file=names").out == "ne"


@pytest.mark.parametrize(
    "argv",
    [["-o", "json"], ["-ojson"], ["-o=json"], ["--output=json"], ["-o", "json", "--watch=false"]],
    ids=" ".join,
)
def test_options_are_taken_in_kubectls_forms(fleetd: CommandLine, argv: list[str]) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset()]
    assert json.loads(fleetd("get", "ds", *argv).out)["kind"] == "List"


# --------------------------------------------------------------------------------------- watch


def changed(item: Shape, **status: int) -> Shape:
    return {**item, "status": {**item["status"], **status}}


def watched(fleetd: CommandLine, looks: list[list[Shape]], *argv: str) -> str:
    """What a watch prints over these looks, until its reader stops it."""
    fleetd.client.looks = [looks[0], *looks]
    fleetd.opener.ends_after = len(looks) + 1
    ended = fleetd("get", "ds", *argv)
    assert ended.code == 130
    return ended.out


def test_a_watch_prints_what_changed_as_rows(fleetd: CommandLine) -> None:
    a, b = daemonset("a"), daemonset("b")
    looks = [[a, b], [a, b], [a, changed(b, numberReady=3)], [a]]
    out = watched(fleetd, looks, "-w")
    assert [row.split()[:4] for row in out.splitlines()] == [
        ["NAME", "DESIRED", "CURRENT", "READY"],
        ["a", "3", "3", "2"],
        ["b", "3", "3", "2"],
        ["b", "3", "3", "3"],
        ["b", "3", "3", "3"],
    ]


def test_a_watch_may_say_what_happened_and_leave_the_beginning_out(fleetd: CommandLine) -> None:
    a, b = daemonset("a"), daemonset("b")
    looks = [[a], [a, b], [changed(a, numberReady=0), b], [b]]
    out = watched(fleetd, looks, "--watch-only", "--output-watch-events")
    assert [row.split()[:2] for row in out.splitlines()] == [
        ["EVENT", "NAME"],
        ["ADDED", "b"],
        ["MODIFIED", "a"],
        ["DELETED", "a"],
    ]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("name", "daemonset.apps/a\ndaemonset.apps/a\n"),
        ("jsonpath={.status.numberReady}/", "2/0/"),
        ("custom-columns=N:.metadata.name", "N\na\na\n"),
    ],
)
def test_a_watch_prints_in_any_form(fleetd: CommandLine, form: str, expected: str) -> None:
    a = daemonset("a")
    assert watched(fleetd, [[a], [changed(a, numberReady=0)]], "-w", "-o", form) == expected


def test_a_watch_prints_objects_one_by_one(fleetd: CommandLine) -> None:
    a = daemonset("a")
    later = changed(a, numberReady=0)
    out = watched(fleetd, [[a], [later]], "-w", "-o", "yaml")
    assert list(yaml.safe_load_all(out)) == [a, later]
    out = watched(fleetd, [[a], [later]], "-w", "-o", "json", "--output-watch-events")
    one, _, other = out.partition("\n}\n")
    assert json.loads(f"{one}\n}}") == {"type": "ADDED", "object": a}
    assert json.loads(other)["type"] == "MODIFIED"


def test_a_row_that_reads_the_same_is_no_news(fleetd: CommandLine) -> None:
    beaten = node()
    beaten["status"]["conditions"][0]["lastHeartbeatTime"] = "2027-01-15T08:00:00Z"
    fleetd.client.looks = [[node()], [node()], [beaten]]
    fleetd.opener.ends_after = 3
    assert len(fleetd("get", "nodes", "-w").out.splitlines()) == 2


def test_a_watch_of_a_name_that_is_not_there_is_an_error(fleetd: CommandLine) -> None:
    ended = fleetd("get", "ds/gone", "-w")
    assert (ended.code, ended.err) == (2, 'fleetd: daemonsets.apps "gone" not found\n')


def test_news_tell_what_came_changed_and_went() -> None:
    kind = kind_of("ds")
    a, b = daemonset("a"), daemonset("b")
    looks: list[Found] = [[(kind, [a])], [(kind, [changed(a, numberReady=0), b])], [(kind, [b])]]
    told = [
        [(entry.event, entry.item["metadata"]["name"]) for entry in fresh]
        for fresh in news(iter(looks))
    ]
    assert told == [[("ADDED", "a")], [("MODIFIED", "a"), ("ADDED", "b")], [("DELETED", "a")]]


# -------------------------------------------------------------------------------------- events


def happened(name: str, host: str, reason: str = "Started", warning: bool = False) -> Shape:
    item = event()
    item["metadata"]["name"] = f"{name}.{host}.{reason}"
    item["involvedObject"]["name"] = name
    item["source"] = {"host": host}
    item["reason"], item["type"] = reason, "Warning" if warning else "Normal"
    return item


@pytest.mark.parametrize(
    ("argv", "reasons"),
    [
        ([], ["A", "B", "C"]),
        (["--for", "ds/ne"], ["A", "B"]),
        (["--for", "node/web-02"], ["B", "C"]),
        (["--for", "pod/ne-web-02"], ["B"]),
        (["--types", "Warning"], ["C"]),
        (["--types", "Warning,Normal"], ["A", "B", "C"]),
    ],
    ids=lambda value: " ".join(value) or "all",
)
def test_events_are_those_of_an_object(
    fleetd: CommandLine, argv: list[str], reasons: list[str]
) -> None:
    fleetd.client.objects["events"] = [
        happened("ne", "web-01", "A"),
        happened("ne", "web-02", "B"),
        happened("other", "web-02", "C", warning=True),
    ]
    out = fleetd("events", *argv).out
    assert heading(out) == "LAST SEEN TYPE REASON OBJECT MESSAGE"
    rows = [row.split() for row in fleetd("events", *argv, "--no-headers").out.splitlines()]
    assert [row[2] for row in rows] == reasons


def test_the_latest_event_comes_last(fleetd: CommandLine) -> None:
    late, early = happened("ne", "a", "Late"), happened("ne", "b", "Early")
    early["lastTimestamp"] = "2027-01-01T00:00:00Z"
    fleetd.client.objects["events"] = [late, early]
    listed = json.loads(fleetd("events", "-o", "json").out)["items"]
    assert [item["reason"] for item in listed] == ["Early", "Late"]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ([], 0, "No events found in default namespace."),
        (["-A"], 0, "No events found"),
        (["--for", "ne"], 2, '"ne" is not KIND/NAME'),
        (["--for", "cm/ne"], 2, 'no resource type "cm" here'),
        (["--types", "Bad"], 2, "'Bad' is no type of events"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_events_that_are_not_there(
    fleetd: CommandLine, argv: list[str], code: int, message: str
) -> None:
    ended = fleetd("events", *argv)
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
