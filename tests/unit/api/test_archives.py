from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fleetd.api.archives import Archive, Image, read_archive
from fleetd.errors import InvalidInput
from tests.unit.api.archives import LAYER, config, docker_files, identity, oci_files, write

NAME = "docker.io/example/agent:v1"
REF = "org.opencontainers.image.ref.name"


async def sent(archive: Archive) -> bytes:
    return b"".join([chunk async for chunk in archive.chunks()])


async def test_docker_s_form_is_sent_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", docker_files(["example/agent:v1"], config()))
    archive = read_archive(str(path))
    assert archive.images == (Image(identity(config()), (NAME,), "linux/amd64"),)
    assert await sent(archive) == path.read_bytes()
    assert archive.size == path.stat().st_size
    assert archive.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_compressed_archive_is_read_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tgz", docker_files(["example/agent:v1"], config()), "w:gz")
    (image,) = read_archive(str(path)).images
    assert image.names == (NAME,)


async def test_oci_s_form_gets_what_docker_needs_before_it(tmp_path: Path) -> None:
    body = config("arm64")
    path = write(tmp_path / "a.tar", oci_files({REF: NAME}, body))
    archive = read_archive(str(path))
    assert archive.images == (Image(identity(body), (NAME,), "linux/arm64"),)
    data = await sent(archive)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (archive.size, archive.digest)
    assert data.endswith(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        (entry,) = json.load(file)
        assert entry["RepoTags"] == [NAME]
        for blob, wanted in ((entry["Config"], body), (entry["Layers"][0], LAYER)):
            found = tar.extractfile(blob)
            assert found is not None
            assert found.read() == wanted


async def test_the_whole_is_a_docker_archive_again(tmp_path: Path) -> None:
    body = config()
    first = read_archive(str(write(tmp_path / "a.tar", oci_files({REF: NAME}, body))))
    (tmp_path / "b.tar").write_bytes(await sent(first))
    assert read_archive(str(tmp_path / "b.tar")).images == first.images


def cut(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if path != name}


def index(**manifest: Any) -> dict[str, bytes]:
    data = json.dumps(manifest).encode()
    where = f"blobs/sha256/{identity(data).removeprefix('sha256:')}"
    rows = {"manifests": [{"digest": identity(data)}]}
    return {"index.json": json.dumps(rows).encode(), where: data}


DOCKER = docker_files(["example/agent:v1"], config())


@pytest.mark.parametrize(
    ("files", "why"),
    [
        pytest.param({"etc/passwd": b""}, "no image archive", id="another-tar"),
        pytest.param(docker_files([], config()), "without a name", id="saved-by-id"),
        pytest.param(oci_files({REF: "v1"}, config()), "without a name", id="a-tag-alone"),
        pytest.param(cut(DOCKER, "c.json"), "c.json is not in it", id="no-configuration"),
        pytest.param(cut(DOCKER, "l/layer.tar"), "layer.tar is not in it", id="no-layer"),
        pytest.param({"manifest.json": b"[{}]"}, "cannot be read", id="no-manifest"),
        pytest.param({"manifest.json": b"\xff"}, "cannot be read", id="no-json"),
        pytest.param(index(manifests=[]), "several platforms", id="several-platforms"),
    ],
)
def test_what_cannot_be_pushed_is_told(tmp_path: Path, files: Any, why: str) -> None:
    path = write(tmp_path / "a.tar", files)
    with pytest.raises(InvalidInput, match=why) as told:
        read_archive(str(path))
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(None, "cannot be read: No such file", id="nothing"),
        pytest.param(b"text", "no tar archive", id="text"),
    ],
)
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes | None, why: str) -> None:
    path = tmp_path / "a.tar"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InvalidInput, match=why):
        read_archive(str(path))


def test_a_compressed_oci_archive_cannot_get_something_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tgz", oci_files({REF: NAME}, config()), "w:gz")
    with pytest.raises(InvalidInput, match="decompress it first"):
        read_archive(str(path))
