"""YAML as Kubernetes reads it, with the line of every field.

Built on libyaml's events and not on PyYAML's constructor, for three reasons: the line of each value
is kept, plain scalars mean what they mean to kubectl (YAML 1.1 booleans and octal numbers, but no
base 60 and no dates), and depth, size and the growth by aliases are bounded before anything is
built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from fleetd.core.fields import Plain
from fleetd.core.paths import child, parent
from fleetd.errors import Problem

MAX_BYTES = 16 << 20
MAX_VALUES = 500_000
MAX_DEPTH = 100

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {
    spelling: value
    for value, words in ((True, ("yes", "true", "on")), (False, ("no", "false", "off")))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)\Z", re.ASCII
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_TOO_LONG_A_NUMBER = 100


@dataclass(frozen=True, slots=True)
class Document:
    """One document: plain data, its line, and by field path the line and the text of its values.

    `texts` has only plain scalars that were read as something else than a string.
    """

    data: Plain
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of a field, or of the nearest one around it."""
        while path and path not in self.lines:
            path = parent(path)
        return self.lines.get(path, self.line)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a source holds: the documents that could be read, and what could not."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]


def parse(data: bytes, source: str) -> Parsed:
    """Read all documents of a source; after a syntax error, those before it."""
    if len(data) > MAX_BYTES:
        return Parsed((), (Problem(source, 0, "", f"larger than {MAX_BYTES >> 20} MiB"),))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Parsed((), (Problem(source, line, "", "not UTF-8 text"),))
    reader = _Reader(source)
    try:
        reader.read(text)
    except yaml.MarkedYAMLError as error:
        if text.lstrip()[:1] in {"{", "["} and (parsed := _parse_json(text)) is not None:
            return parsed
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        line = mark.line + 1 if mark else 0
        written = text.splitlines()[line - 1 : line]
        tabs = any(each.lstrip(" ").startswith("\t") for each in written)
        hint = "indent with spaces, not with tabs" if tabs else ""
        reader.problems.append(Problem(source, line, "", f"not valid YAML: {what}", hint))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"a character that YAML does not allow: {error.character!r}"
        reader.problems.append(Problem(source, line, "", what))
    except _StopReading as error:
        reader.problems.append(Problem(source, error.line, "", str(error)))
    return Parsed(tuple(reader.documents), tuple(reader.problems))


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as a person would."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(value: object, *, allow_unicode: bool = True) -> str:
    """Plain data as YAML in its own order, lines as long as they are."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=allow_unicode, width=1 << 20
    )
    return text


def _parse_json(text: str) -> Parsed | None:
    """JSON that is no YAML (escaped surrogate pairs): data without lines."""
    try:
        return Parsed((Document(json.loads(text), 1),), ())
    except (ValueError, RecursionError):
        return None


class _StopReading(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def plain(text: str) -> Plain:
    """What a plain scalar means to kubectl: null, a boolean, a number or the text itself."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] in "0123456789+-." and len(text) <= _TOO_LONG_A_NUMBER:
        digits = text.replace("_", "")
        if _INTEGER.match(digits):
            return _integer(digits)
        if _FLOAT.match(digits):
            number = float(digits)
            if number in (float("inf"), float("-inf")):
                return text
            return int(number) if number.is_integer() and "." not in digits else number
    return text


def _integer(digits: str) -> int:
    unsigned = digits.lstrip("+-")
    if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1] in "01234567":
        return int(digits, 8)
    return int(digits, 0)


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


class _Reader:
    """Builds documents from events. `size` counts values, those behind aliases at each use."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self.size = 0
        self._reset()

    def _reset(self) -> None:
        self.lines: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.anchors: dict[str, tuple[Any, int]] = {}

    def read(self, text: str) -> None:
        events: Iterator[Event] = yaml.parse(text, Loader=_LOADER)
        for event in events:
            if isinstance(event, DocumentStartEvent):
                self._reset()
                first = next(events)
                line = _line(first)
                data = self._value(first, events, "", 0)
                self.documents.append(Document(data, line, self.lines, self.texts))
            elif isinstance(event, DocumentEndEvent | StreamEndEvent):
                continue

    def _value(self, event: Event, events: Iterator[Event], path: str, depth: int) -> Plain:
        line = _line(event)
        self.size += 1
        if self.size > MAX_VALUES:
            raise _StopReading(line, f"more than {MAX_VALUES} values, aliases counted at each use")
        if depth > MAX_DEPTH:
            raise _StopReading(line, f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(path, line)
        if isinstance(event, AliasEvent):
            return self._alias(event, line)
        before = self.size
        data: Plain
        if isinstance(event, ScalarEvent):
            data = self._scalar(event, path)
        elif isinstance(event, SequenceStartEvent):
            data = self._sequence(events, path, depth)
        else:
            assert isinstance(event, MappingStartEvent)
            data = self._mapping(events, path, depth)
        if event.anchor:
            self.anchors[event.anchor] = (data, self.size - before + 1)
        return data

    def _alias(self, event: AliasEvent, line: int) -> Plain:
        if event.anchor not in self.anchors:
            raise _StopReading(line, f"the alias *{event.anchor} has no anchor before it")
        data, size = self.anchors[event.anchor]
        self.size += size
        return data

    def _scalar(self, event: ScalarEvent, path: str) -> Plain:
        text: str = event.value
        tag = (event.tag or "").removeprefix(_TAG)
        if tag == "str" or (not tag and not event.implicit[0]) or tag == "!":
            return text
        if tag and tag not in {"int", "float", "bool", "null"}:
            self._problem(event, path, f"the tag {event.tag} is not known here", "leave it out")
            return text
        data = plain(text)
        if not isinstance(data, str):
            self.texts[path] = text
        return data

    def _sequence(self, events: Iterator[Event], path: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(self._value(event, events, f"{path}[{len(items)}]", depth + 1))
        return items

    def _mapping(self, events: Iterator[Event], path: str, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        merged: list[Any] = []
        seen: dict[str, int] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            key = self._key(event, events, path)
            if key == "<<" and isinstance(event, ScalarEvent) and event.implicit[0]:
                merged.append(self._value(next(events), events, child(path, key), depth + 1))
                continue
            line = _line(event)
            below = child(path, key)
            if key in seen:
                self._problem(event, below, f"given twice, first on line {seen[key]}", "keep one")
                self._value(next(events), events, f"{below}[again]", depth + 1)
                continue
            seen[key] = line
            self.lines[below] = line
            items[key] = self._value(next(events), events, below, depth + 1)
        for source in merged:
            self._merge(items, source, path)
        return items

    def _key(self, event: Event, events: Iterator[Event], path: str) -> str:
        if not isinstance(event, ScalarEvent):
            raise _StopReading(_line(event), "a key must be a plain word, not a list or map")
        if event.implicit[0] and event.value in _BOOLEANS:
            message = f"YAML reads the key {event.value} as a boolean"
            self._problem(event, path, message, f'write "{event.value}" in quotes')
        return event.value

    def _merge(self, items: dict[str, Any], source: Plain, path: str) -> None:
        for entry in source if isinstance(source, list) else [source]:
            if not isinstance(entry, dict):
                line = self.lines.get(child(path, "<<"), 0)
                self.problems.append(Problem(self.source, line, path, "<< must merge a map"))
                continue
            for key, value in entry.items():
                items.setdefault(key, value)

    def _problem(self, event: Event, path: str, message: str, hint: str) -> None:
        line = _line(event)
        self.problems.append(Problem(self.source, line, path, message, hint))
