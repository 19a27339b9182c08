"""What real hosts do with requests: each test is a visit or a few, by the carrier line over ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

import pytest

from fleetd.core.actions import Mode
from fleetd.core.bundle import Bundle, BundleFile, BundleUser, Check, CheckKind, Inline
from fleetd.core.facts import (
    Deviation,
    FileDeviation,
    Known,
    Owner,
    Runtime,
    Unknown,
)
from fleetd.host import carrier
from fleetd.host.replies import Failed, Lost, Ok, Refused
from fleetd.host.requests import (
    Adopt,
    Exec,
    Load,
    Logs,
    Observe,
    Pull,
    Purge,
    Remove,
    Wanted,
)
from fleetd.host.wire import encode
from tests.e2e.lab import Fleet, Host, HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.visits import (
    DS,
    TARGET,
    UNIT,
    UNIT_FILE,
    apply,
    bundle,
    container,
    copy_of,
    look,
    observed,
    order,
    process,
    raw,
    traces,
    unit_of,
    visit,
)

pytestmark = pytest.mark.timeout(600)  # the first run builds the base image

SPECS = (
    HostSpec("pod", noisy_bashrc=True),
    HostSpec("dock", runtime="docker", login_shell="zsh", noisy_bashrc=True),
    HostSpec("boss", user="root", login_shell="dash"),
    HostSpec("fish", login_shell="fish", noisy_bashrc=True),
    HostSpec("small", login_shell="tcsh", noisy_bashrc=True, disk_mb=48),
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(SPECS) as booted:
        booted["boss"].sh("ln -sf bash /bin/sh")  # as on Red Hat's; elsewhere it is dash
        yield booted


@pytest.fixture(params=["pod", "boss"])
def host(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host that no fleet owns: by sudo and bash, and by root and dash."""
    yield from clean(fleet[request.param])


@pytest.fixture
def pod(fleet: Fleet) -> Iterator[Host]:
    yield from clean(fleet["pod"])


@pytest.fixture
def engine_host(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Host]:
    yield from clean(fleet[request.param])


@pytest.fixture
def fish(fleet: Fleet) -> Iterator[Host]:
    yield from clean(fleet["fish"])


@pytest.fixture
def small(fleet: Fleet) -> Iterator[Host]:
    yield from clean(fleet["small"])


def clean(host: Host) -> Iterator[Host]:
    yield host
    reply = visit(host, Purge("f", 1 << 40))
    assert isinstance(reply, Ok), reply


# ---------------------------------------------------------------------------------- looking


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_login_shell_and_account_is_served(fleet: Fleet, spec: HostSpec) -> None:
    host = fleet[spec.name]
    reply = visit(host, Observe("f", engine=True, facts=True))
    seen = observed(reply)
    parts = (seen.clock, seen.owner, seen.ledger, seen.files, seen.units, seen.engine, seen.facts)
    assert [part for part in parts if not isinstance(part, Known)] == []
    assert isinstance(seen.clock, Known)
    assert seen.clock.value.machine_id == host.machine_id
    assert isinstance(seen.facts, Known)
    facts = seen.facts.value
    installed = host.sh('. /etc/os-release; printf %s "$ID $VERSION_ID"').stdout
    assert (facts.hostname, facts.os, facts.distribution) == (spec.name, "linux", installed)
    assert bool(facts.podman) == (spec.runtime == "podman")
    assert bool(facts.docker) == (spec.runtime == "docker")


def test_looking_changes_nothing(pod: Host) -> None:
    before = pod.sh("ls -A /var/lib/fleetd-node /run/fleetd-node 2>&1", check=False).stdout
    look(pod)
    assert pod.sh("ls -A /var/lib/fleetd-node /run/fleetd-node 2>&1", check=False).stdout == before


def test_an_account_that_sudo_refuses_is_told_so(pod: Host) -> None:
    pod.sh("mv /etc/sudoers.d /etc/sudoers.off")
    try:
        reply = visit(pod, Observe("f"))
    finally:
        pod.sh("mv /etc/sudoers.off /etc/sudoers.d")
    assert isinstance(reply, Lost)
    assert "NOPASSWD" in reply.why


# --------------------------------------------------------------------------------- applying


