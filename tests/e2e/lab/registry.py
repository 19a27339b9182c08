"""A real registry on the fleet's network: Debian's docker-registry, in plain HTTP.

The program is unpacked into the lab's cache, not installed: nothing of it runs on this machine but
what a test starts, and that ends with the fleet.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import bcrypt
import yaml

from tests.e2e.lab.base import cache
from tests.e2e.lab.fleet import COORDINATOR_IP, Fleet
from tests.e2e.lab.host import Host
from tests.e2e.lab.machine import LabError, download, in_netns, locked, run, wait_until

_PACKAGE: Final = "docker-registry"


class Registry:
    """A running registry; with `login` (user, password) only they get in.

    `trust` a host before it is to pull from here.
    """

    def __init__(
        self, fleet: Fleet, port: int = 5000, login: tuple[str, str] | None = None
    ) -> None:
        self.address = f"{COORDINATOR_IP}:{port}"
        self.login = login
        self._fleet = fleet
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        directory = self._fleet.directory / f"registry-{self.address.rpartition(':')[2]}"
        directory.mkdir()
        config = directory / "config.yml"
        config.write_text(yaml.safe_dump(self._config(directory)))
        self._process = self._fleet.start_coordinator([_program(), "serve", config])
        wait_until(self._answers, 20, f"the registry at {self.address}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _config(self, directory: Path) -> dict[str, object]:
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
            "http": {"addr": self.address},
        }
        if self.login:
            user, password = self.login
            hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
            file = directory / "htpasswd"
            file.write_text(f"{user}:{hashed}\n")
            config["auth"] = {"htpasswd": {"realm": "lab", "path": str(file)}}
        return config

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise LabError(f"the registry ended: {self._process.communicate()[1][-1000:]}")
        host, _, port = self.address.partition(":")
        probe = f"exec 3<>/dev/tcp/{host}/{port}"
        return run([*in_netns(self._fleet.netns), "bash", "-c", probe], check=False).returncode == 0

    def trust(self, host: Host) -> None:
        """Let the host's engine speak plain HTTP to this registry, as its operator would."""
        if host.spec.runtime == "docker":
            file = host.rootfs / "etc/docker/daemon.json"
            known = json.loads(file.read_text()) if file.exists() else {}
            known.setdefault("insecure-registries", []).append(self.address)
            file.write_text(json.dumps(known))
            # A reload returns before the daemon has read the file, and is lost while it starts.
            told = f"systemctl reload docker; docker info 2>/dev/null | grep -F {self.address}"
            wait_until(lambda: self.address in host.sh(told, check=False).stdout, 20, "docker")
            return
        directory = host.rootfs / "etc/containers/registries.conf.d"
        directory.mkdir(exist_ok=True)
        name = self.address.replace(":", "-")
        text = f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n'
        (directory / f"{name}.conf").write_text(text)

    def publish(self, builder: Host, name: str, build: str, *, arch: str = "") -> str:
        """Push the lab's image as `name`, another one for each `build`; the full name.

        `builder` is a host with podman, which keeps nothing of it.
        """
        image = f"{self.address}/{name}"
        builder.import_image(image, env={"BUILD": build}, arch=arch)
        creds = f"--creds {':'.join(self.login)}" if self.login else ""
        builder.sh(f"podman push --tls-verify=false {creds} {image} && podman rmi {image}")
        return image


def _program() -> Path:
    """The registry's program, fetched once a machine."""
    store = cache()
    final = store / _PACKAGE
    with locked(store / "lock"):
        if not final.exists():
            with tempfile.TemporaryDirectory(dir=store) as directory:
                _fetch(Path(directory), final)
    return final / "usr/bin/docker-registry"


def _fetch(directory: Path, final: Path) -> None:
    download(_PACKAGE, directory)
    [package] = directory.glob("*.deb")
    run(["dpkg-deb", "-x", package, directory / "tree"])
    shutil.move(directory / "tree", final)
