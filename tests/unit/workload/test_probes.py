from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.facts import Role
from fleetd.workload.errors import RenderError
from fleetd.workload.names import RUN_DIR
from tests.unit.workload.rendering import DOCKER, Rendered, container, systemd

UNIT = "fleetd-mon.agent_v2.main.a.service"
NEEDED = ("cat", "cut", "mkdir", "mv", "timeout", "tr")


class Host:
    """A place where a probe can loop: only the programs that it is given, and naps for sleeps."""

    def __init__(self, root: Path, *programs: str) -> None:
        self.root = root
        (root / "bin").mkdir()
        (root / "run/stamp").mkdir(parents=True)
        for name in (*NEEDED, *programs):
            (root / "bin" / name).symlink_to(shutil.which(name) or "/nowhere")
        self.program("sleep", f'printf "%s\\n" "$1" >>{root}/slept; exec /bin/sleep 0.02')

    def program(self, name: str, script: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self, invocation: str) -> None:
        (self.root / "run/stamp" / UNIT).write_text(f"r1 {invocation}\n")

    @contextmanager
    def probing(self, bundle: Rendered) -> Iterator[None]:
        script = self.root / "probe.sh"
        script.write_text(bundle.text("main.probe.sh").replace(RUN_DIR, f"{self.root}/run"))
        environment = {"PATH": f"{self.root}/bin"}
        process = subprocess.Popen(["/bin/sh", str(script)], env=environment, stderr=sys.stderr)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def result(self) -> str:
        path = self.root / "run/probe" / UNIT
        return path.read_text() if path.exists() else ""

    def until(self, expected: str) -> None:
        deadline = time.monotonic() + 20
        while expected not in (said := self.result()):
            assert time.monotonic() < deadline, f"{expected!r} never came, only {said!r}"
            time.sleep(0.01)


def probe(**fields: Any) -> Rendered:
    return systemd(unit="[Service]\nExecStart=/bin/x\n", readinessProbe=fields)


