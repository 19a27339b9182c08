from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleetd.core.facts import HostProfile, Runtime
from fleetd.core.image import PullPolicy
from fleetd.core.node import Node, Ssh
from fleetd.core.records import ImageRecord, ObjectRecord, Setting
from fleetd.engine.images import AT_ONCE, PULL_S, Images, pull_logins, pushed_name, reference
from fleetd.engine.rendering import Rendering
from fleetd.engine.visits import Visits
from fleetd.host.replies import Failed, Lost, Ok, Pulled, render_reply
from fleetd.host.requests import Pull, Wanted
from fleetd.host.wire import decode
from fleetd.ports import Output, Put
from fleetd.testing import loop
from fleetd.testing.loop import LoopClock
from fleetd.testing.store import FakeStore
from tests.sim.harness import AGENT, Quiet, Sim, agent

NODE = Node("h01", Ssh("h01.fake"))
PODMAN = HostProfile(Runtime.PODMAN, 4)
IMAGE = "example/agent:v1"
HEX = "0123456789abcdef" * 4
DIGEST = f"example/agent@sha256:{HEX}"


@dataclass
class Hosts:
    """Answers each pull by `answer`, and keeps what was asked."""

    answer: Callable[[Pull], Ok | Failed]
    asked: list[tuple[str, ...]] = field(default_factory=list)
    wanted: list[tuple[Wanted, ...]] = field(default_factory=list)
    together: int = 0
    most: int = 0

    async def run(self, name: str, ssh: Ssh, stdin: bytes, **bounds: Any) -> Output:
        nonce, request = decode(stdin)
        assert isinstance(request, Pull)
        self.asked.append(tuple(wanted.image for wanted in request.images))
        self.wanted.append(request.images)
        self.together += 1
        self.most = max(self.most, self.together)
        await asyncio.sleep(request.wait_s)
        self.together -= 1
        return Output(0, render_reply(nonce, self.answer(request)))

    async def close(self) -> None:
        pass


def images(hosts: Hosts, **template: Any) -> tuple[Images, str]:
    store = FakeStore()
    revision = Sim(None, store).put(agent("v1", **template))  # type: ignore[arg-type]  # there is no fleet
    return (
        Images(Visits(hosts), Rendering(store), store, LoopClock(), Quiet(), "f", 1),
        revision,
    )


def present(request: Pull, platform: str = "linux/amd64") -> Ok:
    return Ok(
        pulled=tuple(
            Pulled(wanted.image, "present", "id", DIGEST, platform=platform)
            for wanted in request.images
        )
    )


def pins(made: Images) -> dict[str, str]:
    return {row.image: row.pinned for row in made.store.read(ImageRecord)}


def test_the_first_host_pins_what_the_tag_meant_and_the_others_pull_that() -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts)
        both = await asyncio.gather(*(made.ensure(AGENT, revision, NODE, PODMAN) for _ in range(2)))
        assert both == [None, None]
        assert hosts.asked == [(IMAGE,), (DIGEST,)]
        assert hosts.most == 1, "two hosts pull a tag at once"
        assert pins(made)[IMAGE] == DIGEST

    loop.run(story(), seed=1)


@pytest.mark.parametrize("policy", ["IfNotPresent", "Never", "Always"])
def test_a_name_with_tag_and_digest_is_asked_for_by_its_digest(policy: str) -> None:
    async def story() -> None:
        hosts = Hosts(present)
        both = f"{IMAGE}@sha256:{HEX}"
        made, revision = images(hosts, pod=container(image=both, imagePullPolicy=policy))
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert hosts.asked == [(DIGEST,)]
        assert pins(made) == {both: DIGEST}

    loop.run(story(), seed=1)


