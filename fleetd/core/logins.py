"""Credentials for registries, out of Secrets that imagePullSecrets name.

Kubernetes' rules: a login is for a registry, or for a part of it; the more special one is tried
first, and of equals the one of the first Secret. What leaves here for a host holds the logins for
the image in hand and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetd.core.image import HUB, repository

KEYS: Mapping[str, str] = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}
"""The types of Secret that hold logins, and the key that does."""
_HUB_KEYS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_HUB_V1 = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Login:
    """A user and password for a registry, or for the repositories below `place`."""

    place: str
    user: str
    password: str = field(repr=False)

    def opens(self, image: str) -> bool:
        """Whether the login is for this image."""
        host, _, path = self.place.partition("/")
        registry, _, name = repository(image).partition("/")
        if not _same_registry(host, registry):
            return False
        return not path or name == path or name.startswith(f"{path}/")

    def document(self, image: str) -> str:
        """A Docker config.json, on one line, for the registry of this image."""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        registry = repository(image).partition("/")[0]
        keys = (HUB, _HUB_V1) if registry == HUB else (registry,)
        return json.dumps({"auths": {key: {"auth": pair} for key in keys}})


def _same_registry(pattern: str, registry: str) -> bool:
    """Label by label, with `*` for a part of one; the port must be the same."""
    if pattern in _HUB_KEYS or registry == HUB:
        return pattern in _HUB_KEYS and registry == HUB
    wanted, _, port = pattern.partition(":")
    host, _, its_port = registry.partition(":")
    labels, its_labels = wanted.split("."), host.split(".")
    return (
        port == its_port
        and len(labels) == len(its_labels)
        and all(map(fnmatch.fnmatchcase, its_labels, labels))
    )


def logins_of(kind: str, data: Mapping[str, bytes]) -> tuple[Login, ...]:
    """The logins that a Secret of this type holds.

    Raises:
        ValueError: it holds none that can be read; the text quotes nothing of it.
    """
    key = KEYS.get(kind)
    if key is None:
        raise ValueError(f"its type is {kind}, not {' or '.join(KEYS)}")
    if key not in data:
        raise ValueError(f"it has no key {key}")
    try:
        document = json.loads(data[key])
        entries = document.get("auths", {}) if key == ".dockerconfigjson" else document
        found = (_login(place, entry) for place, entry in entries.items())
        return tuple(login for login in found if login is not None)
    except (ValueError, AttributeError, TypeError):
        # The error's own text may quote the document.
        raise ValueError(f"its key {key} is no Docker configuration") from None


def _login(place: str, entry: Mapping[str, Any]) -> Login | None:
    user, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        pair = base64.b64decode(str(entry["auth"])).decode()
        user, colon, password = pair.partition(":")
        if not colon:
            raise binascii.Error("no pair")
    if not user and not password:
        return None
    where = place.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = where.partition("/")
    if path in {"v1", "v2"}:
        path = ""
    path = path.removeprefix("v1/").removeprefix("v2/")
    return Login(f"{host}/{path}" if path else host, str(user), str(password))


def opening(logins: Iterable[Login], image: str) -> tuple[Login, ...]:
    """The logins to try for this image, in order, each once."""
    fitting = [login for login in logins if login.opens(image)]
    return tuple(dict.fromkeys(sorted(fitting, key=lambda login: -login.place.count("/"))))
