"""One file of manifests, read as Kubernetes reads it and not by fleetd: what it has and lacks.

Reading it with fleetd's own loader would hide what that reads wrongly.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import yaml

Document = dict[str, Any]
Role = Literal["main", "init", "sidecar"]
Key = tuple[str, str]
"""A kind and a name: ("ConfigMap", "settings")."""

#: What a made-up key holds: all that a shell, a unit or a list of options could trip over.
TRICKY: Final = "{name}/{key}: 50% of \"$HOME\" and '$(NOT_SET)' are \\ a `secret`, ok"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Container:
    """One container of a template. `document` is its part of the file."""

    role: Role
    document: Document

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def image(self) -> str:
        return str(self.document["image"])

    @property
    def words(self) -> list[str]:
        """The command line as it is written, the image's own part left out."""
        return [*self.listed("command"), *self.listed("args")]

    def listed(self, key: str) -> list[Any]:
        """A list of the document, empty where there is none."""
        return list(self.document.get(key) or ())

    def part(self, *keys: str) -> Document:
        """A map inside the document, empty where there is none."""
        return part(self.document, *keys)

    @property
    def probes(self) -> dict[str, Document]:
        """Its probes by kind: startup, liveness, readiness."""
        kinds = ("startup", "liveness", "readiness")
        found = {kind: self.part(f"{kind}Probe") for kind in kinds}
        return {kind: probe for kind, probe in found.items() if probe}


@dataclass(frozen=True)
class Agent:
    """One DaemonSet of a file. `contents`: the keys of the ConfigMaps and Secrets it may use."""

    document: Document
    contents: Mapping[Key, Mapping[str, bytes]]

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.document["metadata"].get("namespace") or "default")

    @property
    def template(self) -> Document:
        return part(self.document, "spec", "template")

    @property
    def pod(self) -> Document:
        return part(self.template, "spec")

    @cached_property
    def containers(self) -> list[Container]:
        """Init containers in their order, then the others."""
        before = [
            Container("sidecar" if each.get("restartPolicy") == "Always" else "init", each)
            for each in self.pod.get("initContainers") or ()
        ]
        return [*before, *(Container("main", each) for each in self.pod.get("containers") or ())]

    @property
    def volumes(self) -> dict[str, Document]:
        return {each["name"]: each for each in self.pod.get("volumes") or ()}

    def ports(self, container: Container) -> dict[str, int]:
        """The named ports that a probe of this container may mean."""
        return {
            each["name"]: int(each["containerPort"])
            for each in container.listed("ports")
            if each.get("name")
        }


@dataclass(frozen=True)
class Reference:
    """A ConfigMap or Secret that a template needs, with the keys it names.

    `guessed`: keys that it should better have; without them a copy starts all the same.
    """

    kind: str
    name: str
    keys: frozenset[str] = frozenset()
    guessed: frozenset[str] = frozenset()
    optional: bool = False


