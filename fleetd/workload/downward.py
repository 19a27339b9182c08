"""What a pod is told of itself by fieldRef: the downward API.

What is the same on every host of a bundle is literal text; the rest stands in the host's own values
under the names of `values.FIELDS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.core.fieldrefs import POD_ADDRESS, split
from fleetd.core.pod import PodSpec
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy
from fleetd.workload.text import Text
from fleetd.workload.values import FIELDS

_GENERATION = "deprecated.daemonset.template.generation"
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES |= {"\v": "\\v", "\\": "\\\\", '"': '\\"'}


def field_text(copy: Copy, spec: PodSpec, field_path: str, path: str) -> Text:
    """The value of a field of the pod; a label or annotation that is not there is empty.

    Raises:
        RenderError: no pod has such a field, or none that could be told.
    """
    whole, key = split(field_path)
    maps = {"metadata.labels": labels(copy), "metadata.annotations": _annotations(copy)}
    if whole in maps:
        return Text(maps[whole].get(key, "") if key is not None else _lines(maps[whole]))
    if field_path == "spec.serviceAccountName":
        return Text(spec.service_account_name or "default")
    if field_path in POD_ADDRESS and spec.host_network:
        return Text.variable(FIELDS["status.hostIP"])
    if field_path not in FIELDS:
        known = ", ".join(sorted([*FIELDS, "spec.serviceAccountName"]))
        raise RenderError(path, f"no value for {field_path!r}; known: {known}")
    return Text.variable(FIELDS[field_path])


def labels(copy: Copy) -> Mapping[str, str]:
    """The labels of the pod: the template's, and those that Kubernetes' controller adds."""
    generation = copy.daemonset.metadata.annotations.get(_GENERATION, "1")
    return {
        **copy.daemonset.spec.template.metadata.labels,
        "controller-revision-hash": copy.revision,
        "pod-template-generation": generation,
    }


def _annotations(copy: Copy) -> Mapping[str, str]:
    return copy.daemonset.spec.template.metadata.annotations


def _lines(values: Mapping[str, str]) -> str:
    """`key="value"` by line and in order, as Kubernetes writes a whole map; no newline ends it."""
    return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(values.items()))


def _quoted(value: str) -> str:
    """As Go quotes a string."""
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    number = ord(letter)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
