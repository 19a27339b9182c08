"""Pods of several containers on real hosts, by podman and by docker.

They share namespaces and start in order, and mend themselves when one of them dies and no
coordinator is there; what runs is compared with what was asked for.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from typing import Any, Final

import pytest

from tests.e2e.admin import AGENT_DIR, IMAGE, Admin, Document, daemonset
from tests.e2e.lab import Entry, Host, HostSpec
from tests.e2e.lab.machine import in_netns, run, wait_until
from tests.e2e.proof import leftovers

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod"))
IMAGES = (IMAGE,)
PATIENCE_S: Final = 60
MOUNT: Final = [{"name": "log", "mountPath": "/log"}]
SERVE: Final = "exec httpd -f -p 80 -h /log"
STAY: Final = "exec sleep 1000"
IN_ORDER: Final = ["first", "side", "second"]


def container(name: str, then: str = "", **fields: Any) -> Document:
    """One that tells that it starts, and then does as it is told."""
    script = f"echo {name} >>/log/order; {then}"
    told = {"image": IMAGE, "command": ["/bin/sh", "-c", script], "volumeMounts": MOUNT}
    return {"name": name, **told, **fields}


def pod(name: str = "pod", second: str = "", **fields: Any) -> Document:
    """Two init containers with a sidecar between them, and two containers."""
    template = {
        "terminationGracePeriodSeconds": 2,
        "volumes": [{"name": "log", "hostPath": {"path": AGENT_DIR}}],
        "initContainers": [
            container("first"),
            container("side", STAY, restartPolicy="Always"),
            container("second", second),
        ],
        "containers": [
            container("web", SERVE, ports=[{"containerPort": 80, "hostPort": 8080}]),
            container("log", STAY),
        ],
        **fields,
    }
    return daemonset(name, template, max_unavailable=2)


def engine(host: Host, words: str) -> str:
    return host.sh(f"{host.spec.runtime} {words}").stdout.strip()


def name_of(container: str) -> str:
    return f"fleetd-default.pod.{container}.a"


def pid_of(host: Host, container: str) -> str:
    return engine(host, f"inspect --format '{{{{.State.Pid}}}}' {name_of(container)}")


def order(host: Host) -> list[str]:
    """The containers that have started on a host, in the order of their starts."""
    path = host.agent_logs / "order"
    return path.read_text().split() if path.exists() else []


def _started(host: Host, names: set[str]) -> bool:
    return names <= {*order(host)}


def is_up(host: Host) -> bool:
    """Whether all units of the pod are up, by the host's own words."""
    units = " ".join(f"{name_of(each)}.service" for each in ("_holder", *IN_ORDER, "web", "log"))
    states = host.sh(f"systemctl is-active {units}", check=False).stdout.split()
    return states == ["active"] * 6


def is_served(admin: Admin, host: Host) -> bool:
    """Whether the container answers at the port of the host, asked from another machine."""
    ask = f"import urllib.request as u; u.urlopen('http://{host.ip}:8080/order', timeout=5)"
    argv = [*in_netns(admin.fleet.netns), sys.executable, "-c", ask]
    return run(argv, check=False).returncode == 0


def test_containers_share_a_network_and_start_in_order(admin: Admin) -> None:
    admin.apply(pod())
    assert admin.reconcile().did == []
    for host in admin.fleet.hosts.values():
        assert order(host)[:3] == IN_ORDER
        assert sorted(order(host)[3:]) == ["log", "web"]
        spaces = {
            tuple(
                host.sh(f"readlink /proc/{pid_of(host, each)}/ns/{space}").stdout
                for space in ("net", "ipc")
            )
            for each in ("_holder", "side", "web", "log")
        }
        assert len(spaces) == 1, "network and ipc are one"
        processes = {
            host.sh(f"readlink /proc/{pid_of(host, each)}/ns/pid").stdout
            for each in ("_holder", "side", "web", "log")
        }
        assert len(processes) == 4, "processes are not"
        assert is_served(admin, host)
    statuses = admin.get("pods", "pod-pod")["status"]
    assert [each["ready"] for each in statuses["containerStatuses"]] == [True, True]
    assert [each["name"] for each in statuses["initContainerStatuses"]] == IN_ORDER
    admin.fleetd("delete", "ds", "pod")
    for host in admin.fleet.hosts.values():
        assert leftovers(host) == []
        assert "fleetd-holder" not in engine(host, "images")


