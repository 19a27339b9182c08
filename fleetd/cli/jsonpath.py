r"""Kubectl's JSONPath templates: `{range .items[*]}{.metadata.name}{"\n"}{end}`.

The dialect is Kubernetes' own: text around braces, quoted text in them, `range` and `end`, paths
with an optional `$`, `\.` for a dot in a key, unions, slices, and filters with one comparison. The
JSONPath libraries speak RFC 9535, which has neither the templates nor these escapes and filters; to
translate one into the other takes a parser of this dialect all the same, after which evaluating a
path is the smaller half. So both halves are here, and `get` loads nothing for them.

A key that is not there yields nothing, as in kubectl; a template that cannot be read is refused
with the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from fleetd.errors import InvalidInput

Plain: TypeAlias = Any
"""Plain data as JSON knows it."""

Step = Callable[[list[Plain], Plain], list[Plain]]
"""One step of a path: from the values so far, and the root, to the next values."""

_NAME_ENDS = frozenset(".,[]{}$@() \t\n=!<>\"'")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class Path:
    """A path, compiled."""

    steps: tuple[Step, ...]

    def find(self, here: Plain, root: Plain) -> list[Plain]:
        """All values that it leads to."""
        values = [here]
        for step in self.steps:
            values = step(values, root)
        return values


@dataclass(frozen=True, slots=True)
class Range:
    """`{range PATH}...{end}`: the body, once for each value."""

    path: Path
    body: list[Part] = field(default_factory=list)


Part = str | Path | Range


@dataclass(frozen=True, slots=True)
class Template:
    """A whole template, ready to be filled in."""

    parts: tuple[Part, ...]

    def fill(self, value: Plain) -> str:
        """The text for an object; values of one path are joined by a blank, as kubectl does."""
        return "".join(_filled(self.parts, value, value))

    def find(self, value: Plain) -> list[Plain]:
        """The values of a template that is one path."""
        return [
            found
            for part in self.parts
            if isinstance(part, Path)
            for found in part.find(value, value)
        ]


def read_template(text: str) -> Template:
    """Read a template. A bare path (`.metadata.name`) is taken as one too. Raises InvalidInput."""
    return _Reader(text if "{" in text else f"{{{text}}}", text).template()


def read_path(text: str) -> Template:
    """Read one path, as `custom-columns` and `--sort-by` take them: `.a.b`, `a.b` or `{.a.b}`."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    if inner[:1] not in {".", "$", "@", "["}:
        inner = f".{inner}"
    template = _Reader(f"{{{inner}}}", text).template()
    if not text or len(template.parts) != 1 or not isinstance(template.parts[0], Path):
        raise InvalidInput(f"{text!r} is not one path, such as .metadata.name")
    return template


def printed(value: Plain) -> str:
    """One value as kubectl prints it: text as it is, maps and lists as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _filled(parts: Sequence[Part], here: Plain, root: Plain) -> Iterator[str]:
    for part in parts:
        match part:
            case str():
                yield part
            case Path():
                yield " ".join(map(printed, part.find(here, root)))
            case Range():
                for value in part.path.find(here, root):
                    yield from _filled(part.body, value, root)


class _Reader:
    """Reads a template from left to right; `shown` is what errors quote."""

    def __init__(self, text: str, shown: str) -> None:
        self.text = text
        self.shown = shown
        self.at = 0

    def template(self) -> Template:
        parts: list[Part] = []
        open_ranges: list[list[Part]] = []
        current = parts
        while self.at < len(self.text):
            if self.peek() != "{":
                current.append(self.until("{"))
                continue
            self.at += 1
            self.blanks()
            if self.word("range"):
                loop = Range(self.path())
                current.append(loop)
                open_ranges.append(current)
                current = loop.body
            elif self.word("end"):
                if not open_ranges:
                    self.fail("{end} without {range}")
                current = open_ranges.pop()
            else:
                current.append(self.quoted() if self.peek() in {'"', "'"} else self.path())
            self.blanks()
            self.expect("}", "an action ends with }")
        if open_ranges:
            self.fail("{range} without {end}")
        return Template(tuple(parts))

    # -- paths ---------------------------------------------------------------------------------

    def path(self) -> Path:
        """A path, up to what cannot go on with it."""
        self.blanks()
        steps: list[Step] = []
        if self.peek() == "$":
            self.at += 1
            steps.append(lambda _, root: [root])
        elif self.peek() == "@":
            self.at += 1
        elif self.peek() not in {".", "["}:
            self.fail("a path starts with a dot, such as {.metadata.name}")
        while self.peek() in {".", "["}:
            if self.text.startswith("..", self.at):
                self.at += 2
                steps.append(_deep)
                if self.peek() != "[":
                    steps.append(self.key())
            elif self.peek() == ".":
                self.at += 1
                if self.peek() == "[" or self.done_here():
                    continue
                steps.append(self.key())
            else:
                steps.append(self.brackets())
            self.blanks()
        return Path(tuple(steps))

    def done_here(self) -> bool:
        """Whether a dot stands alone: the object itself."""
        return self.peek() in {"}", "", " ", ")"}

    def key(self) -> Step:
        name = ""
        if self.peek() == "*":
            self.at += 1
            return _all
        while (character := self.peek()) and character not in _NAME_ENDS:
            self.at += 1
            if character == "\\":
                character = self.peek()
                self.at += 1
            name += character
        if not name:
            self.fail("a name is missing after the dot")
        return _named((name,))

    def brackets(self) -> Step:
        self.at += 1
        self.blanks()
        if self.peek() == "?":
            return self.filter()
        if self.peek() == "*":
            self.at += 1
            step: Step = _all
        elif self.peek() in {"'", '"'}:
            names = [self.quoted()]
            while self.comma():
                names.append(self.quoted())
            step = _named(tuple(names))
        else:
            cuts = [self.slice()]
            while self.comma():
                cuts.append(self.slice())
            step = self.cut(tuple(cuts))
        self.blanks()
        self.expect("]", "[ ends with ]")
        return step

    def slice(self) -> tuple[int | None, ...]:
        """`3`, or `a:b`, or `a:b:c`."""
        found = re.compile(r"\s*(-?\d*)(?::(-?\d*))?(?::(-?\d*))?\s*").match(self.text, self.at)
        numbers = [] if found is None else [part for part in found.groups() if part is not None]
        if found is None or (not any(numbers) and len(numbers) < 2):
            self.fail("in [ ] goes a number, a slice a:b, *, a quoted name or a filter ?(...)")
        self.at = found.end()
        return tuple(int(part) if part not in {"", "-"} else None for part in numbers)

    def cut(self, cuts: tuple[tuple[int | None, ...], ...]) -> Step:
        def step(values: list[Plain], _: Plain) -> list[Plain]:
            lists = [value for value in values if isinstance(value, list)]
            return [item for each in lists for cut in cuts for item in self.taken(each, cut)]

        return step

    def taken(self, items: list[Plain], cut: tuple[int | None, ...]) -> list[Plain]:
        if len(cut) > 1:
            if len(cut) == 3 and cut[2] is not None and cut[2] < 1:
                raise InvalidInput(f"the template {self.shown!r}: a step must be above zero")
            return items[slice(*cut)]
        (index,) = cut
        if index is None or not -len(items) <= index < len(items):
            raise InvalidInput(
                f"the template {self.shown!r}: there is no item {index} in a list of {len(items)}"
            )
        return [items[index]]

    # -- filters -------------------------------------------------------------------------------

    def filter(self) -> Step:
        self.at += 1
        self.expect("(", 'a filter is written ?(@.name=="x")')
        left = self.operand()
        self.blanks()
        operator = next((one for one in _OPERATORS if self.text.startswith(one, self.at)), "")
        self.at += len(operator)
        right = self.operand() if operator else None
        self.blanks()
        if self.text.startswith(("&&", "||"), self.at):
            self.fail("a filter has one comparison; chain filters for and: [?(...)][?(...)]")
        self.expect(")", "a filter ends with )")
        self.expect("]", "[ ends with ]")

        def holds(item: Plain, root: Plain) -> bool:
            one = left.find(item, root)
            if right is None:
                return bool(one)
            other = right.find(item, root)
            return bool(one and other) and _compare(one[0], operator, other[0])

        def step(values: list[Plain], root: Plain) -> list[Plain]:
            lists = [value for value in values if isinstance(value, list)]
            return [item for each in lists for item in each if holds(item, root)]

        return step

    def operand(self) -> Path:
        """A path, a quoted text, a number or a truth."""
        self.blanks()
        if self.peek() in {"'", '"'}:
            return _constant(self.quoted())
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return _constant(float(found[0]) if found[1] else int(found[0]))
        for word, value in (("true", True), ("false", False)):
            if self.word(word):
                return _constant(value)
        return self.path()

    # -- characters ----------------------------------------------------------------------------

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def blanks(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def until(self, mark: str) -> str:
        start = self.at
        end = self.text.find(mark, start)
        self.at = len(self.text) if end < 0 else end
        return self.text[start : self.at]

    def word(self, word: str) -> bool:
        """Take a word that stands alone."""
        found = re.compile(rf"{word}(?![\w.])").match(self.text, self.at)
        if found:
            self.at = found.end()
        return bool(found)

    def comma(self) -> bool:
        self.blanks()
        if self.peek() != ",":
            return False
        self.at += 1
        self.blanks()
        return True

    def quoted(self) -> str:
        quote, said = self.peek(), ""
        if quote not in {"'", '"'}:
            self.fail("a quoted name is missing")
        self.at += 1
        while (character := self.peek()) != quote:
            if not character:
                self.fail(f"a text lacks its closing {quote}")
            self.at += 1
            if character == "\\":
                escaped = self.peek()
                character = _ESCAPES.get(escaped, "\\" + escaped)
                self.at += 1
            said += character
        self.at += 1
        return said

    def expect(self, mark: str, why: str) -> None:
        if self.peek() != mark:
            self.fail(why)
        self.at += 1

    def fail(self, why: str) -> NoReturn:
        rest = self.text[self.at :] or "the end"
        raise InvalidInput(f"the template {self.shown!r} cannot be read at {rest[:20]!r}: {why}")


def _constant(value: Plain) -> Path:
    return Path((lambda _values, _root: [value],))


def _named(names: tuple[str, ...]) -> Step:
    def step(values: list[Plain], _: Plain) -> list[Plain]:
        maps = [value for value in values if isinstance(value, dict)]
        return [each[name] for each in maps for name in names if name in each]

    return step


def _all(values: list[Plain], _: Plain) -> list[Plain]:
    return [below for value in values for below in _below(value)]


def _deep(values: list[Plain], root: Plain) -> list[Plain]:
    """The values and everything in them, the outer before the inner."""
    return [found for value in values for found in (value, *_deep([*_below(value)], root))]


def _below(value: Plain) -> list[Plain]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _compare(left: Plain, operator: str, right: Plain) -> bool:
    numbers = all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in (left, right)
    )
    alike = numbers or type(left) is type(right)
    match operator:
        case "==":
            return bool(alike and left == right)
        case "!=":
            return not (alike and left == right)
        case _:
            pass
    if not (numbers or (isinstance(left, str) and isinstance(right, str))):
        return False
    match operator:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case _:
            return bool(left >= right)
