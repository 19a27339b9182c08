from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.bundle import Bundle, BundleFile, SecretBytes
from fleetd.core.facts import HostFacts, HostProfile, Runtime, Slot
from fleetd.core.image import policies
from fleetd.core.node import Node, Ssh
from fleetd.core.records import BundleRecord, ImageRecord, InstanceRecord, SecretValue
from fleetd.engine.rendering import CannotRender, Rendering
from fleetd.ports import Put
from fleetd.testing.store import FakeStore
from tests.sim.harness import AGENT, Sim, agent

PROFILE = HostProfile(Runtime.PODMAN, 4)
NODE = Node("n1", Ssh("192.0.2.1"))
FACTS = HostFacts("n1", "linux", "amd64", systemd=252, podman="4.3.1")


class Desk:
    """A state with one DaemonSet, and its renderings."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.revision = self.put("v1")
        self.rendering = Rendering(self.store)

    def put(self, version: str) -> str:
        return Sim(None, self.store).put(agent(version))  # type: ignore[arg-type]  # no fleet

    def bundle(self, rendering: Rendering | None = None, **more: Any) -> Bundle:
        return (rendering or self.rendering).bundle(
            AGENT, self.revision, more.pop("slot", Slot.A), more.pop("profile", PROFILE), **more
        )


def old_bundle(desk: Desk, profile: str = str(PROFILE)) -> Bundle:
    """A bundle that another renderer once made and stored."""
    made = Bundle(AGENT, "a", desk.revision, Runtime.PODMAN, (), (), stop_s=77)
    row = BundleRecord(
        *AGENT, desk.revision, profile, "a", digest=made.digest(), bundle_json=made.to_json()
    )
    desk.store.commit([Put(row)])
    return made


def test_what_was_rendered_once_is_stored_and_used_by_all() -> None:
    desk = Desk()
    made = desk.bundle()
    (row,) = desk.store.read(BundleRecord)
    assert (row.digest, Bundle.from_json(row.bundle_json)) == (made.digest(), made)
    commits = desk.store.commits
    assert desk.bundle() == desk.bundle(Rendering(desk.store)) == made
    assert desk.store.commits == commits


def test_what_another_renderer_made_is_used_as_it_is() -> None:
    desk = Desk()
    old_bundle(desk)
    assert desk.bundle().stop_s == 77


def test_each_profile_and_slot_has_a_bundle() -> None:
    desk = Desk()
    desk.bundle()
    desk.bundle(slot=Slot.B)
    desk.bundle(profile=replace(PROFILE, arch="arm64"))
    assert len(desk.store.read(BundleRecord)) == 3


def instance(desk: Desk, bundle: str) -> Put:
    return Put(
        InstanceRecord(
            *(*AGENT, "n1", "a", desk.revision, bundle, "Running"),
            *(True, True, 0, "", 0.0, 0.0),
        )
    )


def test_a_copy_is_mended_to_what_it_was_made_from() -> None:
    desk = Desk()
    own = old_bundle(desk, profile="podman3-systemd240-cgroup1-amd64")
    desk.store.commit([instance(desk, own.digest())])
    assert desk.bundle(mends="n1") == own
    assert desk.bundle(mends="n2") == desk.bundle() != own


def test_a_copy_whose_bundle_is_gone_is_mended_to_that_of_its_profile() -> None:
    desk = Desk()
    desk.store.commit([instance(desk, "digest-of-nothing")])
    assert desk.bundle(mends="n1") == desk.bundle()


def test_pins_are_rendered() -> None:
    desk = Desk()
    pin = f"example/agent@sha256:{'0' * 64}"
    row = ImageRecord(*AGENT, desk.revision, "example/agent:v1", "amd64", pinned=pin)
    desk.store.commit([Put(row)])
    assert desk.bundle().images == (pin,)
    assert desk.bundle(profile=replace(PROFILE, arch="arm64")).images == ("example/agent:v1",)


def test_a_revision_keeps_its_template_when_the_next_one_comes() -> None:
    desk = Desk()
    desk.put("v2")
    assert [*policies(desk.rendering.daemonset(AGENT, desk.revision))] == ["example/agent:v1"]


def with_secret() -> Bundle:
    file = BundleFile("/etc/pass", 0o600, SecretBytes("default", "pass", "key", "d1"))
    return Bundle(AGENT, "a", "r1", Runtime.PODMAN, (file,), ())


def test_secrets_are_found_by_their_digest() -> None:
    desk = Desk()
    desk.store.commit([Put(SecretValue("d1", base64.b64encode(b"\xffs3cr3t").decode()))])
    assert desk.rendering.secrets(with_secret()) == {"default/pass/key": b"\xffs3cr3t"}


def test_a_secret_that_is_gone_is_named_and_not_shown() -> None:
    desk = Desk()
    desk.store.commit([Put(SecretValue("d2", base64.b64encode(b"s3cr3t").decode()))])
    with pytest.raises(CannotRender, match=r"default/pass key key .* apply the DaemonSet again"):
        desk.rendering.secrets(with_secret())


@pytest.mark.parametrize(
    ("revision", "message"), [("r0", "revision r0 of default/agent is not known")]
)
def test_an_unknown_revision_cannot_be_rendered(revision: str, message: str) -> None:
    with pytest.raises(CannotRender, match=message):
        Desk().rendering.bundle(AGENT, revision, Slot.A, PROFILE)


def test_a_host_that_cannot_run_it_is_told_why() -> None:
    desk = Desk()
    with pytest.raises(CannotRender, match="neither podman nor docker"):
        desk.rendering.profile(AGENT, desk.revision, NODE, replace(FACTS, podman=""))


def test_each_host_has_its_own_values() -> None:
    desk = Desk()
    mine, other = (
        desk.rendering.values(AGENT, desk.revision, Slot.A, replace(NODE, name=name), "f")
        for name in ("n1", "n2")
    )
    assert mine.keys() == other.keys()
    assert "agent-n1" in json.dumps(dict(mine))
    beside = desk.rendering.values(AGENT, desk.revision, Slot.B, replace(NODE, name="n1"), "f")
    assert "agent-n1-b" in json.dumps(dict(beside))
    assert mine != other
