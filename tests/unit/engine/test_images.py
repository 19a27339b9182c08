from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleetd.core.facts import HostProfile, Runtime
from fleetd.core.node import Node, Ssh
from fleetd.core.records import ImageRecord
from fleetd.engine.images import PULL_S, Images, images_of, reference
from fleetd.engine.rendering import Rendering
from fleetd.engine.visits import Visits
from fleetd.host.replies import Failed, Lost, Ok, Pulled, render_reply
from fleetd.host.requests import Pull
from fleetd.host.wire import decode
from fleetd.ports import Output
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
    together: int = 0

    async def run(self, name: str, ssh: Ssh, stdin: bytes, **bounds: Any) -> Output:
        nonce, request = decode(stdin)
        assert isinstance(request, Pull)
        self.asked.append(request.images)
        self.together += 1
        await asyncio.sleep(request.wait_s)
        assert self.together == 1, "two hosts pull a tag at once"
        self.together -= 1
        return Output(0, render_reply(nonce, self.answer(request)))

    async def close(self) -> None:
        pass


def images(hosts: Hosts) -> tuple[Images, str]:
    store = FakeStore()
    revision = Sim(None, store).put(agent("v1"))  # type: ignore[arg-type]  # there is no fleet
    return (
        Images(Visits(hosts), Rendering(store), store, LoopClock(), Quiet(), "f"),
        revision,
    )


def present(request: Pull) -> Ok:
    return Ok(pulled=tuple(Pulled(ref, "present", "id", DIGEST) for ref in request.images))


def pins(made: Images) -> dict[str, str]:
    return {row.image: row.pinned for row in made.store.read(ImageRecord)}


def test_the_first_host_pins_what_the_tag_meant_and_the_others_pull_that() -> None:
    async def story() -> None:
        hosts = Hosts(present)
        made, revision = images(hosts)
        both = await asyncio.gather(*(made.ensure(AGENT, revision, NODE, PODMAN) for _ in range(2)))
        assert both == [None, None]
        assert hosts.asked == [(IMAGE,), (DIGEST,)]
        assert pins(made)[IMAGE] == DIGEST

    loop.run(story(), seed=1)


def test_each_architecture_has_its_own_pin() -> None:
    async def story() -> None:
        hosts = Hosts(present)
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


def test_an_image_is_named_once() -> None:
    containers = [{"name": name, "image": image} for name, image in ("ax", "by", "cx")]
    assert images_of(agent("v1", pod={"containers": containers})) == ("x", "y")
