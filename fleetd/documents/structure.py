"""Holds plain data to the field table: known fields, right types, and what becomes of each field.

What comes out has only fields that the models know, without nulls: the document that is stored,
merged and turned into an object. Values of ignored fields are dropped with a note, refused ones are
errors by name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping

from fleetd.core.fields import SECTIONS, Disposition, Field, Plain, Section, asks_for_nothing, rows
from fleetd.core.findings import Findings
from fleetd.core.paths import child

MAX_INT = (1 << 31) - 1
_TEMPLATE = "spec.template."  # what is asked for; the rest of what is silent, a server wrote
_NAMES = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "map"}


class Structure:
    """Walks one document. `texts`: how scalars that are no strings were written, by field path."""

    def __init__(self, found: Findings, root: str, texts: Mapping[str, str], prefix: str) -> None:
        """Take where findings go, the section of the document, and its place in the file."""
        self._found = found
        self._root = root
        self._texts = texts
        self._prefix = prefix

    def clean(self, data: dict[str, Plain]) -> dict[str, Plain]:
        """The fields of `data` that fleetd keeps; everything wrong is among the findings."""
        return self._section(SECTIONS[self._root], data, "")

    def _section(self, section: Section, data: dict[str, Plain], path: str) -> dict[str, Plain]:
        kept: dict[str, Plain] = {}
        for name, value in data.items():
            here = child(path, name)
            field = section.get(name)
            if field is None:
                self._unknown(section, name, here)
            elif value is None:
                continue
            elif field.kept:
                if (cleaned := self._value(field.type, value, here)) is not None:
                    kept[name] = cleaned
            else:
                self._set_aside(field, value, here)
        return kept

    def _unknown(self, section: Section, name: str, path: str) -> None:
        folded = {known.lower(): known for known in section}
        near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
        if near:
            hint = f"did you mean {folded[near[0]]}?"
        else:
            end = f".{name}"
            places = [where for where, _ in rows(self._root) if f".{where}".endswith(end)]
            hint = f"it belongs at {places[0]}" if places else ""
            hint = hint or f"known here: {', '.join(sorted(section))}"
        self._found.error(path, f"unknown field {name!r}", hint)

    def _set_aside(self, field: Field, value: Plain, path: str) -> None:
        """An ignored or refused field that is there."""
        if field.disposition is Disposition.REFUSED:
            if not asks_for_nothing(value, field):
                message = f"{field.name} is not supported"
                self._found.error(path, message, field.note)
            return
        if field.values and value not in ("", {}) and value not in field.values:
            shown = json.dumps(value, default=str)[:60]
            message = f"{field.name} {shown} is not supported"
            allowed = ", ".join(json.dumps(known) for known in field.values)
            self._found.error(path, message, f"leave it out, or write {allowed}")
            return
        if field.type in SECTIONS and isinstance(value, dict):
            self._section(SECTIONS[field.type], value, path)
        elif not field.silent:
            self._found.note(path, f"{field.name} is ignored: {field.note}")
        elif path.startswith(_TEMPLATE):
            message = f"{field.name} is ignored, which changes nothing: {field.note}"
            self._found.aside(path, message)

    def _value(self, kind: str, value: Plain, path: str) -> Plain:
        """The value as its type wants it, or None when it does not fit."""
        if kind.startswith("[]"):
            if not isinstance(value, list):
                return self._misfit("a list", value, path)
            items = [self._item(kind[2:], item, f"{path}[{i}]") for i, item in enumerate(value)]
            return [item for item in items if item is not None]
        if kind.startswith("map["):
            if not isinstance(value, dict):
                return self._misfit("a map", value, path)
            return self._map(kind[4:-1], value, path)
        if kind in SECTIONS:
            if not isinstance(value, dict):
                return self._misfit("a map", value, path)
            return self._section(SECTIONS[kind], value, path)
        return self._scalar(kind, value, path)

    def _item(self, kind: str, value: Plain, path: str) -> Plain:
        if value is None:
            self._found.error(path, "is empty", "write a value, or take the line out")
            return None
        return self._value(kind, value, path)

    def _map(self, kind: str, value: dict[str, Plain], path: str) -> dict[str, Plain]:
        kept: dict[str, Plain] = {}
        for key, item in value.items():
            here = child(path, key)
            if kind in SECTIONS:
                kept[key] = self._value(kind, {} if item is None else item, here) or {}
            elif item is None:
                kept[key] = "" if kind == "string" else "0"
            elif path.endswith("annotations") and isinstance(item, int | float):
                kept[key] = self._written(here, item)
                self._found.note(here, f'taken as the text "{kept[key]}"; kubectl wants quotes')
            elif (cleaned := self._scalar(kind, item, here)) is not None:
                kept[key] = cleaned
        return kept

    def _scalar(self, kind: str, value: Plain, path: str) -> Plain:
        if isinstance(value, float) and value.is_integer() and kind != "quantity":
            value = int(value)
        if kind == "any":
            return value
        whole = isinstance(value, int) and not isinstance(value, bool)
        if kind == "string":
            return value if isinstance(value, str) else self._misfit("a string", value, path)
        if kind == "bool":
            return value if isinstance(value, bool) else self._misfit("true or false", value, path)
        if kind == "mode" and isinstance(value, str) and value.isascii() and value.isdigit():
            return self._octal(value, path)
        if kind in {"int", "mode"}:
            return self._whole(value, path) if whole else self._misfit("a number", value, path)
        if kind == "intOrString":
            fits = whole or isinstance(value, str)
            return value if fits else self._misfit("a number or a string", value, path)
        assert kind == "quantity", kind
        if isinstance(value, float) or whole:
            return self._written(path, value)
        return value if isinstance(value, str) else self._misfit("a quantity", value, path)

    def _whole(self, value: int, path: str) -> int | None:
        if abs(value) <= MAX_INT:
            return value
        self._found.error(path, f"{value} is too large a number")
        return None

    def _octal(self, text: str, path: str) -> int | None:
        try:
            return int(text, 8)
        except ValueError:
            self._found.error(path, f"{text!r} is no octal number", "write it as 0644")
            return None

    def _written(self, path: str, value: float) -> str:
        """The value as its author wrote it."""
        return self._texts.get(self._prefix + path, str(value))

    def _misfit(self, wanted: str, value: Plain, path: str) -> None:
        hint = ""
        shown = ""
        if isinstance(value, bool | int | float):
            written = self._texts.get(self._prefix + path, json.dumps(value))
            if self._root == "Secret":  # its values are never told, not even wrong ones
                written = "..."
            shown = "" if self._root == "Secret" else f" {written}"
            hint = f'write "{written}" in quotes' if wanted == "a string" else ""
        elif isinstance(value, str) and wanted in {"a number", "true or false"}:
            hint = (
                "write it without quotes" if value in {"true", "false"} or value.isdigit() else ""
            )
        self._found.error(path, f"must be {wanted}, not the {_NAMES[type(value)]}{shown}", hint)
