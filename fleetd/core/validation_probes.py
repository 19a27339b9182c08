"""The rules for probes and hooks (K 167)."""

from __future__ import annotations

import re

from fleetd.core import names
from fleetd.core.findings import Findings
from fleetd.core.pod import HTTPGetAction, Probe, TCPSocketAction

_HEADER = re.compile(r"[-A-Za-z0-9_]+\Z")


def check_probe(found: Findings, path: str, probe: Probe, ports: frozenset[str]) -> None:
    """One action, sane numbers; a named port must be one of `ports`."""
    actions = [probe.exec_, probe.http_get, probe.tcp_socket]
    if sum(action is not None for action in actions) != 1:
        found.error(path, "must have exactly one of exec, httpGet and tcpSocket")
    if probe.exec_ is not None:
        if not probe.exec_.command:
            found.error(f"{path}.exec.command", "must not be empty")
        for i, word in enumerate(probe.exec_.command):
            found.check(f"{path}.exec.command[{i}]", names.text_block, word)
    if probe.http_get is not None:
        _http_get(found, f"{path}.httpGet", probe.http_get)
        _probe_target(found, f"{path}.httpGet", probe.http_get, ports)
    if probe.tcp_socket is not None:
        _probe_target(found, f"{path}.tcpSocket", probe.tcp_socket, ports)
    found.at_least(f"{path}.initialDelaySeconds", probe.initial_delay_seconds, 0)
    found.at_least(f"{path}.timeoutSeconds", probe.timeout_seconds, 1)
    found.at_least(f"{path}.periodSeconds", probe.period_seconds, 1)
    found.at_least(f"{path}.successThreshold", probe.success_threshold, 1)
    found.at_least(f"{path}.failureThreshold", probe.failure_threshold, 1)


def _http_get(found: Findings, path: str, action: HTTPGetAction) -> None:
    found.check(f"{path}.path", names.no_control, action.path)
    for i, header in enumerate(action.http_headers):
        here = f"{path}.httpHeaders[{i}]"
        if not _HEADER.match(header.name):
            found.error(f"{here}.name", f"{header.name!r} is no name of an HTTP header")
        found.check(f"{here}.value", names.no_control, header.value)


def _probe_target(
    found: Findings, path: str, action: HTTPGetAction | TCPSocketAction, ports: frozenset[str]
) -> None:
    if isinstance(action.port, int):
        check_port_number(found, f"{path}.port", action.port)
    elif action.port not in ports:
        known = f"named ports are {', '.join(sorted(ports))}" if ports else "write its number"
        found.error(f"{path}.port", f"no port is named {action.port!r}", known)
    if action.host:
        found.check(f"{path}.host", names.address, action.host)


def check_port_number(found: Findings, path: str, port: int) -> None:
    if not 1 <= port <= 65535:
        found.error(path, f"must be from 1 to 65535, not {port}")
