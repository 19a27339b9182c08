"""`fleetd run` as a process: what a supervisor, a shell and a client see of it. No host answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOSTS = "hosts: {a: {address: 127.0.0.1, ssh: {port: 1}}}\n"
PATIENCE_S = 30.0


class _OverUnix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


@dataclass
class Box:
    """A machine's part that the service needs: a state, settings, a supervisor's socket."""

    directory: Path
    supervisor: socket.socket
    heard: list[str] = field(default_factory=list)
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `fleetd WORDS...` over this state."""
        env = {"HOME": str(self.directory), "NOTIFY_SOCKET": str(self.directory / "notify")}
        config = ("--config", str(self.directory / "fleetd.yaml"))
        process = subprocess.Popen(
            [sys.executable, "-m", "fleetd", *words, *config],
            env=env,
            cwd=Path(__file__).parents[3],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def hear(self, wanted: Callable[[str], bool]) -> str:
        """The next thing the supervisor is told that is wanted; all that came is kept."""
        while True:
            said = self.supervisor.recv(4096).decode()
            self.heard.append(said)
            if wanted(said):
                return said

    def words(self) -> list[str]:
        """What the supervisor was told, without the state of health."""
        told = [said.partition("\n")[0] for said in self.heard]
        return [word for word in told if not word.startswith(("STATUS", "EXTEND", "WATCHDOG"))]

    def ask(self, path: str) -> tuple[int, str]:
        """What the service answers to GET."""
        connection = _OverUnix(self.directory / "state" / "fleetd.sock")
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def turns_ready(self) -> None:
        """Wait for the first pass: its start is told before it."""
        deadline = time.monotonic() + PATIENCE_S
        while (said := self.ask("/readyz")) != (200, "ok"):
            assert said[1].count("[-]") == said[1].count("[-]pass failed") == 1, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(PATIENCE_S)
        made = Box(tmp_path, supervisor)
        made.write("fleetd.yaml", "state: state\ninventory: hosts.yaml\n")
        made.write("hosts.yaml", HOSTS)
        yield made
        for process in made.running:
            process.kill()
            process.communicate()


def ready(said: str) -> bool:
    return said == "READY=1"


def status(text: str) -> Callable[[str], bool]:
    return lambda said: said.startswith("STATUS=") and text in said


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_life_from_ready_to_the_end(box: Box, number: signal.Signals) -> None:
    process = box.start("run")
    box.hear(ready)
    box.turns_ready()
    process.send_signal(signal.SIGHUP)
    box.hear(ready)
    process.send_signal(number)
    code, err = ended(process)
    assert code == 0, err
    box.hear(lambda said: said == "STOPPING=1")
    assert box.words() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert "Traceback" not in err


def test_while_one_runs_another_ends_with_5_and_names_it(box: Box) -> None:
    first = box.start("run")
    box.hear(ready)
    code, err = ended(box.start("run"))
    assert code == 5
    assert "`fleetd run " in err
    assert f"process {first.pid}" in err


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        pytest.param(
            "fleetd.yaml", "state: state\nservice: {polls: 3}\n", "service.polls", id="settings"
        ),
        pytest.param("hosts.yaml", "hosts: {A_: {}}\n", "hosts.yaml:1: hosts", id="inventory"),
        pytest.param(
            "fleetd.yaml",
            "state: state\ninventory: hosts.yaml\nservice: {socketGroup: nobody-knows-it}\n",
            "nobody-knows-it",
            id="group",
        ),
        pytest.param(
            "fleetd.yaml",
            "state: state\ninventory: hosts.yaml\nservice: {metricsAddress: '192.0.2.1:1'}\n",
            "192.0.2.1:1",
            id="address",
        ),
    ],
)
def test_what_is_wrong_at_the_start_ends_it_with_2(
    box: Box, file: str, text: str, told: str
) -> None:
    box.write(file, text)
    code, err = ended(box.start("run"))
    assert code == 2
    assert told in err
    assert "Traceback" not in err


