"""Visits to one host of the lab by the carrier line over ssh, and workloads to send there."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from fleetd.core.actions import Mode
from fleetd.core.bundle import Bundle
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostProfile, Known, LedgerCopy, Observation, Runtime, Slot, UnitState
from fleetd.core.meta import Key
from fleetd.core.node import Node, Ssh
from fleetd.host import carrier
from fleetd.host.replies import Failed, Ok, Reply, after_begin, parse
from fleetd.host.requests import Apply, Observe, Request
from fleetd.host.wire import encode
from fleetd.ports import Output
from fleetd.workload.content import Content
from fleetd.workload.render import render
from fleetd.workload.values import host_values
from tests.e2e.lab import Host

DS = Key("default", "agent")
UNIT = "fleetd-default.agent.main.a.service"
TARGET = "fleetd-default.agent.target"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
AGENT = "/opt/lab/agent"


# ----------------------------------------------------------------------------------- visits


def call(host: Host, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*host.ssh_argv(), carrier.LINE], input=stdin, capture_output=True, check=False
    )


def visit(host: Host, request: Request) -> Reply:
    nonce = token_hex(8)
    done = call(host, encode(request, nonce))
    return parse(Output(done.returncode, done.stdout, done.stderr), nonce, request)


def raw(host: Host, request: Request) -> str:
    nonce = token_hex(8)
    out = after_begin(call(host, encode(request, nonce)).stdout, nonce)
    assert out is not None
    return out.decode()


def observed(reply: Reply) -> Observation:
    assert isinstance(reply, Ok | Failed), reply
    assert reply.observation is not None
    return reply.observation


def look(host: Host) -> Observation:
    return observed(visit(host, Observe("f")))


def unit_of(seen: Observation, name: str = UNIT) -> UnitState:
    assert isinstance(seen.units, Known), seen.units
    return {unit.id: unit for unit in seen.units.value}.get(name, UnitState(name))


def copy_of(seen: Observation) -> LedgerCopy:
    assert isinstance(seen.ledger, Known), seen.ledger
    (copy,) = seen.ledger.value
    return copy


def traces(host: Host) -> str:
    """Everything of fleetd's on the disk, by inode and time of change."""
    places = "/var/lib/fleetd-node /etc/systemd/system"
    return host.sh(f"find {places} ! -path '*/stage*' -printf '%p %i %C@ %m\\n'").stdout


# -------------------------------------------------------------------------------- workloads


def daemonset(spec: Mapping[str, Any], version: str = "fleetd/v1") -> DaemonSet:
    labels = {"app": "agent"}
    return DaemonSet.model_validate(
        {
            "apiVersion": version,
            "kind": "DaemonSet",
            "metadata": {"name": DS.name, "namespace": DS.namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )


def bundle(
    revision: str = "r1",
    runtime: Runtime = Runtime.SYSTEMD,
    version: str = "fleetd/v1",
    **spec: Any,
) -> Bundle:
    profile = HostProfile(runtime, {Runtime.PODMAN: 4, Runtime.DOCKER: 20}.get(runtime, 0), 252)
    return render(daemonset(spec, version), revision, Slot.A, profile, Content(), {})


def process(
    revision: str = "r1", more: str = "", files: list[dict[str, Any]] | None = None
) -> Bundle:
    """The lab's agent as a plain process of systemd's."""
    unit = textwrap.dedent(
        f"""\
        [Service]
        Environment=AGENT_VERSION={revision if not files else "files"}
        ExecStart=/bin/sh {AGENT}
        TimeoutStopSec=10
        """
    )
    return bundle(revision, systemd={"unit": unit + more, "files": files or []})


def container(runtime: Runtime, tag: str = "1") -> Bundle:
    state = "/var/lib/lab-agent"
    main = {
        "name": "main",
        "image": f"docker.io/library/agent:{tag}",
        "volumeMounts": [{"name": "state", "mountPath": state}],
        "env": [{"name": "AGENT_LOCK", "value": f"{state}/container"}],
    }
    volumes = [{"name": "state", "hostPath": {"path": state}}]
    spec = {"containers": [main], "volumes": volumes, "hostNetwork": True}
    return bundle(f"r{tag}", runtime, "apps/v1", terminationGracePeriodSeconds=5, **spec)


def order(
    host: Host, wanted: Bundle, mode: Mode = Mode.START, *, fleet: str = "f", term: int = 1
) -> Apply:
    values = host_values(daemonset({"systemd": {"unit": ""}}), Node(host.name, Ssh(host.ip)), fleet)
    return Apply(fleet, "the-key", term, wanted, values, mode)


def apply(host: Host, wanted: Bundle, mode: Mode = Mode.START) -> Observation:
    reply = visit(host, order(host, wanted, mode))
    assert isinstance(reply, Ok), reply
    return observed(reply)
