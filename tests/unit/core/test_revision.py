from __future__ import annotations

from typing import Any

import pytest

from fleetd.core.daemonset import Template
from fleetd.core.revision import ALPHABET, LENGTH, revision_of, secret_digest

SMALL = {"spec": {"containers": [{"name": "main", "image": "agent:1"}]}}
LARGE = {
    "metadata": {"labels": {"app": "agent"}, "annotations": {"a": "b"}},
    "spec": {
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "main",
                "image": "agent:1",
                "args": ["--a", "é"],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "resources": {"limits": {"memory": "200Mi", "cpu": 0.5}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
            }
        ],
        "volumes": [{"name": "v", "hostPath": {"path": "/var/log"}}],
    },
}
SYSTEMD = {
    "spec": {
        "systemd": {
            "unit": "[Service]\nExecStart=/bin/x\n",
            "files": [{"path": "/etc/x", "content": "y", "mode": 384}],
        }
    }
}


@pytest.mark.parametrize(
    ("template", "references", "revision"),
    [
        pytest.param(SMALL, {}, "pjkrlhdlnt", id="small"),
        pytest.param(LARGE, {}, "qx5vqn8gxw", id="large"),
        pytest.param(SYSTEMD, {}, "qsdlpwxr7b", id="systemd"),
        pytest.param(
            SMALL, {"ConfigMap/c": {"k": "v"}, "Secret/s": "00ff"}, "wqlsqrmd9k", id="content"
        ),
    ],
)
def test_golden(template: dict[str, Any], references: dict[str, Any], revision: str) -> None:
    """Whoever changes these values restarts every agent of every fleet on an upgrade (I12)."""
    assert revision_of(Template.model_validate(template), references) == revision


def test_golden_digest() -> None:
    assert (
        secret_digest(b"key", {"a": b"1", "b": b"2"})
        == "a00af59060e539f0892f8005a925487b4ab551a6476c04105853896b97283dc5"
    )


def test_defaults_written_out_change_nothing_k112() -> None:
    container = {"name": "main", "image": "agent:1", "args": [], "ports": [], "resources": {}}
    explicit = {
        "metadata": {"labels": {}},
        "spec": {
            "containers": [container],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
        },
    }
    assert _of(explicit) == _of(SMALL)


def test_order_of_references_changes_nothing() -> None:
    template = Template.model_validate(SMALL)
    forth: dict[str, dict[str, str]] = {"ConfigMap/a": {"x": "1", "y": "2"}, "ConfigMap/b": {}}
    back: dict[str, dict[str, str]] = {"ConfigMap/b": {}, "ConfigMap/a": {"y": "2", "x": "1"}}
    assert revision_of(template, forth) == revision_of(template, back)


def test_content_counts_also_when_it_moves() -> None:
    template = Template.model_validate(SMALL)
    contents: list[dict[str, dict[str, str] | str]] = [
        {},
        {"ConfigMap/a": {"x": "1"}},
        {"ConfigMap/a": {"x": "2"}},
        {"Secret/a": "1"},
    ]
    assert len({revision_of(template, content) for content in contents}) == len(contents)


def test_digest_cannot_be_shifted_between_keys() -> None:
    assert secret_digest(b"k", {"a": b"bc"}) != secret_digest(b"k", {"ab": b"c"})
    assert secret_digest(b"k", {"a": b"b"}) != secret_digest(b"l", {"a": b"b"})


def test_alphabet_is_safe_in_names() -> None:
    revision = _of(LARGE)
    assert len(revision) == LENGTH
    assert set(revision) <= set(ALPHABET)


def _of(template: dict[str, Any]) -> str:
    return revision_of(Template.model_validate(template), {})
