from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.unit.workload.hosting import Host
from tests.unit.workload.rendering import container
from tests.unit.workload.serving import probe, web

# ---------------------------------------------------------------------------------------- http


HEADERS = [{"name": "X-A", "value": "it's b"}, {"name": "X-None", "value": ""}]
ANSWERS = [
    pytest.param("curl", "printf '204 '", "i1 ok", id="curl-ok"),
    pytest.param("curl", "printf '503 '", "fails: HTTP status 503", id="curl-unavailable"),
    pytest.param("curl", "printf refused; exit 7", "fails: refused", id="curl-no-answer"),
    pytest.param("wget", "exit 0", "i1 ok", id="wget-ok"),
    pytest.param("wget", "exit 8", "fails: exit status 8", id="wget-unavailable"),
]


@pytest.mark.parametrize(("program", "answer", "said"), ANSWERS)
def test_http_by_a_program_of_the_host(host: Host, program: str, answer: str, said: str) -> None:
    host.program(program, f'printf "%s|" "$@" >{host.root}/argv; {answer}')
    host.start("i1")
    action = {"path": "a?b=c&d", "port": 81, "scheme": "HTTPS", "httpHeaders": HEADERS}
    with host.probing(probe(httpGet=action)):
        host.until(said)
    argv = (host.root / "argv").read_text().split("|")
    assert argv[-2] == "https://127.0.0.1:81/a?b=c&d"
    assert {"X-A: it's b", "--header=X-A: it's b"} & {*argv}
    assert {"X-None;", "--header=X-None: "} & {*argv}  # curl takes a header away by its colon
    assert {"-k", "--no-check-certificate"} & {*argv}  # a kubelet verifies nothing either


PROGRAMS = ("curl", "wget", "bash")
STATUSES = [
    pytest.param(
        *(program, status, said),
        id=f"{program}-{status}",
        marks=[] if program == "bash" else pytest.mark.needs(program),
    )
    for program in PROGRAMS
    for status, said in ((200, "i1 ok"), (399, "i1 ok"), (404, "probe fails"), (500, "probe fails"))
    if (program, status) != ("wget", 399)  # it knows no such status
]


@pytest.mark.parametrize(("program", "status", "said"), STATUSES)
def test_http_against_a_server(host: Host, program: str, status: int, said: str) -> None:
    host.link(program)
    host.start("i1")
    with web(status) as server:
        action = {"path": "/a?b=c&d", "port": server.port, "httpHeaders": HEADERS}
        with host.probing(probe(httpGet=action)):
            host.until(said)
        assert server.asked[0] == f"/a?b=c&d 127.0.0.1:{server.port} it's b kube-probe/1.31"


MOVES = [
    pytest.param({"/": "/login"}, "i1 ok", ["/", "/login"], id="within-the-host"),
    pytest.param({"/": "http://elsewhere.invalid/"}, "i1 ok", ["/"], id="to-another-host"),
    pytest.param({"/": "/"}, "moved more than 10 times", ["/"] * 11, id="in-a-circle"),
]


@pytest.mark.needs("curl")
@pytest.mark.parametrize(("moved", "said", "asked"), MOVES)
def test_what_is_moved_is_followed_within_its_host(
    host: Host, moved: dict[str, str], said: str, asked: list[str]
) -> None:
    host.link("curl")
    host.start("i1")
    with web(moved=moved) as server, host.probing(probe(httpGet={"port": server.port})):
        host.until(said)
        assert [line.split()[0] for line in server.asked[: len(asked)]] == asked


@pytest.mark.needs("curl")
def test_the_user_agent_and_host_are_the_documents(host: Host) -> None:
    host.link("curl")
    host.start("i1")
    headers = [{"name": "User-Agent", "value": "me"}, {"name": "Host", "value": "its.name"}]
    with web() as server:
        action = {"port": server.port, "httpHeaders": headers}
        with host.probing(probe(httpGet=action)):
            host.until("i1 ok")
        assert server.asked[0] == "/ its.name None me"


