"""Cuts of an apply to a real host: whatever the byte, no torn file and no false success."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.lab import Fleet, HostSpec

pytestmark = pytest.mark.timeout(600)

CUTS = 40


def test_an_apply_cut_anywhere_is_whole_or_undone() -> None:
    with Fleet([HostSpec("cut")]) as fleet:
        host = fleet["cut"]
        ended = fleet.coordinator(
            [
                *(sys.executable, "-m", "tests.e2e.cuts", host.ip, "fleet"),
                *(fleet.client_key, fleet.known_hosts, str(CUTS)),
            ],
            cwd=Path(__file__).parents[2],
            timeout=500,
        )
        assert ended.returncode == 0, ended.stderr
        told = [json.loads(line) for line in ended.stdout.splitlines()]
        assert len(told) == CUTS
        assert [cut for cut in told if cut["torn"]] == []
        assert [cut for cut in told if cut["reply"] == "Ok" and not cut["done"]] == []
        assert {cut["done"] for cut in told} == {True, False}, (
            "the cuts missed the interesting part"
        )
        assert host.sh("ls -A /var/lib/fleetd-node/stage").stdout == ""
