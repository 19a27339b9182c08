"""The examples of the users' reference are good ones."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from fleetd.core.fields import SECTIONS
from fleetd.documents.inventory import read_inventory
from fleetd.documents.load import load

DOCS = Path(__file__).parents[3] / "docs"


def examples_of(page: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_documents(number: int) -> None:
    examples = examples_of("documents.md")
    assert len(examples) == 4
    documents = load(["-"], io.BytesIO(examples[number].encode()))
    assert documents.objects
    assert documents.notes == ()


def test_the_inventory(tmp_path: Path) -> None:
    (example,) = examples_of("inventory.md")
    (tmp_path / "hosts.yaml").write_text(example)
    assert len(read_inventory([str(tmp_path / "hosts.yaml")]).hosts) == 42


def test_the_inventory_page_names_every_field() -> None:
    page = (DOCS / "inventory.md").read_text()
    fields = {name for section in ("Inventory", "Host", "HostSsh") for name in SECTIONS[section]}
    assert [name for name in sorted(fields) if name not in page] == []
