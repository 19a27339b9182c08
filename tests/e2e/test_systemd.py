"""Workloads of systemd on real hosts: reloads, credentials, users, timers, sockets, refusals."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import HostProfile, Runtime, Slot
from fleetd.host.replies import Ok
from fleetd.workload.content import Content
from fleetd.workload.render import render
from tests.e2e.admin import Admin, Document, daemonset, secret, unit_agent
from tests.e2e.lab import Entry, Host, HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import leftovers
from tests.e2e.visits import UNIT, order, visit

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("one", runtime="none"), HostSpec("two", runtime="none", login_shell="dash"))
NAMES = [spec.name for spec in HOSTS]


def shown(host: Host, *properties: str, unit: str = UNIT) -> list[str]:
    """Properties of a unit as systemd itself tells them."""
    asked = " ".join(f"-p {name}" for name in properties)
    told = host.sh(f"systemctl show {asked} {unit}").stdout.splitlines()
    values = dict(line.split("=", 1) for line in told)
    return [values[name] for name in properties]


def service(unit: str, **systemd: Any) -> Document:
    template = {"systemd": {"unit": unit, **systemd}}
    return daemonset("agent", template, api="fleetd/v1", max_unavailable=2)


def available(admin: Admin) -> int:
    status = admin.get("ds", "agent")["status"]
    return int(status.get("numberAvailable", 0))


@pytest.fixture
def hosts(admin: Admin) -> list[Host]:
    return list(admin.fleet.hosts.values())


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("directives", "said"),
    [
        pytest.param("Fooo=bar\n", "'Fooo' in section", id="unknown-key"),
        pytest.param(
            "ExecStartPre=/opt/no-such-program\n", "/opt/no-such-program", id="missing-command"
        ),
    ],
)
def test_a_unit_that_does_not_verify_touches_no_host(
    admin: Admin, hosts: list[Host], directives: str, said: str
) -> None:
    admin.apply(unit_agent(version="v1"))
    before = [shown(host, "MainPID", "InvocationID") for host in hosts]
    text = hosts[0].sh(f"cat /etc/systemd/system/{UNIT}").stdout
    soon = {"fleetd/progress-deadline-seconds": "5"}
    ended = admin.apply(unit_agent(version="v2", directives=directives, annotations=soon), code=3)
    messages = {action["message"] for action in ended.actions if action["result"] == "failed"}
    assert messages
    assert [m for m in messages if not (m.startswith("verify: ") and said in m)] == []
    assert not any("[0" in message for message in messages)  # colours, even where none are seen
    assert [shown(host, "MainPID", "InvocationID") for host in hosts] == before
    assert hosts[0].sh(f"cat /etc/systemd/system/{UNIT}").stdout == text
    assert any(said in why for why in ended.json["holders"]["default/agent"].values())


def test_commands_that_are_delivered_need_not_be_there_before(
    admin: Admin, hosts: list[Host]
) -> None:
    program = {"path": "/opt/brought/agent", "mode": 0o755, "content": "#!/bin/sh\nexec sleep 1d\n"}
    admin.apply(service("[Service]\nExecStart=/opt/brought/agent\n", files=[program]))
    assert available(admin) == len(NAMES)


# --------------------------------------------------------------------------------------- reload


@pytest.mark.parametrize(("on_change", "reloads"), [("reload", 1), ("nothing", 0)])
def test_a_change_of_a_file_keeps_the_process(
    admin: Admin, hosts: list[Host], on_change: str, reloads: int
) -> None:
    def agent(content: str) -> Document:
        file = {"path": "/etc/agent/agent.conf", "content": content, "onChange": on_change}
        log = "ExecReload=/bin/sh -c 'echo $MAINPID >>/var/lib/lab-agent/reloads'\n"
        return unit_agent(directives=log, systemd={"files": [file]}, max_unavailable=2)

    admin.apply(agent("one\n"))
    before = [shown(host, "MainPID", "InvocationID", "NRestarts") for host in hosts]
    changed = admin.apply(agent("two\n"))
    assert sorted(changed.did) == [(name, "update") for name in NAMES]
    assert [shown(host, "MainPID", "InvocationID", "NRestarts") for host in hosts] == before
    for host, (pid, *_) in zip(hosts, before, strict=True):
        assert host.sh("cat /etc/agent/agent.conf").stdout == "two\n"
        log = host.sh("cat /var/lib/lab-agent/reloads 2>/dev/null", check=False).stdout
        assert log.split() == [pid] * reloads
    assert available(admin) == len(NAMES)
    assert admin.reconcile().did == []


# ---------------------------------------------------------------------------------- credentials

READER = """\
[Service]
User=nobody
StateDirectory=reader
ExecStart=/bin/sh -c 'cd "$CREDENTIALS_DIRECTORY"; cat token >"$STATE_DIRECTORY/seen"; \\
    stat -c "%%a %%U" token >"$STATE_DIRECTORY/mode"; exec sleep 1d'
