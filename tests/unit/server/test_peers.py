"""Who may connect, and who they are: real sockets, and real processes under other ids."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleetd.client.wire import connect
from fleetd.errors import InvalidInput, StateHeld
from fleetd.server.peers import (
    NOBODY,
    Peer,
    Right,
    Rights,
    group_id,
    listen_on,
    peer_of,
    rights_of,
)

OPERATORS, READERS, SOMEBODY = 54321, 54322, 54323
"""Ids that nobody on a machine has, so that they may be given away."""
RIGHTS = Rights(frozenset({OPERATORS}), own_uid=54320)
DIAL = """
import os, socket, sys
path, uid, gid, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups])
os.setresgid(int(gid), int(gid), int(gid))
os.setresuid(int(uid), int(uid), int(uid))
dialling = socket.socket(socket.AF_UNIX)
dialling.connect(path)
print("in", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody may enter, as they may not the one of pytest."""
    with tempfile.TemporaryDirectory(prefix="fleetd-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        yield place


@contextmanager
def dialled(path: Path, uid: int, gid: int, *groups: int) -> Iterator[subprocess.Popen[str]]:
    """A process under these ids that connects, and stays until told."""
    ids = [str(number) for number in (uid, gid, *groups)]
    with subprocess.Popen(
        [sys.executable, "-c", DIAL, str(path), *ids],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "expected"),
    [
        pytest.param(0, 0, (), Right.OPERATE, id="root"),
        pytest.param(54320, 1, (), Right.OPERATE, id="our-own-user"),
        pytest.param(SOMEBODY, 1, (OPERATORS,), Right.OPERATE, id="operator-by-a-group"),
        pytest.param(SOMEBODY, OPERATORS, (), Right.OPERATE, id="operator-by-the-main-group"),
        pytest.param(SOMEBODY, READERS, (READERS,), Right.READ, id="reader"),
        pytest.param(SOMEBODY, 0, (0,), Right.READ, id="roots-group-is-not-root"),
    ],
)
def test_rights_follow_from_ids(
    uid: int, gid: int, groups: tuple[int, ...], expected: Right
) -> None:
    assert RIGHTS.of(uid, gid, frozenset(groups)) is expected


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("groups", "right"),
    [
        pytest.param((READERS,), Right.READ, id="reader"),
        pytest.param((READERS, OPERATORS), Right.OPERATE, id="operator"),
        pytest.param(tuple(range(60_000, 60_500)), Right.READ, id="in-very-many-groups"),
    ],
)
def test_the_kernel_says_who_connected(
    open_place: Path, groups: tuple[int, ...], right: Right
) -> None:
    path = open_place / "s"
    with listen_on(str(path), "") as listening:
        path.chmod(0o666)
        listening.setblocking(True)
        with dialled(path, SOMEBODY, 1, *groups):
            accepted, _ = listening.accept()
            with accepted:
                expected = Peer(SOMEBODY, 1, frozenset(groups), str(SOMEBODY), right)
                assert peer_of(accepted, RIGHTS) == expected


def test_who_comes_by_another_way_is_nobody() -> None:
    left, right = socket.socketpair()
    with left, right, socket.socket(socket.AF_INET) as tcp:
        assert peer_of(tcp, RIGHTS) == NOBODY
        assert peer_of(left, RIGHTS).uid == os.geteuid()


def test_groups_are_found_by_name_or_number() -> None:
    name = grp.getgrgid(0).gr_name
    assert group_id(name) == 0
    assert group_id("54321") == OPERATORS
    assert rights_of(name) == Rights(frozenset({0}), os.geteuid())
    assert rights_of("") == Rights(frozenset(), os.geteuid())
    with pytest.raises(InvalidInput, match="there is no group 'no-such-group'"):
        rights_of("no-such-group")


@pytest.mark.needs("root")
def test_only_the_group_may_connect(open_place: Path) -> None:
    path = open_place / "s"
    with listen_on(str(path), str(READERS)):
        found = path.stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (READERS, 0o660)
        with dialled(path, SOMEBODY, 1, READERS) as member:
            assert member.stdout is not None
            assert member.stdout.readline() == "in\n"
        with dialled(path, SOMEBODY, 1) as stranger:
            assert stranger.stderr is not None
            assert "PermissionError" in stranger.stderr.read()


WATCHED = """
import os, stat, sys
from fleetd.server.peers import listen_on
place, group = sys.argv[1:]
seen = []

def look(event, _):
    if event.startswith(("os.", "socket.")) and event not in {"os.listdir", "os.scandir"}:
        seen.extend(oct(stat.S_IMODE(each.stat().st_mode)) for each in os.scandir(place))

sys.addaudithook(look)
listen_on(f"{place}/s", group)
look("os.end", ())
print(*dict.fromkeys(seen))
"""


def test_a_socket_is_nobodys_before_it_is_the_groups(tmp_path: Path) -> None:
    """Looked at before each step of making it, and at the end."""
    argv = [sys.executable, "-W", "ignore", "-c", WATCHED, str(tmp_path), str(os.getgid())]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["0o600", "0o660"]


def test_a_path_may_be_of_any_length(tmp_path: Path) -> None:
    place = tmp_path / ("d" * 100) / ("e" * 100)
    place.mkdir(parents=True)
    path = str(place / "fleetd.sock")
    with listen_on(path, ""):
        made = connect(path)
        assert made is not None
        made.close()


def test_a_socket_that_a_killed_service_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listen_on(str(path), "").close()
    left = path.stat().st_ino
    assert connect(str(path)) is None
    with listen_on(str(path), ""):
        assert path.stat().st_ino != left
        made = connect(str(path))
        assert made is not None
        made.close()
    assert [each.name for each in tmp_path.iterdir()] == ["s"]


def test_a_socket_where_somebody_listens_stays_theirs(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_on(str(path), ""):
        before = path.stat().st_ino
        with pytest.raises(StateHeld, match=f"another service listens at {path}"):
            listen_on(str(path), "")
        assert path.stat().st_ino == before
    assert [each.name for each in tmp_path.iterdir()] == ["s"]


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(InvalidInput, match="is there and is no socket"):
        listen_on(str(path), "")
    assert path.read_text() == "precious"


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "s"
    with pytest.raises(InvalidInput, match=f"no socket can be made at {path}: .*No such file"):
        listen_on(str(path), "")


def test_nobody_answers_where_nobody_listens(tmp_path: Path) -> None:
    assert connect(str(tmp_path / "none")) is None
    assert connect(str(tmp_path / "no-directory" / "none")) is None


# Everything is imported as root: the interpreter may lie where another user may not read.
REFUSED = """
import grp, os, pwd, sys
from fleetd.client.wire import connect
from fleetd.errors import Refused
os.setgroups([])
os.setresgid(1, 1, 1)
os.setresuid(1, 1, 1)
try:
    connect(sys.argv[1])
except Refused as error:
    print(error)
"""


@pytest.mark.needs("root")
@pytest.mark.parametrize("closed", ["socket", "directory"])
def test_who_may_not_connect_is_told_the_group(open_place: Path, closed: str) -> None:
    group = grp.getgrall()[-1].gr_name
    path = open_place / "s"
    with listen_on(str(path), group):
        if closed == "directory":
            os.chown(open_place, -1, group_id(group))
            open_place.chmod(0o750)
        argv = [sys.executable, "-c", REFUSED, str(path)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    place = path if closed == "socket" else open_place
    assert said.startswith(f"the service's socket {path} is not for you: {place} is for the group")
    assert f"`usermod -aG {group} {pwd.getpwuid(1).pw_name}`" in said


@pytest.mark.needs("root")
def test_nobody_is_told_to_join_a_group_that_may_not_either(open_place: Path) -> None:
    path = open_place / "s"
    with listen_on(str(path), ""):
        open_place.chmod(0o700)
        argv = [sys.executable, "-c", REFUSED, str(path)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    owner = pwd.getpwuid(0).pw_name
    assert (
        said == f"the service's socket {path} is not for you: {open_place} is for {owner} alone\n"
    )
