from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleetd.core.node import Inventory
from fleetd.errors import InventoryUnknown
from tests.unit.server.service import ANN, Desk


async def test_a_request_to_a_service_reads_no_inventory_by_itself(tmp_path: Path) -> None:
    readable = tmp_path / "hosts.yaml"
    readable.write_text("hosts: {a: {address: 192.0.2.1}}\n")

    def unknown() -> Inventory:
        raise InventoryUnknown("the program takes long")

    client = replace(Desk().client(ANN), sources=(str(readable),), read=unknown)
    with pytest.raises(InventoryUnknown, match="the program takes long"):
        await client.cordon("a", on=True)
    assert await replace(client, read=None).cordon("a", on=True) == "node/a cordoned"
