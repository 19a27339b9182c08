"""The hosts of a run made ready: every registry that manifests name is ours, and answers.

What no registry can give (a name with a digest, a pull policy of Never) is put into the hosts'
engines. A digest is the hash of the image that the vendor made, so its name is written into the
engine's own list of names, as if it had been pulled.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from tests.e2e.lab import COORDINATOR_IP, Fleet, Host
from tests.e2e.lab.machine import run, wait_until
from tests.e2e.manifests.asked import CAPABILITIES
from tests.e2e.manifests.images import Image

PORT: Final = 80
_SCRIPT: Final = Path(__file__).with_name("registry.py")
# Where the kernel limits no processors, dockerd starts nothing that asks for it; the flag is
# compared where it was written.
_DOCKER: Final = """#!/bin/sh
for word do
  shift
  case $word in --cpus=*) ;; *) set -- "$@" "$word" ;; esac
done
exec /usr/bin/docker "$@"
"""
# podman gives a privileged container what its host has, docker all there is, and fails for want of
# it: the lab's hosts are containers themselves.
_RUNC: Final = """#!/bin/sh
before=
for word do
  case $before in
    --bundle) sed -i {edits} "$word/config.json" ;;
    --process) sed -i {edits} "$word" ;;
  esac
  before=$word
done
exec runc "$@"
"""


class Yard:
    """A fleet whose hosts can have every one of these images."""

    def __init__(self, fleet: Fleet, images: Mapping[str, Image]) -> None:
        self.fleet = fleet
        self.images = images
        self._directory = fleet.directory / "registry"

    def __enter__(self) -> Self:
        """Fill the registry and start it, and set up every host."""
        for image in self.images.values():
            if not image.digested:
                image.publish(self._directory)
            if image.loaded:
                image.archive(self._archive(image))
        registries = [image.repository[0] for image in self.images.values()]
        ports = {int(name.partition(":")[2] or PORT) for name in registries}
        words = [sys.executable, _SCRIPT, self._directory, COORDINATOR_IP, *sorted({PORT, *ports})]
        self._server = self.fleet.start_coordinator([str(word) for word in words])
        try:
            check = ["ip", "netns", "exec", self.fleet.netns, "bash", "-c"]
            probe = [*check, f": </dev/tcp/{COORDINATOR_IP}/{PORT}"]
            wait_until(lambda: run(probe, check=False).returncode == 0, 20, "the registry")
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(self._set_up, self.fleet.hosts.values()))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the registry."""
        self._server.kill()
        self._server.communicate()

    def _set_up(self, host: Host) -> None:
        registries = sorted({image.repository[0] for image in self.images.values()})
        if host.spec.runtime == "podman":
            lines = [
                f'[[registry]]\nprefix = "{name}"\nlocation = "{COORDINATOR_IP}:{PORT}"\n'
                "insecure = true\n"
                for name in registries
            ]
            _write(host, "etc/containers/registries.conf.d/lab.conf", "\n".join(lines))
        else:
            with (host.rootfs / "etc/hosts").open("a") as hosts:
                hosts.writelines(f"{COORDINATOR_IP} {name.split(':')[0]}\n" for name in registries)
            daemon = {
                "insecure-registries": registries,
                "registry-mirrors": [f"http://{COORDINATOR_IP}:{PORT}"],
                "runtimes": {"lab": {"path": "/usr/local/sbin/lab-runc"}},
                "default-runtime": "lab",
            }
            _write(host, "etc/docker/daemon.json", json.dumps(daemon))
            _write(host, "usr/local/sbin/docker", _DOCKER, 0o755)
            _write(host, "usr/local/sbin/lab-runc", _RUNC.format(edits=_edits(host)), 0o755)
        for image in self.images.values():
            if image.loaded:
                self._load(host, image)
        if host.spec.runtime == "docker":
            host.sh("systemctl stop docker.socket docker")
            self._name_by_digest(host)
            host.sh("systemctl start docker")
        else:
            self._name_by_digest(host)

    def _load(self, host: Host, image: Image) -> None:
        name = self._archive(image).name
        host.sh(f"{host.spec.runtime} load --input /opt/lab/images/{name}")

    def _archive(self, image: Image) -> Path:
        name = hashlib.sha256(image.name.encode()).hexdigest()[:16]
        return self.fleet.directory / "share" / "images" / f"standin-{name}.tar"

    def _name_by_digest(self, host: Host) -> None:
        digested = [image for image in self.images.values() if image.digested]
        if not digested:
            return
        if host.spec.runtime == "podman":
            [path] = host.disk.mounts["/var/lib/containers"].glob("storage/*-images/images.json")
            listed = json.loads(path.read_text())
            for image in digested:
                mine = hashlib.sha256(image.config).hexdigest()
                [entry] = [each for each in listed if each["id"] == mine]
                entry.setdefault("names", []).append(_by_digest(image))
            path.write_text(json.dumps(listed))
            return
        [path] = host.disk.mounts["/var/lib/docker"].glob("image/*/repositories.json")
        named = json.loads(path.read_text())
        for image in digested:
            name = _by_digest(image).removeprefix("docker.io/library/").removeprefix("docker.io/")
            mine = f"sha256:{hashlib.sha256(image.config).hexdigest()}"
            named["Repositories"].setdefault(name.partition("@")[0], {})[name] = mine
        path.write_text(json.dumps(named))


def _by_digest(image: Image) -> str:
    registry, path, _ = image.repository
    return f"{registry}/{path}@{image.name.partition('@')[2]}"


def _edits(host: Host) -> str:
    """What takes the capabilities that a host lacks out of a runtime's configuration."""
    bounds = int(host.sh("sed -n 's/^CapBnd:\\s*//p' /proc/1/status").stdout, 16)
    lacking = [name for at, name in enumerate(CAPABILITIES) if not bounds >> at & 1]
    words = [f's/"CAP_{name}",//g; s/,"CAP_{name}"//g' for name in lacking]
    return f"-e '{'; '.join(words)}'"


def _write(host: Host, path: str, text: str, mode: int = 0o644) -> None:
    target = host.rootfs / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)