def test_a_slow_first_host_holds_nobody_up_and_runs_what_the_others_do() -> None:
    async def story() -> None:
        late = DIGEST.replace("0123", "ffff")

        class Uneven(Hosts):
            async def run(self, name: str, ssh: Ssh, stdin: bytes, **bounds: Any) -> Output:
                nonce, request = decode(stdin)
                assert isinstance(request, Pull)
                (wanted,) = request.images
                self.asked.append((name, wanted.image))
                slow = name == "h01" and wanted.image == IMAGE
                await asyncio.sleep(300 if slow else 1)
                digest = late if slow else DIGEST
                pulled = Pulled(wanted.image, "present", "id", digest)
                return Output(0, render_reply(nonce, Ok(pulled=(pulled,))))

        hosts = Uneven(present)
        made, revision = images(hosts)
        first = asyncio.create_task(made.ensure(AGENT, revision, NODE, PODMAN))
        await asyncio.sleep(1)
        other = Node("h02", Ssh("h02.fake"))
        assert await made.ensure(AGENT, revision, other, PODMAN) is None
        assert not first.done()
        assert await first is None
        assert pins(made) == {IMAGE: DIGEST}
        assert hosts.asked == [("h01", IMAGE), ("h02", IMAGE), ("h01", DIGEST)]

    loop.run(story(), seed=1)


def test_each_architecture_has_its_own_pin() -> None:
    async def story() -> None:
        hosts = Hosts(lambda request: present(request, ""))
        made, revision = images(hosts)
        for arch in ("amd64", "arm64"):
            profile = HostProfile(Runtime.PODMAN, 4, arch=arch)
            assert await made.ensure(AGENT, revision, NODE, profile) is None
        assert hosts.asked == [(IMAGE,), (IMAGE,)]

    loop.run(story(), seed=1)


def test_a_pull_is_asked_for_until_it_is_done() -> None:
    async def story() -> None:
        def answer(request: Pull) -> Ok:
            return (
                present(request) if len(hosts.asked) > 3 else Ok(pulled=(Pulled(IMAGE, "pulling"),))
            )

        hosts = Hosts(answer)
        made, revision = images(hosts)
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert len(hosts.asked) == 4

    loop.run(story(), seed=1)


def test_a_pull_without_an_end_is_given_up() -> None:
    async def story() -> None:
        hosts = Hosts(lambda _: Ok(pulled=(Pulled(IMAGE, "pulling"),)))
        made, revision = images(hosts)
        assert await made.ensure(AGENT, revision, NODE, PODMAN) == Failed(
            "pull", f"still pulling {IMAGE}", None
        )
        assert made.clock.monotonic() < PULL_S * 1.1
        assert pins(made) == {}

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("pulled", "message"),
    [
        pytest.param(
            (Pulled(IMAGE, "failed", message="manifest unknown"),), "manifest unknown", id="failed"
        ),
        pytest.param((Pulled("other", "present"),), "told nothing", id="another-image"),
        pytest.param(
            (Pulled("other", "failed"), Pulled(IMAGE, "failed", message="no")), "no", id="both"
        ),
    ],
)
def test_a_failed_pull_pins_nothing(pulled: tuple[Pulled, ...], message: str) -> None:
    async def story() -> None:
        made, revision = images(Hosts(lambda _: Ok(pulled=pulled)))
        reply = await made.ensure(AGENT, revision, NODE, PODMAN)
        assert isinstance(reply, Failed)
        assert message in reply.message
        assert IMAGE in reply.message
        assert pins(made) == {}

    loop.run(story(), seed=1)


def test_a_host_that_does_not_answer_is_lost() -> None:
    async def story() -> None:
        class Silent(Hosts):
            async def run(self, name: str, ssh: Ssh, stdin: bytes, **bounds: Any) -> Output:
                return Output(None, error="no route", sent=False)

        made, revision = images(Silent(present))
        assert isinstance(await made.ensure(AGENT, revision, NODE, PODMAN), Lost)

    loop.run(story(), seed=1)


