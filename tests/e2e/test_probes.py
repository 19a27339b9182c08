"""Readiness probes on real hosts: every kind, for units and containers, on podman and docker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.admin import AGENT_DIR, IMAGE, Admin, Document, pod_agent, unit_agent
from tests.e2e.lab import HostSpec, boottime
from tests.e2e.lab.machine import wait_until

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod"))
IMAGES = (IMAGE,)
READY_AFTER: Final = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One DaemonSet: what is probed, where, and how it is made not to be ready."""

    name: str
    port: int
    unready: dict[str, str]

    @property
    def probe(self) -> Document:
        kinds: dict[str, Document] = {
            "exec": {"exec": {"command": ["test", "-e", self.ready]}},
            "http": {"httpGet": {"path": "/index.html", "port": self.port}},
            "tcp": {"tcpSocket": {"port": self.port}},
        }
        return {**kinds[self.name.partition("-")[0]], "periodSeconds": 1}

    @property
    def ready(self) -> str:
        """A file that is there when the agent is ready, in a directory that it serves."""
        return f"{AGENT_DIR}/{self.name}.d/index.html"

    def document(self, env: dict[str, str]) -> Document:
        variables = {
            "AGENT_READY": self.ready,
            "AGENT_READY_AFTER": str(READY_AFTER),
            "AGENT_HTTP": str(self.port),
            **env,
        }
        lock = self.name
        if self.name.endswith("-unit"):
            systemd = {"readinessProbe": self.probe}
            return unit_agent(self.name, lock=lock, env=variables, systemd=systemd, **BOTH)
        container = {"readinessProbe": self.probe}
        return pod_agent(self.name, lock=lock, env=variables, container=container, **BOTH)


BOTH: Final[dict[str, Any]] = {"max_unavailable": 2}
NEVER: Final = {"AGENT_READY_AFTER": "1000"}
SILENT: Final = {"AGENT_HTTP": ""}
ROWS = tuple(
    Row(f"{kind}-{workload}", 8080 + number, unready)
    for number, (kind, workload, unready) in enumerate(
        (kind, workload, unready)
        for kind, unready in (("exec", NEVER), ("http", NEVER), ("tcp", SILENT))
        for workload in ("unit", "pod")
    )
)


@pytest.fixture
def served(admin: Admin) -> Admin:
    """The directories that the agents serve are there."""
    for host in admin.fleet.hosts.values():
        for row in ROWS:
            (host.agent_logs / f"{row.name}.d").mkdir()
    return admin


def test_copies_are_ready_when_their_probes_pass(served: Admin) -> None:
    served.apply(*(row.document({}) for row in ROWS))
    done = boottime()
    for row in ROWS:
        status = served.get("ds", row.name)["status"]
        assert (status["numberReady"], status["desiredNumberScheduled"]) == (2, 2)
        if not row.name.startswith("tcp"):  # a port is open at once
            for host in HOSTS:
                [life] = served.timeline(row.name).runs[host.name]
                assert done >= life.start + READY_AFTER
    assert served.reconcile().did == []


def test_copies_whose_probes_fail_are_not_ready_and_say_why(served: Admin) -> None:
    spec = served.write(*(row.document(row.unready) for row in ROWS))
    served.fleetd("apply", spec, "--no-wait")
    wait_until(lambda: all(map(_fails, _reasons(served))), 90, "probes that fail on all hosts")
    for row in ROWS:
        assert served.get("ds", row.name)["status"]["numberReady"] == 0


def _reasons(admin: Admin) -> list[str]:
    """Why each copy holds its DaemonSet up, after a run that could not settle."""
    holders = admin.reconcile("--timeout", "5s", code=3).json["holders"]
    return [holders[f"default/{row.name}"][host.name] for row in ROWS for host in HOSTS]


def _fails(reason: str) -> bool:
    return re.match("readiness probe fails: .", reason) is not None
