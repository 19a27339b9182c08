from __future__ import annotations

import pytest

from fleetd.api.fleet import open_fleet
from tests.unit.api.desk import Desk


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    open_fleet(made.store, "f" * 32, b"k" * 32)
    return made