def test_a_host_tells_of_no_other_images_than_were_asked_for() -> None:
    async def story() -> None:
        def answer(request: Pull) -> Ok:
            told = present(request).pulled
            return Ok(pulled=(*told, Pulled("bystander:1", "present", "id", DIGEST)))

        made, revision = images(Hosts(answer))
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert list(pins(made)) == [IMAGE]

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("image", "digest", "expected"),
    [
        pytest.param(IMAGE, DIGEST, DIGEST, id="its-own"),
        pytest.param(IMAGE, f"docker.io/{DIGEST}", f"docker.io/{DIGEST}", id="docker's"),
        pytest.param(
            "busybox",
            f"docker.io/library/busybox@sha256:{HEX}",
            f"docker.io/library/busybox@sha256:{HEX}",
            id="a-library's",
        ),
        pytest.param(
            "reg.test:5000/a/b:1",
            f"reg.test:5000/a/b@sha256:{HEX}",
            f"reg.test:5000/a/b@sha256:{HEX}",
            id="a-registry-with-a-port",
        ),
        pytest.param(IMAGE, "", IMAGE, id="none"),
        pytest.param(IMAGE, f"evil.test/{DIGEST}", IMAGE, id="another-registry's"),
        pytest.param(IMAGE, f"evil/agent@sha256:{HEX}", IMAGE, id="another-repository's"),
        pytest.param(IMAGE, "example/agent:latest", IMAGE, id="a-tag"),
        pytest.param(IMAGE, f"{DIGEST}0", IMAGE, id="too-long"),
        pytest.param(DIGEST, f"example/agent@sha256:{'0' * 64}", DIGEST, id="pinned-by-hand"),
    ],
)
def test_one_host_cannot_choose_another_image_for_all(
    image: str, digest: str, expected: str
) -> None:
    assert reference(image, digest) == expected


def test_systemd_needs_no_images() -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts)
        assert await made.ensure(AGENT, revision, NODE, HostProfile(Runtime.SYSTEMD)) is None
        assert hosts.asked == []

    loop.run(story(), seed=1)


# ------------------------------------------------------------------------------ architectures


@pytest.mark.parametrize("platform", ["linux/s390x", "linux/arm64", "windows/amd64"])
def test_an_image_for_other_machines_is_refused_and_pins_nothing(platform: str) -> None:
    async def story() -> None:
        made, revision = images(Hosts(lambda request: present(request, platform)))
        reply = await made.ensure(AGENT, revision, NODE, PODMAN)
        why = f"image {IMAGE} is for {platform}, and this host is linux/amd64"
        assert reply == Failed("pull", why, None)
        assert pins(made) == {}

    loop.run(story(), seed=1)


def test_hosts_pull_side_by_side_within_a_bound() -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts)
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        many = (Node(f"h{at}", Ssh(f"h{at}.fake")) for at in range(AT_ONCE * 2))
        told = await asyncio.gather(*(made.ensure(AGENT, revision, at, PODMAN) for at in many))
        assert set(told) == {None}
        assert hosts.most == AT_ONCE

    loop.run(story(), seed=1)


# ----------------------------------------------------------------------------------- policies


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", "image": IMAGE, **fields}]}


@pytest.mark.parametrize(
    ("policy", "first", "later"),
    [
        pytest.param("Always", Wanted(IMAGE, PullPolicy.ALWAYS), Wanted(DIGEST), id="always"),
        pytest.param("IfNotPresent", Wanted(IMAGE), Wanted(DIGEST), id="if-not-present"),
        pytest.param(
            "Never",
            Wanted(IMAGE, PullPolicy.NEVER),
            Wanted(IMAGE, PullPolicy.NEVER),
            id="never",
        ),
    ],
)
def test_a_policy_is_for_the_first_look_of_a_revision(
    policy: str, first: Wanted, later: Wanted
) -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts, pod=container(imagePullPolicy=policy))
        for _ in range(2):
            assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert hosts.wanted == [(first,), (later,)]

    loop.run(story(), seed=1)


# -------------------------------------------------------------------------------- pushed ones

ID = f"sha256:{'ab' * 32}"


def pushed(made: Images, name: str = IMAGE) -> None:
    made.store.commit([Put(Setting(pushed_name(name, "amd64"), ID))])


