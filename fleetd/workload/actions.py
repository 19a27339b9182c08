"""What probes and hooks do, as lines of shell: the settings and calls around `action.sh`.

Words of a document become quoted arguments of functions: nothing in them is read as shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from fleetd.core.pod import (
    Container,
    ContainerPort,
    GRPCAction,
    HTTPGetAction,
    LifecycleHandler,
    PodSpec,
    Probe,
    TCPSocketAction,
)
from fleetd.workload.errors import RenderError
from fleetd.workload.holder import has_holder, holder_name
from fleetd.workload.names import container_name, result_path
from fleetd.workload.parts import Copy
from fleetd.workload.quoting import sh_word
from fleetd.workload.values import values_path


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is asked: a container, or the host itself where `container` is empty.

    `peer` is the container that has the pod's address; where it is empty the host's own is taken:
    what `values` (a file) says, or loopback.
    """

    name: str
    engine: str
    container: str = ""
    peer: str = ""
    values: str = ""
    ports: tuple[ContainerPort, ...] = ()

    def head(self, unit: str, asker: str = "") -> list[str]:
        """The lines before `action.sh`."""
        said = {
            "engine": self.engine,
            "container": self.container,
            "peer": self.peer,
            "asker": f"{self.container}.{asker}",
            "scratch": f"{result_path(unit)}.{asker}.tmp",
            "result": result_path(unit),
        }
        lines = [f"{key}={sh_word(value)}" for key, value in said.items()]
        return [*lines, *([f". {self.values}"] if self.values else [])]


def subject_of(copy: Copy, spec: PodSpec, container: Container) -> Subject:
    """A container of a pod."""
    name = container_name(copy.ds, container.name, copy.slot)
    peer = holder_name(copy.ds, copy.slot) if has_holder(spec) else name
    return Subject(
        container.name,
        copy.profile.runtime.value,
        name,
        "" if spec.host_network else peer,
        values_path(copy.ds, copy.slot) if spec.host_network else "",
        tuple(container.ports),
    )


def probe_script(copy: Copy, name: str) -> str:
    """The path of the script that probes this container."""
    return f"{copy.dir}/{name}.probe.sh"


def script(name: str) -> str:
    """The text of one of the scripts beside this module."""
    return (files("fleetd.workload") / name).read_text(encoding="utf-8")


def call(action: Probe | LifecycleHandler, subject: Subject, path: str) -> str:
    """The line that does it.

    Raises:
        RenderError: it does nothing, or names a port that has no number.
    """
    match action:
        case Probe(grpc=GRPCAction() as grpc):
            return _words("ask_grpc", str(grpc.port), _health_request(grpc.service))
        case LifecycleHandler(sleep=sleep) if sleep is not None:
            return _words("ask_sleep", str(sleep.seconds))
        case Probe(exec_=run) | LifecycleHandler(exec_=run) if run is not None:
            return _words("ask_exec", *run.command)
        case Probe(http_get=get) | LifecycleHandler(http_get=get) if get is not None:
            return _get(get, subject, path)
        case Probe(tcp_socket=tcp) if tcp is not None:
            return _words("ask_tcp", tcp.host, _port(tcp, subject, path))
        case LifecycleHandler(tcp_socket=tcp) if tcp is not None:
            return ":"  # Kubernetes knows it, and no kubelet has ever done anything with it
        case _:
            raise RenderError(path, "says nothing to do")


def asks_pod(probe: Probe) -> bool:
    """Whether it needs the pod's address."""
    action = probe.http_get or probe.tcp_socket
    return probe.grpc is not None or (action is not None and not action.host)


def _get(action: HTTPGetAction, subject: Subject, path: str) -> str:
    at = action.path if action.path.startswith("/") else f"/{action.path}"
    headers = [f"{header.name}: {header.value}" for header in action.http_headers]
    port = _port(action, subject, path)
    return _words("ask_http", action.scheme.lower(), action.host, port, at, *headers)


def _port(action: HTTPGetAction | TCPSocketAction, subject: Subject, path: str) -> str:
    if isinstance(action.port, int) or action.port.isdigit():
        return str(action.port)
    for port in subject.ports:
        if port.name == action.port:
            return str(port.container_port)
    raise RenderError(path, f"no port is named {action.port!r}")


def _health_request(service: str) -> str:
    """A framed grpc.health.v1.HealthCheckRequest, each byte as an escape of printf.

    The frame is a byte that says uncompressed, and the length; the message has the service's name
    as field 1, whose length is a varint.
    """
    name = service.encode()
    size, varint = len(name), bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    varint.append(size)
    message = b"\x0a" + bytes(varint) + name if name else b""
    framed = b"\0" + len(message).to_bytes(4, "big") + message
    return "".join(f"\\{byte:03o}" for byte in framed)


def _words(*words: str) -> str:
    return " ".join(map(sh_word, words))


def function(name: str, lines: Sequence[str]) -> list[str]:
    """A function of the shell."""
    return [f"{name}() {{", *(f"  {line}" for line in lines), "}"]
