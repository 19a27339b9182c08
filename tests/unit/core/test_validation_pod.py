from __future__ import annotations

from typing import Any

import pytest

from fleetd.core.daemonset import DaemonSet
from fleetd.core.findings import Finding
from fleetd.core.validation import validate

POD = "spec.template.spec"
BOX = f"{POD}.containers[0]"
INIT = f"{POD}.initContainers[0]"


def findings(**pod: Any) -> tuple[Finding, ...]:
    pod.setdefault("containers", [{"name": "main", "image": "agent:1"}])
    return validate(
        DaemonSet.model_validate(
            {
                "metadata": {"name": "agent"},
                "spec": {
                    "selector": {"matchLabels": {"app": "agent"}},
                    "template": {"metadata": {"labels": {"app": "agent"}}, "spec": pod},
                },
            }
        )
    )


def one(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "agent:1", **fields}


def secured(**context: Any) -> dict[str, Any]:
    return {"containers": [one(securityContext=context)]}


PROBE = {"tcpSocket": {"port": 1}}
BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "one name in two lists",
        {"initContainers": [one("main")], "containers": [one("main")]},
        [f"{BOX}.name"],
    ),
    ("name of an init container", {"initContainers": [one("A")]}, [f"{INIT}.name"]),
    (
        "probes and hooks of an init container",
        {
            "initContainers": [
                one(
                    "first",
                    lifecycle={"preStop": {"sleep": {"seconds": 1}}},
                    startupProbe=PROBE,
                    livenessProbe=PROBE,
                    readinessProbe=PROBE,
                )
            ]
        },
        [f"{INIT}.{n}" for n in ("lifecycle", "startupProbe", "livenessProbe", "readinessProbe")],
    ),
    (
        "restartPolicy of a container",
        {"containers": [one(restartPolicy="Always")]},
        [f"{BOX}.restartPolicy"],
    ),
    (
        "a port of the host for two containers",
        {
            "containers": [
                one(name, ports=[{"containerPort": port, "hostPort": 80}])
                for name, port in (("a", 1), ("b", 2))
            ]
        },
        [f"{POD}.containers[1].ports[0].hostPort"],
    ),
    (
        "hostIP that is a name",
        {"containers": [one(ports=[{"containerPort": 1, "hostPort": 1, "hostIP": "localhost"}])]},
        [f"{BOX}.ports[0].hostIP"],
    ),
    (
        "processes of the host and of the pod",
        {"hostPID": True, "shareProcessNamespace": True},
        [f"{POD}.shareProcessNamespace"],
    ),
    ("hostname", {"hostname": "a.b"}, [f"{POD}.hostname"]),
    (
        "hostAliases",
        {"hostAliases": [{"ip": "1.2.3", "hostnames": ["A"]}]},
        [f"{POD}.hostAliases[0].ip", f"{POD}.hostAliases[0].hostnames[0]"],
    ),
    ("dnsPolicy None alone", {"dnsPolicy": "None"}, [f"{POD}.dnsConfig.nameservers"]),
    (
        "dnsConfig",
        {
            "dnsConfig": {
                "nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3", "ns"],
                "searches": ["a_b"],
                "options": [{"name": "a b"}],
            }
        },
        [
            f"{POD}.dnsConfig.nameservers",
            f"{POD}.dnsConfig.nameservers[3]",
            f"{POD}.dnsConfig.searches[0]",
            f"{POD}.dnsConfig.options[0].name",
        ],
    ),
    (
        "too many searches",
        {"dnsConfig": {"searches": [f"{n}.example" for n in range(33)]}},
        [f"{POD}.dnsConfig.searches"],
    ),
    (
        "sysctls",
        {
            "securityContext": {
                "sysctls": [
                    {"name": "net.ipv4.tcp_syncookies", "value": "1"},
                    {"name": "net/ipv4/tcp_syncookies", "value": "1"},
                    {"name": "vm.swappiness", "value": "1"},
                    {"name": "a b", "value": "1"},
                ]
            }
        },
        [f"{POD}.securityContext.sysctls[{i}].name" for i in (1, 2, 3)],
    ),
    (
        "sysctls of the host",
        {
            "hostNetwork": True,
            "hostIPC": True,
            "securityContext": {
                "sysctls": [{"name": n, "value": "1"} for n in ("net.core.x", "kernel.shmmax")]
            },
        },
        [f"{POD}.securityContext.sysctls[{i}].name" for i in (0, 1)],
    ),
    (
        "numbers of users and groups",
        {
            "securityContext": {
                "runAsUser": -1,
                "runAsGroup": -1,
                "fsGroup": -1,
                "supplementalGroups": [1, -1],
            },
            **secured(runAsUser=-1),
        },
        [
            *(f"{POD}.securityContext.{name}" for name in ("runAsUser", "runAsGroup", "fsGroup")),
            f"{POD}.securityContext.supplementalGroups[1]",
            f"{BOX}.securityContext.runAsUser",
        ],
    ),
    (
        "root that must not be",
        {"securityContext": {"runAsNonRoot": True}, **secured(runAsUser=0)},
        [f"{BOX}.securityContext.runAsUser"],
    ),
    (
        "privileged without privileges",
        secured(privileged=True, allowPrivilegeEscalation=False),
        [f"{BOX}.securityContext.allowPrivilegeEscalation"],
    ),
    (
        "a local profile without a name",
        secured(seccompProfile={"type": "Localhost"}, appArmorProfile={"type": "Localhost"}),
        [
            f"{BOX}.securityContext.{name}.localhostProfile"
            for name in ("seccompProfile", "appArmorProfile")
        ],
    ),
    (
        "a profile with a name that it does not take",
        secured(seccompProfile={"type": "RuntimeDefault", "localhostProfile": "a"}),
        [f"{BOX}.securityContext.seccompProfile.localhostProfile"],
    ),
    (
        "a profile somewhere else",
        secured(seccompProfile={"type": "Localhost", "localhostProfile": "../a"}),
        [f"{BOX}.securityContext.seccompProfile.localhostProfile"],
    ),
    (
        "stopSignal",
        {"containers": [one(lifecycle={"stopSignal": "TERM"})]},
        [f"{BOX}.lifecycle.stopSignal"],
    ),
    ("workingDir", {"containers": [one(workingDir="/a\n")]}, [f"{BOX}.workingDir"]),
    ("priorityClassName", {"priorityClassName": "A"}, [f"{POD}.priorityClassName"]),
]


