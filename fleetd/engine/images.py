"""Images are on a host before anything there is touched; a revision is one image everywhere.

The first host of each architecture pulls what the tag means at that moment; the digest it got is
pinned in the revision's record and every later host pulls that. An image that was pushed by fleetd
is pinned by its id, which the state knows. One that a host had already, without a registry behind
it, is used as it is and pins nothing.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fleetd.core.daemonset import DaemonSet, Secret
from fleetd.core.facts import HostProfile, Runtime
from fleetd.core.image import (
    PullPolicy,
    full_name,
    is_id,
    policies,
    repository,
    runs_on,
    without_idle_tag,
)
from fleetd.core.logins import Login, logins_of, opening
from fleetd.core.meta import Key
from fleetd.core.node import Node
from fleetd.core.pod import PodSpec
from fleetd.core.records import ImageRecord, ObjectRecord, Setting
from fleetd.engine.rendering import Rendering
from fleetd.engine.visits import Visits
from fleetd.host.replies import Failed, Ok, Pulled, Reply
from fleetd.host.requests import Pull, Wanted
from fleetd.ports import Clock, EventSink, Put, Store

_OWN_END = re.compile(r"\S+:\d+->(?=\S)")
PULL_S = 900.0
"""A pull that is not done by then is reported as failed; it goes on, and the next pass looks."""
TURN_S = 60.0
"""So long a host waits for another's look at the tags, before it looks itself."""
AT_ONCE = 32
"""So many hosts pull side by side: a registry is not to be met by a whole fleet at once."""


