"""Stand-in images: for every image name of some manifests, one that has every command they call.

An image is the stand-in program under each path that any manifest calls in it, and the lines that
tell the program who it is. All manifests that name an image get the same one, so hosts may run them
in any order.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Final

from tests.e2e.lab.base import cache as lab_cache
from tests.e2e.lab.image import qualified
from tests.e2e.lab.machine import LabError, install, locked, run
from tests.e2e.manifests.manifest import Agent, Container, Manifest, part
from tests.e2e.manifests.registry import MANIFEST

SOURCE: Final = Path(__file__).with_name("standin.c")
ENTRYPOINT: Final = "/entrypoint"
#: What an image gives where the manifest says nothing.
DEFAULT_ARGUMENT: Final = "by-default"
WORKING_DIR: Final = "/srv"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IMAGE_ENV: Final = {"PATH": PATH, "FROM_IMAGE": "yes"}
IMAGE_USER: Final = 4242
"""Who an image runs as where a manifest wants anybody but root, and does not say whom."""
_PACKAGES: Final = ("gcc", "libc6-dev", "libmbedtls-dev")
_CREATED: Final = "2024-01-01T00:00:00Z"
_VARIABLE: Final = re.compile(r"\$\$|\$\([^)]*\)")


@dataclass
class Image:
    """One image name and all that manifests want of it."""

    name: str
    paths: set[str] = field(default_factory=lambda: {ENTRYPOINT, "/bin/sh"})
    lines: dict[tuple[str, ...], tuple[str, set[int], set[str]]] = field(default_factory=dict)
    user: int = 0
    never_pulled: bool = False

    @property
    def digested(self) -> bool:
        """Whether it is named by a digest, which no image of ours can have."""
        return "@" in self.name

    @property
    def loaded(self) -> bool:
        """Whether hosts must have it already: no registry may, or can, give it."""
        return self.digested or self.never_pulled

    @cached_property
    def repository(self) -> tuple[str, str, str]:
        """Registry, path in it, and tag."""
        name = qualified(self.name.partition("@")[0])
        registry, _, path = name.partition("/")
        path, _, tag = path.rpartition(":")
        return registry, path, tag

    @cached_property
    def layer(self) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as layer:
            for directory in ("tmp", "etc", "proc", "sys", "dev", WORKING_DIR.strip("/")):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
                layer.addfile(entry)
            for name, content, mode in (
                (".standin", self._lines().encode(), 0o644),
                (".standin.pem", certificate(), 0o644),
                ("standin", program(), 0o755),
            ):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), mode
                layer.addfile(entry, io.BytesIO(content))
            for path in sorted(self.paths):
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.type, entry.linkname, entry.mode = tarfile.LNKTYPE, "standin", 0o755
                layer.addfile(entry)
        return made.getvalue()

    @cached_property
    def config(self) -> bytes:
        config = {
            "Env": [f"{name}={value}" for name, value in IMAGE_ENV.items()],
            "Entrypoint": [ENTRYPOINT],
            "Cmd": [DEFAULT_ARGUMENT],
            "WorkingDir": WORKING_DIR,
            "User": f"{self.user}:{self.user}" if self.user else "",
        }
        image = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "created": _CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(self.layer)]},
            "history": [{"created": _CREATED, "created_by": "lab"}],
        }
        return json.dumps(image).encode()

    @cached_property
    def packed(self) -> bytes:
        """The layer as a registry has it."""
        return gzip.compress(self.layer, 1, mtime=0)

    @cached_property
    def manifest(self) -> bytes:
        docker = "application/vnd.docker"
        described = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _described(f"{docker}.container.image.v1+json", self.config),
            "layers": [_described(f"{docker}.image.rootfs.diff.tar.gzip", self.packed)],
        }
        return json.dumps(described).encode()

    @property
    def digest(self) -> str:
        """What its tag is resolved to."""
        return _digest(self.manifest)

    def publish(self, directory: Path) -> None:
        """Put it where the registry finds it."""
        _, path, tag = self.repository
        blobs, tags = directory / "blobs", directory / "manifests" / path
        for place in (blobs, tags):
            place.mkdir(parents=True, exist_ok=True)
        for blob in (self.packed, self.config, self.manifest):
            (blobs / _digest(blob)).write_bytes(blob)
        (tags / tag).write_text(self.digest)

    def archive(self, target: Path) -> None:
        """Write it for `podman load` and `docker load`; one named by a digest gets no name."""
        config = f"{hashlib.sha256(self.config).hexdigest()}.json"
        names = [] if self.digested else [qualified(self.name)]
        contents = [{"Config": config, "RepoTags": names, "Layers": ["layer.tar"]}]
        files = {
            config: self.config,
            "layer.tar": self.layer,
            "manifest.json": json.dumps(contents).encode(),
        }
        with tarfile.open(target, "w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    def _lines(self) -> str:
        lines = []
        # What says more comes first: a pattern that takes anything takes the rest.
        for words, (role, ports, plants) in sorted(
            self.lines.items(), key=lambda each: "\1" in "".join(each[0])
        ):
            fields = [role, ",".join(map(str, sorted(ports))), ",".join(sorted(plants))]
            lines.append("\t".join([*fields, *map(_escaped, words)]))
        return "".join(f"{line}\n" for line in lines)


def images_of(manifests: Iterable[Manifest]) -> dict[str, Image]:
    """The images of these manifests by name."""
    found: dict[str, Image] = {}
    for manifest in manifests:
        for agent in manifest.agents:
            for container in agent.containers:
                image = found.setdefault(container.image, Image(container.image))
                _take(image, agent, container)
    return found


def argv(container: Container) -> list[str]:
    """The command line that Kubernetes' rules make, before variables are expanded."""
    command, args = container.listed("command"), container.listed("args")
    if command:
        return [*command, *args]
    return [ENTRYPOINT, *(args or [DEFAULT_ARGUMENT])]


