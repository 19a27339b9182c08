"""Images are on a host before anything there is touched; a revision is one image everywhere.

The first host of each architecture pulls what the tag means at that moment; the digest it got is
pinned in the revision's record and every later host pulls that. An image that a host had already,
without a registry behind it, is used as it is and pins nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostProfile, Runtime
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.pod import PodSpec
from fleetd.core.records import ImageRecord
from fleetd.engine.rendering import Rendering
from fleetd.engine.visits import Visits
from fleetd.host.replies import Failed, Ok, Pulled, Reply
from fleetd.host.requests import Pull
from fleetd.ports import Clock, EventSink, Put, Store

_OWN_END = re.compile(r"\S+:\d+->(?=\S)")
PULL_S = 900.0
"""A pull that is not done by then is reported as failed; it goes on, and the next pass looks."""


@dataclass(slots=True)
class Images:
    """Makes sure of images on hosts, and pins tags."""

    visits: Visits
    rendering: Rendering
    store: Store
    clock: Clock
    sink: EventSink
    fleet: str
    first: dict[tuple[Key, str, str], asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    async def ensure(
        self, ds: Key, revision: str, node: Node, profile: HostProfile
    ) -> Reply | None:
        """Bring the revision's images to the host; None when they are there, else what is wrong."""
        if profile.runtime is Runtime.SYSTEMD:
            return None
        images = images_of(self.rendering.daemonset(ds, revision))
        pins = self._pins(ds, revision, profile.arch)
        if all(image in pins for image in images):
            return await self._pull(node, profile, tuple(pins[image] for image in images), None)

        def pin(pulled: Mapping[str, Pulled]) -> None:
            self._pin(ds, revision, profile.arch, pulled)

        async with self.first[ds, revision, profile.arch]:
            pins = self._pins(ds, revision, profile.arch)
            wanted = tuple(pins.get(image, image) for image in images)
            return await self._pull(node, profile, wanted, pin)

    async def _pull(
        self,
        node: Node,
        profile: HostProfile,
        images: tuple[str, ...],
        done: Callable[[Mapping[str, Pulled]], None] | None,
    ) -> Reply | None:
        """Ask until every image is there, one has failed, or the time is up."""
        end = self.clock.monotonic() + PULL_S
        while True:
            reply = await self.visits.send(node, Pull(self.fleet, profile.runtime, images))
            if not isinstance(reply, Ok):
                return reply
            told = {pulled.image: pulled for pulled in reply.pulled}
            for image in images:
                if image not in told:
                    return Failed("pull", f"image {image}: the host told nothing of it", None)
                if told[image].state == "failed":
                    message = alike(told[image].message)
                    return Failed("pull", f"image {image}: {message}", None)
            if all(told[image].state == "present" for image in images):
                if done is not None:
                    done({image: told[image] for image in images})
                self.sink.emit("image_ready", node=node.name, images=list(images))
                return None
            if self.clock.monotonic() > end:
                return Failed("pull", f"still pulling {', '.join(images)}", None)
            self.sink.emit("image_pulling", node=node.name, images=list(images))

    def _pins(self, ds: Key, revision: str, arch: str) -> dict[str, str]:
        rows = self.store.read(
            ImageRecord, namespace=ds.namespace, name=ds.name, revision=revision, arch=arch
        )
        return {row.image: row.pinned for row in rows}

    def _pin(self, ds: Key, revision: str, arch: str, pulled: Mapping[str, Pulled]) -> None:
        self.store.commit(
            [
                Put(
                    ImageRecord(
                        *(ds.namespace, ds.name, revision, image, arch),
                        pinned=reference(image, seen.digest),
                    )
                )
                for image, seen in pulled.items()
            ]
        )


def alike(message: str) -> str:
    """An engine's message without its own end of a connection.

    The same failure is then the same on every host and at every try, and counts as one.
    """
    return _OWN_END.sub("", message)


def reference(image: str, digest: str) -> str:
    """What every host is to pull: the digest that the first one got, else the image as it is named.

    One host's word decides for all the others here, so it is taken for nothing but a digest of the
    very repository that was asked for.
    """
    if "@" in image:
        return image
    head, slash, name = image.rpartition("/")
    repository = re.escape(f"{head}{slash}{name.partition(':')[0]}")
    docker = r"(docker\.io/(library/)?)?"
    return digest if re.fullmatch(rf"{docker}{repository}@sha256:[0-9a-f]{{64}}", digest) else image


def images_of(daemonset: DaemonSet) -> tuple[str, ...]:
    """The images of a template, each once, in order."""
    spec = daemonset.spec.template.spec
    if not isinstance(spec, PodSpec):
        return ()
    return tuple(dict.fromkeys(container.image for container in spec.containers))
