from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.server.service import ANN, BOB, Caller, Desk, as_peer


@pytest.fixture(autouse=True)
def loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that tell of errors: import-linter, which a test of the house runs, turns off all."""
    for name in ("asyncio", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def ann(desk: Desk, tmp_path: Path) -> AsyncIterator[Caller]:
    """A caller who may operate."""
    async with as_peer(desk, ANN, tmp_path / "ann.sock") as caller:
        yield caller


@pytest.fixture
async def bob(desk: Desk, tmp_path: Path) -> AsyncIterator[Caller]:
    """A caller who may only read."""
    async with as_peer(desk, BOB, tmp_path / "bob.sock") as caller:
        yield caller
