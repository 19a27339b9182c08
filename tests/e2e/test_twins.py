"""Simulated hosts answer as real ones do: the same orders, the same replies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.lab import Fleet, HostSpec
from tests.e2e.twins import OLD, OLD_TEXT

pytestmark = pytest.mark.timeout(600)


def test_a_simulated_host_answers_like_a_real_one() -> None:
    with Fleet([HostSpec("twin")]) as fleet:
        (fleet["twin"].rootfs / "etc/systemd/system" / OLD).write_text(OLD_TEXT)
        fleet["twin"].sh(f"systemctl daemon-reload; systemctl enable --now {OLD}")
        ended = fleet.coordinator(
            [
                *(sys.executable, "-m", "tests.e2e.twins", fleet["twin"].ip, "fleet"),
                *(fleet.client_key, fleet.known_hosts),
            ],
            cwd=Path(__file__).parents[2],
            timeout=300,
        )
    assert ended.returncode == 0, ended.stderr
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(told) > 30
    differences = [step for step in told if step["real"] != step["simulated"]]
    assert differences == [], json.dumps(differences, indent=1)
