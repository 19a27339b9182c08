from __future__ import annotations

from typing import Any

import pytest

from fleetd.core.references import Reference, references
from tests.unit.workload.rendering import daemonset

POD = "spec.template.spec"


def of(**pod: Any) -> list[Reference]:
    one = {"name": "main", "image": "agent:1"}
    return list(references(daemonset({"containers": [one], **pod})))


def test_of_environments_init_containers_too() -> None:
    env = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    sources = [
        {"configMapRef": {"name": "c"}},
        {"secretRef": {"name": "s", "optional": True}},
    ]
    one = {"name": "main", "image": "agent:1", "env": [env], "envFrom": sources}
    found = of(initContainers=[{**one, "name": "first"}], containers=[one])
    for place in ("initContainers[0]", "containers[0]"):
        at = f"{POD}.{place}"
        for reference in (
            Reference("ConfigMap", "c", None, f"{at}.envFrom[0].configMapRef.name"),
            Reference("Secret", "s", None, f"{at}.envFrom[1].secretRef.name", optional=True),
            Reference("Secret", "s", "k", f"{at}.env[0].valueFrom.secretKeyRef"),
        ):
            assert reference in found
    assert len(found) == 6


ITEMS = {"items": [{"key": "k", "path": "p"}], "optional": True}


@pytest.mark.parametrize(
    ("volume", "kind", "path", "name"),
    [
        pytest.param(
            {"configMap": {"name": "x", **ITEMS}}, "ConfigMap", "configMap", "name", id="config-map"
        ),
        pytest.param(
            {"secret": {"secretName": "x", **ITEMS}}, "Secret", "secret", "secretName", id="secret"
        ),
        pytest.param(
            {"projected": {"sources": [{"configMap": {"name": "x", **ITEMS}}]}},
            "ConfigMap",
            "projected.sources[0].configMap",
            "name",
            id="projected-config-map",
        ),
        pytest.param(
            {"projected": {"sources": [{"secret": {"name": "x", **ITEMS}}]}},
            "Secret",
            "projected.sources[0].secret",
            "name",
            id="projected-secret",
        ),
    ],
)
def test_of_volumes(volume: dict[str, Any], kind: Any, path: str, name: str) -> None:
    at = f"{POD}.volumes[0].{path}"
    assert of(volumes=[{"name": "v", **volume}]) == [
        Reference(kind, "x", None, f"{at}.{name}", optional=True),
        Reference(kind, "x", "k", f"{at}.items[0].key", optional=True),
    ]
