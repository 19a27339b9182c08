"""`fleetd run` over many simulated hosts: how soon it knows them, what it costs, how soon it mends.

The hosts are real SSH on loopback, served by processes of their own, so that memory and CPU are the
coordinator's alone; but they share the cores with it, and their end of a connection costs as much.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measures import Measure, Teller
from bench.options import Options
from bench.runs import FLEETD, Failed, run
from bench.simulated import SPEC

PARTS = 2
"""So many processes serve the hosts."""
BROKEN = 50
BREAKS = 3
FULL_LOOK_S = 900
"""How often the service looks at a host that has a stream, when nothing is said."""
PATIENCE_S = 900.0
LOOK_S = 0.5
SETTINGS = """\
inventory: [{inventories}]
state: {state}
service: {{logFormat: json, socketGroup: "", operatorGroup: ""}}
"""


@dataclass(slots=True)
class Hosts:
    """A process that serves hosts."""

    process: subprocess.Popen[str]
    inventory: Path

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> list[str]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the simulated hosts have ended")
        return line.split()


@dataclass(frozen=True, slots=True)
class Service:
    """A running `fleetd run`, seen from outside."""

    process: subprocess.Popen[bytes]
    socket: Path
    log: Path
    began: float

    def cpu_s(self) -> float:
        """Seconds of CPU so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kb(self) -> float:
        """Its memory: the resident set."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return float(found[1])

    def until(self, metric: str, count: int) -> float:
        """Seconds from the start until so many hosts have a metric that is 1."""
        wanted = re.compile(rf"^{metric} 1$", re.MULTILINE)
        while time.monotonic() - self.began < PATIENCE_S:
            if len(wanted.findall(self._metrics())) == count:
                return time.monotonic() - self.began
            time.sleep(LOOK_S)
        raise Failed(f"after {PATIENCE_S:.0f} s not every host has {metric}")

    def _metrics(self) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                if self.process.poll() is not None:
                    raise Failed(f"fleetd run has ended:\n{self.log.read_text()[-2000:]}") from None
                return ""
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: fleetd\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: client.recv(1 << 20), b"")).decode()


REACHED = r"fleetd_host_reachable\{[^}]*\}"
FOLLOWED = r"fleetd_host_stream_state\{[^}]*state=\"live\"[^}]*\}"


def bench(options: Options) -> list[Measure]:
    with TemporaryDirectory() as made:
        alone = _alone(Path(made) / "alone")
        return _many(options, Path(made) / "many", alone)


def _alone(directory: Path) -> float:
    """The memory of a service that holds one host."""
    with _hosts(directory, 1, parts=1) as parts:
        _settle(directory, parts)
        with _service(directory) as service:
            service.until(FOLLOWED, 1)
            time.sleep(2)
            return service.kb()


def _many(options: Options, directory: Path, alone_kb: float) -> list[Measure]:
    tell = Teller("service")
    count = options.served
    with _hosts(directory, count, parts=PARTS) as parts:
        _settle(directory, parts)
        with _service(directory) as service:
            seen_s = service.until(REACHED, count)
            live_s = service.until(FOLLOWED, count)
            starting_s = service.cpu_s()
            time.sleep(options.quiet_s / 4)  # what a start leaves behind is not idling
            kb = (service.kb() - alone_kb) / (count - 1)
            before = service.cpu_s()
            time.sleep(options.quiet_s)
            idle = (service.cpu_s() - before) / options.quiet_s
            mended = [_break(parts) for _ in range(BREAKS)]
            before = service.cpu_s()
            looks = [run([*_fleetd(directory), "reconcile"]).wall_s for _ in range(BREAKS)]
            look_s = (service.cpu_s() - before) / BREAKS
            full_kb = (service.kb() - alone_kb) / (count - 1)
    what = f"{count} hosts"
    return [
        tell.value(f"{what}, start: all of them seen", seen_s, "s"),
        tell.value(f"{what}, start: all of them followed", live_s, "s"),
        tell.value(f"{what}, start: CPU", starting_s, "s"),
        tell.value(f"{what}, memory for each", kb, "KB", target=80.0),
        tell.value(f"{what}, memory for each, in the end", full_kb, "KB", target=80.0),
        tell.value(f"{what}, CPU when idle", idle * 100, "% of a core", target=3.0),
        tell.value(
            f"{what}, CPU of a look at each in {FULL_LOOK_S} s",
            look_s / FULL_LOOK_S * 100,
            "% of a core",
        ),
        tell.median(
            f"{what}, {BROKEN} stopped: one runs again",
            [seconds for each in mended for seconds in each],
            "s",
            target=2.0,
        ),
        tell.median(
            f"{what}, {BROKEN} stopped: all run again",
            [max(each) for each in mended],
            "s",
            target=2.0,
        ),
        tell.median(f"{what}, fleetd reconcile", looks, "s", target=15.0),
        tell.value(f"{what}, fleetd reconcile: CPU of the service", look_s, "s"),
    ]


def _break(parts: Sequence[Hosts]) -> list[float]:
    """Stop the copies of some hosts; seconds until each runs again."""
    for part in parts:
        part.say(str(BROKEN // len(parts)))
    took = []
    for part in parts:
        stopped: dict[str, float] = {}
        ended = 0
        while ended < BROKEN // len(parts):
            what, host, at = part.hear()
            if what == "stopped":
                stopped[host] = float(at)
            else:
                took.append(float(at) - stopped[host])
                ended += 1
    time.sleep(15)  # until the copies are available once more
    return took


def _fleetd(directory: Path) -> tuple[str, ...]:
    return (*FLEETD, "--config", str(directory / "fleetd.yaml"))


def _settle(directory: Path, parts: Sequence[Hosts]) -> None:
    """Bring a copy to each host, so that a service finds nothing to do."""
    inventories = ", ".join(str(part.inventory) for part in parts)
    text = SETTINGS.format(inventories=inventories, state=directory / "state")
    (directory / "fleetd.yaml").write_text(text)
    (directory / "ds.yaml").write_text(SPEC)
    run([*_fleetd(directory), "apply", "-f", directory / "ds.yaml"])
    run([*_fleetd(directory), "reconcile"])


@contextmanager
def _service(directory: Path) -> Iterator[Service]:
    began = time.monotonic()
    said = directory / "run.log"
    with (
        said.open("wb") as log,
        subprocess.Popen(
            [*_fleetd(directory), "run"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield Service(process, directory / "state/fleetd.sock", said, began)
        finally:
            process.terminate()


@contextmanager
def _hosts(directory: Path, count: int, *, parts: int) -> Iterator[list[Hosts]]:
    """So many hosts, spread over processes."""
    with ExitStack() as stack:
        begun = []
        for part in range(parts):
            place = directory / f"part{part}"
            share = count // parts + (part < count % parts)
            argv = [sys.executable, "-m", "bench.hosts", f"--dir={place}", f"--hosts={share}"]
            process = stack.enter_context(
                subprocess.Popen(
                    [*argv, f"--part={part}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert process.stdin
            stack.callback(process.stdin.close)
            begun.append(Hosts(process, place / "inventory.yaml"))
        for hosts in begun:
            hosts.hear()
        yield begun
