"""The inventory: which hosts there are, how to reach them, their labels and taints.

Sources are YAML or JSON files of one fixed form, directories of such files, executables that print
it, and Ansible's JSON. All errors of all sources are told at once. A source that cannot be read,
fails or names no host leaves the whole inventory unknown: from what is not known nobody may be
taken to have left (I3).
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetd.core import names
from fleetd.core.fields import SECTIONS, Plain
from fleetd.core.findings import Findings
from fleetd.core.node import RUNTIME_LABEL, STREAMS_LABEL, Host, Inventory, Ssh, Taint
from fleetd.core.paths import child
from fleetd.core.validation import check_labels
from fleetd.core.validation_placement import taint_from_text, taint_of
from fleetd.documents.ansible import is_ansible, translate
from fleetd.documents.program import SourceFailed, run
from fleetd.documents.ranges import expand
from fleetd.documents.structure import Structure
from fleetd.documents.yaml import MAX_BYTES, Document, parse
from fleetd.errors import InvalidInput, InventoryUnknown, Problem

SUFFIXES = (".yaml", ".yml", ".json")
RUNTIMES = ("docker", "podman")
OUR_LABELS = {RUNTIME_LABEL: RUNTIMES, STREAMS_LABEL: ("off", "on")}
"""The labels of ours that an inventory may give, and their values."""


def read_inventory(sources: Sequence[str]) -> Inventory:
    """Read and check all sources; hosts in name order, sources as absolute paths.

    Raises:
        InvalidInput: with every problem found.
        InventoryUnknown: when a source failed, or is empty.
    """
    reader = _Reader()
    for source in sources:
        before = len(reader.hosts)
        reader.read_source(Path(source).expanduser())
        if len(reader.hosts) == before and not reader.problems:
            reader.unknown(source, "names no host; to let go of a host, use `fleetd purge HOST`")
    if not sources:
        reader.unknown("inventory", "no source is given; write -i FILE or set FLEETD_INVENTORY")
    reader.check_together()
    if reader.problems:
        raise (InventoryUnknown if reader.is_unknown else InvalidInput)(reader.problems)
    hosts = sorted((placed.host for placed in reader.hosts), key=lambda host: host.name)
    return Inventory(tuple(hosts), tuple(_absolute(s, Path()) for s in sources))


@dataclass(frozen=True, slots=True)
class _Placed:
    """A host and where it was written."""

    host: Host
    source: str
    line: int
    path: str

    def problem(self, field: str, message: str, hint: str = "") -> Problem:
        return Problem(self.source, self.line, f"{self.path}{field}", message, hint)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class _Reader:
    def __init__(self) -> None:
        self.hosts: list[_Placed] = []
        self.problems: list[Problem] = []
        self.is_unknown = False

    def unknown(self, source: str, message: str) -> None:
        self.is_unknown = True
        self.problems.append(Problem(source, 0, "", message))

    def read_source(self, path: Path) -> None:
        try:
            files = sorted(_of_directory(path)) if path.is_dir() else [path]
        except OSError as error:
            return self.unknown(str(path), f"cannot be read: {error.strerror}")
        for file in files:
            self._read_file(file)
        return None

    def _read_file(self, file: Path) -> None:
        source = str(file)
        try:
            if _is_program(file):
                return self._read_output(file, run(file))
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except SourceFailed as error:
            return self.unknown(source, str(error))
        except OSError as error:
            return self.unknown(source, f"cannot be read: {error.strerror}")
        parsed = parse(data, source)
        self.problems.extend(parsed.problems)
        documents = [document for document in parsed.documents if document.data is not None]
        if not documents and not parsed.problems:
            return self.unknown(source, "is empty")
        for document in documents:
            self._read_document(document, source, file.parent)
        return None

    def _read_output(self, file: Path, output: bytes) -> None:
        """JSON only: a form that cannot be cut short and still be read."""
        try:
            data = json.loads(output)
        except (ValueError, RecursionError):
            what = "printed nothing" if not output.strip() else "printed something else than JSON"
            return self.unknown(str(file), what)
        self._read_document(Document(data, 0), str(file), file.parent)
        return None

    def _read_document(self, document: Document, source: str, directory: Path) -> None:
        data = document.data
        if not isinstance(data, dict):
            message = "must be a map with hosts:, or Ansible's JSON"
            self.problems.append(Problem(source, document.line, "", message))
            return
        found = Findings()
        from_ansible = is_ansible(data)
        if from_ansible:
            document = Document(translate(data), 0)
        cleaned = Structure(found, "Inventory", document.texts, "").clean(document.data)
        form = _Form(found, cleaned.get("defaults", {}), directory, ranges=not from_ansible)
        for name, entry in cleaned.get("hosts", {}).items():
            path = child("hosts", name)
            for host in form.hosts(name, entry, path):
                self.hosts.append(_Placed(host, source, document.line_of(path), path))
        problems = [
            Problem(source, document.line_of(f.path), f.path, f.message, f.hint)
            for f in found.errors()
        ]
        self.problems.extend(sorted(problems, key=lambda problem: problem.line))

    def check_together(self) -> None:
        """What can only be wrong between hosts; jumps are followed once all hosts are right."""
        by_name: dict[str, _Placed] = {}
        by_address: dict[tuple[str, int, str], _Placed] = {}
        for placed in self.hosts:
            host = placed.host
            first = by_name.setdefault(host.name, placed)
            if first is not placed:
                message = f"the host {host.name} is in {first} already"
                self.problems.append(placed.problem("", message, "keep one of them"))
                continue
            reached = (host.ssh.address, host.ssh.port, host.ssh.jump)
            other = by_address.setdefault(reached, placed)
            if other is not placed:
                message = f"{host.name} has the address of {other.host.name} ({other})"
                self.problems.append(placed.problem("", f"{message}: {host.ssh.address}"))
        if not self.problems:
            for placed in self.hosts:
                self._check_jump(placed, by_name)

    def _check_jump(self, placed: _Placed, by_name: Mapping[str, _Placed]) -> None:
        way = [placed.host.name]
        jump = placed.host.ssh.jump
        while jump:
            if jump not in by_name:
                if len(way) == 1:
                    message = f"the jump host {jump} is not in the inventory"
                    self.problems.append(placed.problem(".ssh.jump", message, "add it to hosts"))
                return
            if jump in way:
                if jump == placed.host.name:
                    message = f"jumps in a circle: {' > '.join([*way, jump])}"
                    self.problems.append(placed.problem(".ssh.jump", message))
                return
            way.append(jump)
            jump = by_name[jump].host.ssh.jump


def _absolute(text: str, directory: Path) -> str:
    """A path made absolute by its text: links stay, so that they may be turned later."""
    return os.path.abspath(directory / Path(text).expanduser())  # noqa: PTH100 - resolve follows


def _of_directory(path: Path) -> list[Path]:
    return [
        file
        for file in path.iterdir()
        if not file.name.startswith(".")
        and file.is_file()
        and (file.suffix in SUFFIXES or os.access(file, os.X_OK))
    ]


def _is_program(file: Path) -> bool:
    """Executable, and not just a data file with a careless mode."""
    if not os.access(file, os.X_OK) or not file.is_file():
        return False
    if file.suffix not in SUFFIXES:
        return True
    with file.open("rb") as stream:
        return stream.read(2) == b"#!"


class _Form:
    """Reads the host entries of one document; `ranges`: whether brackets mean several hosts."""

    def __init__(
        self, found: Findings, defaults: Mapping[str, Plain], directory: Path, *, ranges: bool
    ) -> None:
        self.found = found
        self.directory = directory
        self.expand: Callable[[str], list[str]] = expand if ranges else lambda text: [text]
        self.defaults = defaults
        self._labels("defaults.labels", defaults.get("labels", {}))
        self._ssh("defaults.ssh", defaults.get("ssh", {}))

    def hosts(self, name: str, entry: Mapping[str, Plain], path: str) -> list[Host]:
        """The hosts that one entry stands for; none when something is wrong with it."""
        before = len(self.found.errors())
        all_names, addresses = self._expanded(name, entry, path)
        labels = entry.get("labels", {})
        self._labels(f"{path}.labels", labels)
        self._ssh(f"{path}.ssh", entry.get("ssh", {}))
        taints = self._taints(f"{path}.taints", entry.get("taints", []))
        if len(self.found.errors()) > before:
            return []
        both = {**self.defaults.get("labels", {}), **labels}
        ssh = {**self.defaults.get("ssh", {}), **entry.get("ssh", {})}
        return [
            Host(one, self._settings(one, address, ssh, entry), both, taints)
            for one, address in zip(all_names, addresses, strict=True)
        ]

    def _expanded(
        self, name: str, entry: Mapping[str, Plain], path: str
    ) -> tuple[list[str], list[str]]:
        try:
            all_names = self.expand(name)
        except ValueError as error:
            self.found.error(path, f"{name!r} {error}")
            return [], []
        try:
            addresses = self.expand(entry["address"]) if "address" in entry else all_names
        except ValueError as error:
            self.found.error(f"{path}.address", f"{entry['address']!r} {error}")
            return [], []
        if len(all_names) != len(addresses):
            message = f"{len(addresses)} addresses for {len(all_names)} hosts"
            self.found.error(f"{path}.address", message, "make both ranges equally long")
        for one in all_names:
            if wrong := names.dns_subdomain(one):
                self.found.error(path, f"the name {one!r} {wrong}")
                break
        for address in addresses if "address" in entry else ():
            if wrong := names.address(address):
                self.found.error(f"{path}.address", f"{address!r} {wrong}")
                break
        return all_names, addresses

    def _settings(
        self, name: str, address: str, ssh: Mapping[str, Plain], entry: Mapping[str, Plain]
    ) -> Ssh:
        """The way to one host; the jump host of the defaults is reached without itself."""
        jump = ssh.get("jump", "")
        if jump == name and "jump" not in entry.get("ssh", {}):
            jump = ""
        return Ssh(
            address=address,
            port=ssh.get("port", 22),
            user=ssh.get("user", "root"),
            identity_file=self._file(ssh.get("identityFile", "")),
            known_hosts_file=self._file(ssh.get("knownHostsFile", "")),
            jump=jump,
        )

    def _file(self, text: str) -> str:
        return _absolute(text, self.directory) if text else ""

    def _labels(self, path: str, labels: Mapping[str, str]) -> None:
        check_labels(self.found, path, labels)
        for key, value in labels.items():
            here = child(path, key)
            if key in OUR_LABELS and value not in OUR_LABELS[key]:
                self.found.error(here, f"{value!r} must be one of {', '.join(OUR_LABELS[key])}")
            elif key.startswith("fleetd/") and key not in OUR_LABELS:
                nearest = difflib.get_close_matches(key, OUR_LABELS, n=1, cutoff=0.0)
                hint = f"did you mean {nearest[0]}?"
                self.found.error(here, f"fleetd knows no label {key}", hint)

    def _ssh(self, path: str, ssh: Mapping[str, Plain]) -> None:
        if "user" in ssh:
            self.found.check(f"{path}.user", names.user, ssh["user"])
        if not 1 <= ssh.get("port", 22) <= 65535:
            self.found.error(f"{path}.port", f"must be from 1 to 65535, not {ssh['port']}")
        if ssh.get("jump"):
            self.found.check(f"{path}.jump", names.dns_subdomain, ssh["jump"])
        for field in ("identityFile", "knownHostsFile"):
            self.found.check(f"{path}.{field}", names.no_control, ssh.get(field, ""))
            try:
                self._file(ssh.get(field, ""))
            except RuntimeError:
                self.found.error(f"{path}.{field}", "names the home of a user that is not there")

    def _taints(self, path: str, taints: Sequence[Plain]) -> tuple[Taint, ...]:
        read: list[Taint] = []
        seen: set[object] = set()
        for i, written in enumerate(taints):
            here = f"{path}[{i}]"
            taint, wrong = self._taint(here, written)
            if wrong:
                self.found.error(here, wrong)
            if taint is not None:
                self.found.unique(here, f"{taint.key}:{taint.effect}", seen, "the taint")
                read.append(taint)
        return tuple(read)

    def _taint(self, path: str, written: Plain) -> tuple[Taint | None, str]:
        if isinstance(written, str):
            return taint_from_text(written)
        if not isinstance(written, dict):
            return None, "must be written key=value:effect, or as {key: , value: , effect: }"
        if unknown := sorted(written.keys() - SECTIONS["Taint"].keys()):
            known = ", ".join(SECTIONS["Taint"])
            for name in unknown:
                self.found.error(child(path, name), f"unknown field {name!r}", f"known: {known}")
            return None, ""
        parts = {name: written.get(name) or "" for name in ("key", "value", "effect")}
        for name, part in parts.items():
            if not isinstance(part, str):
                return None, f"{name} must be a string; write {json.dumps(str(part))} in quotes"
        return taint_of(parts["key"], parts["value"], parts["effect"])
