from __future__ import annotations

import signal
from typing import Any

import pytest

from fleetd.workload.errors import RenderError
from tests.unit.workload.hosting import UNIT, Host, end, until
from tests.unit.workload.rendering import Rendered, container, rendered

NAME = UNIT.removesuffix(".service")
GRACE = {"terminationGracePeriodSeconds": 45}


def stopped_by(handler: dict[str, Any], **fields: Any) -> Rendered:
    """A container that is stopped with this hook."""
    return container({**GRACE, **fields}, lifecycle={"preStop": handler})


def started_by(handler: dict[str, Any]) -> Rendered:
    """A container that is started with this hook."""
    return container(GRACE, lifecycle={"postStart": handler})


# ------------------------------------------------------------------------------------- preStop


def test_pre_stop_runs_before_the_stop(any_host: Host) -> None:
    any_host.engine(f'echo "$@" >>{any_host.log}')
    bundle = stopped_by({"exec": {"command": ["drain", "a b"]}})
    assert any_host.popen(bundle, "main.stop.sh").wait() == 0
    assert any_host.lines[0] == "drain a b"
    assert any_host.lines[1] in {f"stop -t 45 {NAME}", f"stop -t 44 {NAME}"}


def test_pre_stop_and_sigterm_share_the_grace_period(any_host: Host) -> None:
    any_host.engine("/bin/sleep 3")
    any_host.popen(stopped_by({"exec": {"command": ["drain"]}}), "main.stop.sh").wait()
    assert any_host.lines[0] in {f"stop -t {left} {NAME}" for left in range(30, 43)}


def test_a_pre_stop_that_hangs_is_bounded_by_the_grace_period(any_host: Host) -> None:
    any_host.engine("exec /bin/sleep 600")
    bundle = stopped_by({"exec": {"command": ["hang"]}}, terminationGracePeriodSeconds=1)
    any_host.popen(bundle, "main.stop.sh").wait()
    assert any_host.lines == [f"stop -t 2 {NAME}"]  # what a kubelet leaves to SIGTERM


def test_a_pre_stop_that_fails_stops_nothing_from_being_stopped(host: Host) -> None:
    host.engine("exit 3")
    host.popen(stopped_by({"exec": {"command": ["drain"]}}), "main.stop.sh").wait()
    assert len(host.lines) == 1


def test_a_container_that_ended_by_itself_gets_no_hook(host: Host) -> None:
    host.engine(f"echo hook >>{host.log}", runs=False)
    host.popen(stopped_by({"exec": {"command": ["drain"]}}), "main.stop.sh").wait()
    assert host.lines == [f"stop -t 45 {NAME}"]


def test_without_grace_there_is_no_hook(host: Host) -> None:
    host.engine(f"echo hook >>{host.log}")
    bundle = stopped_by({"exec": {"command": ["drain"]}}, terminationGracePeriodSeconds=0)
    host.popen(bundle, "main.stop.sh").wait()
    assert host.lines == [f"stop -t 0 {NAME}"]


def test_pre_stop_sleeps(host: Host) -> None:
    host.engine()
    host.popen(stopped_by({"sleep": {"seconds": 7}}), "main.stop.sh").wait()
    assert (host.root / "slept").read_text() == "7\n"


def test_pre_stop_asks(host: Host) -> None:
    host.engine()
    host.program("curl", f'echo "$@" >>{host.log}; printf "503 "')
    ports = [{"name": "web", "containerPort": 8080}]
    action = {"path": "/drain", "port": "web"}
    bundle = container(lifecycle={"preStop": {"httpGet": action}}, ports=ports)
    host.popen(bundle, "main.stop.sh").wait()
    assert host.lines[0].endswith("http://127.0.0.1:8080/drain")
    assert host.lines[1].startswith("stop -t ")


# ----------------------------------------------------------------------------------- postStart


