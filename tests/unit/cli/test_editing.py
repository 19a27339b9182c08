"""`edit`, with editors that are small programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.client import Change, Report
from fleetd.core.key import Key
from fleetd.errors import InvalidInput, Problem, Refused
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import config_map, daemonset

EDITED = Report(changes=(Change("DaemonSet", "default", "ne", "configured"),))


@pytest.fixture(autouse=True)
def objects(fleetd: CommandLine) -> None:
    shape = daemonset("ne")
    shape["metadata"]["resourceVersion"] = "7"
    settings = config_map()
    settings["metadata"]["resourceVersion"] = "8"
    fleetd.client.objects = {"daemonsets": [shape], "configmaps": [settings]}
    fleetd.client.report = EDITED


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program to fill in: it is run as $EDITOR, and keeps what it saw in `seen.N`."""
    monkeypatch.delenv("KUBE_EDITOR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    place = tmp_path / "an editor"
    place.touch(0o755)
    monkeypatch.setenv("EDITOR", f"'{place}' --flag")
    return place


def write(editor: Path, script: str) -> None:
    editor.write_text(
        '#!/bin/sh\nset -e\nfile=$2\ncd "${0%/*}"\n'
        "count=$(ls | grep -c '^seen' || true)\ncp \"$file\" seen.$count\n" + script
    )


def edits(fleetd: CommandLine) -> list[tuple[object, ...]]:
    return [call for call in fleetd.client.calls if call[0] == "edit"]


def test_what_comes_out_of_the_editor_is_put_in_place(
    fleetd: CommandLine, editor: Path, tmp_path: Path
) -> None:
    write(editor, "sed -i s/quay.io.ne:v1/quay.io.ne:v2/ $file")
    ended = fleetd("edit", "ds", "ne")
    assert (ended.code, ended.out) == (0, "daemonset.apps/ne edited\n")
    ((_, kind, key, text, version),) = edits(fleetd)
    assert (kind, key, version) == ("daemonsets", Key("default", "ne"), "7")
    assert "quay.io.ne:v2" in str(text)
    assert "#" not in str(text)
    seen = (tmp_path / "seen.0").read_text()
    assert seen.startswith("# Please edit the object below.")
    assert "status:" not in seen
    assert list(tmp_path.glob("fleetd-edit-*")) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("true", "Edit cancelled, no changes made."),
        ("touch $file", "Edit cancelled, no changes made."),
        ("echo >$file", "Edit cancelled, saved file was empty."),
        ("sed -i '/^[^#]/d' $file", "Edit cancelled, saved file was empty."),
    ],
)
def test_nothing_changed_or_left_cancels(
    fleetd: CommandLine, editor: Path, script: str, message: str
) -> None:
    write(editor, script)
    ended = fleetd("edit", "ds/ne")
    assert (ended.code, ended.out, ended.err) == (0, "", f"{message}\n")
    assert edits(fleetd) == []


def test_what_is_wrong_is_shown_in_the_editor_again(
    fleetd: CommandLine, editor: Path, tmp_path: Path
) -> None:
    problem = Problem("PLACE", 5, "spec.minReadySeconds", "must not be negative", "write 0")
    fleetd.client.refusals = [InvalidInput([problem])]
    write(editor, "sed -i s/ne:v1/ne:v2/ $file; [ $count = 0 ] || sed -i s/ne:v2/ne:v3/ $file")
    assert fleetd("edit", "ds/ne").code == 0
    again = (tmp_path / "seen.1").read_text()
    assert '# daemonsets.apps "ne" was not valid:\n' in again
    assert "spec.minReadySeconds: must not be negative; write 0\n" in again
    assert "ne:v2" in again
    assert [("ne:v3" in str(call[3])) for call in edits(fleetd)] == [False, True]


def test_giving_up_keeps_the_changes_in_a_file(
    fleetd: CommandLine, editor: Path, tmp_path: Path
) -> None:
    fleetd.client.refusals = [InvalidInput("spec: bad")]
    write(editor, "sed -i s/ne:v1/ne:v2/ $file")
    ended = fleetd("edit", "ds/ne")
    assert ended.code == 2
    assert "Edit cancelled, no valid changes were saved." in ended.err
    (kept,) = tmp_path.glob("fleetd-edit-*")
    assert f'A copy of your changes has been stored to "{kept}"' in ended.err
    assert "ne:v2" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_change_by_somebody_else_keeps_them_too(
    fleetd: CommandLine, editor: Path, tmp_path: Path
) -> None:
    fleetd.client.refusals = [Refused("changed by somebody else meanwhile")]
    write(editor, "sed -i s/ne:v1/ne:v2/ $file")
    ended = fleetd("edit", "ds/ne")
    assert ended.code == 2
    assert "changed by somebody else meanwhile" in ended.err
    assert len(list(tmp_path.glob("fleetd-edit-*"))) == 1


def test_kubes_own_editor_comes_first(
    fleetd: CommandLine, editor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBE_EDITOR", "false")
    ended = fleetd("edit", "cm", "settings")
    assert ended.code == 2
    assert "the editor 'false' ended with status 1; nothing was done" in ended.err
    monkeypatch.setenv("KUBE_EDITOR", "/nowhere/editor")
    assert "does not start" in fleetd("edit", "cm", "settings").err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["ds"], "name what to edit"),
        (["pods", "x"], 'no resource type "pods" here'),
        (["ds/gone"], 'daemonsets.apps "gone" not found'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_edited(
    fleetd: CommandLine, editor: Path, argv: list[str], message: str
) -> None:
    ended = fleetd("edit", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
