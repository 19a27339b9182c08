"""The script that follows, run whole in the shells of hosts, with systemd played by stubs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest

from fleetd.host import scripts
from fleetd.host.paths import RUN_DIR, STATE_DIR, UNIT_DIR
from fleetd.host.requests import Follow
from fleetd.host.wire import encode

NONCE = "0123456789abcdef"
UNIT = "fleetd-default.agent.main.a.service"
SHELLS = ("dash", "bash", pytest.param("busybox", marks=pytest.mark.needs("busybox")))
STUBS = {
    # A reader that waits for more, as journalctl -f does; what it was asked for is kept.
    "journalctl": """
        case $* in *' -n 1 '*) exit $(cat "$HOME/cursor_status") ;; esac
        echo "$@" >>"$HOME/journalctl"
        echo $$ >"$HOME/reader"
        exec tail -n +1 -f "$HOME/journal"
    """,
    "systemd-run": 'for word; do printf "%s\\n" "$word"; done >>"$HOME/systemd-run"',
    # To stop what is not loaded fails, and the service of a watch seldom is.
    "systemctl": """
        echo "$@" >>"$HOME/systemctl"
        case $1 in list-units) cat "$HOME/units" ;; stop) exit 5 ;; esac
    """,
}


@dataclass
class Stream:
    """A script that follows, and what it has said so far."""

    home: Path
    process: subprocess.Popen[str]
    said: list[str]
    reader: Thread = field(init=False)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + 8
        while not condition():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)

    def write(self, **fields: str) -> str:
        """Have the journal tell something; returns the line."""
        line = json.dumps(fields, separators=(",", ":"))
        with (self.home / "journal").open("a") as journal:
            journal.write(f"{line}\n")
        return line

    def asked(self, program: str) -> list[str]:
        """What a program was called with, line by line."""
        file = self.home / program
        return file.read_text().splitlines() if file.exists() else []

    def watches(self) -> list[list[str]]:
        """The paths of each watch that was asked for, in order."""
        found: list[list[str]] = []
        for word in self.asked("systemd-run"):
            if word == "--quiet":
                found.append([])
            if word.startswith("--path-property=PathChanged="):
                found[-1].append(word.partition("PathChanged=")[2].removeprefix(str(self.home)))
        return [paths for paths in found if paths]

    def ledger(self, *lines: str, end: str = "end\n") -> None:
        """Put another ledger in place of the one that is there."""
        file = self.home / STATE_DIR[1:] / "ledger"
        file.with_suffix(".new").write_text("".join(f"{line}\n" for line in lines) + end)
        file.with_suffix(".new").replace(file)

    def gone(self) -> bool:
        """Whether nothing of the script runs any more."""
        reader = self.home / "reader"
        reads = reader.exists() and Path(f"/proc/{reader.read_text().strip()}").exists()
        return self.process.poll() is not None and not reads


def file_line(path: Path | str) -> str:
    return f"file\tdefault/agent\ta\t{path}\tsha\tseal"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return [*(["busybox", "ash"] if request.param == "busybox" else [request.param])]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for directory in (STATE_DIR, RUN_DIR, UNIT_DIR):
        (tmp_path / directory[1:]).mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, text in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.write_text(f"#!/bin/sh\n{text}\n")
        stub.chmod(0o755)
    (tmp_path / "cursor_status").write_text("0\n")
    for name in ("journal", "units"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def follow(shell: list[str], home: Path) -> Iterator[Callable[..., Stream]]:
    """Starts a stream; it has ended when the test is over."""
    begun: list[Stream] = []

    def start(request: Follow | None = None, *ledger: str) -> Stream:
        asked = encode(request or Follow(), NONCE).decode().rpartition("request\t")[2]
        script = scripts.script("follow").decode()
        here = script.replace("PATH=/usr/local/sbin", f"PATH={home}/bin:/usr/local/sbin")
        for directory in (STATE_DIR, RUN_DIR, UNIT_DIR):
            here = here.replace(f"={directory}\n", f"={home}{directory}\n")
        assert str(home) in here
        process = subprocess.Popen(
            [*shell, "-c", here],
            env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        stream = Stream(home, process, [])
        begun.append(stream)
        if ledger:
            stream.ledger(*ledger)

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                stream.said.append(line.rstrip("\n"))

        stream.reader = Thread(target=read)
        stream.reader.start()
        assert process.stdin is not None
        process.stdin.write(f"request\t{asked}")
        process.stdin.flush()
        return stream

    yield start
    for stream in begun:
        assert stream.process.stdin is not None
        stream.process.stdin.close()
        stream.process.wait(10)
        stream.reader.join()
        assert stream.process.stdout is not None
        stream.process.stdout.close()


def test_it_tells_what_concerns_us_and_nothing_else(follow: Callable[..., Stream]) -> None:
    stream = follow(
        None,
        "unit\tdefault/agent\ta\tnginx.service\tborrowed",
        "replaced\tdefault/agent\ta\told.service\tenabled\tactive",
    )
    stream.until(lambda: any(line.startswith("watching") for line in stream.said))
    stream.write(UNIT="cron.service", MESSAGE="fleetd-x is not our unit")
    stream.write(UNIT="fleetd.service")
    stream.write(UNIT="nginx.service.d")
    stream.write(UNIT="fleetd_watch-1-2-files.service", MESSAGE="of another stream")
    wanted = [
        stream.write(UNIT=UNIT, MESSAGE="Started"),
        stream.write(UNIT="nginx.service", MESSAGE="Stopped"),
        stream.write(MESSAGE="x", UNIT="old.service"),
        stream.write(MESSAGE="Reloading."),
        stream.write(MESSAGE="Reloading requested from client PID 7 ('systemctl')..."),
    ]
    spaced = f'{{ "UNIT" : "{UNIT}", "MESSAGE" : "as systemd 239 writes it" }}'
    with (stream.home / "journal").open("a") as journal:
        journal.write(f"{spaced}\n")
    stream.until(lambda: spaced in stream.said)
    assert stream.said == [f"FLEETD1 {NONCE} BEGIN", "watching\t3\t0", *wanted, spaced]


def test_it_ends_with_stdin_and_leaves_nothing_behind(follow: Callable[..., Stream]) -> None:
    stream = follow()
    stream.until(lambda: len(stream.said) > 1)
    assert stream.process.stdin is not None
    stream.process.stdin.close()
    stream.until(stream.gone)
    (stop,) = [line for line in stream.asked("systemctl") if line.startswith("stop")]
    unit = f"fleetd_watch-{stream.process.pid}-1-files"
    assert stop == f"stop {unit}.path {unit}.service"
    assert stream.said[-1] == f"FLEETD1 {NONCE} END rc=0"


def test_it_ends_when_the_reader_of_the_journal_does(follow: Callable[..., Stream]) -> None:
    stream = follow()
    stream.until(lambda: len(stream.said) > 1 and (stream.home / "reader").exists())
    os.kill(int((stream.home / "reader").read_text()), signal.SIGTERM)
    stream.until(stream.gone)
    assert any(line.startswith("stop") for line in stream.asked("systemctl"))


def test_it_has_delivered_files_watched_and_looks_again_when_the_ledger_changes(
    follow: Callable[..., Stream], home: Path
) -> None:
    wants = home / UNIT_DIR[1:] / "multi-user.target.wants"
    wants.mkdir()
    (wants / UNIT).symlink_to(f"{UNIT_DIR}/{UNIT}")
    unit_dir, state = home / UNIT_DIR[1:], home / STATE_DIR[1:]
    stream = follow(
        None,
        file_line(f"{unit_dir}/{UNIT}"),
        file_line(f"{unit_dir}/{UNIT}.d/50-x.conf"),
        file_line("/etc/agent.conf"),
        file_line("/etc/100%.conf"),
        file_line(f"{state}/w/default.agent/a/host.env"),
        file_line(f"{state}/w/default.agent/a/other"),
    )
    stream.until(lambda: "watching\t7\t0" in stream.said)
    first = [
        *(f"{STATE_DIR}/ledger", UNIT_DIR, f"{RUN_DIR}/probe"),
        f"{UNIT_DIR}/multi-user.target.wants",
        *(f"{UNIT_DIR}/{UNIT}.d", "/etc/agent.conf", f"{STATE_DIR}/w/default.agent/a"),
    ]
    assert stream.watches() == [first]
    files = f"fleetd_watch-{stream.process.pid}-1-files.service"
    stream.write(UNIT=files, MESSAGE="the same ledger")
    stream.ledger(file_line("/etc/agent.conf"), file_line("/etc/other.conf"))
    stream.write(UNIT=files, MESSAGE="another ledger")
    stream.until(lambda: "watching\t6\t0" in stream.said)
    assert stream.watches() == [first, [*first[:4], "/etc/agent.conf", "/etc/other.conf"]]
    stream.until(lambda: any("-1-files.path" in line for line in stream.asked("systemctl")))
    stream.ledger(file_line("/etc/other.conf"), end="")
    last = stream.write(UNIT=files.replace("-1-", "-2-"), MESSAGE="a ledger that was cut")
    stream.until(lambda: last in stream.said)
    assert len(stream.watches()) == 2
    assert stream.process.poll() is None


def test_the_number_of_watched_paths_is_bounded_and_the_rest_told(
    follow: Callable[..., Stream],
) -> None:
    stream = follow(None, *(file_line(f"/etc/file-{number}") for number in range(100)))
    stream.until(lambda: "watching\t40\t63" in stream.said)
    assert len(stream.watches()[0]) == 40


def test_without_a_cursor_it_begins_now_and_with_one_it_goes_on(
    follow: Callable[..., Stream],
) -> None:
    stream = follow()
    stream.until(lambda: len(stream.asked("journalctl")) == 1)
    other = follow(Follow("s=1;i=2"))
    other.until(lambda: len(other.asked("journalctl")) == 2)
    fresh, resumed = stream.asked("journalctl")
    assert "--since=@" in fresh
    assert "--no-tail --after-cursor=s=1;i=2" in resumed
    assert fresh.endswith(" _PID=1")
    assert resumed.endswith(" _PID=1")


def test_a_cursor_that_the_journal_does_not_know_is_told_and_it_begins_now(
    follow: Callable[..., Stream], home: Path
) -> None:
    (home / "cursor_status").write_text("1\n")
    stream = follow(Follow("s=1;i=2"))
    stream.until(lambda: len(stream.asked("journalctl")) == 1)
    stream.until(lambda: any("does not know where we were" in line for line in stream.said))
    assert "--since=@" in stream.asked("journalctl")[0]


def test_it_has_the_journal_say_something_from_time_to_time(follow: Callable[..., Stream]) -> None:
    stream = follow(Follow(beat_s=1))
    unit = f"--unit=fleetd_watch-{stream.process.pid}-beat"
    stream.until(lambda: stream.asked("systemd-run").count(unit) >= 2)


def test_what_journalctl_complains_of_is_told(follow: Callable[..., Stream]) -> None:
    stream = follow()
    with (stream.home / "journal").open("a") as journal:
        journal.write("No journal files were found.\n")
    stream.until(lambda: "said\tNo journal files were found." in stream.said)


def test_a_host_where_nothing_can_be_watched_says_so_and_ends(
    follow: Callable[..., Stream], home: Path
) -> None:
    (home / "bin/systemd-run").write_text(
        "#!/bin/sh\necho 'Failed to start: no more' >&2\nexit 1\n"
    )
    stream = follow()
    stream.until(stream.gone)
    assert "said\tFailed to start: no more" in stream.said


def test_it_takes_away_what_a_killed_one_left_and_nothing_of_one_that_lives(
    follow: Callable[..., Stream], home: Path
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    living = subprocess.Popen(["sleep", "60"])
    names = (ended.pid, living.pid)
    (home / "units").write_text(
        "".join(f"fleetd_watch-{pid}-1-files.path loaded active waiting x\n" for pid in names)
        + "fleetd_watch-odd.path loaded active waiting x\n"
    )
    stream = follow()
    stream.until(lambda: len(stream.said) > 1)
    living.kill()
    living.wait()
    unit = f"fleetd_watch-{ended.pid}-1-files"
    stops = [line for line in stream.asked("systemctl") if line.startswith("stop")]
    assert stops == [f"stop {unit}.path {unit}.service"]