def test_post_start_runs_once_the_container_does(any_host: Host) -> None:
    any_host.engine(f'echo "$@" >>{any_host.log}', runs=False)
    process = any_host.popen(started_by({"exec": {"command": ["hello", "a b"]}}), "post-start.sh")
    until((any_host.root / "slept").exists, str)
    assert any_host.lines == []
    any_host.comes_up()
    assert process.wait() == 0
    assert any_host.lines == ["hello a b"]
    assert any_host.result() == ""


def test_a_post_start_that_fails_stops_the_container_and_tells_why(any_host: Host) -> None:
    any_host.engine("echo no luck; exit 3")
    process = any_host.popen(started_by({"exec": {"command": ["hello"]}}), "post-start.sh")
    assert process.wait() == 1
    assert any_host.lines == [f"stop -t 45 {NAME}"]
    assert any_host.result() == "i1 fail postStart hook failed: no luck\n"


def test_a_container_that_does_not_come_up_fails_its_post_start(host: Host) -> None:
    host.engine(runs=False)
    process = host.popen(started_by({"exec": {"command": ["hello"]}}), "post-start.sh")
    assert process.wait() == 1
    assert "the container does not run" in host.result()


def test_a_stop_during_post_start_is_a_graceful_one(any_host: Host) -> None:
    any_host.engine(f"echo $1 >>{any_host.log}; [ $1 = bye ] || exec /bin/sleep 600")
    hooks = {name: {"exec": {"command": [word]}} for name, word in WORDS.items()}
    process = any_host.popen(container(GRACE, lifecycle=hooks), "post-start.sh")
    try:
        until(lambda: any_host.lines == ["hello"], lambda: str(any_host.lines))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 1
    finally:
        end(process)
    assert any_host.lines[1] == "bye"
    assert any_host.lines[2].startswith("stop -t 4")


WORDS = {"postStart": "hello", "preStop": "bye"}


@pytest.mark.parametrize("status", ["204", "404"])
def test_any_answer_will_do_for_a_hook_that_asks(host: Host, status: str) -> None:
    host.engine()
    host.program("curl", f'printf "{status} "')
    bundle = started_by({"httpGet": {"port": 80}})
    assert host.popen(bundle, "post-start.sh").wait() == 0


def test_a_hook_that_nobody_answers_fails(host: Host) -> None:
    host.engine()
    host.program("curl", "echo refused; exit 7")
    assert host.popen(started_by({"httpGet": {"port": 80}}), "post-start.sh").wait() == 1
    assert host.result() == "i1 fail postStart hook failed: refused\n"


def test_a_tcp_hook_does_nothing(host: Host) -> None:
    host.engine()
    bundle = started_by({"tcpSocket": {"port": 80}})
    assert host.popen(bundle, "post-start.sh").wait() == 0


# ----------------------------------------------------------------------------------- rendering


def test_the_unit_runs_the_hooks() -> None:
    hooks = {name: {"exec": {"command": [word]}} for name, word in WORDS.items()}
    bundle = container(GRACE, lifecycle=hooks)
    lines = bundle.lines(UNIT)
    (post,) = (line for line in lines if line.startswith("ExecStartPost="))
    assert post.endswith("/main.post-start.sh")
    (stop,) = (line for line in lines if line.startswith("ExecStop="))
    assert stop.endswith("/main.stop.sh")
    limits = [line for line in lines if line.startswith("TimeoutStartSec=")]
    assert limits[-1] == "TimeoutStartSec=infinity"  # a hook may take as long as it likes


def test_a_container_without_hooks_has_no_scripts_of_them() -> None:
    bundle = container(readinessProbe={"exec": {"command": ["x"]}})
    assert not [path for path in bundle.files if path.endswith((".stop.sh", "post-start.sh"))]


def test_a_port_that_has_no_number() -> None:
    with pytest.raises(RenderError, match="preStop of main: no port is named 'web'"):
        stopped_by({"httpGet": {"port": "web"}})


def test_each_container_has_its_own() -> None:
    one = {"name": "one", "image": "x", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}
    bundle = rendered({"hostNetwork": True, "containers": [one, {"name": "two", "image": "x"}]})
    (path,) = (path for path in bundle.files if path.endswith(".stop.sh"))
    assert path.endswith("/one.stop.sh")