@dataclass(slots=True)
class Images:
    """Makes sure of images on hosts, and pins tags."""

    visits: Visits
    rendering: Rendering
    store: Store
    clock: Clock
    sink: EventSink
    fleet: str
    term: int
    first: dict[tuple[Key, str, str], asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def ensure(
        self, ds: Key, revision: str, node: Node, profile: HostProfile
    ) -> Reply | None:
        """Bring the revision's images to the host; None when they are there, else what is wrong."""
        if profile.runtime is Runtime.SYSTEMD:
            return None
        daemonset = self.rendering.daemonset(ds, revision)
        asked = policies(daemonset)
        logins, _ = pull_logins(self.store, daemonset)
        pins = self._pins(ds, revision, profile.arch)
        if not asked.keys() <= pins.keys():
            async with self._turn(ds, revision, profile.arch):
                pins = self._pins(ds, revision, profile.arch)
                wanted = _with_logins(self._wanted(asked, pins, profile.arch), logins)
                told = await self._pull(ds, node, profile, wanted)
                if not isinstance(told, Mapping):
                    return told
                mine = {
                    image: _pin_of(policy, told[one.image])
                    for (image, policy), one in zip(asked.items(), wanted, strict=True)
                }
                pins = self._pin(ds, revision, profile.arch, mine)
                if pins == mine:
                    return None
        wanted = _with_logins(self._wanted(asked, pins, profile.arch), logins)
        told = await self._pull(ds, node, profile, wanted)
        return None if isinstance(told, Mapping) else told

    @asynccontextmanager
    async def _turn(self, ds: Key, revision: str, arch: str) -> AsyncIterator[None]:
        """One host at a time looks tags up; one that takes long holds the others up no longer."""
        lock = self.first[ds, revision, arch]
        try:
            async with asyncio.timeout(TURN_S):
                await lock.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _wanted(
        self, asked: Mapping[str, PullPolicy], pins: Mapping[str, str], arch: str
    ) -> list[Wanted]:
        return [
            _pinned(image, pins[image], policy)
            if image in pins
            else self._first(image, policy, arch)
            for image, policy in asked.items()
        ]

    def _first(self, image: str, policy: PullPolicy, arch: str) -> Wanted:
        """How a revision asks for an image first: the one that was pushed, else what its name is.

        `Always` asks the registry, whatever is here.
        """
        if policy is not PullPolicy.ALWAYS:
            for row in self.store.read(Setting, name=pushed_name(image, arch)):
                return _pinned(image, row.value, policy)
        return Wanted(without_idle_tag(image), policy)

    async def _pull(
        self, ds: Key, node: Node, profile: HostProfile, images: tuple[Wanted, ...]
    ) -> Mapping[str, Pulled] | Reply:
        """What the host told of each image when all are there, else what is wrong."""
        async with self.room:
            reply = await self._until_there(ds, node, profile, images)
        if not isinstance(reply, Ok):
            return reply
        told = {pulled.image: pulled for pulled in reply.pulled}
        for wanted in images:
            platform = told[wanted.image].platform
            if not runs_on(platform, profile.arch):
                name = wanted.source or wanted.image
                why = f"image {name} is for {platform}, and this host is linux/{profile.arch}"
                return Failed("pull", why, None)
            if said := told[wanted.image].message:
                message = f"image {wanted.source or wanted.image}: {said}"
                self.sink.emit("image_not_asked", node=node.name, message=message)
        self.sink.emit("image_ready", node=node.name, images=_names(images))
        return told

    async def _until_there(
        self, ds: Key, node: Node, profile: HostProfile, images: tuple[Wanted, ...]
    ) -> Reply:
        """Ask until every image is there, one has failed, or the time is up."""
        end = self.clock.monotonic() + PULL_S
        order = Pull(self.fleet, self.term, profile.runtime, images, ds)
        while True:
            reply = await self.visits.send(node, order)
            if not isinstance(reply, Ok):
                return reply
            told = {pulled.image: pulled for pulled in reply.pulled}
            for wanted in images:
                name = wanted.source or wanted.image
                if wanted.image not in told:
                    return Failed("pull", f"image {name}: the host told nothing of it", None)
                if told[wanted.image].state == "failed":
                    message = without(alike(told[wanted.image].message), wanted.logins)
                    return Failed("pull", f"image {name}: {message}", None)
            if all(told[wanted.image].state == "present" for wanted in images):
                return reply
            if self.clock.monotonic() > end:
                return Failed("pull", f"still pulling {', '.join(_names(images))}", None)
            self.sink.emit("image_pulling", node=node.name, images=_names(images))

    def _pins(self, ds: Key, revision: str, arch: str) -> Mapping[str, str]:
        rows = self.store.read(
            ImageRecord, namespace=ds.namespace, name=ds.name, revision=revision, arch=arch
        )
        return {row.image: row.pinned for row in rows}

    def _pin(self, ds: Key, revision: str, arch: str, pins: Mapping[str, str]) -> Mapping[str, str]:
        """Pin what nobody has pinned meanwhile; what is pinned now."""
        known = self._pins(ds, revision, arch)
        self.store.commit(
            [
                Put(ImageRecord(ds.namespace, ds.name, revision, image, arch, pinned))
                for image, pinned in pins.items()
                if image not in known
            ]
        )
        return {**pins, **known}


def _names(images: Iterable[Wanted]) -> list[str]:
    return [wanted.source or wanted.image for wanted in images]


def _pinned(image: str, pinned: str, policy: PullPolicy) -> Wanted:
    """How to ask for what a revision has pinned: no tag is looked up a second time."""
    once = PullPolicy.NEVER if policy is PullPolicy.NEVER else PullPolicy.IF_NOT_PRESENT
    return Wanted(pinned, once, image if is_id(pinned) else "")


def _pin_of(policy: PullPolicy, seen: Pulled) -> str:
    if is_id(seen.image):
        return seen.image
    # What is never pulled cannot be had by a digest where a host lacks it.
    return seen.image if policy is PullPolicy.NEVER else reference(seen.image, seen.digest)


def _with_logins(images: Iterable[Wanted], logins: Sequence[Login]) -> tuple[Wanted, ...]:
    def of(image: str) -> tuple[str, ...]:
        return tuple(login.document(image) for login in opening(logins, image))

    return tuple(
        Wanted(
            *(wanted.image, wanted.policy, wanted.source),
            () if wanted.policy is PullPolicy.NEVER else of(wanted.source or wanted.image),
        )
        for wanted in images
    )


def pushed_name(image: str, arch: str) -> str:
    """The setting that holds the id of the image that was pushed last under this name."""
    return f"pushed-image {full_name(image)} {arch}"


def pull_logins(store: Store, daemonset: DaemonSet) -> tuple[tuple[Login, ...], tuple[str, ...]]:
    """The logins of the DaemonSet's imagePullSecrets, and what is wrong with those Secrets.

    As in Kubernetes a Secret that is missing or unreadable only has no logins: a host may be
    logged in itself.
    """
    spec = daemonset.spec.template.spec
    found: list[Login] = []
    wrong: list[str] = []
    for ref in spec.image_pull_secrets if isinstance(spec, PodSpec) else ():
        key = Key(daemonset.key.namespace, ref.name)
        rows = store.read(ObjectRecord, kind="Secret", namespace=key.namespace, name=key.name)
        if not rows:
            wrong.append(f"imagePullSecrets: there is no Secret {key}; pulling without it")
            continue
        secret = Secret.model_validate_json(rows[0].document_json)
        try:
            data = {name: b64decode("".join(text.split())) for name, text in secret.data.items()}
            found += logins_of(secret.type, data)
        except ValueError as error:
            wrong.append(f"imagePullSecrets: Secret {key}: {error}; pulling without it")
    return tuple(found), tuple(wrong)


def without(message: str, logins: Iterable[str]) -> str:
    """A host's message without any word that stands in a login."""
    for document in logins:
        for pair in re.findall(r'"auth": "([^"]+)"', document):
            password = b64decode(pair).decode().partition(":")[2]
            for word in filter(None, (pair, password)):
                message = message.replace(word, "...")
    return message


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
    name, _, hexadecimal = digest.partition("@sha256:")
    same = re.fullmatch(r"[0-9a-f]{64}", hexadecimal) and repository(name) == repository(image)
    return digest if same else image
