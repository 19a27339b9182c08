"""The rules for probes and hooks (K 167), with the field paths of Kubernetes."""

from __future__ import annotations

import re

from fleetd.core import names
from fleetd.core.findings import Findings
from fleetd.core.pod import (
    ExecAction,
    HTTPGetAction,
    Lifecycle,
    LifecycleHandler,
    Probe,
    TCPSocketAction,
)

_HEADER = re.compile(r"[-A-Za-z0-9_]+\Z")


def check_probe(found: Findings, path: str, probe: Probe, ports: frozenset[str]) -> None:
    """One action, sane numbers; a named port must be one of `ports`.

    Which probe it is stands at the end of `path`, and decides what its numbers may be.
    """
    actions = [probe.exec_, probe.http_get, probe.tcp_socket, probe.grpc]
    if sum(action is not None for action in actions) != 1:
        found.error(path, "must have exactly one of exec, httpGet, tcpSocket and grpc")
    _actions(found, path, probe, ports)
    if probe.grpc is not None:
        check_port_number(found, f"{path}.grpc.port", probe.grpc.port)
        found.check(f"{path}.grpc.service", names.no_control, probe.grpc.service)
    found.at_least(f"{path}.initialDelaySeconds", probe.initial_delay_seconds, 0)
    found.at_least(f"{path}.timeoutSeconds", probe.timeout_seconds, 1)
    found.at_least(f"{path}.periodSeconds", probe.period_seconds, 1)
    found.at_least(f"{path}.successThreshold", probe.success_threshold, 1)
    found.at_least(f"{path}.failureThreshold", probe.failure_threshold, 1)
    grace = f"{path}.terminationGracePeriodSeconds"
    if not path.endswith(".readinessProbe"):
        found.at_least(grace, probe.termination_grace_period_seconds, 1)
        if probe.success_threshold > 1:
            found.error(f"{path}.successThreshold", f"must be 1, not {probe.success_threshold}")
    elif probe.termination_grace_period_seconds is not None:
        found.error(grace, "must not be set for a readinessProbe, which stops nothing")


def check_lifecycle(
    found: Findings, path: str, lifecycle: Lifecycle, ports: frozenset[str], grace_s: int
) -> None:
    """One action for each hook; a pause must fit into the grace period of the pod."""
    for name, handler in (("postStart", lifecycle.post_start), ("preStop", lifecycle.pre_stop)):
        if handler is not None:
            _handler(found, f"{path}.{name}", handler, ports, grace_s)


def _handler(
    found: Findings, path: str, handler: LifecycleHandler, ports: frozenset[str], grace_s: int
) -> None:
    actions = [handler.exec_, handler.http_get, handler.tcp_socket, handler.sleep]
    if sum(action is not None for action in actions) != 1:
        found.error(path, "must have exactly one of exec, httpGet and sleep")
    _actions(found, path, handler, ports)
    if handler.tcp_socket is not None:
        found.note(f"{path}.tcpSocket", "hooks of this kind do nothing, in Kubernetes neither")
    if handler.sleep is not None and not 0 < handler.sleep.seconds <= grace_s:
        limit = f"terminationGracePeriodSeconds ({grace_s})"
        found.error(
            f"{path}.sleep", f"must be above 0 and within {limit}, not {handler.sleep.seconds}"
        )


def _actions(
    found: Findings, path: str, does: Probe | LifecycleHandler, ports: frozenset[str]
) -> None:
    """What probes and hooks have in common."""
    if does.exec_ is not None:
        _exec(found, f"{path}.exec", does.exec_)
    if does.http_get is not None:
        _http_get(found, f"{path}.httpGet", does.http_get)
        _target(found, f"{path}.httpGet", does.http_get, ports)
    if does.tcp_socket is not None:
        _target(found, f"{path}.tcpSocket", does.tcp_socket, ports)


def _exec(found: Findings, path: str, action: ExecAction) -> None:
    if not action.command:
        found.error(f"{path}.command", "must not be empty")
    for i, word in enumerate(action.command):
        found.check(f"{path}.command[{i}]", names.text_block, word)


def _http_get(found: Findings, path: str, action: HTTPGetAction) -> None:
    found.check(f"{path}.path", names.no_control, action.path)
    for i, header in enumerate(action.http_headers):
        here = f"{path}.httpHeaders[{i}]"
        if not _HEADER.match(header.name):
            found.error(f"{here}.name", f"{header.name!r} is no name of an HTTP header")
        found.check(f"{here}.value", names.no_control, header.value)


def _target(
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
    """Hold a port to what there is."""
    if not 1 <= port <= 65535:
        found.error(path, f"must be from 1 to 65535, not {port}")
