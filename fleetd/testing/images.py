"""The images of a simulated host: what it pulls, is given, keeps for copies, and collects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fleetd.core.facts import Slot
from fleetd.core.image import PullPolicy, full_name, is_id, repository
from fleetd.core.meta import Key
from fleetd.host.replies import Ok, Pulled
from fleetd.host.requests import Load, Pull, Wanted

Place = tuple[Key, Slot]


@dataclass(slots=True)
class Registry:
    """Where hosts pull from: everything is there but what is `missing`.

    `private` names need a login, any login; `platforms` are told where they are not linux/amd64.
    """

    missing: set[str] = field(default_factory=set)
    pull_s: float = 2.0
    down: bool = False
    private: set[str] = field(default_factory=set)
    platforms: dict[str, str] = field(default_factory=dict)

    def digest(self, image: str) -> str:
        """The reference by digest that a tag stands for; one by digest is its own."""
        if "@" in image:
            return image
        head, slash, name = image.rpartition("/")
        short = f"{head}{slash}{name.partition(':')[0]}"
        return f"{short}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"

    def refusal(self, wanted: Wanted) -> str:
        """Why a pull of it fails; "" when it does not."""
        name = wanted.source or wanted.image
        if self.down:
            return f"{name}: dial tcp: no route to host"
        if name in self.missing:
            return f"{name}: manifest unknown"
        if repository(name) in map(repository, self.private) and not wanted.logins:
            return f"{name}: unauthorized: authentication required"
        return ""


@dataclass(slots=True)
class SimImages:
    """What is `present` by name, digest or id; only what fleetd `brought` is ever removed."""

    registry: Registry
    clock: Callable[[], float]
    present: set[str] = field(default_factory=set)
    brought: dict[str, Key | None] = field(default_factory=dict)
    pulls: dict[str, float] = field(default_factory=dict)
    used: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    previous: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """Of what was loaded, by name."""

    def pull(self, request: Pull) -> tuple[Ok, float]:
        """Start what is missing, and wait for it as long as the request says."""
        now = self.clock()
        takes_s = 0.0
        for wanted in request.images:
            there = wanted.image in self.present and wanted.policy is not PullPolicy.ALWAYS
            if not there and wanted.policy is not PullPolicy.NEVER:
                started = self.pulls.setdefault(wanted.image, now)
                left = started + self.registry.pull_s - now
                takes_s = max(takes_s, min(left, float(request.wait_s)))
        told = (self._pulled(wanted, request.ds, now + takes_s) for wanted in request.images)
        return Ok(pulled=tuple(told)), takes_s

    def _pulled(self, wanted: Wanted, ds: Key | None, by: float) -> Pulled:
        image = wanted.image
        digest = "" if is_id(image) else self.registry.digest(image)
        started = self.pulls.get(image)
        if started is not None and by < started + self.registry.pull_s:
            return Pulled(image, "pulling")
        if started is None and image not in self.present:
            return Pulled(image, "failed", message="it is not on this host: imagePullPolicy Never")
        if started is not None:
            del self.pulls[image]
            why = self.registry.refusal(wanted)
            if self.registry.down and image in self.present:
                return Pulled(image, "present", "id", message=f"used as it is: {why}")
            if why:
                return Pulled(image, "failed", message=why)
            if is_id(image):
                return Pulled(image, "failed", message=f"{wanted.source} is another image there")
            for name in {image, digest} - self.present:
                self.brought[name] = ds
                self.present.add(name)
        platform = self.registry.platforms.get(image, "linux/amd64")
        identity = self.ids.get(image, f"id-{(digest or image)[-12:]}")
        return Pulled(image, "present", identity, digest, platform=platform)

    def load(self, request: Load) -> Ok:
        """Take in what an archive holds, by id and by name."""
        for identity, name in request.images:
            self.ids[full_name(name)] = identity
            for word in {identity, full_name(name)} - self.present:
                self.brought[word] = None
                self.present.add(word)
        return Ok(
            pulled=tuple(Pulled(identity, "present", identity) for identity, _ in request.images)
        )

    def use(self, place: Place, images: tuple[str, ...]) -> None:
        """A copy has these images from now on; none when it is gone."""
        ds, _ = place
        had = self.used.pop(place, ())
        if images:
            self.used[place] = images
        now = {image for at, held in self.used.items() if at[0] == ds for image in held}
        lost = tuple(image for image in had if image not in now)
        if not now:
            self.previous.pop(ds, None)
        elif lost:
            self.previous[ds] = lost
        self._collect(ds, had)

    def _collect(self, ds: Key, had: Iterable[str]) -> None:
        needed = {
            image for held in (*self.used.values(), *self.previous.values()) for image in held
        }
        keys = {self.registry.digest(image) for image in needed if not is_id(image)}
        for image, owner in list(self.brought.items()):
            key = image if is_id(image) else self.registry.digest(image)
            if image not in needed and key not in keys and (owner == ds or image in had):
                self.forget(image)

    def forget(self, image: str) -> None:
        """Take one away that fleetd brought."""
        del self.brought[image]
        self.present.discard(image)
