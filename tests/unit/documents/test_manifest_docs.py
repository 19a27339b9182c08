"""docs/manifests.md lists what is not simply honoured, as the field table has it.

python -m tests.unit.documents.test_manifest_docs      # writes the lists anew
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fleetd.core.fields import SECTIONS, Disposition, Field

PAGE: Final = Path(__file__).parents[3] / "docs" / "manifests.md"
_BLOCK: Final = re.compile(r"(<!-- fields: .*? -->\n).*?(<!-- end of fields -->)", re.DOTALL)
_HEADS: Final = {
    Disposition.EMULATED: "**Emulated**: the same effect by other means.",
    Disposition.IGNORED: "**Ignored**: no effect, which `validate` says.",
    Disposition.REFUSED: "**Refused**: it would change what runs, and cannot be done here.",
}


def fields() -> Iterator[tuple[str, Field]]:
    """Every field of a pod's spec with its section, each section once."""
    todo, seen = ["PodSpec"], {"PodSpec"}
    while todo:
        section = todo.pop(0)
        for field in SECTIONS[section].values():
            yield section, field
            below = field.type.removeprefix("[]")
            if below in SECTIONS and below not in seen:
                seen.add(below)
                todo.append(below)


def lists() -> str:
    """The lists as the page has them."""
    lines: list[str] = []
    for disposition, head in _HEADS.items():
        lines += ["", head, "", "| field | |", "|---|---|"]
        alike: dict[tuple[str, str], list[str]] = {}
        for section, field in fields():
            if field.disposition is disposition:
                values = ", ".join(f"`{json.dumps(value)}`" for value in field.values)
                reason = f"{field.note} (accepted: {values})" if values else field.note
                alike.setdefault((section, reason), []).append(f"`{section}.{field.name}`")
        lines += [f"| {', '.join(names)} | {reason} |" for (_, reason), names in alike.items()]
    return "\n".join([*lines[1:], "", ""])


def page() -> str:
    text = PAGE.read_text()
    assert _BLOCK.search(text)
    return _BLOCK.sub(lambda found: f"{found[1]}\n{lists()}{found[2]}", text)


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.unit.documents.test_manifest_docs"


def test_every_field_that_is_refused_or_ignored_has_a_reason() -> None:
    told = (Disposition.REFUSED, Disposition.IGNORED)
    assert [f"{s}.{f.name}" for s, f in fields() if f.disposition in told and not f.note] == []


if __name__ == "__main__":
    PAGE.write_text(page())
