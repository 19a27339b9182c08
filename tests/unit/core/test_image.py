from __future__ import annotations

from typing import Any

import pytest

from fleetd.core.image import (
    PullPolicy,
    default_policy,
    full_name,
    policies,
    repository,
    runs_on,
    without_idle_tag,
)
from tests.sim.harness import agent

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("image", "name", "policy"),
    [
        pytest.param("busybox", "docker.io/library/busybox:latest", "Always", id="bare"),
        pytest.param("busybox:1.36", "docker.io/library/busybox:1.36", "IfNotPresent", id="tag"),
        pytest.param("grafana/loki", "docker.io/grafana/loki:latest", "Always", id="hub"),
        pytest.param("a/b:latest", "docker.io/a/b:latest", "Always", id="latest"),
        pytest.param("quay.io/a/b:v1", "quay.io/a/b:v1", "IfNotPresent", id="registry"),
        pytest.param("reg:5000/a", "reg:5000/a:latest", "Always", id="port"),
        pytest.param("localhost/a:1", "localhost/a:1", "IfNotPresent", id="localhost"),
        pytest.param(
            f"a@sha256:{HEX}", f"docker.io/library/a@sha256:{HEX}", "IfNotPresent", id="digest"
        ),
    ],
)
def test_a_name_tells_its_registry_its_tag_and_how_it_is_pulled(
    image: str, name: str, policy: str
) -> None:
    assert full_name(image) == name
    assert default_policy(image) is PullPolicy(policy)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("reg:5000/a/b:v1", "reg:5000/a/b", id="tag"),
        pytest.param(f"reg:5000/a/b@sha256:{HEX}", "reg:5000/a/b", id="digest"),
        pytest.param(f"a:v1@sha256:{HEX}", "docker.io/library/a", id="both"),
    ],
)
def test_a_repository_has_neither_tag_nor_digest(image: str, expected: str) -> None:
    assert repository(image) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("reg:5000/a/b:v1", "reg:5000/a/b:v1", id="tag"),
        pytest.param(f"reg:5000/a/b@sha256:{HEX}", f"reg:5000/a/b@sha256:{HEX}", id="digest"),
        pytest.param(f"reg:5000/a:v1@sha256:{HEX}", f"reg:5000/a@sha256:{HEX}", id="both"),
    ],
)
def test_a_digest_needs_no_tag(image: str, expected: str) -> None:
    assert without_idle_tag(image) == expected


def containers(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": f"c{at}", "image": image, **({"imagePullPolicy": said} if said else {})}
        for at, (image, said) in enumerate(pairs)
    ]


def test_each_image_of_a_pod_is_wanted_once() -> None:
    pod = {
        "initContainers": [{"name": "first", "image": "i:1", "imagePullPolicy": "Never"}],
        "containers": containers(("b", "IfNotPresent"), ("i:1", ""), ("b", ""), ("c", "Never")),
    }
    assert list(policies(agent("v1", pod=pod)).items()) == [
        ("i:1", PullPolicy.IF_NOT_PRESENT),
        ("b", PullPolicy.ALWAYS),
        ("c", PullPolicy.NEVER),
    ]


@pytest.mark.parametrize(
    ("platform", "arch", "expected"),
    [
        pytest.param("linux/amd64", "amd64", True, id="same"),
        pytest.param("linux/386", "amd64", True, id="32-bit"),
        pytest.param("linux/arm", "arm64", True, id="arm-on-arm64"),
        pytest.param("linux/amd64", "386", False, id="64-bit-on-32"),
        pytest.param("linux/arm64", "amd64", False, id="another"),
        pytest.param("windows/amd64", "amd64", False, id="windows"),
        pytest.param("", "riscv64", True, id="untold"),
        pytest.param("/", "riscv64", True, id="empty"),
    ],
)
def test_which_machines_run_an_image(platform: str, arch: str, expected: bool) -> None:
    assert runs_on(platform, arch) is expected