@pytest.mark.parametrize("name", [spec.name for spec in HOSTS])
def test_a_pod_heals_by_itself_and_in_order(admin: Admin, name: str) -> None:
    host = admin.fleet[name]
    admin.know([Entry(host)])
    admin.apply(pod())
    for victim, started in (("web", []), ("side", []), ("_holder", IN_ORDER)):
        (host.agent_logs / "order").unlink()
        host.sh(f"kill -9 {pid_of(host, victim)}")
        again = {"log", "web"} if started else {victim}
        wait_until(partial(_started, host, again), PATIENCE_S, f"{again} to start")
        wait_until(lambda: is_up(host), PATIENCE_S, f"the pod without its {victim}")
        wait_until(lambda: is_served(admin, host), PATIENCE_S, "its port")
        assert order(host)[: len(started)] == started
        assert {*order(host)[len(started) :]} == again, "nothing else has started again"
    # What the host has mended is not mended once more, by whoever looks at it afterwards.
    assert admin.reconcile().did == []


def test_processes_are_shared_where_that_is_asked_for(admin: Admin) -> None:
    admin.apply(pod(shareProcessNamespace=True))
    for host in admin.fleet.hosts.values():
        seen = engine(host, f"exec {name_of('web')} ps")
        assert re.search(r"\b1 .*while :", seen), "the holder is the first process"
        assert "sleep 1000" in seen
        forget = (host.agent_logs / "order").unlink
        forget()
        host.sh(f"kill -9 {pid_of(host, '_holder')}")
        wait_until(partial(_started, host, {"log", "web"}), PATIENCE_S, "the pod")
        assert order(host)[:3] == IN_ORDER


def test_an_init_container_is_tried_until_it_ends_well(admin: Admin) -> None:
    admin.apply(pod(second="[ -e /log/go ]"), flags=["--no-wait"])
    coordinator = admin.start("reconcile")
    wait_until(partial(_told, admin, "second fails: exit status 1"), PATIENCE_S, "the failure")
    coordinator.kill()
    admin.end(coordinator, code=None)
    for host in admin.fleet.hosts.values():
        assert {*order(host)} == {*IN_ORDER}
        (host.agent_logs / "go").touch()
    for host in admin.fleet.hosts.values():
        wait_until(partial(is_up, host), PATIENCE_S, f"the pod on {host}")
    admin.reconcile()
    assert admin.get("ds", "pod")["status"]["numberReady"] == 2


def _told(admin: Admin, word: str) -> bool:
    """Whether fleetd says so of the copies on all hosts, which are not running yet."""
    pods = admin.get("pods")["items"]
    told = [each["status"] for each in pods if word in each["status"]["message"]]
    assert {each["phase"] for each in told} <= {"Pending"}
    return len(told) == len(admin.fleet.hosts)


def test_a_boot_does_not_wait_for_an_init_container(admin: Admin) -> None:
    host = admin.fleet["pod"]
    document = pod(second="[ -e /log/go ]", hostNetwork=True)
    for each in document["spec"]["template"]["spec"]["containers"]:
        each.pop("ports", None)
    admin.apply(document, flags=["--timeout", "5s"], code=3)
    host.reboot()
    host.wait_ssh()
    reached = "systemctl is-active multi-user.target"
    wait_until(
        lambda: host.sh(reached, check=False).stdout == "active\n",
        PATIENCE_S,
        "the end of the boot",
    )
    waits = f"systemctl is-active {name_of('second')}.service"
    wait_until(
        lambda: host.sh(waits, check=False).stdout == "activating\n", PATIENCE_S, "the second"
    )
    assert host.sh(reached).stdout == "active\n"
    (host.agent_logs / "go").touch()
    wait_until(partial(_started, host, {"log", "web"}), PATIENCE_S, "what waits for it")


