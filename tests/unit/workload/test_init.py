"""The launchers of init containers, and what a launcher finds out on its host, run for real."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleetd.workload.names import RUN_DIR, STATE_DIR
from tests.unit.workload.rendering import rendered

SHELLS = ("sh", "dash", pytest.param("busybox", marks=pytest.mark.needs("busybox")))
RESULT = "run/probe/fleetd-mon.agent_v2.first.a.service"


class Place:
    """Where a launcher runs: an engine of ours, and no time lost in sleeps."""

    def __init__(self, root: Path, shell: str, engine: str) -> None:
        self.root = root
        self.argv = ["busybox", "ash"] if shell == "busybox" else [shell]
        for name, text in (("podman", engine), ("sleep", "exec /bin/sleep 0.01")):
            program = root / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\nlog() {{ echo "$@" >>{root}/log; }}\n{text}\n')
            program.chmod(0o755)
        copy = root / "state/w/mon.agent_v2/a"
        copy.mkdir(parents=True)
        values = "FLEETD_FLEET=f1\nFLEETD_POD_NAME=agent-web-1\nFLEETD_HOST_IP=192.0.2.9\n"
        (copy / "host.env").write_text(values)

    def start(self, spec: dict[str, Any], name: str = "first") -> subprocess.Popen[str]:
        text = rendered(spec).text(f"/{name}.start.sh")
        text = text.replace(STATE_DIR, f"{self.root}/state").replace(RUN_DIR, f"{self.root}/run")
        text = text.replace("/etc/resolv.conf\n", f"{self.root}/resolv.conf\n")
        script = self.root / "start.sh"
        script.write_text(text)
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "INVOCATION_ID": "i1"}
        return subprocess.Popen(
            [*self.argv, str(script)], env=environment, stderr=subprocess.PIPE, text=True
        )

    def run(self, spec: dict[str, Any], name: str = "first") -> tuple[int, str]:
        started = self.start(spec, name)
        _, said = started.communicate(timeout=30)
        return started.returncode, said

    @property
    def log(self) -> list[str]:
        return (self.root / "log").read_text().splitlines()


@pytest.fixture(name="place", params=SHELLS)
def _place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return Place(tmp_path, request.param, "")


def pod(**fields: Any) -> dict[str, Any]:
    return {
        "initContainers": [{"name": "first", "image": "first:1"}],
        "containers": [{"name": "main", "image": "busybox:1"}],
        **fields,
    }


ENDS_WELL_AT_THE_THIRD = """
case $1 in
  run)
    echo >>{0}/tries
    cp {0}/{1} {0}/seen 2>/dev/null
    [ "$(wc -l <{0}/tries)" -ge 3 ] || exit 7
    ;;
  rm) log rm ;;
esac
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_an_init_container_is_tried_until_it_ends_well(tmp_path: Path, shell: str) -> None:
    place = Place(tmp_path, shell, ENDS_WELL_AT_THE_THIRD.format(tmp_path, RESULT))
    code, said = place.run(pod())
    assert code == 0
    assert said.splitlines() == ["exit status 7; again in 5 s", "exit status 7; again in 10 s"]
    assert (tmp_path / "seen").read_text() == "i1 fail exit status 7, tried 2 times\n"
    assert (tmp_path / RESULT).read_text() == "i1 ok done\n"
    assert place.log == ["rm"] * 3


@pytest.mark.parametrize("shell", SHELLS)
def test_a_stop_in_the_middle_is_graceful_and_is_no_good_end(tmp_path: Path, shell: str) -> None:
    engine = f"""
case $1 in
  run) trap 'exit 0' TERM; echo $$ >{tmp_path}/pid; touch {tmp_path}/up
    while [ -e {tmp_path}/up ]; do /bin/sleep 0.01; done ;;
  stop) log "$@"; rm -f {tmp_path}/up ;;
esac
"""
    place = Place(tmp_path, shell, engine)
    started = place.start(pod(terminationGracePeriodSeconds=9))
    while not (tmp_path / "up").exists():
        assert started.poll() is None
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=30)
    assert started.returncode == 1
    assert place.log == ["stop -t 9 fleetd-mon.agent_v2.first.a"]


@pytest.mark.parametrize(
    ("user", "message"),
    [
        pytest.param("", "the image runs as root", id="nobody"),
        pytest.param("0:5", "the image runs as root", id="zero"),
        pytest.param("00", "the image runs as root", id="zeros"),
        pytest.param("web", "the image's user is web, no number", id="a-name"),
        pytest.param("1001:0", "", id="a-number"),
        pytest.param("10", "", id="a-number-with-a-zero"),
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_who_must_not_be_root_does_not_start_as_root(
    tmp_path: Path, shell: str, user: str, message: str
) -> None:
    engine = f'[ "$1" != image ] || echo {user!r}\n[ "$1" != run ] || log "$@"'
    place = Place(tmp_path, shell, engine)
    context = {"runAsNonRoot": True, "runAsGroup": 7}
    spec = {"containers": [{"name": "main", "image": "b:1"}], "securityContext": context}
    code, said = place.run(spec, "main")
    if message:
        assert (code, message in said) == (1, True)
        assert not (tmp_path / "log").exists()
    else:
        assert code == 0
        assert f"--user={user.partition(':')[0]}:7" in place.log[0]


HOSTS_RESOLVER = "# made by hand\nnameserver 192.0.2.1\nsearch a.example\noptions ndots:1 rotate\n"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(
            "Default",
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
            "search a.example b.example\noptions ndots:1 rotate ndots:5 edns0\n",
            id="host-first",
        ),
        pytest.param(
            "None",
            "nameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"
            "search b.example\noptions ndots:5 edns0\n",
            id="its-own-alone",
        ),
    ],
)
def test_a_resolver_of_its_own(place: Place, policy: str, expected: str) -> None:
    (place.root / "resolv.conf").write_text(HOSTS_RESOLVER)
    config = {
        "nameservers": ["192.0.2.2", "192.0.2.3", "192.0.2.4"],
        "searches": ["b.example"],
        "options": [{"name": "ndots", "value": "5"}, {"name": "edns0"}],
    }
    spec = {"containers": [{"name": "main", "image": "b:1"}]}
    code, said = place.run({**spec, "dnsPolicy": policy, "dnsConfig": config}, "main")
    assert (code, said) == (0, "")
    path = place.root / "state/w/mon.agent_v2/a/main.resolv.conf"
    written = [" ".join(line.split()) for line in path.read_text().splitlines()]
    assert "\n".join(written) + "\n" == expected
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_container_is_told_the_address_of_its_pod(tmp_path: Path) -> None:
    engine = '[ "$1" != inspect ] || printf "\\n10.88.0.5\\n"\n[ "$1" != run ] || log "$@"'
    place = Place(tmp_path, "dash", engine)
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    container = {"name": "main", "image": "b:1", "env": env}
    assert place.run({"containers": [container]}, "main") == (0, "")
    assert "--env=IP=10.88.0.5" in place.log[0]
    assert place.run({"containers": [container], "hostNetwork": True}, "main") == (0, "")
    assert "--env=IP=192.0.2.9" in place.log[1]


def test_a_pod_without_an_address_does_not_start(tmp_path: Path) -> None:
    place = Place(tmp_path, "dash", '[ "$1" != run ] || log "$@"')
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    code, said = place.run({"containers": [{"name": "main", "image": "b", "env": env}]}, "main")
    assert (code, said) == (1, "the pod has no address\n")
