"""Whole bundles, as they were when they were last meant to change.

A copy is repaired to the bundle it was made from, so a new text restarts nothing by itself; but it
rides along with each next revision. After a wanted change run `python -m
tests.unit.workload.test_golden`, and read the diff.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from fleetd.core.bundle import Bundle, SecretBytes
from fleetd.core.facts import HostProfile, Runtime
from tests.unit.workload.rendering import DOCKER, PODMAN, SYSTEMD, Rendered, rendered, systemd

GOLDEN = Path(__file__).parent / "golden"

AGENT = {
    "hostPID": True,
    "terminationGracePeriodSeconds": 45,
    "volumes": [
        {"name": "log", "hostPath": {"path": "/var/log"}},
        {"name": "run", "hostPath": {"path": "/run/agent", "type": "DirectoryOrCreate"}},
        {"name": "conf", "configMap": {"name": "conf", "items": [{"key": "LEVEL", "path": "d/l"}]}},
        {"name": "db", "secret": {"secretName": "db"}},
        {"name": "tmp", "emptyDir": {}},
    ],
    "containers": [
        {
            "name": "main",
            "image": "registry.example/agent:1.2",
            "command": ["/bin/agent", "--node=$(NODE_NAME)"],
            "args": ["it's $(LEVEL) $(UNKNOWN) $$(LEVEL)"],
            "env": [
                {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {
                    "name": "LEVEL",
                    "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "LEVEL"}},
                },
                {
                    "name": "DB_PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}},
                },
                {"name": "DB_URL", "value": "db://x:$(DB_PASSWORD)@$(NODE_NAME)/"},
                {"name": "PATH", "value": "/bin"},
            ],
            "ports": [{"name": "web", "containerPort": 8080, "hostPort": 80}],
            "resources": {
                "limits": {"memory": "200Mi", "cpu": "1500m"},
                "requests": {"cpu": "100m"},
            },
            "securityContext": {"capabilities": {"add": ["SYS_PTRACE"], "drop": ["MKNOD"]}},
            "volumeMounts": [
                {"name": "log", "mountPath": "/var/log", "readOnly": True, "subPath": "agent"},
                {"name": "run", "mountPath": "/run/agent"},
                {"name": "conf", "mountPath": "/etc/agent/l", "subPath": "d/l"},
                {"name": "db", "mountPath": "/secrets"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
            "readinessProbe": {
                "httpGet": {
                    "path": "/ready",
                    "port": "web",
                    "httpHeaders": [{"name": "X-A", "value": "it's"}],
                }
            },
        }
    ],
}
POD = {
    "terminationGracePeriodSeconds": 20,
    "shareProcessNamespace": True,
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["one"]}],
    "priorityClassName": "system-cluster-critical",
    "dnsConfig": {"nameservers": ["192.0.2.53"]},
    "securityContext": {"runAsNonRoot": True, "fsGroup": 7},
    "initContainers": [
        {
            "name": "first",
            "image": "first:1",
            "resources": {"limits": {"memory": "200Mi", "cpu": "1500m"}},
        },
        {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"},
    ],
    "containers": [
        {
            "name": "main",
            "image": "main:1",
            "ports": [{"containerPort": 8080, "hostPort": 80}],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        },
        {"name": "log", "image": "log:1", "stdin": True, "securityContext": {"runAsUser": 7}},
    ],
}
UNIT = "[Unit]\nAfter=network.target\n\n[Service]\nUser=agent\nExecStart=/opt/agent --x=%H\n"


def _pinned(profile: HostProfile) -> Rendered:
    return rendered(AGENT, profile, pins={"registry.example/agent:1.2": "agent@sha256:0123"})


CASES: dict[str, Callable[[], Rendered]] = {
    "podman4": lambda: _pinned(PODMAN),
    "podman5-selinux": lambda: _pinned(HostProfile(Runtime.PODMAN, 5, 254, 2, selinux=True)),
    "docker": lambda: _pinned(DOCKER),
    "docker-cgroup1-systemd239": lambda: _pinned(HostProfile(Runtime.DOCKER, 20, 239, 1)),
    "systemd": lambda: systemd(
        unit=UNIT,
        users=[{"name": "agent", "groups": ["adm"]}],
        env=[
            {"name": "A", "value": 'per%cent "q" $X'},
            {"name": "NODE", "fieldPath": "spec.nodeName"},
            {"name": "URL", "value": 'x://$(NODE)/"$(A)'},
        ],
        files=[
            {
                "path": "/opt/agent",
                "mode": 0o755,
                "perArchitecture": {"amd64": "fwE=", "arm64": ""},
            },
            {
                "path": "/etc/agent/conf",
                "owner": "agent",
                "onChange": "reload",
                "configMapKeyRef": {"name": "conf", "key": "app.conf"},
            },
            {
                "path": "/etc/agent/key",
                "mode": 0o600,
                "secretKeyRef": {"name": "db", "key": "password"},
            },
        ],
        readinessProbe={"exec": {"command": ["test", "-e", "/run/it's ready"]}},
    ),
    "systemd239": lambda: systemd(
        HostProfile(Runtime.SYSTEMD, systemd=239),
        unit="[Service]\nType=notify\nUser=agent\nExecStart=/opt/agent\n",
        credentials=[
            {"name": "token", "secretKeyRef": {"name": "db", "key": "password"}},
            {"name": "conf", "configMapKeyRef": {"name": "conf", "key": "app.conf"}},
        ],
    ),
    "pod-podman4": lambda: rendered(POD),
    "pod-docker": lambda: rendered(POD, DOCKER),
    "pod-podman3-systemd239": lambda: rendered(
        {**POD, "hostNetwork": True, "shareProcessNamespace": False},
        HostProfile(Runtime.PODMAN, 3, systemd=239, cgroup=1),
    ),
    "timer": lambda: systemd(
        unit="[Service]\nType=oneshot\nExecStart=/opt/report\n",
        timer="[Timer]\nOnCalendar=hourly\n",
        credentials=[{"name": "token", "secretKeyRef": {"name": "db", "key": "password"}}],
    ),
    "socket": lambda: systemd(
        unit="[Service]\nExecStart=/opt/answer\n", socket="[Socket]\nListenStream=9100\n"
    ),
    "existing": lambda: systemd(
        SYSTEMD,
        existingUnit="chrony.service",
        files=[{"path": "/etc/chrony/conf.d/fleet.conf", "content": "pool ntp.example\n"}],
        readinessProbe={"tcpSocket": {"port": 323}},
    ),
}


def _dump(bundle: Bundle) -> str:
    """A bundle as a person reads it; the loop of a probe is left out but counts in the digest."""
    shown = {k: v for k, v in asdict(bundle).items() if k != "files"}
    lines = [f"{name}: {value!r}" for name, value in shown.items()]
    for file in bundle.files:
        lines.append(
            f"\n=== {file.path} {file.mode:04o} {file.owner}:{file.group} {file.on_change}"
        )
        content = file.content
        if isinstance(content, SecretBytes):
            lines.append(f"secret {content.name}/{content.key} {content.digest}")
        else:
            text = content.data().decode().split("\n# Asks one workload")[0]
            lines.append(text.rstrip("\n") if text.isascii() and "\x7f" not in text else repr(text))
    return "\n".join([*lines, "", f"digest: {bundle.digest()}", ""])


@pytest.mark.parametrize("name", CASES)
def test_a_bundle_is_what_it_was(name: str) -> None:
    assert _dump(CASES[name]().bundle) == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", CASES)
def test_a_bundle_comes_back_from_the_store_as_it_was(name: str) -> None:
    bundle = CASES[name]().bundle
    assert Bundle.from_json(bundle.to_json()) == bundle


if __name__ == "__main__":
    for name, case in CASES.items():
        (GOLDEN / f"{name}.txt").write_text(_dump(case().bundle))
