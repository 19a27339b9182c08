from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from fleetd.adapters.sinks import Levels, LogSink, Several


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def visit(node: str = "n1", outcome: str = "ok", request: str = "observe") -> dict[str, Any]:
    return {
        "node": node,
        "request": request,
        "seconds": 0.1,
        "outcome": outcome,
        "reason": "" if outcome == "ok" else "why",
    }


def test_a_line_is_one_object_with_what_was_bound() -> None:
    out = io.StringIO()
    LogSink(form="json", stream=out, fleet="f1").emit("action_ended", **ended("done"))
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "action_ended", "level": "info", "fleet": "f1", **ended("done")}


def ended(outcome: str) -> dict[str, Any]:
    return {
        "node": "n1",
        "daemonset": "ns/agent",
        "action": "repair",
        "reason": "Drift",
        "revision": "r1",
        "outcome": outcome,
        "message": "",
    }


@pytest.mark.parametrize(
    ("event", "fields", "level"),
    [
        ("visit", visit(), "debug"),
        ("visit", visit(outcome="lost"), "warning"),
        ("visit", visit(outcome="lost", request="apply"), "warning"),
        ("visit", visit(outcome="failed"), "warning"),
        ("visit", visit(outcome="failed", request="apply"), "debug"),
        ("action_started", {"node": "n1"}, "debug"),
        ("action_ended", ended("done"), "info"),
        ("action_ended", ended("failed"), "error"),
        ("action_ended", ended("refused"), "error"),
        ("action_ended", ended("lost"), "warning"),
        ("action_ended", ended("not-tried"), "debug"),
        ("pass_ended", {"actions": 0}, "debug"),
        ("pass_ended", {"actions": 2}, "info"),
        ("connected", {"node": "n1", "seconds": 0.1, "again": True}, "debug"),
        ("stream", {"node": "n1", "state": "live", "why": ""}, "debug"),
        ("stream", {"node": "n1", "state": "polling", "why": "no journal"}, "warning"),
        ("stream", {"node": "n1", "state": "polling", "why": "streams are turned off"}, "debug"),
        ("stream_event", {"node": "n1", "why": "unit", "lag_s": 0.1}, "debug"),
        ("inventory_failed", {"why": "no such file"}, "error"),
        ("inventory_changed", {"joined": 1}, "info"),
        ("quarantined", {"node": "n1", "why": "another key"}, "error"),
        ("service_started", {}, "info"),
        ("settings_failed", {"why": "line 3"}, "error"),
        ("restart_needed", {"settings": ["socket"]}, "warning"),
        ("what_a_later_fleetd_tells", {}, "debug"),
    ],
)
def test_what_changes_or_troubles_is_told_and_the_rest_is_not(
    event: str, fields: dict[str, Any], level: str
) -> None:
    assert Levels().judge(event, fields)[0] == level
    out = io.StringIO()
    LogSink(form="json", debug=False, stream=out).emit(event, **fields)
    assert [line["level"] for line in lines(out)] == ([] if level == "debug" else [level])
    every = io.StringIO()
    LogSink(form="json", debug=True, stream=every).emit(event, **fields)
    assert [line["level"] for line in lines(every)] == [level]


def test_what_is_too_long_is_cut_and_says_so() -> None:
    out = io.StringIO()
    joined = [f"n{number:04}" for number in range(5000)]
    LogSink(form="json", stream=out).emit("inventory_changed", joined=joined, left=["x"])
    (line,) = lines(out)
    assert line["joined"] == [*joined[:100], "and 4900 more"]
    assert line["left"] == ["x"]
    LogSink(form="json", stream=out).emit(
        "action_ended", **{**ended("failed"), "message": "x" * 5000}
    )
    assert lines(out)[1]["message"] == "x" * 4096 + "... and 904 characters more"


def test_trouble_is_told_when_it_begins_changes_and_ends() -> None:
    levels = Levels()
    course = ["ok", "lost", "lost", "failed", "failed", "ok", "ok", "lost"]
    told = [levels.judge("visit", visit(outcome=outcome)) for outcome in course]
    assert [level for level, _ in told] == [
        *("debug", "warning", "debug", "warning", "debug", "info", "debug", "warning")
    ]
    assert told[5][1]["before"] == "failed"
    assert levels.judge("visit", visit("n2", "lost"))[0] == "warning", "each host has its own"


def test_a_pass_tells_what_it_decided() -> None:
    levels = Levels()
    actions = [{"action": "update", "daemonset": "ns/b"}, {"action": "update", "daemonset": "ns/a"}]
    levels.judge("decided", {"actions": actions, "statuses": {}})
    _, said = levels.judge("pass_ended", {"actions": 2, "seconds": 0.1})
    assert said["planned"] == {"update": 2}
    assert said["daemonsets"] == ["ns/a", "ns/b"]
    assert "planned" not in levels.judge("pass_ended", {"actions": 0})[1]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_host_cannot_steer_who_reads_the_log(form: Any) -> None:
    out = io.StringIO()
    evil = "\x1b[2J\n<0>fake\r\x9b31m\u202e"
    LogSink(form=form, stream=out).emit("visit", **{**visit(evil), "reason": evil})
    text = out.getvalue()
    assert text.count("\n") == 1
    assert not any(character in text for character in "\x1b\r\x9b\u202e")


@pytest.mark.parametrize(
    ("level", "fields"), [(3, ended("failed")), (4, ended("lost")), (6, ended("done"))]
)
def test_lines_for_the_journal_begin_with_their_priority(
    level: int, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        LogSink(stream=stream).emit("action_ended", **fields)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        LogSink(stream=stream).emit("action_ended", **fields)
    first, second = path.read_text().splitlines()
    assert first.startswith(f"<{level}>{{")
    assert json.loads(first[3:])["node"] == "n1"
    assert json.loads(second)["node"] == "n1", "another stream than the journal's gets no prefix"


class Broken(io.StringIO):
    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError("the journal was restarted")


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    broken = Broken()
    LogSink(form="json", stream=broken).emit("service_started")
    assert broken.tried


def test_several_sinks_hear_the_same() -> None:
    first, second = io.StringIO(), io.StringIO()
    sinks = [LogSink(form="json", stream=out) for out in (first, second)]
    Several(*sinks).emit("service_started", version="1")
    assert lines(first)[0]["version"] == lines(second)[0]["version"] == "1"
