"""Bytes that a document only points at: local files, and a Secret's stringData.

They are folded into the document when it is loaded, so that what is stored stands for itself.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetd.core.findings import Findings

MAX_FILE_BYTES = 16 << 20


def fold_string_data(secret: dict[str, Any]) -> None:
    """Move `stringData` into `data`; it wins over a key of the same name, as in Kubernetes."""
    plain = secret.pop("stringData", None)
    if plain:
        coded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        secret["data"] = {**secret.get("data", {}), **coded}


def fold_files(found: Findings, daemonset: dict[str, Any], directory: Path) -> None:
    """Read `source` and `perArchitecture` of every file, relative to the document's directory."""
    for path, file in _files(daemonset):
        source = file.get("source")
        if (
            source is not None
            and (data := _read(found, f"{path}.source", directory, source)) is not None
        ):
            del file["source"]
            try:
                file["content"] = data.decode()
            except UnicodeDecodeError:
                file["contentBase64"] = base64.b64encode(data).decode()
        for arch, name in list(file.get("perArchitecture", {}).items()):
            data = _read(found, f"{path}.perArchitecture[{arch}]", directory, name)
            file["perArchitecture"][arch] = base64.b64encode(data or b"").decode()


def refuse_files(found: Findings, daemonset: dict[str, Any]) -> None:
    """Hold a normal form to having its local files folded in already: nobody else's are read."""
    for path, file in _files(daemonset):
        if file.get("source") is not None:
            found.error(f"{path}.source", "has to be read where the document is")


def _files(daemonset: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of a systemd workload, each with its field path."""
    try:
        files = daemonset["spec"]["template"]["spec"]["systemd"]["files"]
    except (KeyError, TypeError):
        return
    for i, file in enumerate(files):
        yield f"spec.template.spec.systemd.files[{i}]", file


def _read(found: Findings, path: str, directory: Path, name: str) -> bytes | None:
    file = directory / Path(name).expanduser()
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        found.error(path, f"cannot read {file}: {reason}")
        return None
    if len(data) > MAX_FILE_BYTES:
        found.error(path, f"{file} is larger than {MAX_FILE_BYTES >> 20} MiB")
        return None
    return data
