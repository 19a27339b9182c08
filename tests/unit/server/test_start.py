"""The service as a process of its own, over the state of an earlier run; no host is there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FLEETD = Path(sys.executable).with_name("fleetd")


def test_a_service_that_is_told_no_inventory_goes_on_with_that_of_its_state(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("hosts: {web: {address: 127.0.0.1, ssh: {port: 1}}}\n")
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def fleetd(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(FLEETD), "--state", "state", *words]
        return subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
        )

    assert fleetd("-i", str(inventory), "reconcile", "--timeout", "1s").returncode == 0
    log = tmp_path / "log"
    with log.open("w") as out:
        service = subprocess.Popen(
            [str(FLEETD), "--state", "state", "run"], cwd=tmp_path, env=env, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + 120
        while "inventory_changed" not in log.read_text():
            assert service.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        assert "web" in fleetd("get", "nodes").stdout
        service.terminate()
        assert service.wait(120) == 0, log.read_text()
    finally:
        service.kill()
        service.wait()
