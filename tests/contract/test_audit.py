"""The audit, read and written through both forms of the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.client import Client, Query
from fleetd.testing.loop import LoopClock
from tests.contract.forms import World, play


@pytest.mark.parametrize("form", ["in-process", "service"])
def test_who_did_what_is_told_the_same(form: str, tmp_path: Path) -> None:
    async def story(client: Client, world: World) -> None:
        begin = LoopClock().now()
        await client.hold("h1", on=True)
        await client.cordon("h2", on=True)
        entries = await client.get("audit", Query(None, since=begin))
        told = [(entry["verb"], entry["node"], entry["outcome"]) for entry in entries]
        assert told == [("hold", "h1", "done"), ("cordon", "h2", "done")]
        (who,) = {entry["who"] for entry in entries}
        assert who
        assert await client.get("audit", Query(None, since=begin + 1e6)) == []

    play(form, tmp_path, story)
