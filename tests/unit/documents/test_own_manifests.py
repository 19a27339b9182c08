"""The manifests that are tried on real hosts use, between them, every field that has an effect."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from fleetd.core.fields import SECTIONS, Plain
from fleetd.documents.load import load

OWN: Final = Path(__file__).parents[2] / "e2e" / "manifests" / "own"
FILES: Final = sorted(OWN.glob("*.yaml"))
#: Fields with an effect that no manifest of ours uses, and why not.
UNUSED: Final = {
    "PodSpec.nodeName": "a manifest that any host may be given cannot name one",
    "Profile.localhostProfile": "the lab's hosts have no profile of their own",
    "Lifecycle.stopSignal": "no published manifest has been seen with it; tests/e2e/test_hooks.py",
    "LifecycleHandler.tcpSocket": "it does nothing, in Kubernetes neither",
}


def documents(path: Path) -> Iterator[Plain]:
    for each in yaml.safe_load_all(path.read_text()):
        yield from each["items"] if each and "items" in each else [each] if each else []


def used(section: str, value: Plain) -> Iterator[str]:
    """`Section.field` of everything in a document."""
    for name, below in value.items():
        field = SECTIONS[section].get(name)
        if field is None:
            continue
        yield f"{section}.{name}"
        kind = field.type.removeprefix("[]")
        if kind in SECTIONS:
            for item in below if isinstance(below, list) else [below]:
                yield from used(kind, item or {})


def kept(section: str, seen: set[str]) -> Iterator[str]:
    """`Section.field` of all that has an effect, from a section down."""
    seen.add(section)
    for field in SECTIONS[section].values():
        if field.kept:
            yield f"{section}.{field.name}"
            below = field.type.removeprefix("[]")
            if below in SECTIONS and below not in seen:
                yield from kept(below, seen)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_each_is_valid(path: Path) -> None:
    assert load([str(path)], io.BytesIO()).objects


def test_every_field_with_an_effect_is_used() -> None:
    there: set[str] = set()
    for path in FILES:
        for document in documents(path):
            if document["kind"] in {"DaemonSet", "ConfigMap", "Secret"}:
                there |= set(used(document["kind"], document))
    wanted = {name for kind in ("DaemonSet", "ConfigMap", "Secret") for name in kept(kind, set())}
    assert wanted - there == set(UNUSED)


def test_the_odd_one_keeps_its_line_ends() -> None:
    assert b"\r\n" in (OWN / "odd.yaml").read_bytes()
