"""Every source of an environment and every kind of volume, as a container sees them.

One pod under podman and one under docker: what its processes see is read in the containers and held
to the document field by field, also by a process that is not root.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import pytest

from tests.e2e.admin import IMAGE, Admin, Document, config_map, daemonset, secret
from tests.e2e.lab import Host, HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import leftovers

pytestmark = pytest.mark.timeout(400)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod"))
IMAGES = (IMAGE,)

NOBODY: Final = 65534
GROUP: Final = 2000
LINES: Final = "first line\n\tand 'a' \"second\" $line\n\n"
SLEEP: Final = {"image": IMAGE, "command": ["/bin/sh", "-c", "exec sleep 1000000"]}
NOTE: Final = 'of "two"\nlines'


def field(name: str, path: str) -> Document:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name: str, of: str, divisor: str = "0") -> Document:
    ref = {"resource": of, "divisor": divisor}
    return {"name": name, "valueFrom": {"resourceFieldRef": ref}}


ENV: Final = [
    field("NODE", "spec.nodeName"),
    field("ACCOUNT", "spec.serviceAccountName"),
    field("POD", "metadata.name"),
    field("NAMESPACE", "metadata.namespace"),
    field("UID_", "metadata.uid"),
    field("LABEL", "metadata.labels['app']"),
    field("REVISION", "metadata.labels['controller-revision-hash']"),
    field("NOTE", "metadata.annotations['example.com/note']"),
    field("HOST_IP", "status.hostIP"),
    field("HOST_IPS", "status.hostIPs"),
    field("POD_IP", "status.podIP"),
    field("POD_IPS", "status.podIPs"),
    resource("CPUS", "limits.cpu"),
    resource("MEBIBYTES", "limits.memory", "1Mi"),
    resource("DISK", "limits.ephemeral-storage", "1k"),
    resource("ASKED_CPU", "requests.cpu", "1m"),
    resource("ASKED_MEMORY", "requests.memory", "1M"),
    {"name": "CONF", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "lines"}}},
    {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "word"}}},
    {
        "name": "NONE",
        "valueFrom": {"secretKeyRef": {"name": "none", "key": "none", "optional": True}},
    },
    {"name": "level", "value": "of env"},
    {"name": "ALL", "value": "$(POD) $(WORD) $(size) $(NOBODY) $$(POD)"},
]
ENV_FROM: Final = [
    {"configMapRef": {"name": "settings"}},
    {"secretRef": {"name": "pass"}, "prefix": "PASS_"},
    {"secretRef": {"name": "none", "optional": True}},
]
NAME: Final = {"fieldRef": {"fieldPath": "metadata.name"}}
VOLUMES: Final[dict[str, Document]] = {
    "conf": {"configMap": {"name": "conf", "defaultMode": 0o400}},
    "items": {
        "configMap": {
            "name": "conf",
            "items": [{"key": "lines", "path": "a/b", "mode": 0o600}],
            "optional": True,
        }
    },
    "secret": {"secret": {"secretName": "pass"}},
    "nothing": {"secret": {"secretName": "none", "optional": True}},
    "told": {
        "downwardAPI": {
            "items": [
                {"path": "name", **NAME},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
                {
                    "path": "cpus",
                    "resourceFieldRef": {"resource": "limits.cpu", "containerName": "main"},
                    "mode": 0o400,
                },
            ]
        }
    },
    "all": {
        "projected": {
            "defaultMode": 0o444,
            "sources": [
                {"configMap": {"name": "conf", "items": [{"key": "lines", "path": "conf/l"}]}},
                {"secret": {"name": "pass", "items": [{"key": "word", "path": "word"}]}},
                {"downwardAPI": {"items": [{"path": "pod/name", **NAME}]}},
                {"serviceAccountToken": {"path": "token"}},
            ],
        }
    },
    "scratch": {"emptyDir": {}},
    "mem": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    "any": {"hostPath": {"path": "/srv/any"}},
    "made": {"hostPath": {"path": "/srv/made", "type": "DirectoryOrCreate"}},
    "dir": {"hostPath": {"path": "/srv", "type": "Directory"}},
    "made-file": {"hostPath": {"path": "/srv/file", "type": "FileOrCreate"}},
    "file": {"hostPath": {"path": "/etc/hostname", "type": "File"}},
    "socket": {"hostPath": {"path": "/run/systemd/notify", "type": "Socket"}},
    "device": {"hostPath": {"path": "/dev/null", "type": "CharDevice"}},
}
PATHS: Final = [
    {"name": "scratch", "mountPath": "/below/fixed", "subPath": "one/two"},
    {"name": "scratch", "mountPath": "/below/name", "subPathExpr": "logs/$(POD)"},
    {"name": "any", "mountPath": "/below/host", "subPathExpr": "$(NODE)", "readOnly": True},
    {"name": "conf", "mountPath": "/below/lines", "subPath": "lines"},
]


def objects(lines: str = LINES) -> list[Document]:
    everything = [{"name": name, "mountPath": f"/v/{name}"} for name in VOLUMES]
    shared = [{"name": "scratch", "mountPath": "/s"}, {"name": "mem", "mountPath": "/m"}]
    requests = {"requests": {"cpu": "250m", "memory": "64Mi"}}
    pod = daemonset(
        "agent",
        {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": GROUP},
            "serviceAccountName": "agents",
            "initContainers": [
                {
                    "name": "first",
                    "image": IMAGE,
                    "command": ["/bin/sh", "-c", "echo first | tee /s/first >/m/first"],
                    "volumeMounts": shared,
                }
            ],
            "containers": [
                {
                    "name": "main",
                    **SLEEP,
                    "env": ENV,
                    "envFrom": ENV_FROM,
                    "resources": requests,
                    "volumeMounts": [*everything, *PATHS],
                },
                {
                    "name": "nobody",
                    **SLEEP,
                    "securityContext": {"runAsUser": NOBODY, "runAsGroup": NOBODY},
                    "volumeMounts": everything,
                },
            ],
            "volumes": [{"name": name, **source} for name, source in VOLUMES.items()],
        },
        max_unavailable=2,
    )
    pod["spec"]["template"]["metadata"]["annotations"] = {"example.com/note": NOTE}
    return [
        config_map("conf", {"lines": lines}),
        config_map("settings", {"level": "info", "size": "7", "1st": "no name"}),
        secret("pass", {"word": "open sesame", "key": LINES}),
        pod,
    ]


def name_of(container: str) -> str:
    return f"fleetd-default.agent.{container}.a"


def inside(host: Host, container: str, command: str) -> str:
    """What a command says in a container, as the container's own user."""
    quoted = command.replace("'", "'\\''")
    run = f"{host.spec.runtime} exec {name_of(container)} /bin/sh -c '{quoted}'"
    return host.sh(run).stdout


