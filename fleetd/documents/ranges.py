"""Ranges in the names and addresses of an inventory: `web-[01:40]`, `10.0.0.[11:50]`, `rack-[a,b]`.

`[first:last]` counts, `[first:last:step]` in steps; a leading zero of the first number sets the
width. `[one,two]` lists words. Several brackets in one text give all combinations, the last one
turning fastest.
"""

from __future__ import annotations

import itertools
import re

MAX_HOSTS = 20_000
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_COUNT = re.compile(r"([0-9]{1,9}):([0-9]{1,9})(?::([0-9]{1,9}))?\Z")
_WORDS = re.compile(r"[A-Za-z0-9.-]+(,[A-Za-z0-9.-]+)*\Z")


def expand(text: str) -> list[str]:
    """All texts that `text` stands for; itself when it has no bracket.

    Raises:
        ValueError: with what is wrong with a range.
    """
    parts = _BRACKET.split(text)
    if "[" in "".join(parts[::2]) or "]" in "".join(parts[::2]):
        raise ValueError("has a bracket without its other half")
    choices = [[part] if i % 2 == 0 else _choices(part) for i, part in enumerate(parts)]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > MAX_HOSTS:
        raise ValueError(f"stands for more than {MAX_HOSTS} hosts")
    return ["".join(combination) for combination in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    count = _COUNT.match(inside)
    if count is None:
        if _WORDS.match(inside):
            return inside.split(",")
        raise ValueError(f"[{inside}] is no range: write [01:40], [01:40:2] or [a,b]")
    first, last, step = int(count[1]), int(count[2]), int(count[3] or 1)
    width = len(count[1]) if count[1].startswith("0") else 0
    if width and len(count[2]) < width:
        raise ValueError(f"[{inside}]: {count[2]} must have as many digits as {count[1]}")
    if last < first or step < 1:
        raise ValueError(f"[{inside}] counts nothing: the last number is below the first")
    if (last - first) // step >= MAX_HOSTS:
        raise ValueError(f"[{inside}] stands for more than {MAX_HOSTS} hosts")
    return [f"{number:0{width}d}" for number in range(first, last + 1, step)]