@pytest.mark.parametrize("action", ["httpGet", "tcpSocket"])
def test_a_host_without_any_tool_says_so(host: Host, action: str) -> None:
    host.start("i1")
    with host.probing(probe(**{action: {"port": 1}})):
        host.until("this host has no ")


# ----------------------------------------------------------------------------------------- tcp


CONNECTING = ("bash", pytest.param("curl", marks=pytest.mark.needs("curl")))


@pytest.mark.parametrize("program", CONNECTING)
def test_tcp(host: Host, program: str) -> None:
    host.link(program)
    host.start("i1")
    with web() as server, host.probing(probe(tcpSocket={"port": server.port})):
        host.until("i1 ok")


@pytest.mark.parametrize("program", CONNECTING)
def test_tcp_that_nobody_answers(host: Host, program: str) -> None:
    host.link(program)
    host.start("i1")
    with web() as server:
        pass
    with host.probing(probe(tcpSocket={"port": server.port})):
        host.until("i1 fail readiness probe fails: ")


# ---------------------------------------------------------------------------------------- grpc


@dataclass(frozen=True, slots=True)
class Grpc:
    """A real gRPC server, and what its services say of themselves."""

    port: int
    health: health.HealthServicer


@contextmanager
def grpc_server(*, implements_health: bool = True) -> Iterator[Grpc]:
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    if implements_health:
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Grpc(port, servicer)
    finally:
        server.stop(None).wait()


LONG = "a.service." * 20  # its length takes two bytes
STATES = health_pb2.HealthCheckResponse


@pytest.mark.needs("curl")
@pytest.mark.parametrize("service", ["", "liveness", LONG], ids=["server", "service", "long-name"])
def test_grpc(host: Host, service: str) -> None:
    host.link("curl")
    host.engine()
    host.start("i1")
    with grpc_server() as server:
        if service:
            server.health.set("", STATES.NOT_SERVING)
        server.health.set(service, STATES.SERVING)
        action = {"port": server.port, "service": service}
        with host.probing(container(readinessProbe={"grpc": action})):
            host.until("i1 ok")
            server.health.set(service, STATES.NOT_SERVING)
            host.until("i1 fail readiness probe fails: gRPC health is NOT_SERVING")


@pytest.mark.needs("curl")
def test_grpc_that_is_not_known_to_the_server(host: Host) -> None:
    host.link("curl")
    host.engine()
    host.start("i1")
    with grpc_server() as server:
        action = {"port": server.port, "service": "other"}
        with host.probing(container(readinessProbe={"grpc": action})):
            host.until("i1 fail readiness probe fails: gRPC status 5")


@pytest.mark.needs("curl")
def test_grpc_of_a_server_without_health(host: Host) -> None:
    host.link("curl")
    host.engine()
    host.start("i1")
    with (
        grpc_server(implements_health=False) as server,
        host.probing(container(readinessProbe={"grpc": {"port": server.port}})),
    ):
        host.until("i1 fail readiness probe fails: gRPC status 12")


@pytest.mark.needs("curl")
def test_grpc_of_what_speaks_something_else(host: Host) -> None:
    host.link("curl")
    host.engine()
    host.start("i1")
    with web() as server, host.probing(container(readinessProbe={"grpc": {"port": server.port}})):
        host.until("i1 fail readiness probe fails: curl: ")


@pytest.mark.parametrize(
    ("curl", "said"),
    [
        pytest.param("", "this host has no curl to ask with, which gRPC needs", id="no-curl"),
        pytest.param("exit 2", "no answer of a gRPC server: the curl of this host", id="old-curl"),
    ],
)
def test_grpc_says_what_the_host_lacks(host: Host, curl: str, said: str) -> None:
    host.engine()
    if curl:
        host.program("curl", curl)
    host.start("i1")
    with host.probing(container(readinessProbe={"grpc": {"port": 1}})):
        host.until(f"i1 fail readiness probe fails: {said}")
