from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetd.adapters.notify import Supervisor


@dataclass
class Listener:
    """The socket of a supervisor."""

    door: socket.socket
    address: str

    def heard(self) -> str:
        return self.door.recv(4096).decode()


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    path = str(tmp_path / "notify")
    abstract = f"fleetd-test-{os.getpid()}"
    at, told = (path, path) if request.param == "path" else (f"\0{abstract}", f"@{abstract}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(at)
        door.settimeout(10)
        yield Listener(door, told)


def test_each_message_is_one_datagram_as_systemd_reads_it(listener: Listener) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": listener.address})
    supervisor.ready()
    supervisor.status("3 hosts\nof 4: naïve")
    supervisor.stopping()
    supervisor.alive()
    supervisor.extend(2.5)
    heard = [listener.heard() for _ in range(5)]
    assert heard == [
        "READY=1",
        "STATUS=3 hosts of 4: naïve",
        "STOPPING=1",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=2500000",
    ]


def test_a_reload_says_when_it_began(listener: Listener) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Supervisor({"NOTIFY_SOCKET": listener.address}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = listener.heard().splitlines()
    assert first == "RELOADING=1"
    name, _, usec = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= after


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        pytest.param({"WATCHDOG_USEC": "30000000"}, 30.0, id="for-whoever-runs"),
        pytest.param({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "own"}, 0.5, id="for-us"),
        pytest.param({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, 0.0, id="for-another"),
        pytest.param({"WATCHDOG_USEC": "x"}, 0.0, id="no-number"),
        pytest.param({}, 0.0, id="none"),
        pytest.param({"WATCHDOG_USEC": "1", "NOTIFY_SOCKET": ""}, 0.0, id="nobody-listens"),
    ],
)
def test_the_watchdog_is_told_by_the_environment(env: dict[str, str], seconds: float) -> None:
    own = {name: str(os.getpid()) if text == "own" else text for name, text in env.items()}
    assert Supervisor({"NOTIFY_SOCKET": "/run/x", **own}).watchdog_s == seconds


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"], ids=["none", "gone"])
def test_without_a_supervisor_nothing_happens(address: str) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": address} if address else {})
    supervisor.ready()
    supervisor.alive()
