"""Every numbered behaviour of Kubernetes is shown by a test, or told as a difference."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NUMBERS = frozenset(range(1, 184))
ID = re.compile(r'"((?:[^"\n]*\bK ?\d+)+[^"\n]*)"')
NUMBER = re.compile(r"\bK ?(\d+)((?:, \d+)*)(?:-(\d+))?")


def numbers(text: str) -> set[int]:
    """The numbers after a `K`: one, several with commas, or a range."""
    found: set[int] = set()
    for first, more, last in NUMBER.findall(text):
        found |= {int(number) for number in re.findall(r"\d+", f"{first}{more}")}
        if last:
            found |= set(range(int(first), int(last) + 1))
    return found


def shown() -> set[int]:
    """Those in the ids of tests: in quotes, and never in a docstring."""
    found: set[int] = set()
    for path in ROOT.glob("tests/**/test_*.py"):
        code = re.sub(r'"""(?:.|\n)*?"""', "", path.read_text())
        found |= {number for text in ID.findall(code) for number in numbers(text)}
    return found


def told() -> set[int]:
    rows = [line for line in (ROOT / "docs/differences.md").read_text().splitlines() if "|" in line]
    return {number for row in rows for number in numbers(row.split("|")[1])}


def test_no_number_is_missing() -> None:
    assert sorted(NUMBERS - shown() - told()) == []


def test_a_number_that_is_nowhere_is_missed() -> None:
    assert numbers("K47 and 48") == {47}
    assert numbers("K 5, 41") | numbers("K 90-92") == {5, 41, 90, 91, 92}


def test_only_known_numbers_are_told() -> None:
    assert told() <= NUMBERS
