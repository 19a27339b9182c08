"""Container images without a registry, the same on every host: one archive, so one image id.

(`podman import` would do, but stamps the time into the image: another id on each host.)
The content is always a static busybox with its links, flock (which that busybox lacks) with its
libraries, and the test agent; an image differs in name, environment and command.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.e2e.lab.machine import run

AGENT: Final = Path(__file__).with_name("agent.sh")
_FLOCK: Final = "/usr/bin/flock"
#: Where manifests call programs by their full path: the agent stands in for them.
_STANDS_IN_FOR: Final = ("fluent-bit/bin/fluent-bit",)
_CREATED: Final = "2024-01-01T00:00:00Z"


def pack_share(base: Path, share: Path) -> None:
    """Fill the directory that all hosts see: `agent` for units, `layer.tar` for images."""
    agent = share / "agent"
    agent.write_bytes(AGENT.read_bytes())
    agent.chmod(0o755)
    (share / "images").mkdir()
    libraries = run(["chroot", base, "ldd", _FLOCK]).stdout.split()
    files = ["/bin/busybox", _FLOCK, *(word for word in libraries if word.startswith("/"))]
    with tarfile.open(share / "layer.tar", "w") as layer:
        for directory in ("tmp", "etc", "var", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        for name in run([base / "bin/busybox", "--list"]).stdout.split():
            if name == "busybox":
                continue
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
        layer.add(agent, "agent")
        for program in _STANDS_IN_FOR:
            link = tarfile.TarInfo(program)
            link.type, link.linkname = tarfile.SYMTYPE, "/agent"
            layer.addfile(link)
        for path in files:
            layer.add((base / path.lstrip("/")).resolve(), path)


def pack_image(
    share: Path,
    name: str,
    *,
    env: Mapping[str, str],
    entrypoint: Sequence[str],
    cmd: Sequence[str],
    arch: str = "",
) -> str:
    """Write an image to the share for `load`; returns its path there, equal for equal images."""
    layer = (share / "layer.tar").read_bytes()
    config = {
        "architecture": arch or {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "created": _CREATED,
        "config": {
            "Env": ["PATH=/bin:/usr/bin", *(f"{key}={value}" for key, value in env.items())],
            "Entrypoint": list(entrypoint),
            "Cmd": list(cmd),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": _CREATED, "created_by": "lab"}],
    }
    encoded = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [qualified(name)], "Layers": ["layer.tar"]}]
    files = {
        config_name: encoded,
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    key = hashlib.sha256(files["manifest.json"]).hexdigest()
    target = share / "images" / f"{key[:16]}.tar"
    if not target.exists():
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as new:
            with tarfile.open(fileobj=new, mode="w") as archive:
                for path, content in files.items():
                    entry = tarfile.TarInfo(path)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            Path(new.name).rename(target)  # another host may be packing the same
    return f"images/{target.name}"


def qualified(name: str) -> str:
    """An image's full name as every engine reads a short one: docker.io/library/NAME:latest."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
