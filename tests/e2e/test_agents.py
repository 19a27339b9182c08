"""What users begin with runs: the agents of this project, and manifests as guides show them.

The programs are stand-ins, the documents are the real ones: the lab's agent answers to any image
name, to any command of an image, and to the distribution's binaries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.e2e.admin import Admin, Result, config_map
from tests.e2e.lab import Entry, Host, HostSpec
from tests.e2e.proof import leftovers

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod"))
NAMES = [spec.name for spec in HOSTS]
AGENTS: Final = Path(__file__).parents[2] / "agents"
#: Found by every readiness probe: the exporters' port, and the directory that is served there.
SERVED: Final = {"AGENT_LOCK": "/tmp/lock", "AGENT_READY": "/tmp/index.html"}


def images_of(path: Path) -> set[str]:
    documents = [each for each in yaml.safe_load_all(path.read_text()) if each]
    return {
        container["image"]
        for each in documents
        if each["kind"] == "DaemonSet"
        for container in each["spec"]["template"]["spec"].get("containers", ())
    }


def give_images(admin: Admin, path: Path, **env: str) -> None:
    for host in admin.fleet.hosts.values():
        for image in images_of(path):
            host.import_image(image, env={**SERVED, **env})


def ready(admin: Admin, name: str, namespace: str = "default") -> int:
    status: dict[str, Any] = admin.get("ds", name, flags=["-n", namespace])["status"]
    assert status["numberAvailable"] == status["desiredNumberScheduled"] == status["numberReady"]
    return int(status["numberReady"])


def apply_file(admin: Admin, *paths: Path) -> Result:
    result = admin.fleetd("apply", *paths, "-o", "json")
    assert admin.reconcile().did == []
    return result


def container_of(host: Host, name: str) -> str:
    """The running container's name, image and command, as its engine tells them."""
    shown = "{{.Config.Image}} {{.Path}} {{.Args}}"
    return host.sh(f"{host.spec.runtime} inspect --format '{shown}' {name}").stdout


# --------------------------------------------------------------------------------------- agents


def test_the_node_exporter_as_a_container(admin: Admin) -> None:
    path = AGENTS / "node-exporter.yaml"
    give_images(admin, path, AGENT_HTTP="9100")
    apply_file(admin, path)
    assert ready(admin, "node-exporter") == len(NAMES)
    for host in admin.fleet.hosts.values():
        told = container_of(host, "fleetd-default.node-exporter.node-exporter.a")
        assert "--path.rootfs=/host" in told


def test_the_node_exporter_as_a_unit(admin: Admin) -> None:
    for host in admin.fleet.hosts.values():
        # It has to serve, as the real one does, or the probe of its port would not let it be ready.
        program = host.rootfs / "usr/bin/prometheus-node-exporter"
        program.write_text("#!/bin/sh\nexec busybox httpd -f -p 9100 -h /usr/share/doc\n")
        program.chmod(0o755)
        (host.rootfs / "usr/share/doc/index.html").write_text("metrics\n")
    apply_file(admin, AGENTS / "node-exporter-systemd.yaml")
    assert ready(admin, "node-exporter") == len(NAMES)
    for host in admin.fleet.hosts.values():
        file = "/etc/fleetd/node-exporter/web.yml"
        assert host.sh(f"stat -c '%a %U %G' {file}").stdout == "640 root node-exporter\n"
        user = host.sh("ps -o user= -C busybox").stdout.split()
        assert user in (["node-exporter"], ["node-exp+"])
    admin.fleetd("delete", "ds", "node-exporter")
    for host in admin.fleet.hosts.values():
        assert leftovers(host) == []
        assert not (host.rootfs / "etc/fleetd").exists()


def test_the_log_shipper(admin: Admin) -> None:
    path = AGENTS / "fluent-bit.yaml"
    give_images(admin, path)
    apply_file(admin, path)
    assert ready(admin, "fluent-bit") == len(NAMES)
    for host in admin.fleet.hosts.values():
        name = "fleetd-default.fluent-bit.fluent-bit.a"
        told = container_of(host, name)
        assert "change-me" not in told
        inside = f"{host.spec.runtime} exec {name} cat /etc/fluent-bit-token/token"
        assert host.sh(inside).stdout == "change-me"


