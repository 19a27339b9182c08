"""Probes on real hosts: every kind, for units and containers, on podman and docker."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.admin import AGENT_DIR, IMAGE, Admin, Document, pod_agent, unit_agent
from tests.e2e.lab import Host, HostSpec, boottime
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


# ------------------------------------------------------------------------- startup and liveness

ALWAYS_WELL: Final = {"periodSeconds": 1, "failureThreshold": 2}
LIVE: Final[dict[str, tuple[int, Document]]] = {
    "live-exec": (8091, {"exec": {"command": ["test", "!", "-e", f"{AGENT_DIR}/live-exec.sick"]}}),
    "live-http": (8092, {"httpGet": {"path": "/alive", "port": 8092}}),
    "live-tcp": (8093, {"tcpSocket": {"port": 8093}}),
}
SAYS: Final = {
    "live-exec": "exit status 1",
    "live-http": "HTTP status 404",
    "live-tcp": "Connection refused",
}


def live_agent(name: str, port: int, probes: Document, **more: Any) -> Document:
    """An agent that serves a directory of its own, and is probed."""
    env = {"AGENT_READY": f"{AGENT_DIR}/{name}.d/ready", "AGENT_HTTP": str(port)}
    fields = {"container": probes, "env": env, "min_ready": 1, **BOTH, **more}
    return pod_agent(name, lock=name, **fields)


def sicken(host: Host, name: str) -> None:
    """Make the liveness probe of an agent fail: its file is there, its page gone, its port shut."""
    if name == "live-exec":
        (host.agent_logs / f"{name}.sick").touch()
    elif name == "live-http":
        (host.agent_logs / f"{name}.d/alive").unlink()
    else:
        port = LIVE[name][0]
        serving = f"[h]ttpd.-f.-p.{port}"
        host.sh(f"kill -KILL $(grep -lsa '{serving}' /proc/[0-9]*/cmdline | cut -d / -f 3)")


def heal(host: Host, name: str) -> None:
    """Let it pass again; what serves the port comes up with the agent."""
    (host.agent_logs / f"{name}.sick").unlink(missing_ok=True)
    (host.agent_logs / f"{name}.d").mkdir(exist_ok=True)
    (host.agent_logs / f"{name}.d/alive").touch()


def shown(host: Host, name: str, field: str, container: str = "agent") -> str:
    """A property of a container's unit."""
    unit = f"fleetd-default.{name}.{container}.a.service"
    return host.sh(f"systemctl show --property={field} --value {unit}").stdout.strip()


def lives_again(admin: Admin, host: Host, name: str) -> None:
    """Wait for another start of an agent."""
    what = f"another life of {name} on {host.name}"
    wait_until(lambda: admin.lives(host.name, name) > 1, 60, what)


def said_of(admin: Admin, name: str, host: Host) -> str:
    """The message of one copy, as it was last seen."""
    pods = admin.get("pods")["items"]
    (pod,) = (pod for pod in pods if pod["metadata"]["name"] == f"{name}-{host.name}")
    return str(pod["status"]["message"])


def test_a_liveness_failure_is_repaired_while_no_coordinator_is_there(admin: Admin) -> None:
    hosts = list(admin.fleet.hosts.values())
    for host in hosts:
        for name in LIVE:
            heal(host, name)
    documents = [
        live_agent(name, port, {"livenessProbe": {**probe, **ALWAYS_WELL}})
        for name, (port, probe) in LIVE.items()
    ]
    admin.apply(*documents)
    for host in hosts:
        for name in LIVE:
            assert admin.lives(host.name, name) == 1
            sicken(host, name)
    for host in hosts:
        for name in LIVE:
            lives_again(admin, host, name)
            heal(host, name)
    for name in LIVE:
        for host in hosts:
            first, *_ = admin.timeline(name, [host.name]).runs[host.name]
            assert first.last == first.end  # it was told to stop, and had the time to
            assert int(shown(host, name, "NRestarts")) >= 1
    assert admin.reconcile().did == []  # nothing was left to repair
    for name in LIVE:
        for host in hosts:
            message = said_of(admin, name, host)
            assert message.startswith("restarted: liveness probe failed: "), message
            assert SAYS[name] in message


def test_a_slow_start_is_not_taken_for_death(admin: Admin) -> None:
    asked = {"exec": {"command": ["test", "-e", f"{AGENT_DIR}/slow.up"]}, "periodSeconds": 1}
    asked["timeoutSeconds"] = 10  # an engine under load takes its time to run a command
    probes = {
        "startupProbe": {**asked, "failureThreshold": 1000},
        "livenessProbe": {**asked, "failureThreshold": 1},
    }
    document = pod_agent("slow", lock="slow", container=probes, **BOTH)
    admin.fleetd("apply", admin.write(document), "--no-wait")

    def waits() -> bool:
        holders = admin.reconcile("--timeout", "3s", code=3).json["holders"]["default/slow"]
        return all("startup probe has not passed yet" in why for why in holders.values())

    wait_until(waits, 60, "word of the startup probe from all hosts")
    for host in admin.fleet.hosts.values():
        (host.agent_logs / "slow.up").touch()
    admin.reconcile()
    assert [admin.lives(spec.name, "slow") for spec in HOSTS] == [1, 1]


def test_a_start_that_takes_too_long_is_ended_and_tried_again(admin: Admin) -> None:
    never = {"exec": {"command": ["test", "-e", "/never"]}, "periodSeconds": 1}
    document = pod_agent(
        "never",
        lock="never",
        container={"startupProbe": {**never, "failureThreshold": 3}},
        **BOTH,
    )
    admin.fleetd("apply", admin.write(document), "--no-wait")
    for host in admin.fleet.hosts.values():
        lives_again(admin, host, "never")

    def told() -> bool:
        holders = admin.reconcile("--timeout", "1s", code=3).json["holders"]["default/never"]
        return all("startup probe failed: exit status 1" in why for why in holders.values())

    wait_until(told, 60, "the reason on all hosts")
    assert admin.get("ds", "never")["status"]["numberReady"] == 0


def test_only_the_container_that_fails_is_started_again(admin: Admin) -> None:
    sick = {"exec": {"command": ["test", "!", "-e", f"{AGENT_DIR}/pair.sick"]}}
    document = pod_agent(
        "pair", lock="pair", container={"livenessProbe": {**sick, **ALWAYS_WELL}}, **BOTH
    )
    pod = document["spec"]["template"]["spec"]
    other = {**pod["containers"][0], "name": "other"}
    del other["livenessProbe"]
    other["env"] = [
        {"name": "AGENT_LOCK", "value": f"{AGENT_DIR}/other"} if e["name"] == "AGENT_LOCK" else e
        for e in other["env"]
    ]
    pod["containers"].append(other)
    admin.apply(document)
    for host in admin.fleet.hosts.values():
        (host.agent_logs / "pair.sick").touch()
        lives_again(admin, host, "pair")
        (host.agent_logs / "pair.sick").unlink()
        assert admin.lives(host.name, "other") == 1
        assert shown(host, "pair", "NRestarts", "other") == "0"
    admin.reconcile()
