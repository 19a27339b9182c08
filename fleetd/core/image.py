"""What the name of an image says, and Kubernetes' rules about it.

Apart from engines and registries, which only carry these rules out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from fleetd.core.daemonset import DaemonSet
from fleetd.core.pod import PodSpec

HUB = "docker.io"
"""The registry of a name that tells none, as in Kubernetes."""
_ID = re.compile(r"sha256:[0-9a-f]{64}\Z")
_RUNS: Mapping[str, frozenset[str]] = {
    "amd64": frozenset({"amd64", "386"}),
    "arm64": frozenset({"arm64", "arm"}),
}


class PullPolicy(StrEnum):
    """Kubernetes' imagePullPolicy."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


def is_id(reference: str) -> bool:
    """Whether this is an image's own id, which no registry can be asked for."""
    return _ID.match(reference) is not None


def full_name(image: str) -> str:
    """The name with its registry and tag: `busybox` is `docker.io/library/busybox:latest`."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"{HUB}/library/{image}"
    elif not ("." in first or ":" in first or first == "localhost"):
        image = f"{HUB}/{image}"
    return image if "@" in image or _tag(image) else f"{image}:latest"


def repository(image: str) -> str:
    """The full name without tag and digest."""
    name = full_name(image).partition("@")[0]
    tag = _tag(name)
    return name.removesuffix(f":{tag}") if tag else name


def without_idle_tag(image: str) -> str:
    """The name without the tag that a digest overrules: podman 3 takes no name that has both."""
    name, at, digest = image.partition("@")
    tag = _tag(name)
    return f"{name.removesuffix(f':{tag}')}@{digest}" if at and tag else image


def _tag(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[2]


def default_policy(image: str) -> PullPolicy:
    """What Kubernetes takes where imagePullPolicy is not said."""
    latest = "@" not in image and _tag(image) in {"", "latest"}
    return PullPolicy.ALWAYS if latest else PullPolicy.IF_NOT_PRESENT


def policies(daemonset: DaemonSet) -> dict[str, PullPolicy]:
    """The images of a template, init containers first, each once with how it is to be pulled.

    Where containers of one image differ, the one that asks a registry most often wins.
    """
    spec = daemonset.spec.template.spec
    found: dict[str, PullPolicy] = {}
    if not isinstance(spec, PodSpec):
        return found
    eagerness = (PullPolicy.NEVER, PullPolicy.IF_NOT_PRESENT, PullPolicy.ALWAYS)
    for container in (*spec.init_containers, *spec.containers):
        image = container.image
        said = container.image_pull_policy
        policy = PullPolicy(said) if said else default_policy(image)
        found[image] = max(found.get(image, policy), policy, key=eagerness.index)
    return found


def runs_on(platform: str, arch: str) -> bool:
    """Whether a Linux host of this architecture runs an image of `os/architecture`.

    An engine that does not tell the platform ("") is believed.
    """
    system, _, made_for = platform.partition("/")
    if not system and not made_for:
        return True
    return system in {"", "linux"} and made_for in {"", *_RUNS.get(arch, {arch})}