def _take(image: Image, agent: Agent, container: Container) -> None:
    role = "init" if container.role == "init" else "main"
    pattern = tuple(
        _VARIABLE.sub(lambda found: "$" if found[0] == "$$" else "\1", str(word))
        for word in argv(container)
    )
    line = image.lines.setdefault(pattern, (role, set(), set()))
    if line[0] != role:
        raise LabError(f"image {image.name}: {' '.join(pattern)!r} is both a main and an init")
    line[1].update(_asked_ports(agent, container))
    line[2].update(_plants(agent, container))
    image.paths.update(_programs(container))
    context = {**part(agent.pod, "securityContext"), **container.part("securityContext")}
    if context.get("runAsNonRoot") and context.get("runAsUser") is None:
        image.user = IMAGE_USER
    image.never_pulled |= container.document.get("imagePullPolicy") == "Never"


def _actions(container: Container) -> Iterator[dict[str, object]]:
    """What probes and hooks do."""
    yield from container.probes.values()
    for hook in container.part("lifecycle").values():
        if isinstance(hook, dict):
            yield hook


def _asked_ports(agent: Agent, container: Container) -> Iterator[int]:
    named = agent.ports(container)
    for action in _actions(container):
        for kind in ("httpGet", "tcpSocket", "grpc"):
            if port := part(action, kind).get("port"):
                yield named[port] if port in named else int(port)


def _programs(container: Container) -> Iterator[str]:
    """Where the commands of a container have to be in its image."""
    called = [part(action, "exec").get("command") or [] for action in _actions(container)]
    called.append(container.listed("command"))
    words = [command[0] for command in called if command]
    if _copies(container):
        words += [word for word in container.words[1:-1] if word.startswith("/")]
    mounted = [mount["mountPath"].rstrip("/") for mount in container.listed("volumeMounts")]
    for word in words:
        if "/" not in word:
            path = f"/usr/bin/{word}"
        else:
            where = container.document.get("workingDir") or WORKING_DIR
            path = os.path.normpath(PurePosixPath(where, word))
        if not any(path == place or path.startswith(f"{place}/") for place in mounted):
            yield path


def _copies(container: Container) -> bool:
    command = container.listed("command")
    return container.role == "init" and PurePosixPath((command or ["?"])[0]).name.startswith("cp")


def _plants(agent: Agent, container: Container) -> Iterator[str]:
    """What an init container has to leave where a later one looks for its command."""
    if container.role != "init" or _copies(container):
        return
    mine = {mount["name"]: mount["mountPath"] for mount in container.listed("volumeMounts")}
    for other in agent.containers:
        command = (other.listed("command") or [""])[0]
        for mount in other.listed("volumeMounts"):
            place = mount["mountPath"].rstrip("/")
            shared = mount["name"] in mine and not mount.get("readOnly")
            if other is not container and shared and command.startswith(f"{place}/"):
                yield mine[mount["name"]].rstrip("/") + command.removeprefix(place)


# ------------------------------------------------------------------------------------- program


@cache
def program() -> bytes:
    """The stand-in, compiled once for each version of its source."""
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    store = lab_cache()
    store.mkdir(parents=True, exist_ok=True)
    final = store / f"standin-{key}"
    with locked(store / "lock"):
        if not final.exists():
            building = final.with_suffix(".building")
            libraries = ("-lmbedtls", "-lmbedx509", "-lmbedcrypto")
            compiler = ("gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-o", building, SOURCE)
            if not Path("/usr/include/mbedtls/ssl.h").exists():
                install(_PACKAGES)
            run([*compiler, *libraries])
            building.rename(final)
    return final.read_bytes()


@cache
def certificate() -> bytes:
    """A key and a certificate that nobody has signed, as a kubelet accepts it from a probed pod."""
    store = lab_cache() / "standin.pem"
    if not store.exists():
        if shutil.which("openssl") is None:
            install(["openssl"])
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        words += ["-nodes", "-days", "3650", "-subj", "/CN=standin", "-keyout", "-", "-out", "-"]
        made = subprocess.run(words, check=True, capture_output=True).stdout
        building = store.with_suffix(f".{os.getpid()}")
        building.write_bytes(made)
        building.rename(store)
    return store.read_bytes()


def _described(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(blob), "digest": _digest(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def listed(words: Sequence[str]) -> str:
    """Some names in one line."""
    return ", ".join(words) or "none"
