from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleetd.adapters.lock import hold
from fleetd.errors import Refused, StateBroken, StateHeld

HOLDER = (
    "import sys; from pathlib import Path; from fleetd.adapters.lock import hold\n"
    "with hold(Path(sys.argv[1]), 'fleetd apply web.yaml'):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


@contextmanager
def holder(state: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as first,
        pytest.raises(StateHeld) as caught,
        hold(tmp_path, "fleetd reconcile"),
    ):
        pass
    text = str(caught.value)
    assert "`fleetd apply web.yaml`" in text
    assert f"process {first.pid} " in text
    assert f" on {os.uname().nodename}," in text
    assert str(tmp_path) in text
    assert caught.value.exit_code == 5


def test_a_second_holder_in_the_same_process_is_refused_and_leaves_the_first(
    tmp_path: Path,
) -> None:
    with hold(tmp_path, "one"):
        for _ in range(2):
            with pytest.raises(StateHeld, match="`one`"), hold(tmp_path, "two"):
                pass
    with hold(tmp_path, "three"):
        pass


def test_the_lock_ends_with_a_killed_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.kill()
        first.wait()
        with hold(tmp_path, "next"):
            assert '"command": "next"' in (tmp_path / "lock").read_text()


def test_the_lock_ends_with_an_error_inside_and_its_file_stays(tmp_path: Path) -> None:
    with pytest.raises(LookupError), hold(tmp_path, "one"):
        raise LookupError
    before = (tmp_path / "lock").stat().st_ino
    with hold(tmp_path, "two"):
        assert (tmp_path / "lock").stat().st_ino == before
    assert (tmp_path / "lock").read_text() == ""


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with hold(tmp_path, "one"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with hold(tmp_path, "two"):
            pass
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"pid": 1}'], ids=repr)
def test_a_holder_that_has_not_signed_yet_is_still_a_holder(tmp_path: Path, text: str) -> None:
    with hold(tmp_path, "one"):
        (tmp_path / "lock").write_text(text)
        with pytest.raises(StateHeld, match="only just begun"), hold(tmp_path, "two"):
            pass


def test_the_directory_and_file_are_for_their_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    with hold(state, "one"):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "lock").stat().st_mode) == 0o600


def test_root_leaves_the_state_of_another_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 1, 1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Refused, match=r"sudo -u .* fleetd --state"), hold(tmp_path, "one"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateBroken, match="file/lock"), hold(tmp_path / "file", "one"):
        pass