@contextmanager
def web(status: int) -> Iterator[tuple[int, list[str]]]:
    """An HTTP server on loopback that answers with `status`, and the requests it was sent."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Host']} {self.headers['X-A']}")
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def test_a_workload_is_not_ready_before_it_says_so(tmp_path: Path) -> None:
    host, flag = Host(tmp_path, "test"), tmp_path / "it's ready"
    host.start("i1")
    with host.probing(probe(exec={"command": ["test", "-e", str(flag)]})):
        host.until("i1 fail exit status 1\n")
        flag.touch()
        host.until("i1 ok \n")


def test_an_answer_counts_for_one_start(tmp_path: Path) -> None:
    host, flag = Host(tmp_path, "test"), tmp_path / "ready"
    flag.touch()
    host.start("i1")
    with host.probing(probe(exec={"command": ["test", "-e", str(flag)]})):
        host.until("i1 ok \n")
        flag.unlink()
        host.start("i2")
        host.until("i2 fail")  # at once, whatever the threshold: it has never been ready


def test_thresholds_and_times_are_the_documents(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.program("count", f'echo x >>{tmp_path}/asked; [ "$(cat {tmp_path}/up)" = y ]')
    (tmp_path / "up").write_text("y")
    host.start("i1")
    times = {"initialDelaySeconds": 7, "periodSeconds": 3, "timeoutSeconds": 2}
    thresholds = {"successThreshold": 4, "failureThreshold": 5}
    with host.probing(probe(exec={"command": ["count"]}, **times, **thresholds)):
        host.until("i1 ok \n")
        assert len((tmp_path / "asked").read_text().split()) >= 4
        before = len((tmp_path / "asked").read_text().split())
        (tmp_path / "up").write_text("n")
        host.until("i1 fail")
        assert len((tmp_path / "asked").read_text().split()) >= before + 5
    slept = (tmp_path / "slept").read_text().split()
    assert slept[0] == "7"
    assert set(slept[1:]) == {"3"}


def test_what_hangs_has_failed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.program("hang", "exec /bin/sleep 60")
    host.start("i1")
    with host.probing(probe(exec={"command": ["hang"]})):
        host.until("i1 fail")


def test_a_message_is_one_printable_line(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.program("bad", 'printf "one\\ntwo\\033[1m%0300d" 7; exit 1')
    host.start("i1")
    with host.probing(probe(exec={"command": ["bad"]})):
        host.until("i1 fail one two [1m000")
        assert len(host.result()) <= 220
        assert host.result().count("\n") == 1


HEADERS = [{"name": "X-A", "value": "it's b"}]
ANSWERS = [
    pytest.param("curl", "printf 204", "i1 ok", id="curl-ok"),
    pytest.param("curl", "printf 503", "i1 fail HTTP status 503", id="curl-unavailable"),
    pytest.param("curl", "printf refused; exit 7", "i1 fail refused", id="curl-no-answer"),
    pytest.param("wget", "exit 0", "i1 ok", id="wget-ok"),
    pytest.param("wget", "exit 8", "i1 fail exit status 8", id="wget-unavailable"),
]


@pytest.mark.parametrize(("program", "answer", "said"), ANSWERS)
def test_http_by_a_program_of_the_host(
    tmp_path: Path, program: str, answer: str, said: str
) -> None:
    host = Host(tmp_path)
    host.program(program, f'printf "%s|" "$@" >{tmp_path}/argv; {answer}')
    host.start("i1")
    action = {"path": "a?b=c&d", "port": 81, "scheme": "HTTPS", "httpHeaders": HEADERS}
    with host.probing(probe(httpGet=action)):
        host.until(said)
    argv = (tmp_path / "argv").read_text().split("|")
    assert argv[-2] == "https://127.0.0.1:81/a?b=c&d"
    assert {"X-A: it's b", "--header=X-A: it's b"} & {*argv}
    assert {"-k", "--no-check-certificate"} & {*argv}  # a kubelet verifies nothing either


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "i1 ok"), (302, "i1 ok"), (404, "i1 fail HTTP status 404")],
    ids=["ok", "moved", "not-found"],
)
def test_http_by_bash_alone(tmp_path: Path, status: int, said: str) -> None:
    host = Host(tmp_path, "bash")
    host.start("i1")
    with web(status) as (port, asked):
        action = {"path": "/a?b=c&d", "port": port, "httpHeaders": HEADERS}
        with host.probing(probe(httpGet=action)):
            host.until(said)
        assert asked[0] == f"/a?b=c&d 127.0.0.1:{port} it's b"


def test_tcp(tmp_path: Path) -> None:
    host = Host(tmp_path, "bash")
    host.start("i1")
    with web(200) as (port, _), host.probing(probe(tcpSocket={"port": port})):
        host.until("i1 ok")


def test_tcp_that_nobody_answers(tmp_path: Path) -> None:
    host = Host(tmp_path, "bash")
    host.start("i1")
    with web(200) as (port, _):
        pass
    with host.probing(probe(tcpSocket={"port": port})):
        host.until("i1 fail")


@pytest.mark.parametrize("action", ["httpGet", "tcpSocket"])
def test_a_host_without_any_tool_says_so(tmp_path: Path, action: str) -> None:
    host = Host(tmp_path)
    host.start("i1")
    with host.probing(probe(**{action: {"port": 1}})):
        host.until("this host has no ")


def test_a_container_is_asked_inside(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.program("docker", f'printf "%s|" "$@" >{tmp_path}/argv')
    host.start("i1")
    bundle = container(profile=DOCKER, readinessProbe={"exec": {"command": ["a b", "c"]}})
    with host.probing(bundle):
        host.until("i1 ok")
    assert (tmp_path / "argv").read_text() == "exec|fleetd-mon.agent_v2.main.a|a b|c|"


@pytest.mark.parametrize(
    ("answers", "address"),
    [
        pytest.param('echo "127.0.0.1 10.0.0.9 "', "127.0.0.1", id="first-network"),
        pytest.param(
            "case $3 in *range*) echo;; *) echo 127.0.0.1;; esac", "127.0.0.1", id="default-network"
        ),
    ],
)
def test_a_container_is_asked_at_its_own_address(
    tmp_path: Path, answers: str, address: str
) -> None:
    host = Host(tmp_path, "bash")
    host.program("podman", answers)
    host.start("i1")
    with (
        web(200) as (port, _),
        host.probing(container(readinessProbe={"tcpSocket": {"port": port}})),
    ):
        host.until("i1 ok")


def test_a_container_without_an_address_is_not_ready(tmp_path: Path) -> None:
    host = Host(tmp_path, "bash")
    host.program("podman", "echo no such container >&2; exit 125")
    host.start("i1")
    with host.probing(container(readinessProbe={"tcpSocket": {"port": 1}})):
        host.until("i1 fail no address: no such container")


def test_the_probe_lives_and_dies_with_the_workload() -> None:
    bundle = container(readinessProbe={"tcpSocket": {"port": 1}})
    (unit,) = (unit for unit in bundle.bundle.units if unit.role is Role.PROBE)
    lines = bundle.lines(unit.name)
    assert {f"BindsTo={UNIT}", f"After={UNIT}", f"WantedBy={UNIT}"} <= {*lines}


def test_ports_by_name() -> None:
    ports = [{"name": "web", "containerPort": 8080, "hostPort": 80}]
    bundle = container(
        {"hostNetwork": True}, ports=ports, readinessProbe={"tcpSocket": {"port": "web"}}
    )
    assert "port=8080" in bundle.lines("main.probe.sh")
    assert "container=''" in bundle.lines("main.probe.sh")
    with pytest.raises(RenderError, match="no port is named 'x'"):
        container(readinessProbe={"tcpSocket": {"port": "x"}})
