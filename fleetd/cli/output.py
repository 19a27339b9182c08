"""`-o`: the same objects as a table, JSON, YAML, names, columns or text, as kubectl prints them.

Separate from the verbs so that all of them agree: one named object is printed as itself, everything
else as a List; the values of Secrets are hidden unless asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fleetd.cli.jsonpath import Template, printed, read_path, read_template
from fleetd.cli.kinds import Kind
from fleetd.cli.tables import NONE, Look, grid, table
from fleetd.cli.text import json_of, put, say, write, yaml_of
from fleetd.client import Shape
from fleetd.errors import InvalidInput

_PLAIN = ("table", "wide", "json", "yaml", "name")
_WITH_ARGUMENT = ("jsonpath", "jsonpath-file", "custom-columns", "custom-columns-file")

Found = Sequence[tuple[Kind, Sequence[Shape]]]
"""What was found, kind by kind."""


@dataclass(frozen=True, slots=True)
class Format:
    """What `-o` said: a name, and after `=` a template or columns (files are read already)."""

    name: str = "table"
    argument: str = ""

    @property
    def tabular(self) -> bool:
        """Whether it is one of kubectl's own tables."""
        return self.name in {"table", "wide"}


class FormatType(click.ParamType[Format]):
    """Reads `-o`; what cannot be printed is a usage error that says what can."""

    name = "format"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What the help shows."""
        return "FORMAT"

    def convert(
        self, value: str | Format, param: click.Parameter | None, ctx: click.Context | None
    ) -> Format:
        """Read `json` or `jsonpath=TEMPLATE`; templates are read here, before anything is asked."""
        if isinstance(value, Format):
            return value
        name, equals, argument = value.partition("=")
        if name.startswith("go-template"):
            self.fail("there are no Go templates here; write -o jsonpath=TEMPLATE", param, ctx)
        if name in _WITH_ARGUMENT:
            if not argument:
                self.fail(f"say what to print: -o {name}=...", param, ctx)
            return _checked(name, argument)
        if name not in _PLAIN or equals:
            known = ", ".join((*_PLAIN, *(f"{word}=..." for word in _WITH_ARGUMENT)))
            self.fail(f"{value!r} is no output format; there are {known}", param, ctx)
        return Format(name)


def _checked(name: str, argument: str) -> Format:
    plain = name.removesuffix("-file")
    if plain != name:
        try:
            argument = Path(argument).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{argument}: cannot be read: {error}") from error
        if plain == "custom-columns":
            lines = [line.split() for line in argument.splitlines() if line.strip()]
            if len(lines) != 2 or len(lines[0]) != len(lines[1]):
                raise InvalidInput("a file of columns has two lines: headings, and a path for each")
            argument = ",".join(map(":".join, zip(*lines, strict=True)))
    if plain == "jsonpath":
        read_template(argument)
    else:
        _columns(argument)
    return Format(plain, argument)


def print_objects(
    found: Found, form: Format, namespace: str | None, *, single: bool, look: Look | None = None
) -> None:
    """Print objects; `single` says that exactly one was asked for by name, `namespace` None all."""
    every = [item for _, items in found for item in items]
    if form.tabular:
        _print_tables(found, namespace, replace(look or Look(), wide=form.name == "wide"))
        return
    match form.name:
        case "json":
            write(json_of(every[0] if single else list_of(every)))
        case "yaml":
            write(yaml_of(every[0] if single else list_of(every)))
        case "name":
            for kind, items in found:
                for item in items:
                    write(f"{kind.prefix}/{item['metadata']['name']}")
        case "jsonpath":
            put(read_template(form.argument).fill(every[0] if single else list_of(every)))
        case _:
            write(custom_table(form.argument, every, headings=look is None or not look.bare))


def list_of(objects: Sequence[Shape]) -> Shape:
    """The List that kubectl prints around several objects."""
    return {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": list(objects)}


def custom_table(spec: str, objects: Sequence[Shape], *, headings: bool = True) -> str:
    """A table of `HEADING:path,...`; a value that is not there is `<none>`."""
    columns = _columns(spec)
    rows = [[heading for heading, _ in columns]] if headings else []
    for item in objects:
        cells = [",".join(map(printed, path.find(item))) or NONE for _, path in columns]
        rows.append(cells)
    return grid(rows)


def sorted_by(path: str, objects: Sequence[Shape]) -> list[Shape]:
    """The objects by the value at a path: what has none first, numbers before text."""
    template = read_path(path)

    def rank(item: Shape) -> tuple[int, float, str]:
        found = template.find(item)
        value = found[0] if found else None
        if value is None:
            return (0, 0.0, "")
        if isinstance(value, int | float):
            return (1, float(value), "")
        return (2, 0.0, printed(value))

    return sorted(objects, key=rank)


def _columns(spec: str) -> list[tuple[str, Template]]:
    columns = []
    for part in spec.split(","):
        heading, colon, path = part.partition(":")
        if not (heading and colon and path):
            raise InvalidInput(f"{part!r} is no column; write HEADING:.metadata.name")
        columns.append((heading, read_path(path)))
    return columns


def _print_tables(found: Found, namespace: str | None, look: Look) -> None:
    shown = [(kind, items) for kind, items in found if items]
    if not shown:
        say(nothing_found(found, namespace))
    look = replace(look, namespaces=namespace is None, prefix=len(found) > 1)
    for number, (kind, items) in enumerate(shown):
        if number:
            write("")
        write(table(kind, items, time.time(), look))


def nothing_found(found: Found, namespace: str | None) -> str:
    """Kubectl's line for an empty table."""
    cluster = all(not kind.namespaced for kind, _ in found)
    everywhere = namespace is None or cluster
    return "No resources found" + ("" if everywhere else f" in {namespace} namespace.")