"""
CREDENTIALS = [{"name": "token", "secretKeyRef": {"name": "tokens", "key": "agent"}}]


def test_a_credential_is_read_by_the_program_and_nobody_else(
    admin: Admin, hosts: list[Host]
) -> None:
    reader = service(READER, credentials=CREDENTIALS)
    admin.apply(secret("tokens", {"agent": "s3cret-one"}), reader)
    for host in hosts:
        assert host.sh("cat /var/lib/reader/seen").stdout == "s3cret-one"
        held = "/var/lib/fleetd-node/w/default.agent/a/credentials"
        assert host.sh(f"stat -c '%a %U' {held} {held}/token").stdout == "700 root\n600 root\n"
        told = host.sh(f"systemctl show {UNIT}; cat /etc/systemd/system/*.service").stdout
        assert "s3cret" not in told
        pid = shown(host, "MainPID")[0]
        assert "s3cret" not in host.sh(f"tr '\\0' ' ' </proc/{pid}/environ").stdout
    # Another value is another revision: the program reads credentials only when it starts.
    admin.apply(secret("tokens", {"agent": "s3cret-two"}), reader)
    for host in hosts:
        assert host.sh("cat /var/lib/reader/seen").stdout == "s3cret-two"
    admin.fleetd("delete", "ds", "agent")
    assert [leftovers(host) for host in hosts] == [[], []]


def test_what_an_older_systemd_gets_in_its_place_works_as_well(hosts: list[Host]) -> None:
    """What is rendered for one runs on a newer one, too."""
    host = hosts[0]
    host.sh("rm -rf /var/lib/reader")
    conf = [{"name": "token", "configMapKeyRef": {"name": "conf", "key": "token"}}]
    wanted = DaemonSet.model_validate(service(READER, credentials=conf))
    content = Content(config_maps={"conf": {"token": b"as-before-247"}})
    profile = HostProfile(Runtime.SYSTEMD, systemd=245)
    bundle = render(wanted, "r1", Slot.A, profile, content, {})
    reply = visit(host, order(host, bundle))
    assert isinstance(reply, Ok), reply
    assert "LoadCredential" not in host.sh(f"cat /etc/systemd/system/{UNIT}").stdout
    seen = "cd /var/lib/reader && grep -q before seen && test -s mode && cat seen mode"
    wait_until(lambda: host.sh(seen, check=False).returncode == 0, 20, "the program to read it")
    assert host.sh(seen).stdout == "as-before-247400 nobody\n"
    held = f"/run/fleetd-node/credentials/{UNIT}"
    assert host.sh(f"stat -c '%a %U' {held}").stdout == "500 nobody\n"
    host.sh(f"systemctl stop {UNIT}")
    assert host.sh(f"ls {held}", check=False).returncode != 0


# ---------------------------------------------------------------------------------------- users


@pytest.mark.parametrize("tool", ["systemd-sysusers", "useradd"])
def test_a_missing_user_is_made_and_kept_and_one_that_exists_is_left_alone(
    admin: Admin, hosts: list[Host], tool: str
) -> None:
    host = hosts[0]
    admin.know([Entry(host)])
    program = host.sh("command -v systemd-sysusers").stdout.strip()
    host.sh("useradd --system --uid 4242 --shell /bin/bash --home-dir /srv theirs")
    if tool == "useradd":
        host.sh(f"mv {program} {program}.off")
    try:
        users = [
            {"name": "made", "home": "/var/lib/made", "groups": ["adm"]},
            {"name": "theirs", "home": "/nonexistent", "groups": ["adm"]},
        ]
        agent = service("[Service]\nUser=made\nExecStart=/bin/sleep 1d\n", users=users)
        admin.apply(agent)
        made = host.sh("getent passwd made").stdout
        assert made.split(":")[5:] == ["/var/lib/made", "/usr/sbin/nologin\n"]
        assert host.sh("id -nG made").stdout.split() == ["made", "adm"]
        assert host.sh("getent passwd theirs").stdout.endswith(":/srv:/bin/bash\n")
        assert host.sh("id -nG theirs").stdout.split() == ["theirs"]
        assert host.sh("find /etc/sysusers.d -name '*fleetd*'", check=False).stdout == ""
        # It stays with its uid, as files of its stay; so it is the same one again later.
        admin.fleetd("delete", "ds", "agent")
        assert host.sh("getent passwd made").stdout == made
        admin.apply(agent)
        assert host.sh("getent passwd made").stdout == made
    finally:
        host.sh(f"mv {program}.off {program}", check=False)
        host.sh("systemctl stop 'fleetd-*'; userdel made; userdel theirs", check=False)


# ----------------------------------------------------------------------------- timers and sockets

TIMER = UNIT.replace(".service", ".timer")
SOCKET = UNIT.replace(".service", ".socket")
COUNT = "/var/lib/lab-agent/runs"


def job(command: str, timer: str) -> Document:
    unit = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c '{command}'\n"
    return service(unit, timer=f"[Timer]\n{timer}\nAccuracySec=100ms\n")


def runs(host: Host) -> int:
    return len(host.sh(f"cat {COUNT} 2>/dev/null", check=False).stdout.split())


def ran_twice(host: Host) -> bool:
    return runs(host) >= 2


def test_a_timer_runs_its_service_and_nobody_else_does(admin: Admin, hosts: list[Host]) -> None:
    often = job(f"echo ran >>{COUNT}", "OnActiveSec=1s\nOnUnitActiveSec=1s")
    admin.apply(often)
    for host in hosts:
        wait_until(partial(ran_twice, host), 20, "the timer to run it twice")
        assert shown(host, "ActiveState", "UnitFileState", unit=TIMER) == ["active", "enabled"]
        assert shown(host, "Result") == ["success"]
    assert available(admin) == len(NAMES)
    assert admin.reconcile().did == []

    # Between runs it is as it should be, and an update starts nothing by itself.
    seldom = job(f"echo ran >>{COUNT}", "OnCalendar=2100-01-01")
    admin.apply(seldom)
    before = [runs(host) for host in hosts]
    for host in hosts:
        assert shown(host, "ActiveState") == ["inactive"]
    assert available(admin) == len(NAMES)
    assert admin.reconcile().did == []
    assert [runs(host) for host in hosts] == before

    # The timer itself is kept going; the service is not started for it.
    hosts[0].sh(f"systemctl stop {TIMER}")
    assert admin.reconcile().did == [("one", "repair")]
    assert shown(hosts[0], "ActiveState", unit=TIMER) == ["active"]
    assert [runs(host) for host in hosts] == before
    admin.fleetd("delete", "ds", "agent")
    assert [leftovers(host) for host in hosts] == [[], []]


def test_a_run_that_fails_is_told_and_not_repaired(admin: Admin, hosts: list[Host]) -> None:
    soon = {"fleetd/progress-deadline-seconds": "5"}
    fails = job("exit 7", "OnActiveSec=1s")
    fails["metadata"]["annotations"] = soon
    fails["spec"]["minReadySeconds"] = 3
    ended = admin.apply(fails, code=3)
    assert "exit status 7" in str(ended.json["holders"])
    assert [action for action in ended.actions if action["action"] == "repair"] == []
    pods = admin.get("pods")["items"]
    assert {pod["status"]["phase"] for pod in pods} == {"Failed"}


def test_a_socket_starts_its_service_when_somebody_connects(
    admin: Admin, hosts: list[Host]
) -> None:
    def answer(word: str) -> Document:
        perl = f"open(S, q(+<&=3)); while (accept(C, S)) {{ syswrite C, qq({word}); close C }}"
        command = f'echo run >>{COUNT}; exec /usr/bin/perl -e "{perl}"'
        unit = f"[Service]\nExecStart=/bin/sh -c '{command}'\n"
        return service(unit, socket="[Socket]\nListenStream=9100\n")

    admin.apply(answer("first"))
    assert available(admin) == len(NAMES)
    assert admin.reconcile().did == []
    for host in hosts:
        assert shown(host, "ActiveState", "SubState", unit=SOCKET) == ["active", "listening"]
        assert shown(host, "ActiveState") == ["inactive"]
        assert said(host) == "first"
        assert shown(host, "ActiveState") == ["active"]
    assert admin.reconcile().did == []
    admin.apply(answer("second"))
    for host in hosts:
        assert shown(host, "ActiveState", unit=SOCKET) == ["active"]
        assert shown(host, "ActiveState") == ["inactive"]
        assert said(host) == "second"
        assert runs(host) == 2
    admin.fleetd("delete", "ds", "agent")
    assert [leftovers(host) for host in hosts] == [[], []]


def said(host: Host) -> str:
    """What the port answers."""
    return host.sh("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9100; cat <&3'").stdout
