from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetd.core.bundle import Bundle, SecretBytes
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostProfile, Runtime, Slot
from fleetd.workload.content import Content
from fleetd.workload.render import render

Spec = Mapping[str, Any]
CONTENT = Content(
    config_maps={"conf": {"app.conf": b"level = info\n", "LEVEL": b"two\nlines", "raw": b"\xff\0"}},
    secrets={"db": {"password": "d1", "user": "d2"}},
)
PODMAN = HostProfile(Runtime.PODMAN, 4)
DOCKER = HostProfile(Runtime.DOCKER, 20)
SYSTEMD = HostProfile(Runtime.SYSTEMD)


class Rendered:
    """A bundle, with its texts at hand."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.files = {file.path: file for file in bundle.files}

    def text(self, ending: str) -> str:
        (path,) = (path for path in self.files if path.endswith(ending))
        content = self.files[path].content
        assert not isinstance(content, SecretBytes)
        return content.data().decode()

    def lines(self, ending: str) -> list[str]:
        return self.text(ending).splitlines()


def daemonset(spec: Spec, api_version: str = "apps/v1", metadata: Spec | None = None) -> DaemonSet:
    return DaemonSet.model_validate(
        {
            "apiVersion": api_version,
            "kind": "DaemonSet",
            "metadata": {"name": "agent.v2", "namespace": "mon"},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": {"metadata": metadata or {"labels": {"app": "agent"}}, "spec": spec},
            },
        }
    )


def rendered(spec: Spec, profile: HostProfile = PODMAN, **kwargs: Any) -> Rendered:
    """A pod's spec."""
    arguments = {"content": CONTENT, "pins": {}, "revision": "r1", **kwargs}
    return Rendered(render(daemonset(spec), slot=Slot.A, profile=profile, **arguments))


def container(spec: Spec | None = None, profile: HostProfile = PODMAN, **fields: Any) -> Rendered:
    """A pod of one container with these fields."""
    one = {"name": "main", "image": "busybox:1", **fields}
    return rendered({**(spec or {}), "containers": [one]}, profile)


def systemd(profile: HostProfile = SYSTEMD, **fields: Any) -> Rendered:
    """A systemd workload with these fields."""
    spec = {"systemd": fields}
    return Rendered(render(daemonset(spec, "fleetd/v1"), "r1", Slot.A, profile, CONTENT, {}))
