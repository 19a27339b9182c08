"""A secret reaches its agent and is nowhere else: not where others look, nor where logs are."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import Popen
from threading import Event, Thread
from typing import Final, Self

import pytest

from tests.e2e.admin import IMAGE, Admin, Document, pod_agent, secret, unit_agent
from tests.e2e.lab import Fleet, HostSpec

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod", noisy_bashrc=True))
IMAGES = (IMAGE,)

FIRST: Final = "horse-battery-staple-1"
SECOND: Final = "horse-battery-staple-2"
LINES: Final = f"{FIRST}\nand a second line of {FIRST}\n"
REF: Final = {"name": "pass", "key": "word"}
#: Where the first and the only place of each is.
FILE: Final = "/etc/agent.secret"


def forms(value: str) -> tuple[bytes, ...]:
    """A secret as itself, as it travels in JSON, and as its unkeyed hash."""
    raw = value.encode()
    digest = hashlib.sha256(raw)
    return (raw, base64.b64encode(raw), digest.hexdigest().encode(), base64.b64encode(raw + b"\n"))


NEEDLES: Final = forms(FIRST) + forms(SECOND) + forms(LINES)


def found_in(data: bytes | str) -> list[bytes]:
    text = data.encode() if isinstance(data, str) else data
    return [needle for needle in NEEDLES if needle in text]


def documents(word: str) -> list[Document]:
    volume = {"secret": {"secretName": "pass", "defaultMode": 0o400}}
    return [
        secret("pass", {"word": word, "lines": LINES}),
        unit_agent(
            systemd={"files": [{"path": FILE, "mode": 0o600, "secretKeyRef": REF}]},
            max_unavailable=2,
        ),
        pod_agent(
            "pod",
            lock="pod",
            container={"env": [{"name": "WORD", "valueFrom": {"secretKeyRef": REF}}]},
            mounts={"/etc/pass": volume},
            max_unavailable=2,
        ),
    ]


class Watch:
    """Looks at every process of the machine, all hosts and the coordinator, over and over."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._over = Event()
        self._thread = Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                self._look_at(process)

    def _look_at(self, process: Path) -> None:
        try:
            line = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
            ours = _is_of_the_workload(process)
        except OSError:  # it has ended
            return
        name = line.replace(b"\0", b" ").decode(errors="replace")[:120]
        if found_in(line):
            self.seen.add(f"command line of {name!r}")
        if found_in(environment) and not ours:
            self.seen.add(f"environment of {name!r}")


def _is_of_the_workload(process: Path) -> bool:
    """Whether this is the container, or the engine that makes it, which must hand it over."""
    groups = (process / "cgroup").read_text()
    return "/fleetd-default.pod.agent.a.service" in groups or "/system.slice/docker-" in groups


def everything(admin: Admin) -> Iterator[tuple[str, str]]:
    """What the coordinator tells when nobody asks for secrets."""
    asked = (
        ["get", "ds,pods,nodes,events,revisions,secrets,configmaps", "-o", "yaml"],
        ["get", "secrets", "pass", "-o", "json"],
        ["describe", "ds", "pod"],
        ["describe", "pod", "pod-pod"],
        ["why", "pod", "pod"],
        ["rollout", "history", "ds/pod", "--revision", "1"],
        ["diff", "spec.yaml"],
        ["logs", "ds/pod"],
        ["logs", "ds/agent"],
    )
    for words in asked:
        result = admin.fleetd("--debug", *words, code=None)
        yield " ".join(words), result.stdout + result.stderr


@pytest.fixture(scope="module")
def told(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A fleet where a secret was delivered, changed, refused and asked about."""
    admin = Admin(fleet, tmp_path_factory.mktemp("admin"))
    with Watch() as watch:
        output = [_talk(admin, documents(FIRST)), _talk(admin, documents(SECOND))]
        # What fails is told, too: a host where the file cannot be, a document that is wrong.
        broken = documents(FIRST)
        broken[0]["stringData"]["word"] = ["not", FIRST]
        output.append(_talk(admin, broken))
    return Told(admin, watch.seen, output)


class Told:
    def __init__(self, admin: Admin, processes: set[str], output: list[str]) -> None:
        self.admin = admin
        self.processes = processes
        self.output = output


def _talk(admin: Admin, specs: list[Document]) -> str:
    started: Popen[str] = admin.start("--debug", "apply", admin.write(*specs))
    out, err = started.communicate(timeout=90)
    return out + err


def test_the_agents_have_the_secret(told: Told) -> None:
    for host in told.admin.fleet.hosts.values():
        inside = f"{host.spec.runtime} exec fleetd-default.pod.agent.a"
        assert host.sh(f"{inside} sh -c 'echo $WORD'").stdout == f"{SECOND}\n"
        assert host.sh(f"{inside} cat /etc/pass/word").stdout == SECOND
        assert host.sh(f"{inside} cat /etc/pass/lines").stdout == LINES
        assert host.sh(f"cat {FILE}; stat -c ' %a %U' {FILE}").stdout == f"{SECOND} 600 root\n"


def test_no_process_shows_it(told: Told) -> None:
    assert told.processes == set()


HOST_PLACES: dict[str, str] = {
    "journal": "journalctl --no-pager --all --output=export",
    "systemctl show": "systemctl show --all 'fleetd-*'",
    "unit files": "grep -rah . /etc/systemd/system /run/systemd",
    "ledger": "cat /var/lib/fleetd-node/ledger /var/lib/fleetd-node/owner",
    "staged": "find /var/lib/fleetd-node/stage /tmp /var/tmp -type f -exec cat {} +",
}


@pytest.mark.parametrize("place", HOST_PLACES)
def test_no_place_on_a_host_keeps_it(told: Told, place: str) -> None:
    for host in told.admin.fleet.hosts.values():
        assert found_in(host.sh(f"{HOST_PLACES[place]} 2>/dev/null", check=False).stdout) == []


def test_no_other_user_of_a_host_can_read_it(told: Told) -> None:
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    patterns = " ".join(f"-e {needle.decode()}" for needle in (*forms(FIRST), *forms(SECOND)))
    places = "/etc /home /opt /root /run /srv /tmp /var"
    for host in told.admin.fleet.hosts.values():
        readable = host.sh(f"{nobody} grep -rlsaF {patterns} {places}", check=False).stdout
        assert readable == ""


def test_the_coordinator_never_tells_it(told: Told) -> None:
    assert [found_in(text) for text in told.output] == [[], [], []]
    assert {what: found for what, text in everything(told.admin) if (found := found_in(text))} == {}
    shown = told.admin.fleetd("get", "secrets", "pass", "-o", "json", "--show-secrets").stdout
    assert base64.b64encode(SECOND.encode()).decode() in shown


def test_the_state_has_it_in_its_two_places_and_is_closed(told: Told) -> None:
    state = told.admin.state
    assert state.stat().st_mode & 0o077 == 0
    [database] = state.glob("*.db")
    with closing(sqlite3.connect(database)) as connection:
        named = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        tables = [row[0] for row in connection.execute(named)]
        places = {table for table in tables if _holds(connection, f'SELECT * FROM "{table}"')}
        assert not _holds(connection, "SELECT * FROM objects WHERE kind != 'Secret'")
    assert places == {"objects", "secret_values"}


def _holds(connection: sqlite3.Connection, query: str) -> bool:
    return any(found_in(str(value)) for row in connection.execute(query) for value in row)