def test_a_copy_is_made_once_and_then_left_alone(host: Host) -> None:
    first = visit(host, order(host, process()))
    assert isinstance(first, Ok), first
    assert first.changed
    seen = observed(first)
    assert seen.owner == Known(Owner("f", 1))
    assert seen.files == Known(())
    assert (copy_of(seen).revision, copy_of(seen).complete) == ("r1", True)
    unit = unit_of(seen)
    assert (unit.active, unit.file_state, unit.stamp_revision) == ("active", "enabled", "r1")
    assert unit.stamp_invocation == unit.invocation

    before = traces(host)
    again = visit(host, order(host, process()))
    assert isinstance(again, Ok), again
    assert not again.changed
    assert traces(host) == before
    assert unit_of(observed(again)).invocation == unit.invocation


DRIFTS = {
    "stopped": (f"systemctl stop {UNIT}", Mode.START),
    "target stopped": (f"systemctl stop {TARGET}", Mode.START),
    "unit edited": (f"echo '# x' >>{UNIT_FILE}", Mode.RESTART),
    "unit deleted": (f"rm {UNIT_FILE}", Mode.RESTART),
    "unit deleted and forgotten": (f"rm {UNIT_FILE}; systemctl daemon-reload", Mode.RESTART),
    "masked": (f"rm {UNIT_FILE}; systemctl mask {UNIT}", Mode.RESTART),
    "emptied": (f": >{UNIT_FILE}; systemctl daemon-reload", Mode.RESTART),
    "a link elsewhere": (f"ln -sf /etc/hostname {UNIT_FILE}", Mode.RESTART),
    "failed": (f"systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}", Mode.START),
    "values deleted": ("rm /var/lib/fleetd-node/w/default.agent/a/host.env", Mode.RESTART),
    "stamp lost": ("rm -rf /run/fleetd-node", Mode.RESTART),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_drift_is_seen_and_mended(pod: Host, name: str) -> None:
    command, mode = DRIFTS[name]
    whole = apply(pod, process())
    pod.sh(command)
    seen = look(pod)
    assert (seen.files, unit_of(seen), unit_of(seen, TARGET).active) != (
        whole.files,
        unit_of(whole),
        "active",
    )
    mended = apply(pod, process(), mode)
    unit = unit_of(mended)
    assert mended.files == Known(())
    assert (unit.load, unit.active, unit.file_state) == ("loaded", "active", "enabled")
    assert (unit.stamp_revision, unit.stamp_invocation) == ("r1", unit.invocation)
    assert unit_of(mended, TARGET).active == "active"
    settled = visit(pod, order(pod, process()))
    assert isinstance(settled, Ok), settled
    assert not settled.changed


HARMLESS = {
    "disabled": f"systemctl disable {UNIT}",
    "mode": f"chmod 600 {UNIT_FILE}",
    "owner": f"chown nobody {UNIT_FILE}",
    "touched": f"touch {UNIT_FILE}",
    "needs reload": f"mkdir -p {UNIT_FILE}.d; echo '[Unit]' >{UNIT_FILE}.d/x.conf",
    "ledger lost": "rm /var/lib/fleetd-node/ledger",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_needs_no_restart_gets_none(pod: Host, name: str) -> None:
    running = unit_of(apply(pod, process())).invocation
    pod.sh(HARMLESS[name])
    mended = apply(pod, process())
    pod.sh(f"rm -rf {UNIT_FILE}.d; systemctl daemon-reload")
    unit = unit_of(mended)
    assert unit.invocation == running
    assert (unit.file_state, unit.need_reload) == ("enabled", False)
    assert mended.files == Known(())
    assert copy_of(mended).complete


def test_edited_and_missing_files_are_told_apart(pod: Host) -> None:
    apply(pod, process())
    env = "/var/lib/fleetd-node/w/default.agent/a/host.env"
    pod.sh(f"echo >>{UNIT_FILE}; rm {env}; chmod 755 /etc/systemd/system/{TARGET}")
    files = look(pod).files
    assert isinstance(files, Known)
    assert set(files.value) == {
        FileDeviation(UNIT_FILE, Deviation.EDITED),
        FileDeviation(env, Deviation.MISSING),
        FileDeviation(f"/etc/systemd/system/{TARGET}", Deviation.MODE),
    }


def test_the_old_text_stops_the_old_copy(pod: Host) -> None:
    stop = "ExecStop=/bin/sh -c 'echo {} >>/var/lib/lab-agent/stopped'\n"
    pod.sh("rm -f /var/lib/lab-agent/stopped")
    apply(pod, process("r1", stop.format("by-r1")))
    seen = apply(pod, process("r2", stop.format("by-r2")))
    assert pod.sh("cat /var/lib/lab-agent/stopped").stdout == "by-r1\n"
    assert unit_of(seen).stamp_revision == "r2"


@pytest.mark.parametrize(
    ("on_change", "same_run", "reloads"),
    [("nothing", True, 0), ("reload", True, 1), ("restart", False, 0)],
)
def test_a_changed_file_does_what_it_asks_for(
    pod: Host, on_change: str, same_run: bool, reloads: int
) -> None:
    log = "/var/lib/lab-agent/reloaded"
    more = f"ExecReload=/bin/sh -c 'echo x >>{log}'\n"

    def with_file(revision: str, content: str) -> Bundle:
        file = {"path": "/etc/agent/agent.conf", "content": content, "onChange": on_change}
        return process(revision, more, [file])

    pod.sh(f"rm -f {log}; touch {log}")
    first = unit_of(apply(pod, with_file("r1", "one\n")))
    second = unit_of(apply(pod, with_file("r2", "two\n")))
    assert pod.sh("cat /etc/agent/agent.conf").stdout == "two\n"
    assert (second.invocation == first.invocation) is same_run
    assert pod.sh(f"wc -l <{log}").stdout.strip() == str(reloads)
    assert (second.stamp_revision, second.stamp_invocation) == ("r2", second.invocation)


def test_a_file_that_the_new_revision_lacks_goes(pod: Host) -> None:
    apply(pod, process("r1", files=[{"path": "/etc/agent/old.conf", "content": "x"}]))
    apply(pod, process("r2"))
    assert pod.sh("ls /etc/agent").stdout == ""


def test_users_and_directories_are_made(pod: Host) -> None:
    wanted = process()
    config = BundleFile("/etc/agent.key", 0o640, Inline("k"), "agentuser", "agentuser")
    wanted = Bundle(
        *(wanted.ds, wanted.slot, wanted.revision, wanted.runtime, (*wanted.files, config)),
        wanted.units,
        directories=(*wanted.directories, ("/var/lib/agent-own", 0o750)),
        checks=(Check(CheckKind.MAKE_PATH, "/srv/deep/data"), Check(CheckKind.MAKE_FILE, "/srv/f")),
        users=(BundleUser("agentuser", "/nonexistent", "/usr/sbin/nologin", ("adm",)),),
    )
    apply(pod, wanted)
    stat = "stat -c '%n %a %U' /etc/agent.key /var/lib/agent-own /srv/deep/data /srv/f"
    assert pod.sh(stat).stdout.split("\n")[:-1] == [
        "/etc/agent.key 640 agentuser",
        "/var/lib/agent-own 750 root",
        "/srv/deep/data 755 root",
        "/srv/f 644 root",
    ]
    assert "adm" in pod.sh("id -nG agentuser").stdout
    pod.sh("echo precious >/srv/deep/data/kept")
    visit(pod, Remove("f", 1, DS))
    left = pod.sh("ls -d /etc/agent.key /var/lib/agent-own /srv/f /srv/deep/data/kept", check=False)
    assert left.stdout == "/srv/deep/data/kept\n"
    pod.sh("rm -r /srv/deep; userdel agentuser")


# ------------------------------------------------------------------------------------ saying no


def test_another_fleet_and_an_older_term_are_refused(pod: Host) -> None:
    visit(pod, order(pod, process(), term=5))
    before = traces(pod)
    for reply in (
        visit(pod, order(pod, process("r2"), fleet="g", term=9)),
        visit(pod, order(pod, process("r2"), term=4)),
        visit(pod, Remove("f", 4, DS)),
        visit(pod, Remove("g", 9, DS)),
        visit(pod, Purge("g", 9)),
    ):
        assert isinstance(reply, Refused), reply
        assert reply.owner == Owner("f", 5)
    wanted = (Wanted("localhost:1/x:1"),)
    archive = ((f"sha256:{'0' * 64}", "localhost:1/x:1"),), 1, "0" * 64
    for fleet, term in (("g", 9), ("f", 4)):
        assert isinstance(visit(pod, Pull(fleet, term, Runtime.PODMAN, wanted)), Refused)
        assert isinstance(visit(pod, Load(fleet, term, Runtime.PODMAN, *archive)), Refused)
    assert traces(pod) == before
    assert unit_of(look(pod)).stamp_revision == "r1"


REFUSALS = {
    "unknown key": ("verify", process("r2", "Fooo=bar\n")),
    "foreign file": ("check", process("r2", files=[{"path": "/etc/hostname", "content": "x"}])),
    "no such owner": (
        "install",
        process("r2", files=[{"path": "/etc/agent.x", "content": "x", "owner": "nobodyatall"}]),
    ),
    "no such path": (
        "check",
        Bundle(
            *(DS, "a", "r2", Runtime.SYSTEMD, process("r2").files, process("r2").units),
            checks=(Check(CheckKind.SOCKET, "/run/nowhere.sock"),),
        ),
    ),
    "no engine": ("check", container(Runtime.DOCKER)),
    "no image": ("image", container(Runtime.PODMAN, "absent")),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_done_leaves_the_old_copy_as_it_was(pod: Host, name: str) -> None:
    step, wanted = REFUSALS[name]
    running = unit_of(apply(pod, process())).invocation
    before = pod.sh("cat /etc/hostname; cat /var/lib/fleetd-node/ledger").stdout
    reply = visit(pod, order(pod, wanted))
    assert isinstance(reply, Failed), reply
    assert reply.step == step
    assert unit_of(observed(reply)).invocation == running
    assert copy_of(observed(reply)).revision == "r1"
    assert copy_of(observed(reply)).complete
    assert pod.sh("cat /etc/hostname; cat /var/lib/fleetd-node/ledger").stdout == before
    assert pod.sh("find /etc -name '*fleetd-new*'").stdout == ""


def test_a_copy_that_does_not_start_is_told_by_its_state(pod: Host) -> None:
    seen = apply(pod, bundle(systemd={"unit": "[Service]\nExecStart=/bin/false\n"}))
    assert copy_of(seen).complete
    assert unit_of(seen).active != "active"


def test_a_full_disk_leaves_the_old_copy_running(small: Host) -> None:
    host = small
    running = unit_of(apply(host, process())).invocation
    ballast = [{"path": "/etc/agent.big", "content": "x" * 3_000_000}]
    for leave_kb in (0, 8, 40, 3200, 6200):
        host.disk.fill(leave_kb)
        reply = visit(host, order(host, process("r2", files=ballast)))
        host.disk.free()
        assert isinstance(reply, Failed), (leave_kb, reply)
        seen = look(host)
        assert unit_of(seen).invocation == running, leave_kb
        assert seen.files == Known(()), leave_kb
    assert unit_of(apply(host, process("r2", files=ballast))).stamp_revision == "r2"


def test_a_ledger_that_is_not_whole_is_not_an_empty_host(pod: Host) -> None:
    apply(pod, process())
    pod.sh("cp /var/lib/fleetd-node/ledger /root/ledger; : >/var/lib/fleetd-node/ledger")
    seen = observed(visit(pod, Observe("f")))
    assert isinstance(seen.ledger, Unknown)
    for request in (order(pod, process("r2")), Remove("f", 1, DS)):
        reply = visit(pod, request)
        assert isinstance(reply, Failed), reply
        assert reply.step == "ledger"
    pod.sh("mv /root/ledger /var/lib/fleetd-node/ledger")
    assert unit_of(look(pod)).stamp_revision == "r1"


# --------------------------------------------------------------------- at once, cut, cut off


def test_orders_at_once_are_carried_out_one_by_one(pod: Host) -> None:
    with ThreadPoolExecutor(4) as pool:
        orders = [order(pod, process(f"r{n}"), term=n) for n in (1, 2, 3, 4)]
        replies = list(pool.map(lambda request: visit(pod, request), orders))
    assert isinstance(replies[-1], Ok), replies[-1]
    assert all(isinstance(reply, Ok | Refused) for reply in replies), replies
    seen = look(pod)
    assert seen.owner == Known(Owner("f", 4))
    assert copy_of(seen).revision == unit_of(seen).stamp_revision == "r4"
    assert "overlap" not in pod.sh("cat /var/lib/lab-agent/lock.log").stdout


def test_an_order_whose_sender_vanishes_is_carried_out_whole(pod: Host) -> None:
    slow = "Environment=AGENT_IGNORE_TERM=1\n"
    apply(pod, process("r1", slow.replace("\n", "\nTimeoutStopSec=3\n")))
    nonce = token_hex(8)
    with subprocess.Popen(
        [*pod.ssh_argv(), carrier.LINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as ssh:
        assert ssh.stdin is not None
        assert ssh.stdout is not None
        ssh.stdin.write(encode(order(pod, process("r2")), nonce))
        ssh.stdin.close()
        while b"BEGIN" not in ssh.stdout.readline():
            pass
        ssh.kill()
    wait_until(lambda: unit_of(look(pod)).stamp_revision == "r2", 30, "the new revision")
    wait_until(lambda: unit_of(look(pod)).active == "active", 30, "the new copy")
    seen = look(pod)
    assert (copy_of(seen).revision, copy_of(seen).complete) == ("r2", True)


def test_an_apply_that_was_cut_is_done_again(pod: Host) -> None:
    apply(pod, process("r1"))
    ledger = "/var/lib/fleetd-node/ledger"
    pod.sh(f"sed -i 's/\\tsystemd\\t1\\t/\\tsystemd\\t0\\t/' {ledger}; rm {UNIT_FILE}")
    assert not copy_of(look(pod)).complete
    seen = apply(pod, process("r1"))
    assert copy_of(seen).complete
    assert unit_of(seen).stamp_revision == "r1"


def test_a_copy_is_back_after_a_power_cut(pod: Host) -> None:
    apply(pod, process())
    pod.power_cut()
    pod.boot()
    pod.wait_ssh()
    wait_until(lambda: unit_of(look(pod)).active == "active", 30, "the copy after the boot")
    seen = look(pod)
    assert seen.files == Known(())
    assert unit_of(seen).stamp_revision == "r1"


# -------------------------------------------------------------------------------- containers


@pytest.mark.parametrize("engine_host", ["pod", "dock"], indirect=True)
def test_a_container_lives_and_goes_with_its_copy(engine_host: Host) -> None:
    host, runtime = engine_host, Runtime(engine_host.spec.runtime)
    host.import_image("agent:1")
    image = "docker.io/library/agent:1"
    wanted = (Wanted(image), Wanted("localhost:1/absent:1"))
    pulled = visit(host, Pull("f", 1, runtime, wanted, wait_s=60))
    assert isinstance(pulled, Ok), pulled
    assert [entry.state for entry in pulled.pulled] == ["present", "failed"]
    seen = apply(host, container(runtime))
    assert copy_of(seen).runtime is runtime
    wait_until(lambda: engine_of(host) == [("main", True, True)], 20, "the container")
    host.sh(
        f"{runtime} run --detach --name stray --label fleetd.fleet=f --network none"
        f" --label fleetd.ds={DS} --label fleetd.slot=a {image}"
    )
    assert engine_of(host) == [("main", True, True), ("stray", True, True)]
    removed = visit(host, Remove("f", 1, DS))
    assert isinstance(removed, Ok), removed
    assert observed(removed).ledger == Known(())
    assert host.sh(f"{runtime} ps -aq").stdout == ""
    again = visit(host, Remove("f", 1, DS))
    assert isinstance(again, Ok), again
    assert not again.changed


def engine_of(host: Host) -> list[tuple[str, bool, bool]]:
    engine = observed(visit(host, Observe("f", engine=True))).engine
    assert isinstance(engine, Known), engine
    prefix = UNIT.removesuffix("main.a.service")
    return sorted(
        (seen.name.removeprefix(prefix).removesuffix(".a"), seen.running, seen.ours)
        for seen in engine.value
    )


def test_a_container_of_another_hand_under_our_name_is_seen(pod: Host) -> None:
    pod.import_image("agent:1")
    apply(pod, container(Runtime.PODMAN))
    name = UNIT.removesuffix(".service")
    pod.sh(f"systemctl stop {UNIT}; podman run -d --name {name} --network none agent:1")
    assert engine_of(pod) == [("main", True, False)]
    apply(pod, container(Runtime.PODMAN), Mode.RESTART)
    wait_until(lambda: engine_of(pod) == [("main", True, True)], 20, "our container")


# -------------------------------------------------------------------------------- borrowed


@pytest.mark.parametrize(
    ("before", "after"),
    [("disable --now", "disabled inactive"), ("enable --now", "enabled active")],
    ids=["disabled", "enabled"],
)
def test_a_borrowed_unit_is_given_back_as_it_was(pod: Host, before: str, after: str) -> None:
    text = "[Service]\\nExecStart=/bin/sleep inf\\n[Install]\\nWantedBy=multi-user.target\\n"
    pod.sh(f"printf '{text}' >/usr/lib/systemd/system/lender.service; systemctl daemon-reload")
    pod.sh(f"systemctl {before} lender")
    seen = apply(pod, bundle(systemd={"existingUnit": "lender.service"}))
    unit = unit_of(seen, "lender.service")
    assert (unit.active, unit.file_state) == ("active", "enabled")
    assert len(unit.drop_ins) == 1
    pod.sh("systemctl disable --now lender")
    unit = unit_of(apply(pod, bundle(systemd={"existingUnit": "lender.service"})), "lender.service")
    assert (unit.active, unit.file_state) == ("active", "enabled")
    visit(pod, Remove("f", 1, DS))
    state = "systemctl is-enabled lender; systemctl is-active lender"
    assert pod.sh(state, check=False).stdout.split() == after.split()
    assert pod.sh("ls -d /etc/systemd/system/lender.service.d", check=False).stdout == ""
    pod.sh("systemctl disable --now lender; rm /usr/lib/systemd/system/lender.service")


# ------------------------------------------------------------------------- the other verbs


def test_removal_takes_a_copy_that_the_ledger_has_lost(pod: Host) -> None:
    apply(pod, process())
    pod.sh("rm /var/lib/fleetd-node/ledger")
    removed = visit(pod, Remove("f", 1, DS))
    assert isinstance(removed, Ok), removed
    assert removed.changed
    assert unit_of(observed(removed)).load == "not-found"
    assert pod.sh(f"ls {UNIT_FILE}", check=False).stdout == ""


def test_adopt_tells_the_owner_with_its_key(pod: Host) -> None:
    apply(pod, process())
    reply = visit(pod, Adopt())
    assert isinstance(reply, Ok), reply
    assert reply.owner_key == "the-key"
    assert observed(reply).owner == Known(Owner("f", 1))
    assert copy_of(observed(reply)).revision == "r1"


def test_purge_leaves_no_trace(host: Host) -> None:
    apply(host, process("r1", files=[{"path": "/etc/agent/agent.conf", "content": "x"}]))
    reply = visit(host, Purge("f", 1))
    assert isinstance(reply, Ok), reply
    assert observed(reply).owner == Known(None)
    find = "find / -xdev '(' -name '*fleetd*' -o -path '/etc/agent*' ')' ! -path '/proc/*'; ls /run"
    assert "fleetd" not in host.sh(find, check=False).stdout.replace("/opt/fleetd", "")
    assert "fleetd" not in host.sh("systemctl list-units --all 'fleetd*' --plain").stdout
    assert host.sh("ls -d /etc/agent", check=False).stdout == ""


def test_logs_and_commands_are_raw(fish: Host) -> None:
    apply(fish, process())
    wait_until(lambda: "started" in raw(fish, Logs((UNIT,), lines=20)), 20, "the agent's word")
    words = ("$(id)", "a b", "two\nlines\n", "", "'\"`\\!", "ü")
    assert raw(fish, Exec(("printf", "<%s>", *words))) == "".join(f"<{word}>" for word in words)
    assert raw(fish, Exec(("id", "-u"))) == "0\n"


def test_a_name_alone_makes_nothing_ours(host: Host) -> None:
    """Units of others that are called as ours are: loaded ones, and the coordinator's own."""
    apply(host, process())
    host.sh(
        "printf '%s\\n' [Service] 'ExecStart=/bin/sleep infinity' [Install]"
        " WantedBy=multi-user.target >/etc/systemd/system/fleetd-drift.service;"
        " systemctl daemon-reload; systemctl enable --now fleetd-drift.service"
    )
    shown = "systemctl show -p ActiveState,UnitFileState,InvocationID fleetd-drift.service"
    before = host.sh(shown).stdout
    assert "ActiveState=active" in before
    assert isinstance(visit(host, Purge("f", 1)), Ok)
    assert host.sh(shown).stdout == before
    host.sh(
        "systemctl disable --now fleetd-drift.service;"
        " rm /etc/systemd/system/fleetd-drift.service; systemctl daemon-reload"
    )