SECURED: Final[Document] = {
    "hostname": "told",
    "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["seven.example"]}],
    "dnsPolicy": "None",
    "dnsConfig": {
        "nameservers": ["192.0.2.53"],
        "searches": ["x.example"],
        "options": [{"name": "ndots", "value": "2"}],
    },
    "securityContext": {
        "runAsUser": 1001,
        "runAsGroup": 1002,
        "runAsNonRoot": True,
        "fsGroup": 1003,
        "supplementalGroups": [1004],
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
    },
}


def test_what_runs_is_what_was_asked_for(admin: Admin) -> None:
    document = pod(**SECURED)
    spec = document["spec"]["template"]["spec"]
    del spec["initContainers"]
    address = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    spec["containers"] = [
        container(
            "web",
            "exec httpd -f -p 80 -h /tmp",
            ports=[{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}],
            env=[address],
            workingDir="/tmp",
            securityContext={
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            },
        ),
        container(
            "log",
            STAY,
            tty=True,
            stdin=True,
            securityContext={"runAsUser": 7, "privileged": True},
            lifecycle={"stopSignal": "SIGUSR1"},
        ),
    ]
    for host in admin.fleet.hosts.values():
        host.sh(f"chmod 0777 {AGENT_DIR}")
    admin.apply(document)
    for host in admin.fleet.hosts.values():
        web = status(host, "web")
        assert web["Uid"].split()[0] == "1001"
        assert web["Gid"].split()[0] == "1002"
        assert {"1003", "1004"} <= {*web["Groups"].split()}
        assert web["NoNewPrivs"] == "1"
        assert int(web["CapBnd"], 16) == 1 << 10
        log = status(host, "log")
        assert (log["Uid"].split()[0], log["Gid"].split()[0]) == ("7", "1002")
        assert int(log["CapBnd"], 16) > int(web["CapBnd"], 16)
        inside = f"exec {name_of('web')}"
        assert engine(host, f"{inside} cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
        assert engine(host, f"{inside} hostname") == "told"
        names = engine(host, f"{inside} cat /etc/hosts").splitlines()
        assert ["192.0.2.7", "seven.example"] in [line.split() for line in names]
        resolver = engine(host, f"{inside} cat /etc/resolv.conf").split()
        assert resolver == ["nameserver", "192.0.2.53", "search", "x.example", "options", "ndots:2"]
        address_seen = engine(host, f"{inside} sh -c 'hostname -i; echo $IP'").split()
        assert address_seen[0] == address_seen[-1]
        assert host.sh(f"readlink /proc/{pid_of(host, 'web')}/cwd").stdout == "/tmp\n"
        written = host.sh(f"{host.spec.runtime} {inside} touch /made", check=False)
        assert "Read-only" in written.stderr
        assert "/pts/" in host.sh(f"readlink /proc/{pid_of(host, 'log')}/fd/0").stdout
        stop = engine(host, f"inspect --format '{{{{.Config.StopSignal}}}}' {name_of('log')}")
        assert stop in {"SIGUSR1", "10"}


def test_a_container_that_must_not_be_root_does_not_start_as_root(admin: Admin) -> None:
    document = pod(securityContext={"runAsNonRoot": True})
    del document["spec"]["template"]["spec"]["initContainers"]
    admin.apply(document, flags=["--timeout", "8s"], code=3)
    for host in admin.fleet.hosts.values():
        assert order(host) == []
        told = host.sh(f"journalctl --no-pager --unit {name_of('web')}.service").stdout
        assert "runAsNonRoot: the image runs as root" in told


def status(host: Host, container: str) -> dict[str, str]:
    lines = host.sh(f"cat /proc/{pid_of(host, container)}/status").stdout.splitlines()
    return dict(re.split(r":\s*", line, maxsplit=1) for line in lines)
