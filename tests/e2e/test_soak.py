"""Mixed faults for two minutes; `make soak` has the same for thirty."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.e2e.admin import IMAGE, Admin
from tests.e2e.lab import HostSpec
from tests.e2e.served import Served
from tests.e2e.soak import Soak, write_report
from tests.e2e.verdict import judge

ASKED = os.environ.get("SOAK_MINUTES")
MINUTES = float(ASKED or 2)
SEED = 7
"""Among the other tests every run meets the same faults; a soak draws its own."""
REPORT = Path(__file__).parents[2] / "build" / "soak.txt"
HOSTS = tuple(HostSpec(f"s{number}") for number in range(1, 6))
IMAGES = (IMAGE,)

pytestmark = pytest.mark.timeout(MINUTES * 60 + 900)


def test_nothing_goes_wrong_whatever_is_done_to_the_fleet(admin: Admin) -> None:
    seed = int(os.environ.get("SEED") or (random.randrange(1 << 32) if ASKED else SEED))
    print(f"SEED={seed}")  # noqa: T201  (pytest shows it when the test fails)
    with Served(admin, inventorySeconds=5) as served:
        soak = Soak(admin, served, seed, MINUTES * 60)
        found = judge(soak.run())
        text = soak.report(found)
        write_report(REPORT, text)
        print(text)  # noqa: T201
        assert found == [], f"{text}\n{served.log}"
