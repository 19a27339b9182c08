"""The revision of a template: a hash that stays the same for ever.

Hashed are the fields that are set to something other than their default, and the content that the
template references. So a newer fleetd, which knows more fields, computes the same revisions:
nothing restarts on an upgrade. Golden tests hold the exact values; whoever changes them restarts
every fleet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

from fleetd.core.daemonset import Template

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, as Kubernetes writes its hashes."""

LENGTH = 10

Content = Mapping[str, str] | str


def revision_of(template: Template, references: Mapping[str, Content]) -> str:
    """Ten characters of `ALPHABET` over a template and what it references.

    `references` maps "ConfigMap/name" to its data and "Secret/name" to `secret_digest` of its data;
    what is optional and missing is left out.
    """
    body = {
        "template": template.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "references": {
            name: content if isinstance(content, str) else dict(content)
            for name, content in references.items()
        },
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(LENGTH):
        number, rest = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return "".join(letters)


def secret_digest(key: bytes, data: Mapping[str, bytes]) -> str:
    """HMAC of a Secret's data under the fleet's key: what hashes and records hold in its place."""
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for name, value in sorted(data.items()):
        for part in (name.encode(), value):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
