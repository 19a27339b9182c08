"""Image archives, as `docker save` and `podman save` write them: what is in one, and its bytes.

The ids that come out are what both engines call the images afterwards: the digest of each one's
configuration. An OCI archive is sent with a `manifest.json` before it, which is all that an older
docker lacks to load it; a tar takes another member in front, so that the file is streamed as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetd.core.image import full_name
from fleetd.errors import InvalidInput, Problem

CHUNK = 256 << 10
LARGEST_DOCUMENT = 4 << 20
"""No manifest or configuration of an image is larger, in bytes."""
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True)
class Image:
    """One image of an archive: its id, its full names, and `os/architecture`."""

    id: str
    names: tuple[str, ...]
    platform: str


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that has been read: what hosts are sent is `head` and then the file."""

    path: Path
    images: tuple[Image, ...]
    head: bytes
    size: int
    digest: str

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes to send, read as they are taken."""
        for chunk in self._read():
            yield chunk

    def _read(self) -> Iterator[bytes]:
        """A chunk of a local file is read faster than another thread is woken."""
        if self.head:
            yield self.head
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def read_archive(path: str) -> Archive:
    """Look into an archive; it is read through once for its digest.

    Raises:
        InvalidInput: it cannot be read, is no image archive, or holds an image without a name.
    """
    file = Path(path)
    try:
        with tarfile.open(file) as tar:
            members = {_plain(member.name): member for member in tar if member.isfile()}
            images, head = _images(_Reader(tar, members))
        size, digest = _measure(file, head)
    except OSError as error:
        raise InvalidInput([Problem(path, 0, "", f"cannot be read: {error.strerror}")]) from error
    except tarfile.TarError as error:
        raise InvalidInput([Problem(path, 0, "", f"is no tar archive: {error}")]) from error
    except _Wrong as error:
        raise InvalidInput([Problem(path, 0, "", str(error))]) from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput([Problem(path, 0, "", "its manifest cannot be read")]) from error
    return Archive(file, images, head, size, digest)


def _images(reader: _Reader) -> tuple[tuple[Image, ...], bytes]:
    """What is in it, and what has to be sent before it."""
    if "manifest.json" in reader.members:
        return _docker_images(reader), b""
    if "index.json" in reader.members:
        return _oci_images(reader)
    raise _Wrong("it is no image archive; make one with `podman save` or `docker save`")


class _Wrong(Exception):
    """What is wrong with an archive, in words."""


@dataclass(frozen=True, slots=True)
class _Reader:
    tar: tarfile.TarFile
    members: Mapping[str, tarfile.TarInfo]

    def bytes(self, name: str) -> bytes:
        member = self.members.get(_plain(name))
        if member is None:
            raise _Wrong(f"it is cut or damaged: {name} is not in it")
        if member.size > LARGEST_DOCUMENT:
            raise _Wrong(f"{name} is too long for what it should be")
        file = self.tar.extractfile(member)
        return file.read() if file else b""

    def json(self, name: str) -> Any:  # noqa: ANN401 - a document of somebody else's making
        return json.loads(self.bytes(name))

    def blob(self, digest: str) -> str:
        kind, _, hexadecimal = digest.partition(":")
        return f"blobs/{kind}/{hexadecimal}"


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _docker_images(reader: _Reader) -> tuple[Image, ...]:
    return tuple(
        _image(reader, entry["Config"], entry.get("RepoTags") or (), entry["Layers"])
        for entry in reader.json("manifest.json")
    )


def _oci_images(reader: _Reader) -> tuple[tuple[Image, ...], bytes]:
    """The images of an OCI layout, and the member that makes a docker archive of it, too."""
    images, entries = list[Image](), list[dict[str, Any]]()
    for row in reader.json("index.json")["manifests"]:
        manifest = reader.json(reader.blob(row["digest"]))
        if "config" not in manifest:
            raise _Wrong("it holds an image of several platforms; save one of them alone")
        notes = row.get("annotations") or {}
        names = [notes[key] for key in _NAMES if _is_name(notes.get(key, ""))][:1]
        config = reader.blob(manifest["config"]["digest"])
        layers = [reader.blob(layer["digest"]) for layer in manifest["layers"]]
        images.append(_image(reader, config, names, layers))
        entries.append({"Config": config, "RepoTags": [*images[-1].names], "Layers": layers})
    content = json.dumps(entries).encode()
    member = tarfile.TarInfo("manifest.json")
    member.size, member.mode = len(content), 0o644
    head = io.BytesIO()
    with tarfile.open(fileobj=head, mode="w") as tar:
        tar.addfile(member, io.BytesIO(content))
    blocks = -(-len(content) // tarfile.BLOCKSIZE)
    return tuple(images), head.getvalue()[: (1 + blocks) * tarfile.BLOCKSIZE]


def _is_name(text: str) -> bool:
    """Whether this is more than a tag: `v1` alone names no image."""
    return "/" in text or ":" in text


def _image(reader: _Reader, config: str, names: Sequence[str], layers: Sequence[str]) -> Image:
    if not names:
        raise _Wrong("it holds an image without a name; save it by its name, not by its id")
    for layer in layers:
        if _plain(layer) not in reader.members and not _linked(reader, layer):
            raise _Wrong(f"it is cut or damaged: {layer} is not in it")
    document = reader.bytes(config)
    told = json.loads(document)
    identity = f"sha256:{hashlib.sha256(document).hexdigest()}"
    platform = f"{told.get('os', '')}/{told.get('architecture', '')}"
    return Image(identity, tuple(full_name(name) for name in names), platform)


def _linked(reader: _Reader, name: str) -> bool:
    """Whether it is a link, as older dockers write a layer that two images share."""
    try:
        return reader.tar.getmember(name).issym()
    except KeyError:
        return False


def _measure(file: Path, head: bytes) -> tuple[int, str]:
    digest, size = hashlib.sha256(head), len(head)
    with file.open("rb") as opened:
        if head and opened.read(262)[257:] != b"ustar":
            raise _Wrong("an OCI archive is sent as it is: decompress it first")
        opened.seek(0)
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