@dataclass(frozen=True)
class Manifest:
    """A file: `documents` are its objects, Lists unfolded."""

    path: Path
    documents: list[Document] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises `yaml.YAMLError` where it is not YAML."""
        text = path.read_bytes().decode()
        return cls(path, list(_unfold(yaml.load_all(text, _LOADER))))

    @property
    def name(self) -> str:
        return self.path.stem

    def of_kind(self, kind: str) -> list[Document]:
        return [each for each in self.documents if each.get("kind") == kind]

    @cached_property
    def agents(self) -> list[Agent]:
        """Its DaemonSets, with the content that is there and that which is made up."""
        found = []
        for document in self.of_kind("DaemonSet"):
            mine = {
                (kind, each["metadata"]["name"]): _content(each)
                for kind in ("ConfigMap", "Secret")
                for each in [*self.of_kind(kind), *self.supplied]
                if each["kind"] == kind and _namespace(each) == _namespace(document)
            }
            for namespace, reference in self.incomplete:
                if namespace == _namespace(document):
                    added = {key: made_up(reference.name, key).encode() for key in reference.keys}
                    mine[reference.kind, reference.name] |= added
            found.append(Agent(document, mine))
        return found

    @cached_property
    def missing(self) -> list[tuple[str, Reference]]:
        """What the file refers to, must have and does not hold: (namespace, reference)."""
        return [each for each in self._required if self._held(*each) is None]

    @cached_property
    def incomplete(self) -> list[tuple[str, Reference]]:
        """What the file holds without keys that it refers to: (namespace, those keys of it)."""
        found = []
        for namespace, reference in self._required:
            held = self._held(namespace, reference)
            lacking = reference.keys - set(_content(held)) if held is not None else None
            if lacking:
                found.append((namespace, replace(reference, keys=frozenset(lacking))))
        return found

    @cached_property
    def _required(self) -> list[tuple[str, Reference]]:
        merged: dict[tuple[str, str, str], tuple[set[str], set[str]]] = {}
        for document in self.of_kind("DaemonSet"):
            for reference in references(part(document, "spec", "template", "spec")):
                if not reference.optional:
                    key = (_namespace(document), reference.kind, reference.name)
                    keys, guessed = merged.setdefault(key, (set(), set()))
                    keys |= reference.keys
                    guessed |= reference.guessed
        return [
            (namespace, Reference(kind, name, frozenset(keys), frozenset(guessed)))
            for (namespace, kind, name), (keys, guessed) in merged.items()
        ]

    def _held(self, namespace: str, reference: Reference) -> Document | None:
        for each in self.of_kind(reference.kind):
            if (_namespace(each), each["metadata"]["name"]) == (namespace, reference.name):
                return each
        return None

    def held(self, namespace: str, reference: Reference) -> Document:
        """The object as the file has it."""
        found = self._held(namespace, reference)
        assert found is not None
        return found

    @cached_property
    def supplied(self) -> list[Document]:
        """Made-up objects for all that is missing."""
        return [_make_up(namespace, reference) for namespace, reference in self.missing]


def part(document: Mapping[str, Any], *keys: str) -> Document:
    """A map inside a map, empty where it is missing or null."""
    found: Any = document
    for key in keys:
        found = (found or {}).get(key)
    return found or {}


def references(pod: Document) -> Iterator[Reference]:
    """Every ConfigMap and Secret that a pod's spec names."""
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    for container in containers:
        for variable in container.get("env") or ():
            yield from _named(variable.get("valueFrom") or {}, "KeyRef", ())
        for source in container.get("envFrom") or ():
            yield from _named(source, "Ref", ("MADE_UP",))
    for volume in pod.get("volumes") or ():
        files = {
            mount["subPath"].split("/")[0]
            for container in containers
            for mount in container.get("volumeMounts") or ()
            if mount["name"] == volume["name"] and mount.get("subPath")
        }
        for source in [volume, *part(volume, "projected").get("sources", ())]:
            yield from _named(source, "", files)
    for ref in pod.get("imagePullSecrets") or ():
        yield Reference("Secret", ref["name"], frozenset({".dockerconfigjson"}))


def _named(source: Document, ending: str, keys: Iterable[str]) -> Iterator[Reference]:
    """What a source names as configMapENDING and secretENDING; `keys` where it names none."""
    for field_name, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if ref := source.get(f"{field_name}{ending}"):
            named = (
                [ref["key"]] if "key" in ref else [each["key"] for each in ref.get("items") or ()]
            )
            name = ref.get("secretName") or ref["name"]
            guessed = frozenset() if named else frozenset(keys)
            yield Reference(kind, name, frozenset(named), guessed, bool(ref.get("optional")))


def number(value: Any) -> int:
    """A number as kubectl reads it: YAML 1.2's octal too."""
    return int(value, 8) if isinstance(value, str) else int(value)


def made_up(name: str, key: str) -> str:
    """The value of a key that somebody has to bring."""
    return TRICKY.format(name=name, key=key)


def _unfold(documents: Iterator[Any]) -> Iterator[Document]:
    for document in documents:
        if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
            yield from _unfold(iter(document.get("items") or ()))
        elif isinstance(document, dict):
            yield document


def _namespace(document: Document) -> str:
    return str(part(document, "metadata").get("namespace") or "default")


def _content(document: Document) -> dict[str, bytes]:
    """The keys of a ConfigMap or Secret, as files hold them."""
    encoded = document.get("data") or {}
    if document["kind"] == "ConfigMap":
        plain, encoded = encoded, document.get("binaryData") or {}
    else:
        plain = document.get("stringData") or {}
    found = {key: base64.b64decode(value) for key, value in encoded.items()}
    return found | {key: str(value).encode() for key, value in plain.items()}


def _make_up(namespace: str, reference: Reference) -> Document:
    keys = sorted(reference.keys | reference.guessed) or ["made-up.conf", "MADE_UP"]
    values = {key: made_up(reference.name, key) for key in keys}
    document: Document = {
        "apiVersion": "v1",
        "kind": reference.kind,
        "metadata": {"name": reference.name, "namespace": namespace},
    }
    if ".dockerconfigjson" in values:
        auths = '{"auths": {"registry.invalid": {"auth": "YTpi"}}}'
        return document | {
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": auths},
        }
    return document | {"data" if reference.kind == "ConfigMap" else "stringData": values}
