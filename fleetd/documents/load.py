"""From paths to objects: every document, held to the field table, the models and the rules.

Directories are read as kubectl reads them without -R: their own *.yaml, *.yml and *.json in name
order, no sub-directory. Everything wrong is told at once, in the order of the files. References
between documents are not checked here: what they point at may be in the state already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import ValidationError

from fleetd.core.daemonset import ConfigMap, DaemonSet, Object, Secret
from fleetd.core.fields import Plain
from fleetd.core.findings import Findings
from fleetd.core.paths import join, parent
from fleetd.core.validation import validate
from fleetd.documents.accounts import BINDINGS, Accounts
from fleetd.documents.content import fold_files, fold_string_data, refuse_files
from fleetd.documents.structure import Structure
from fleetd.documents.yaml import MAX_BYTES, Document, parse
from fleetd.errors import InvalidInput, Problem

SUFFIXES = (".yaml", ".yml", ".json")
_APPS = "apps/v1"
_BETA = ("extensions/v1beta1", "apps/v1beta2")
_OWN = "fleetd/v1"
_NAME_LABEL = "app.kubernetes.io/name"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVER_ANNOTATIONS = (_LAST_APPLIED, "deprecated.daemonset.template.generation")
_MODELS: Mapping[str, type[Object]] = {
    "DaemonSet": DaemonSet,
    "ConfigMap": ConfigMap,
    "Secret": Secret,
}


@dataclass(frozen=True, slots=True)
class Lines:
    """The line of each field of an object, which stands in its document at `prefix`."""

    document: Document = field(repr=False)
    prefix: str = ""

    def __call__(self, path: str) -> int:
        """The line of a field, or of the nearest one around it that was written."""
        return self.document.line_of((self.prefix + path).removesuffix("."))


@dataclass(frozen=True, slots=True)
class Loaded:
    """An object and where it was written. `raw`: the user's document in its normal form, JSON-able.

    In the normal form apiVersion is one that fleetd writes, server fields, ignored fields and nulls
    are left out, and local files are folded in; defaults are not filled in. It is what `last
    applied` means.
    """

    object: Object = field(repr=False)
    raw: Mapping[str, Any] = field(repr=False)
    source: str
    line: int
    lines: Lines = field(repr=False, compare=False)

    def line_of(self, path: str) -> int:
        """The line of a field, or of the nearest one around it that was written."""
        return self.lines(path)

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """Something wrong with a field of this object."""
        return Problem(self.source, self.line_of(path), path, message, hint)


class Sent(NamedTuple):
    """An object as another process loaded it: its normal form, and where it was written."""

    raw: Mapping[str, Any]
    source: str
    lines: Lines


@dataclass(frozen=True, slots=True)
class Documents:
    """What the files hold: objects in file order, the kinds that were skipped, and notes.

    `asides` are notes about fields whose being ignored changes nothing.
    """

    objects: tuple[Loaded, ...]
    skipped: Mapping[str, int]
    notes: tuple[Problem, ...]
    asides: tuple[Problem, ...] = ()

    def summary(self) -> str:
        """One line about the companion objects that were skipped; empty when there were none."""
        if not self.skipped:
            return ""
        kinds = ", ".join(
            f"{count} {kind}" if count > 1 else kind for kind, count in sorted(self.skipped.items())
        )
        return f"skipped, as there is no API server to use them: {kinds}"


def load(paths: Sequence[str], stdin: BinaryIO) -> Documents:
    """Read files, directories and `-` (stdin).

    Raises:
        InvalidInput: with every problem of every document.
    """
    loader = _Loader()
    for path in paths:
        if path == "-":
            loader.read(stdin.read(MAX_BYTES + 1), "stdin", Path())
            continue
        for file in loader.files(path):
            loader.read_file(file)
    if not loader.problems and not loader.objects and not loader.namespaces:
        kinds = f" but {', '.join(sorted(loader.skipped))}" if loader.skipped else ""
        message = f"nothing{kinds} in {', '.join(paths) or 'no file'}"
        raise InvalidInput(f"{message}: fleetd takes DaemonSet, ConfigMap, Secret and Namespace")
    loader.check_twice()
    loader.notes.extend(loader.accounts.notes())
    if loader.problems:
        raise InvalidInput(loader.problems)
    objects, notes, asides = tuple(loader.objects), tuple(loader.notes), tuple(loader.asides)
    return Documents(objects, dict(loader.skipped), notes, asides)


def admit(sent: Sequence[Sent]) -> tuple[Loaded, ...]:
    """Hold normal forms that somebody else loaded to all the rules again; no file is read.

    Raises:
        InvalidInput: with every problem, at the source, line and field that the sender named.
    """
    loader = _Loader()
    for each in sent:
        _Reading(loader, each.source, None, each.lines.document).take(each.raw, each.lines.prefix)
    loader.check_twice()
    if loader.problems:
        raise InvalidInput(loader.problems)
    return tuple(loader.objects)


class _Loader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.asides: list[Problem] = []
        self.objects: list[Loaded] = []
        self.skipped: Counter[str] = Counter()
        self.accounts = Accounts()
        self.namespaces = 0

    def files(self, path: str) -> list[Path]:
        place = Path(path)
        if not place.is_dir():
            return [place]
        files = sorted(
            file
            for file in place.iterdir()
            if file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if not files:
            message = f"holds no {', '.join(f'*{suffix}' for suffix in SUFFIXES)}"
            self.problems.append(Problem(path, 0, "", message, "sub-directories are not read"))
        return files

    def read_file(self, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            self.problems.append(Problem(str(file), 0, "", f"cannot be read: {error.strerror}"))
            return
        self.read(data, str(file), file.parent)

    def read(self, data: bytes, source: str, directory: Path) -> None:
        parsed = parse(data, source)
        for document in parsed.documents:
            if document.data is not None:
                _Reading(self, source, directory, document).take(document.data, "")
        self.problems.extend(parsed.problems)
        self._sort_by_line(source)

    def _sort_by_line(self, source: str) -> None:
        """Order what belongs to the last source; earlier sources keep their place."""
        start = next((i for i, p in enumerate(self.problems) if p.source == source), None)
        if start is not None:
            self.problems[start:] = sorted(self.problems[start:], key=lambda p: p.line)

    def check_twice(self) -> None:
        """One object may be written once."""
        first: dict[tuple[str, str, str], Loaded] = {}
        for loaded in self.objects:
            kind, (namespace, name) = loaded.object.kind, loaded.object.key
            before = first.setdefault((kind, namespace, name), loaded)
            if before is not loaded:
                message = f"{kind} {namespace}/{name} is in {before.source}:{before.line} already"
                self.problems.append(loaded.problem("metadata.name", message, "keep one of them"))


class _Reading:
    """Turns one YAML document, or the items of a List, into objects.

    Without a directory it is a normal form: its local files are folded in, and none is read.
    """

    def __init__(
        self, loader: _Loader, source: str, directory: Path | None, document: Document
    ) -> None:
        self.loader = loader
        self.source = source
        self.directory = directory
        self.document = document

    def take(self, data: Plain, prefix: str) -> None:
        """Take one object; `prefix` is where it is in the document (`items[0].`)."""
        if not isinstance(data, dict):
            return self._problem(prefix, "", "must be a map with apiVersion and kind")
        kind, version = data.get("kind"), data.get("apiVersion")
        if not isinstance(kind, str) or not kind or not isinstance(version, str) or not version:
            return self._problem(prefix, "", "needs apiVersion and kind, each a string")
        if kind.endswith("List") and isinstance(data.get("items"), list):
            for i, item in enumerate(data["items"]):
                self.take(item, f"{prefix}items[{i}].")
            return None
        if kind in BINDINGS:
            self.loader.accounts.bind(data)
        root = self._root(prefix, kind, version)
        if root is not None:
            self._object(data, prefix, root)
        return None

    def _root(self, prefix: str, kind: str, version: str) -> str | None:
        """The section of the field table for an object, None for one that is not taken."""
        if kind == "DaemonSet":
            if version == _OWN:
                return "SystemdDaemonSet"
            if version not in {_APPS, *_BETA}:
                message = f"fleetd knows no DaemonSet of {version}"
                self._problem(
                    prefix, "apiVersion", message, f"write {_APPS}, or {_OWN} with systemd:"
                )
                return None
            return kind
        if version == "v1" and kind in {"ConfigMap", "Secret", "Namespace"}:
            return kind
        if kind in {*_MODELS, "Namespace"} or version == _OWN:
            hint = "write v1" if kind in {*_MODELS, "Namespace"} else "fleetd/v1 has DaemonSet only"
            self._problem(prefix, "apiVersion", f"fleetd knows no {kind} of {version}", hint)
            return None
        self.loader.skipped[kind] += 1
        return None

    def _object(self, data: dict[str, Any], prefix: str, root: str) -> None:
        found = Findings()
        raw = Structure(found, root, self.document.texts, prefix).clean(data)
        kind = data["kind"]
        # A file may have been taken from a cluster; kubectl at the API needs what it has written
        # there, but for the values of a Secret, which stand in one place only.
        from_file = self.directory is not None
        _normalise_metadata(raw, _SERVER_ANNOTATIONS if from_file or kind == "Secret" else ())
        if kind == "Secret":
            fold_string_data(raw)
        elif kind == "DaemonSet":
            self._default_daemonset(found, raw)
        model = _MODELS.get(kind)
        if model is None:
            self.loader.namespaces += 1
            thing = None
        else:
            thing = _build(found, model, raw)
        if thing is not None:
            _validate(found, thing)
        self._tell(found, prefix)
        if thing is not None and not found.errors():
            lines = self._lines(prefix)
            if root == "DaemonSet":
                line = lines("spec.template.spec")
                self.loader.accounts.take(data, self.source, line, prefix)
            self.loader.objects.append(Loaded(thing, raw, self.source, lines(""), lines))

    def _default_daemonset(self, found: Findings, raw: dict[str, Any]) -> None:
        version = raw["apiVersion"]
        spec = raw.get("spec", {})
        template = spec.get("template", {})
        meta = template.get("metadata", {})
        if version in _BETA:
            raw["apiVersion"] = _APPS
            if version == _BETA[0] and not spec.get("updateStrategy"):
                message = f"{version} meant OnDelete; taken as RollingUpdate, as in {_APPS}"
                found.note("spec.updateStrategy", message)
        if version in {_BETA[0], _OWN} and spec and "selector" not in spec:
            if not meta.get("labels") and version == _OWN and template:
                name = raw.get("metadata", {}).get("name", "")
                template["metadata"] = {**meta, "labels": {_NAME_LABEL: name}}
            labels = template.get("metadata", {}).get("labels", {})
            if labels:
                spec["selector"] = {"matchLabels": dict(labels)}
            if version != _OWN:
                found.note("spec.selector", "not given: taken from the template's labels")
        pod = template.get("spec", {})
        for volume in pod.get("volumes", []):
            if not volume.keys() - {"name"}:
                volume["emptyDir"] = {}
        if self.directory is not None:
            fold_files(found, raw, self.directory)
        else:
            refuse_files(found, raw)

    def _lines(self, prefix: str) -> Lines:
        return Lines(self.document, prefix)

    def _tell(self, found: Findings, prefix: str) -> None:
        lines = self._lines(prefix)
        for f in found:
            notes = self.loader.asides if f.aside else self.loader.notes
            told = notes if f.note else self.loader.problems
            told.append(Problem(self.source, lines(f.path), prefix + f.path, f.message, f.hint))

    def _problem(self, prefix: str, path: str, message: str, hint: str = "") -> None:
        line = self._lines(prefix)(path)
        at = (prefix + path).removesuffix(".")
        self.loader.problems.append(Problem(self.source, line, at, message, hint))


def _normalise_metadata(raw: dict[str, Any], unwanted: Sequence[str]) -> None:
    meta = raw.get("metadata", {})
    if not meta.get("namespace"):
        meta.pop("namespace", None)
    annotations = meta.get("annotations", {})
    for name in unwanted:
        annotations.pop(name, None)


def _validate(found: Findings, thing: Object) -> None:
    """Add what the rules say, but for what only follows from an error that is told already."""
    bad = {finding.path for finding in found.errors()}
    around = {parent(path) for path in bad}
    for finding in validate(thing):
        if finding.path not in around and not _below_any(finding.path, bad):
            found.add(finding)


def _below_any(path: str, bad: set[str]) -> bool:
    return any(path == p or path.startswith((f"{p}.", f"{p}[")) for p in bad)


def _build(found: Findings, model: type[Object], raw: dict[str, Any]) -> Object | None:
    """The object, or None with what is missing or not one of the known words.

    A field with an unknown word is left out for a second try, so that the rest is checked as well.
    """
    data = raw
    for _ in range(2):
        try:
            return model.model_validate(data)
        except ValidationError as error:
            bad = {finding.path for finding in found.errors()}
            data = _without(data, _told(found, error, bad))
    return None


def _told(found: Findings, error: ValidationError, bad: set[str]) -> list[tuple[str | int, ...]]:
    places = []
    for one in error.errors(include_url=False, include_input=False):
        place = tuple(part for part in one["loc"] if not str(part).startswith("<"))
        path = join("", place)
        places.append(place)
        if _below_any(path, bad):
            continue
        if one["type"] == "missing":
            found.error(path, "is required")
        elif one["type"] == "literal_error":
            found.error(path, f"must be one of {one['ctx']['expected']}")
        else:
            found.error(path, one["msg"])
    return places


def _without(data: Plain, places: list[tuple[str | int, ...]]) -> Plain:
    """A copy of `data` without the values at these places."""
    if not places:
        return data
    below: dict[str | int, list[tuple[str | int, ...]]] = {}
    for place in places:
        if place:
            below.setdefault(place[0], []).append(place[1:])
    gone = {key for key, rest in below.items() if () in rest}
    if isinstance(data, dict):
        return {k: _without(v, below.get(k, [])) for k, v in data.items() if k not in gone}
    if isinstance(data, list):
        return [_without(v, below.get(i, [])) for i, v in enumerate(data) if i not in gone]
    return data