@pytest.mark.parametrize("policy", ["IfNotPresent", "Never"])
def test_a_pushed_image_is_pinned_by_its_id(policy: str) -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts, pod=container(imagePullPolicy=policy))
        pushed(made, f"docker.io/{IMAGE}")
        for _ in range(2):
            assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert set(hosts.wanted) == {(Wanted(ID, PullPolicy(policy), IMAGE),)}
        assert pins(made) == {IMAGE: ID}

    loop.run(story(), seed=1)


def test_always_asks_the_registry_whatever_was_pushed() -> None:
    async def story() -> None:
        made, revision = images(Hosts(present), pod=container(imagePullPolicy="Always"))
        pushed(made)
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert pins(made) == {IMAGE: DIGEST}

    loop.run(story(), seed=1)


def test_another_architecture_s_push_is_not_used() -> None:
    async def story() -> None:
        made, revision = images(Hosts(lambda request: present(request, "linux/arm64")))
        pushed(made)
        profile = HostProfile(Runtime.PODMAN, 4, arch="arm64")
        assert await made.ensure(AGENT, revision, NODE, profile) is None
        assert pins(made) == {IMAGE: DIGEST}

    loop.run(story(), seed=1)


def test_a_host_cannot_pin_an_id() -> None:
    assert reference(IMAGE, ID) == IMAGE


# ------------------------------------------------------------------------------------- logins


def secret(document: str, kind: str = "kubernetes.io/dockerconfigjson") -> Put:
    key = ".dockerconfigjson" if kind.endswith("json") else ".dockercfg"
    data = {key: base64.b64encode(document.encode()).decode()}
    body = {"metadata": {"name": "login", "namespace": AGENT.namespace}, "type": kind, "data": data}
    return Put(
        ObjectRecord(
            *("Secret", AGENT.namespace, "login", "u", 1, 1),
            document_json=json.dumps(body),
            last_applied_json="",
            created=0.0,
        )
    )


PRIVATE = "registry.example/team/agent:v1"
LOGIN = json.dumps({"auths": {"registry.example": {"username": "me", "password": "swordfish"}}})


def private() -> dict[str, Any]:
    return {**container(image=PRIVATE), "imagePullSecrets": [{"name": "login"}]}


def test_a_pull_carries_the_login_of_its_registry() -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts, pod=private())
        made.store.commit([secret(LOGIN)])
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        ((wanted,),) = hosts.wanted
        (document,) = wanted.logins
        pair = base64.b64encode(b"me:swordfish").decode()
        assert json.loads(document) == {"auths": {"registry.example": {"auth": pair}}}
        assert "swordfish" not in repr(wanted)
        assert pair not in repr(wanted)

    loop.run(story(), seed=1)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        pytest.param(None, "there is no Secret default/login", id="missing"),
        pytest.param(secret("{"), "no Docker configuration", id="unreadable"),
        pytest.param(secret("{}", "Opaque"), "its type is Opaque", id="another-type"),
    ],
)
def test_a_host_may_be_logged_in_itself(change: Put | None, note: str) -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts, pod=private())
        made.store.commit([change] if change else [])
        assert await made.ensure(AGENT, revision, NODE, PODMAN) is None
        assert hosts.wanted == [(Wanted(PRIVATE),)]
        _, (wrong,) = pull_logins(made.store, made.rendering.daemonset(AGENT, revision))
        assert note in wrong

    loop.run(story(), seed=1)


def test_a_failure_tells_nothing_of_a_login() -> None:
    async def story() -> None:
        pair = base64.b64encode(b"me:swordfish").decode()

        def answer(request: Pull) -> Ok:
            said = f"GET /?auth={pair}&p=swordfish: unauthorized"
            return Ok(pulled=(Pulled(PRIVATE, "failed", message=said),))

        made, revision = images(Hosts(answer), pod=private())
        made.store.commit([secret(LOGIN)])
        reply = await made.ensure(AGENT, revision, NODE, PODMAN)
        why = f"image {PRIVATE}: GET /?auth=...&p=...: unauthorized"
        assert reply == Failed("pull", why, None)

    loop.run(story(), seed=1)