@pytest.mark.parametrize(
    ("pod", "paths"), [row[1:] for row in BAD], ids=[row[0].replace(" ", "-") for row in BAD]
)
def test_each_error_has_its_path(pod: dict[str, Any], paths: list[str]) -> None:
    errors = [finding.path for finding in findings(**pod) if not finding.note]
    assert sorted(errors) == sorted(paths)


GOOD: dict[str, dict[str, Any]] = {
    "several containers": {"initContainers": [one("a"), one("b")], "containers": [one("c"), one()]},
    "a sidecar with all that lives long": {
        "initContainers": [one("a", restartPolicy="Always", livenessProbe=PROBE)]
    },
    "a port that an init container gives back": {
        "initContainers": [one("a", ports=[{"containerPort": 1, "hostPort": 1}])],
        "containers": [one(ports=[{"containerPort": 1, "hostPort": 1}])],
    },
    "dns": {
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": ["192.0.2.1", "2001:db8::1"],
            "searches": [".", "a.example."],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        },
    },
    "sysctls": {
        "securityContext": {
            "sysctls": [
                {"name": "net/ipv4/conf/eth0.1/rp_filter", "value": "1"},
                {"name": "kernel.shm_rmid_forced", "value": "1"},
            ]
        }
    },
    "stopSignal": {"containers": [one(lifecycle={"stopSignal": "SIGRTMIN+3"})]},
    "priority": {"priorityClassName": "system-node-critical"},
    "root for one, nobody else": {
        "securityContext": {"runAsNonRoot": True},
        **secured(runAsNonRoot=False, runAsUser=0),
    },
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_wrong_with(name: str) -> None:
    assert findings(**GOOD[name]) == ()


@pytest.mark.parametrize(
    ("pod", "path", "word"),
    [
        pytest.param(
            {"containers": [one(resources={"limits": {"nvidia.com/gpu": 1}})]},
            f"{BOX}.resources.limits[nvidia.com/gpu]",
            "nvidia.com/gpu",
            id="device",
        ),
        pytest.param(
            {"dnsPolicy": "ClusterFirstWithHostNet"},
            f"{POD}.dnsPolicy",
            "host's resolver",
            id="cluster-dns",
        ),
        pytest.param(
            {"priorityClassName": "mine"}, f"{POD}.priorityClassName", "mine", id="priority"
        ),
    ],
)
def test_what_has_no_effect_is_told(pod: dict[str, Any], path: str, word: str) -> None:
    (note,) = findings(**pod)
    assert note.note
    assert note.path == path
    assert word in note.message
