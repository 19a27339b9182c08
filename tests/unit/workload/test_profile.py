from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.core.facts import HostFacts, HostProfile, Runtime
from fleetd.core.node import Node, Ssh
from fleetd.workload.errors import RenderError
from fleetd.workload.profile import profile_of
from fleetd.workload.values import host_values
from tests.unit.workload.rendering import daemonset

POD = daemonset({"containers": [{"name": "main", "image": "x"}]})
UNIT = daemonset({"systemd": {"unit": "[Service]\nExecStart=/x\n"}}, "fleetd/v1")
FACTS = HostFacts("web-1", "linux", "amd64", systemd=252, podman="4.3.1", docker="20.10.24+dfsg1")


def node(**labels: str) -> Node:
    named = {f"fleetd/{key}": value for key, value in labels.items()}
    return Node("web-1", Ssh("10.0.0.1"), named)


def profile(facts: HostFacts = FACTS, **labels: str) -> HostProfile:
    return profile_of(POD, node(**labels), facts)


def test_podman_comes_first_and_the_label_decides() -> None:
    assert profile().runtime is Runtime.PODMAN
    assert profile(runtime="docker").runtime is Runtime.DOCKER
    assert profile(replace(FACTS, podman="")).runtime is Runtime.DOCKER


def test_a_systemd_workload_asks_nothing_of_engines() -> None:
    bare = HostFacts("web-1", "linux", "arm64", systemd=240, cgroup=1, selinux=True)
    assert profile_of(UNIT, node(), bare) == profile_of(UNIT, node(runtime="x"), bare)
    assert profile_of(UNIT, node(), bare).arch == "arm64"


def test_versions_that_render_alike_are_one_class() -> None:
    assert profile() == profile(replace(FACTS, podman="4.9.4-rhel", systemd=250))
    assert profile() != profile(replace(FACTS, podman="5.4.2"))
    assert profile(replace(FACTS, systemd=260, podman="7.0")).systemd == 254
    older, newer = (replace(FACTS, podman="", docker=version) for version in ("20.10.24", "27.1"))
    assert (profile(older).runtime_version, profile(newer).runtime_version) == (20, 23)


@pytest.mark.parametrize(
    ("facts", "labels", "message"),
    [
        pytest.param(replace(FACTS, podman="", docker=""), {}, "neither podman nor", id="none"),
        pytest.param(replace(FACTS, podman="2.2.1"), {}, "needed is 3.0", id="old-podman"),
        pytest.param(FACTS, {"runtime": "crio"}, "not podman or docker", id="other-engine"),
        pytest.param(
            replace(FACTS, docker=""), {"runtime": "docker"}, "has no docker", id="not-there"
        ),
        pytest.param(replace(FACTS, docker="19.03"), {"runtime": "docker"}, "20.10", id="old"),
        pytest.param(replace(FACTS, podman="?"), {}, "needed is", id="unreadable"),
        pytest.param(replace(FACTS, systemd=219), {}, "systemd 219", id="old-systemd"),
        pytest.param(replace(FACTS, systemd=0), {}, "systemd unknown", id="no-systemd"),
    ],
)
def test_a_host_that_lacks_something_is_told_what(
    facts: HostFacts, labels: dict[str, str], message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        profile(facts, **labels)


def test_values_of_a_host() -> None:
    values = host_values(POD, node(), "f1")
    assert values == {
        "FLEETD_NODE_NAME": "web-1",
        "FLEETD_HOST_IP": "10.0.0.1",
        "FLEETD_POD_NAME": "agent.v2-web-1",
        "FLEETD_NAMESPACE": "mon",
        "FLEETD_POD_UID": "85ed9653-0633-5870-9a06-f40ca8f6395e",
        "FLEETD_NAME": "agent.v2",
        "FLEETD_FLEET": "f1",
    }


def test_an_uid_is_of_one_copy() -> None:
    here = host_values(POD, node(), "f1")["FLEETD_POD_UID"]
    assert here == host_values(POD, node(runtime="docker"), "f1")["FLEETD_POD_UID"]
    assert here != host_values(POD, replace(node(), name="web-2"), "f1")["FLEETD_POD_UID"]
    assert here != host_values(POD, node(), "f2")["FLEETD_POD_UID"]


def test_a_value_that_is_not_plain_is_refused() -> None:
    with pytest.raises(RenderError, match="FLEETD_HOST_IP"):
        host_values(POD, replace(node(), ssh=Ssh("10.0.0.1; reboot")), "f1")