def environment(host: Host, container: str = "main") -> dict[str, str]:
    pairs = inside(host, container, "cat /proc/1/environ").rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs)


def text(host: Host, container: str, path: str) -> str:
    """The whole text of a file, its last newlines too."""
    return inside(host, container, f"cat {path}; printf .")[:-1]


def read(host: Host, container: str, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Text and rights of files below /v, as this container's user reads them."""
    one = 'cat "/v/$f" && printf "\\0" && stat -L -c "%a %u %g" "/v/$f" && printf "\\0"'
    told = inside(host, container, f"for f in {' '.join(paths)}; do {one}; done").split("\0")
    return {path: (told[2 * at], told[2 * at + 1].strip()) for at, path in enumerate(paths)}


def rights(host: Host, container: str, path: str) -> str:
    return inside(host, container, f"stat -L -c '%a %u %g' {path}").strip()


def mounts_of(host: Host) -> list[str]:
    """What is mounted below fleetd's own directories, for the host to see."""
    return host.sh(
        "awk '$5 ~ \"^/var/lib/fleetd-node/\" {print $5}' /proc/self/mountinfo"
    ).stdout.split()


def up_again(host: Host, container: str) -> None:
    """Wait until the container that was killed runs again."""
    ask = f"{host.spec.runtime} exec {name_of(container)} true"
    wait_until(lambda: host.sh(ask, check=False).returncode == 0, 60, "the container", every=0.3)


def revision_of(host: Host) -> str:
    return host.sh("cat /var/lib/fleetd-node/w/default.agent/a/revision").stdout.strip()


def hosts_of(admin: Admin) -> list[Host]:
    return list(admin.fleet.hosts.values())


def test_a_pod_with_every_source_and_every_volume(admin: Admin) -> None:
    admin.apply(*objects())
    assert admin.reconcile().did == []
    for host in hosts_of(admin):
        check_environment(admin, host)
        check_volumes(host)
        check_paths_below_volumes(host)


def check_environment(admin: Admin, host: Host) -> None:
    seen = environment(host)
    pod = f"agent-{host.name}"
    address = admin.fleet[host.name].ip
    memory = int(host.sh("sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo").stdout)
    uid = admin.get("pod", pod)["metadata"]["uid"]
    expected = {
        "NODE": host.name,
        "ACCOUNT": "agents",
        "POD": pod,
        "NAMESPACE": "default",
        "UID_": uid,
        "LABEL": "agent",
        "REVISION": revision_of(host),
        "NOTE": NOTE,
        "HOST_IP": address,
        "HOST_IPS": address,
        "CPUS": host.sh("getconf _NPROCESSORS_ONLN").stdout.strip(),
        "MEBIBYTES": f"{-(-memory // 1024)}",
        "ASKED_CPU": "250",
        "ASKED_MEMORY": "68",
        "CONF": LINES,
        "WORD": "open sesame",
        "level": "of env",
        "size": "7",
        "PASS_word": "open sesame",
        "PASS_key": LINES,
        "ALL": f"{pod} open sesame 7 $(NOBODY) $(POD)",
    }
    assert {key: seen.get(key) for key in expected} == expected
    assert seen["POD_IP"] == seen["POD_IPS"]
    assert seen["POD_IP"] in inside(host, "main", "ip -4 -o addr").replace("/", " ").split()
    assert int(seen["DISK"]) > 1000
    assert not {"NONE", "1st"} & seen.keys()
    # The secret is in the process, and in no command line that others can read.
    told = host.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").stdout
    assert "open sesame" not in told
    unit = f"{name_of('main')}.service"
    assert "1st" in host.sh(f"journalctl --no-pager -u {unit}").stdout


def check_volumes(host: Host) -> None:
    pod = f"agent-{host.name}"
    # The group of the pod may read what others may not; the bits are Kubernetes'.
    files = {
        "conf/lines": (LINES, f"440 0 {GROUP}"),
        "items/a/b": (LINES, f"640 0 {GROUP}"),
        "secret/word": ("open sesame", f"644 0 {GROUP}"),
        "secret/key": (LINES, f"644 0 {GROUP}"),
        "told/name": (pod, f"644 0 {GROUP}"),
        "told/cpus": (host.sh("getconf _NPROCESSORS_ONLN").stdout.strip(), f"440 0 {GROUP}"),
        "all/conf/l": (LINES, f"444 0 {GROUP}"),
        "all/word": ("open sesame", f"444 0 {GROUP}"),
        "all/pod/name": (pod, f"444 0 {GROUP}"),
    }
    for container in ("main", "nobody"):
        assert read(host, container, files) == files
        assert inside(host, container, "ls -A /v/nothing") == ""
        listed = inside(host, container, "cd /v/all && find . -type f").split()
        assert sorted(listed) == ["./conf/l", "./pod/name", "./word"]
        denied = inside(host, container, "touch /v/conf/new 2>&1 || true")
        assert "Read-only" in denied
    assert text(host, "nobody", "/v/told/labels") == (
        f'app="agent"\ncontroller-revision-hash="{revision_of(host)}"\npod-template-generation="1"'
    )
    note = json.dumps(NOTE)
    assert text(host, "nobody", "/v/told/notes") == f"example.com/note={note}"
    # Shared by all containers, and writable by who is of the pod's group.
    for place in ("scratch", "mem"):
        assert text(host, "main", f"/v/{place}/first") == "first\n"
        assert rights(host, "nobody", f"/v/{place}") == f"2777 0 {GROUP}"
        inside(host, "nobody", f"echo hello >/v/{place}/nobody")
        assert text(host, "main", f"/v/{place}/nobody") == "hello\n"
        assert rights(host, "main", f"/v/{place}/nobody").endswith(f" {NOBODY} {GROUP}")
    size = inside(host, "main", "df -k /v/mem | tail -1").split()
    assert (size[0], size[1]) == ("tmpfs", "1024")
    # Paths of the host: made, or there before; root's own.
    assert host.sh("stat -c '%a %u %g %F' /srv/any /srv/made /srv/file").stdout.splitlines() == [
        "755 0 0 directory",
        "755 0 0 directory",
        "644 0 0 regular empty file",
    ]
    assert text(host, "main", "/v/file").strip() == host.sh("cat /etc/hostname").stdout.strip()
    kinds = inside(host, "main", "stat -c %F /v/socket /v/device /v/dir").splitlines()
    assert kinds == ["socket", "character special file", "directory"]


def check_paths_below_volumes(host: Host) -> None:
    pod = f"agent-{host.name}"
    inside(host, "main", "echo fixed >/below/fixed/f; echo name >/below/name/f")
    assert text(host, "main", "/v/scratch/one/two/f") == "fixed\n"
    assert text(host, "main", f"/v/scratch/logs/{pod}/f") == "name\n"
    assert host.sh(f"test -d /srv/any/{host.name} && echo made").stdout == "made\n"
    assert "Read-only" in inside(host, "main", "touch /below/host/f 2>&1 || true")
    assert text(host, "main", "/below/lines") == LINES


def test_memory_outlives_a_container_and_no_revision(admin: Admin) -> None:
    admin.apply(*objects())
    first = {host.name: revision_of(host) for host in hosts_of(admin)}
    for host in hosts_of(admin):
        inside(host, "main", "echo kept | tee /v/mem/kept >/v/scratch/kept")
        before = mounts_of(host)
        assert len(before) == 1
        host.sh(f"{host.spec.runtime} kill {name_of('main')}")
        up_again(host, "main")
        assert text(host, "main", "/v/mem/kept") == "kept\n"
        assert text(host, "main", "/v/scratch/kept") == "kept\n"
        assert mounts_of(host) == before
    cut = admin.fleet["pod"]
    cut.power_cut()
    cut.boot()
    cut.wait_ssh()
    up_again(cut, "main")
    assert len(mounts_of(cut)) == 1
    assert text(cut, "main", "/v/mem/first") == "first\n"
    assert text(cut, "main", "/v/scratch/kept") == "kept\n"
    assert inside(cut, "main", "ls /v/mem/kept 2>/dev/null || true") == ""
    admin.apply(*objects("changed\n"))
    for host in hosts_of(admin):
        assert revision_of(host) != first[host.name]
        assert environment(host)["CONF"] == "changed\n"
        assert text(host, "nobody", "/v/conf/lines") == "changed\n"
        assert text(host, "main", "/below/lines") == "changed\n"
        for place in ("mem", "scratch"):
            assert inside(host, "main", f"ls /v/{place}/kept 2>/dev/null || true") == ""
            assert text(host, "main", f"/v/{place}/first") == "first\n"
        assert [path.split("/")[-2] for path in mounts_of(host)] == [revision_of(host)]
    # What somebody mounts into a volume is not deleted with it.
    for host in hosts_of(admin):
        scratch = f"/var/lib/fleetd-node/w/default.agent/a/empty/{revision_of(host)}/scratch"
        host.sh(f"mkdir -p /srv/precious {scratch}/in && echo gold >/srv/precious/f")
        host.sh(f"mount --bind /srv/precious {scratch}/in")
    admin.fleetd("delete", "ds", "agent")
    for host in hosts_of(admin):
        assert mounts_of(host) == []
        assert leftovers(host) == []
        assert host.sh("cat /srv/precious/f").stdout == "gold\n"


def test_mounts_of_the_host_reach_a_container_that_asks(admin: Admin) -> None:
    def mount(name: str, propagation: str) -> dict[str, Any]:
        return {"name": "v", "mountPath": f"/{name}", "mountPropagation": propagation}

    for host in hosts_of(admin):
        # Whether a host's mounts are shared is the host's business; here they are made so.
        host.sh("mkdir -p /srv/shared && mount --bind /srv/shared /srv/shared")
        host.sh("mount --make-shared /srv/shared")
    mounts = [mount("alone", "None"), mount("slave", "HostToContainer")]
    admin.apply(
        daemonset(
            "agent",
            {
                "terminationGracePeriodSeconds": 1,
                "hostNetwork": True,
                "containers": [{"name": "main", **SLEEP, "volumeMounts": mounts}],
                "volumes": [{"name": "v", "hostPath": {"path": "/srv/shared"}}],
            },
            max_unavailable=2,
        )
    )
    for host in hosts_of(admin):
        host.sh("mkdir -p /srv/shared/late && mount -t tmpfs tmpfs /srv/shared/late")
        host.sh("echo late >/srv/shared/late/f")
        assert text(host, "main", "/slave/late/f") == "late\n"
        assert inside(host, "main", "ls /alone/late") == ""
    admin.fleetd("delete", "ds", "agent")
    for host in hosts_of(admin):
        host.sh("umount /srv/shared/late /srv/shared")


def test_what_is_referenced_and_missing_is_told_before_any_host(admin: Admin) -> None:
    result = admin.fleetd("apply", admin.write(objects()[-1]), code=2)
    for path in (
        "containers[0].envFrom[0].configMapRef.name",
        "containers[0].envFrom[1].secretRef.name",
        "volumes[5].projected.sources[0].configMap.name",
    ):
        assert re.search(re.escape(path), result.stderr), result.stderr
    for host in hosts_of(admin):
        assert leftovers(host) == []
