"""Image archives for tests, as docker and podman write them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LAYER = b"a layer" * 1000


def config(arch: str = "amd64", **more: Any) -> bytes:
    return json.dumps({"os": "linux", "architecture": arch, **more}).encode()


def identity(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write(path: Path, files: Mapping[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def docker_files(names: Sequence[str], body: bytes) -> dict[str, bytes]:
    manifest = [{"Config": "c.json", "RepoTags": list(names), "Layers": ["l/layer.tar"]}]
    return {
        "c.json": body,
        "l/layer.tar": LAYER,
        "manifest.json": json.dumps(manifest).encode(),
    }


def oci_files(notes: Mapping[str, str], body: bytes) -> dict[str, bytes]:
    manifest = json.dumps(
        {"config": {"digest": identity(body)}, "layers": [{"digest": identity(LAYER)}]}
    ).encode()
    index = {"manifests": [{"digest": identity(manifest), "annotations": notes}]}
    blobs = {
        f"blobs/sha256/{identity(data).removeprefix('sha256:')}": data
        for data in (body, LAYER, manifest)
    }
    return {"oci-layout": b"{}", "index.json": json.dumps(index).encode(), **blobs}