def test_the_disk_exporter_runs_where_disks_are(admin: Admin) -> None:
    path = AGENTS / "smartctl-exporter.yaml"
    give_images(admin, path)
    labels = {"disks": "physical"}
    hosts = admin.fleet.hosts.values()
    admin.know(Entry(host, labels=labels if host.name == "pod" else {}) for host in hosts)
    apply_file(admin, path)
    assert ready(admin, "smartctl-exporter") == 1
    assert leftovers(admin.fleet["dock"]) == []


def test_chrony_as_the_host_has_it(admin: Admin) -> None:
    for host in admin.fleet.hosts.values():
        unit = host.rootfs / "lib/systemd/system/chrony.service"
        unit.write_text(
            "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
        )
        host.sh("systemctl daemon-reload")
    apply_file(admin, AGENTS / "chrony.yaml")
    assert ready(admin, "chrony") == len(NAMES)
    for host in admin.fleet.hosts.values():
        assert host.sh("systemctl is-enabled chrony").stdout == "enabled\n"
        assert "pool.ntp.org" in (host.rootfs / "etc/chrony/sources.d/fleet.sources").read_text()
    admin.fleetd("delete", "ds", "chrony")
    for host in admin.fleet.hosts.values():
        assert host.sh("systemctl is-active chrony", check=False).stdout == "inactive\n"
        assert leftovers(host) == []


# --------------------------------------------------------------------------------------- guides

MINIMAL = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: minimal}
spec:
  selector: {matchLabels: {app: minimal}}
  template:
    metadata: {labels: {app: minimal}}
    spec:
      containers:
        - {name: main, image: "some-image:tag"}
"""

EVERYWHERE = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere, namespace: kube-system, labels: {k8s-app: logs}}
spec:
  selector: {matchLabels: {name: everywhere}}
  template:
    metadata: {labels: {name: everywhere}}
    spec:
      tolerations:
        - operator: Exists
      containers:
        - name: shipper
          image: registry.example/logs/shipper:v2
          resources:
            requests: {cpu: 100m, memory: 200Mi}
          volumeMounts:
            - {name: logs, mountPath: /var/log}
            - {name: engine, mountPath: /var/lib/docker/containers, readOnly: true}
      terminationGracePeriodSeconds: 30
      volumes:
        - {name: logs, hostPath: {path: /var/log}}
        - {name: engine, hostPath: {path: /var/lib/docker/containers}}
"""

OLD = """
apiVersion: extensions/v1beta1
kind: DaemonSet
metadata: {name: old, labels: {app: old}}
spec:
  template:
    metadata: {labels: {app: old}}
    spec:
      containers:
        - name: shipper
          image: vendor/shipper:v0.14.10
          volumeMounts: [{name: logs, mountPath: /var/log}]
      volumes: [{name: logs, hostPath: {path: /var/log}}]
"""

CONFIGURED = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: configured}
spec:
  selector: {matchLabels: {app: configured}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 1}}
  template:
    metadata: {labels: {app: configured}}
    spec:
      nodeSelector: {disktype: ssd}
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
              - matchExpressions: [{key: disktype, operator: In, values: [ssd]}]
      tolerations:
        - {key: dedicated, operator: Equal, value: logging, effect: NoSchedule}
      containers:
        - name: shipper
          image: vendor/shipper:v1.12-1
          volumeMounts:
            - {name: config, mountPath: /shipper/etc}
            - {name: logs, mountPath: /var/log}
      volumes:
        - {name: config, configMap: {name: shipper}}
        - {name: logs, hostPath: {path: /var/log, type: DirectoryOrCreate}}
"""


def test_manifests_as_guides_show_them(admin: Admin) -> None:
    hosts = admin.fleet.hosts.values()
    labels, taints = {"disktype": "ssd"}, ["dedicated=logging:NoSchedule"]
    admin.know(
        Entry(host, labels=labels, taints=taints) if host.name == "pod" else Entry(host)
        for host in hosts
    )
    paths = []
    for name, text in (("a", MINIMAL), ("b", EVERYWHERE), ("c", OLD), ("d", CONFIGURED)):
        paths.append(admin.directory / f"{name}.yaml")
        paths[-1].write_text(text)
        give_images(admin, paths[-1])
    paths.append(admin.write(config_map("shipper", {"shipper.conf": "all of it\n"})))
    apply_file(admin, *paths)
    assert ready(admin, "minimal") == ready(admin, "old") == 1
    assert ready(admin, "everywhere", "kube-system") == len(NAMES)
    assert ready(admin, "configured") == 1
    read = "podman exec fleetd-default.configured.shipper.a cat /shipper/etc/shipper.conf"
    assert admin.fleet["pod"].sh(read).stdout == "all of it\n"
