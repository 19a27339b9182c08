"""What a host takes in, as far as its script runs without an engine: docker is played by a stub."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleetd.core.facts import Runtime
from fleetd.host import scripts
from fleetd.host.paths import RUN_DIR, STATE_DIR
from fleetd.host.replies import Failed, parse
from fleetd.host.requests import Load
from fleetd.host.wire import encode
from fleetd.ports import Output

NONCE = "0123456789abcdef"
LOAD = Load("f", 1, Runtime.DOCKER, ((f"sha256:{'0' * 64}", "a.example/b:1"),), 1, "0" * 64)
SHELLS = ("dash", "bash", pytest.param("busybox", marks=pytest.mark.needs("busybox")))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("[[driver-type io.containerd.snapshotter.v1]]", "in containerd here, under other ids"),
        ("[[Backing Filesystem extfs] [Supports d_type true]]", "did not arrive whole"),
    ],
)
def test_a_docker_that_has_other_ids_is_sent_no_archive(
    tmp_path: Path, shell: str, driver: str, said: str
) -> None:
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin/docker"
    docker.write_text(f"#!/bin/sh\necho '{driver}'\n")
    docker.chmod(0o755)
    script = scripts.script("load").decode()
    script = script.replace("PATH=/usr/local/sbin", f"PATH={tmp_path}/bin:/usr/local/sbin")
    for directory in (STATE_DIR, RUN_DIR):
        (tmp_path / directory[1:]).mkdir(parents=True)
        script = script.replace(f"={directory}\n", f"={tmp_path}{directory}\n")
    request = encode(LOAD, NONCE).rpartition(b"request\t")[2]
    done = subprocess.run(
        [*(["busybox", "ash"] if shell == "busybox" else [shell]), "-c", script],
        input=b"request\t" + request + b"?",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    reply = parse(Output(done.returncode, done.stdout, done.stderr), NONCE, LOAD)
    assert isinstance(reply, Failed), reply
    assert said in reply.message
    assert list((tmp_path / STATE_DIR[1:]).rglob("archive")) == []
