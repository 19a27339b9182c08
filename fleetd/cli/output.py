"""`-o`: the same objects as a table, JSON, YAML or names, as kubectl prints them.

Separate from the verbs so that all of them agree: one named object is printed as itself, everything
else as a List; the values of Secrets are hidden unless asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from fleetd.cli.kinds import Kind
from fleetd.cli.tables import table
from fleetd.cli.text import json_of, say, write, yaml_of
from fleetd.client import Shape

Format = Literal["table", "wide", "json", "yaml", "name"]
FORMATS: tuple[Format, ...] = ("table", "wide", "json", "yaml", "name")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Found = Sequence[tuple[Kind, Sequence[Shape]]]
"""What was found, kind by kind."""


def print_objects(found: Found, form: Format, namespace: str | None, *, single: bool) -> None:
    """Print objects; `single` says that exactly one was asked for by name, `namespace` None all."""
    every = [item for _, items in found for item in items]
    match form:
        case "json":
            write(json_of(every[0] if single else list_of(every)))
        case "yaml":
            write(yaml_of(every[0] if single else list_of(every)))
        case "name":
            for kind, items in found:
                for item in items:
                    write(f"{kind.prefix}/{item['metadata']['name']}")
        case "table" | "wide":
            _print_tables(found, namespace, wide=form == "wide")


def list_of(objects: Sequence[Shape]) -> Shape:
    """The List that kubectl prints around several objects."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(objects)}


def hide_values(secret: Shape) -> Shape:
    """The Secret with sizes in place of values; what it prints as cannot be applied by mistake."""
    hidden = dict(secret)
    for field in ("data", "stringData"):
        if isinstance(hidden.get(field), dict):
            hidden[field] = {key: _size(value, field) for key, value in hidden[field].items()}
    annotations = dict((hidden.get("metadata") or {}).get("annotations") or {})
    if annotations.pop(_LAST_APPLIED, None) is not None:
        hidden["metadata"] = hidden["metadata"] | {"annotations": annotations}
    return hidden


def _size(value: object, field: str) -> str:
    text = str(value)
    size = len(text) * 3 // 4 - text.count("=") if field == "data" else len(text.encode())
    return f"<{size} bytes, hidden>"


def _print_tables(found: Found, namespace: str | None, *, wide: bool) -> None:
    shown = [(kind, items) for kind, items in found if items]
    if not shown:
        cluster = all(not kind.namespaced for kind, _ in found)
        everywhere = namespace is None or cluster
        say("No resources found" + ("" if everywhere else f" in {namespace} namespace."))
    for number, (kind, items) in enumerate(shown):
        if number:
            write("")
        write(
            table(
                kind,
                items,
                time.time(),
                wide=wide,
                namespaces=namespace is None,
                prefix=len(found) > 1,
            )
        )