def test_other_sources_than_before_need_to_be_confirmed(box: Box) -> None:
    first = box.start("run")
    box.hear(ready)
    first.send_signal(signal.SIGTERM)
    assert ended(first)[0] == 0
    box.write("others.yaml", HOSTS)
    box.write("fleetd.yaml", "state: state\ninventory: others.yaml\n")
    code, err = ended(box.start("run"))
    assert code == 2
    assert "--new-inventory" in err


def test_an_unknown_inventory_is_waited_for(box: Box) -> None:
    (box.directory / "hosts.yaml").unlink()
    box.start("run")
    box.hear(status("hosts.yaml"))
    box.hear(ready)
    code, text = box.ask("/readyz")
    assert code == 503
    assert "[-]inventory failed" in text
    assert box.ask("/livez")[0] == 200
    assert box.ask("/api/v1/nodes")[0] == 503
    box.write("hosts.yaml", HOSTS)
    box.hear(status("1 hosts"))
    box.turns_ready()


def test_a_start_that_waits_for_a_program_says_so_and_can_be_ended(box: Box) -> None:
    go = box.directory / "go"
    box.write("slow", f"#!/bin/sh\nuntil [ -e {go} ]; do sleep 0.1; done\n")
    (box.directory / "slow").chmod(0o755)
    box.write("fleetd.yaml", "state: state\ninventory: slow\n")
    process = box.start("run")
    try:
        box.hear(status("waits for the inventory"))
        box.hear(lambda said: said.startswith("EXTEND_TIMEOUT_USEC="))
        process.send_signal(signal.SIGTERM)
        code, err = ended(process)
        assert code == 0, err
        assert box.words() == []
    finally:
        go.touch()


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        pytest.param("hosts.yaml", "hosts: {A_: {}}\n", "the inventory is as it was", id="hosts"),
        pytest.param("fleetd.yaml", "stat: x\n", "the settings are as they were", id="settings"),
    ],
)
def test_what_is_wrong_later_changes_nothing(box: Box, file: str, text: str, told: str) -> None:
    process = box.start("run")
    box.hear(ready)
    box.write(file, text)
    process.send_signal(signal.SIGHUP)
    box.hear(status(told))
    box.turns_ready()
    assert [item["metadata"]["name"] for item in nodes(box)] == ["a"]


def nodes(box: Box) -> list[dict[str, dict[str, str]]]:
    items = json.loads(box.ask("/api/v1/nodes")[1])["items"]
    assert isinstance(items, list)
    return items


def test_a_reload_takes_new_settings_and_tells_which_need_a_restart(box: Box) -> None:
    process = box.start("run")
    box.hear(ready)
    box.write(
        "fleetd.yaml",
        "state: state\ninventory: hosts.yaml\nservice: {pollSeconds: 5, streams: false}\n",
    )
    process.send_signal(signal.SIGHUP)
    box.hear(ready)
    process.send_signal(signal.SIGTERM)
    _, err = ended(process)
    (line,) = [line for line in err.splitlines() if "restart_needed" in line]
    assert json.loads(line)["settings"] == ["service.streams"]


def test_a_part_that_fails_ends_the_service_with_1_and_says_which(box: Box) -> None:
    process = box.start("run")
    box.hear(ready)
    # As on a full disk: not a byte more can be written.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
    (box.directory / "hosts.yaml").unlink()
    # Who meets that first, the loop or the reading of the inventory, makes no difference.
    process.send_signal(signal.SIGHUP)
    code, err = ended(process)
    assert code == 1
    *_, last = err.splitlines()
    assert last.startswith("fleetd: a part of the service failed, and all ends: ")
    assert "state.db" in last
    assert "This was the part '" in err


def test_verbs_go_through_it_and_work_alike_without_it(box: Box) -> None:
    service = box.start("run")
    box.hear(ready)
    with_service = box.start("get", "nodes", "-o", "name")
    assert with_service.communicate()[0] == "node/a\n"
    service.send_signal(signal.SIGTERM)
    assert ended(service)[0] == 0
    without = box.start("get", "nodes", "-o", "name")
    assert without.communicate()[0] == "node/a\n"
