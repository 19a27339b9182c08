"""Readiness probes: one small unit beside each workload that has one, looping on the host.

The loop is `probe.sh`, the same for all; what is asked, and how often, stands before it. It is
bound to the workload's unit, comes and goes with it, and leaves its answer where observe reads it:
so hosts are probed whether or not anybody looks. A probe unit never decides whether the copy lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from fleetd.core.bundle import BundleUnit
from fleetd.core.facts import Role, Runtime
from fleetd.core.pod import (
    Container,
    ContainerPort,
    HTTPGetAction,
    PodSpec,
    Probe,
    TCPSocketAction,
)
from fleetd.workload.errors import RenderError
from fleetd.workload.names import container_name, probe_name, result_path, stamp_path
from fleetd.workload.parts import Copy, Parts, text_file, unit_file
from fleetd.workload.quoting import exec_word, sh_word, text

_LOOP = (files("fleetd.workload") / "probe.sh").read_text(encoding="utf-8")


def container_probe(copy: Copy, spec: PodSpec, container: Container, unit: str) -> Parts:
    """The probe of a container, in it or at the address of its pod; nothing where it has none.

    Raises:
        RenderError: a port that has no number.
    """
    probe = container.readiness_probe
    if probe is None:
        return Parts()
    at_host = spec.host_network and probe.exec_ is None
    inside = "" if at_host else container_name(copy.ds, container.name, copy.slot)
    settings = _settings(probe, container.ports, copy.profile.runtime, inside, container.name)
    return _parts(copy, container.name, unit, settings, probe)


def unit_probe(copy: Copy, name: str, unit: str, probe: Probe) -> Parts:
    """The probe of a systemd workload: on the host itself.

    Raises:
        RenderError: a port that has no number.
    """
    return _parts(copy, name, unit, _settings(probe, (), Runtime.SYSTEMD, "", name), probe)


def _settings(
    probe: Probe, ports: Sequence[ContainerPort], engine: Runtime, container: str, name: str
) -> list[str]:
    """The lines that tell the loop what to ask."""
    values = {
        "kind": "exec",
        "engine": engine.value,
        "container": container,
        "host": "",
        "port": "",
        "scheme": "http",
        "path": "",
        "initial": str(probe.initial_delay_seconds),
        "period": str(probe.period_seconds),
        "patience": str(probe.timeout_seconds),
        "successes": str(probe.success_threshold),
        "failures": str(probe.failure_threshold),
    }
    words: list[str] = list(probe.exec_.command) if probe.exec_ else []
    if action := probe.http_get or probe.tcp_socket:
        values |= {"kind": "tcp", "host": action.host, "port": _port(action, ports, name)}
    if http := probe.http_get:
        path = http.path if http.path.startswith("/") else f"/{http.path}"
        values |= {"kind": "http", "scheme": http.scheme.lower(), "path": path}
        words = [f"{header.name}: {header.value}" for header in http.http_headers]
    lines = [f"{key}={sh_word(value)}" for key, value in values.items()]
    return [*lines, " ".join(["set --", *map(sh_word, words)])]


def _port(
    action: HTTPGetAction | TCPSocketAction, ports: Sequence[ContainerPort], name: str
) -> str:
    if isinstance(action.port, int) or action.port.isdigit():
        return str(action.port)
    for port in ports:
        if port.name == action.port:
            return str(port.container_port)
    raise RenderError(f"readinessProbe of {name}", f"no port is named {action.port!r}")


def _parts(copy: Copy, name: str, unit: str, settings: list[str], probe: Probe) -> Parts:
    """The script and the unit that runs it."""
    if not (probe.exec_ or probe.http_get or probe.tcp_socket):
        raise RenderError(f"readinessProbe of {name}", "has none of exec, httpGet and tcpSocket")
    script = f"{copy.dir}/{name}.probe.sh"
    probing = probe_name(copy.ds, name, copy.slot)
    places = {"stamp": stamp_path(unit), "result": result_path(unit)}
    head = [f"{key}={sh_word(value)}" for key, value in places.items()]
    return Parts(
        files=(
            text_file(script, "\n".join([*head, *settings, _LOOP]), 0o600),
            unit_file(probing, _unit(copy, name, unit, script)),
        ),
        units=(BundleUnit(probing, Role.PROBE),),
    )


def _unit(copy: Copy, name: str, unit: str, script: str) -> str:
    lines = [
        "[Unit]",
        f"Description={text(f'Readiness of {name} of DaemonSet {copy.ds} (fleetd)')}",
        *copy.head(),
        f"BindsTo={unit}",
        f"After={unit}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=simple",
        f"ExecStart=/bin/sh {exec_word(script)}",
        "SyslogIdentifier=%N",
        "Restart=always",
        "RestartSec=5",
        "",
        "[Install]",
        f"WantedBy={unit}",
    ]
    return "\n".join(lines) + "\n"
