"""Images: pulled before anything stops, one for a whole revision, pushed, and collected.

A real registry (Debian's docker-registry) is on the fleet's network; the hosts reach nothing else.
`build` is a machine that fills it and is not in any inventory.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from fleetd.core.facts import Runtime
from fleetd.host.replies import Ok
from fleetd.host.requests import Pull, Wanted
from tests.e2e.admin import Admin, Document, Result, pod_agent, secret
from tests.e2e.lab import COORDINATOR_IP, Entry, Fleet, Host, HostSpec
from tests.e2e.lab.machine import wait_until
from tests.e2e.lab.registry import Registry
from tests.e2e.proof import leftovers
from tests.e2e.visits import visit

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod"), HostSpec("build", release="bookworm"))
NAMES = ["dock", "pod"]
UNIT = "fleetd-default.agent.agent.a"
LOGIN = ("me", "swordfish")


@pytest.fixture(scope="module")
def registry(fleet: Fleet) -> Iterator[Registry]:
    with Registry(fleet) as running:
        for host in fleet.hosts.values():
            running.trust(host)
        yield running


@pytest.fixture(scope="module")
def private(fleet: Fleet) -> Iterator[Registry]:
    with Registry(fleet, 5001, LOGIN) as running:
        for host in fleet.hosts.values():
            running.trust(host)
        yield running


@pytest.fixture
def boss(admin: Admin) -> Admin:
    """An admin of the two hosts, whose engines have no image."""
    admin.know(Entry(admin.fleet[name]) for name in NAMES)
    for host in hosts(admin):
        engine = host.spec.runtime
        host.sh(f"{engine} images -aq | sort -u | xargs -r {engine} rmi -f", check=False)
        assert ids(host) == set()
    return admin


def hosts(admin: Admin) -> list[Host]:
    return [admin.fleet[name] for name in NAMES]


def ids(host: Host) -> set[str]:
    told = host.sh(f"{host.spec.runtime} images -aq --no-trunc").stdout.split()
    return {word.removeprefix("sha256:") for word in told}


def running(host: Host) -> str:
    """The id of the image that the copy runs."""
    shown = host.sh(f"{host.spec.runtime} inspect --format '{{{{.Image}}}}' {UNIT}").stdout
    return shown.strip().removeprefix("sha256:")


def image_name(host: Host) -> str:
    """What the copy's container was made from, as its engine was told."""
    return host.sh(f"{host.spec.runtime} inspect --format '{{{{.Config.Image}}}}' {UNIT}").stdout


def pids(admin: Admin) -> dict[str, str]:
    show = f"systemctl show --property=MainPID,InvocationID {UNIT}.service"
    return {host.name: host.sh(show).stdout for host in hosts(admin)}


def logins(host: Host) -> list[str]:
    """Mode, owner and kind of whatever lies where logins lie during a pull."""
    find = "find /run/fleetd-node/login -mindepth 1 -printf '%m %u %y\\n' 2>/dev/null"
    return host.sh(find, check=False).stdout.splitlines()


def agent(image: str, policy: str = "", **pod: Any) -> Document:
    container = {"imagePullPolicy": policy} if policy else {}
    return pod_agent(image=image, container=container, max_unavailable=2, pod=pod)


def failed(result: Result) -> dict[str, str]:
    return {each["node"]: each["message"] for each in result.actions if each["result"] == "failed"}


# ------------------------------------------------------------------------------------ one image


def test_all_hosts_run_what_the_tag_meant_first(boss: Admin, registry: Registry) -> None:
    build = boss.fleet["build"]
    image = registry.publish(build, "agent:v1", "1")
    boss.know([Entry(boss.fleet["dock"])])
    boss.apply(agent(image))
    first = running(boss.fleet["dock"])
    registry.publish(build, "agent:v1", "2")
    boss.know(Entry(host) for host in hosts(boss))
    boss.reconcile()
    assert running(boss.fleet["pod"]) == first
    pinned = image_name(boss.fleet["pod"])
    assert "@sha256:" in pinned
    # A revision that is to ask the registry first gets what the tag means by now, everywhere.
    boss.apply(agent(image, "Always"))
    second = {running(host) for host in hosts(boss)}
    assert len(second) == 1
    assert second != {first}
    assert boss.reconcile().did == []


# ----------------------------------------------------------------------- nothing is touched


def login_secret(registry: Registry, password: str, kind: str = "json") -> Document:
    pair = b64encode(f"{LOGIN[0]}:{password}".encode()).decode()
    auths = {registry.address: {"auth": pair}}
    if kind == "json":
        made = secret("login", {".dockerconfigjson": json.dumps({"auths": auths})})
        return {**made, "type": "kubernetes.io/dockerconfigjson"}
    return {**secret("login", {".dockercfg": json.dumps(auths)}), "type": "kubernetes.io/dockercfg"}


@pytest.mark.parametrize("what", ["missing", "refused", "architecture", "never", "init"])
def test_an_image_that_cannot_be_had_touches_no_running_copy(
    boss: Admin, registry: Registry, private: Registry, what: str
) -> None:
    build = boss.fleet["build"]
    good = registry.publish(build, "good:v1", "good")
    boss.apply(agent(good))
    before = pids(boss)
    more: list[Document] = []
    match what:
        case "missing":
            bad = agent(f"{registry.address}/nothing:v9")
        case "refused":
            image = private.publish(build, "closed:v1", "closed")
            more = [login_secret(private, "wrong")]
            bad = agent(image, imagePullSecrets=[{"name": "login"}])
        case "architecture":
            bad = agent(registry.publish(build, "mainframe:v1", "z", arch="s390x"))
        case "never":
            bad = agent(registry.publish(build, "unpulled:v1", "u"), "Never")
        case _:
            absent = {"name": "prepare", "image": f"{registry.address}/nothing:v9"}
            bad = agent(good, initContainers=[absent])
    # Waiting tries again and again; the others tell at once.
    how = ["--timeout", "6s"] if what == "missing" else ["--no-wait"]
    result = boss.apply(*more, bad, flags=how, code=3)
    said = failed(result)
    assert set(said) == set(NAMES)
    words = {
        "missing": "unknown",
        "refused": "unauthorized|authentication|credentials|denied",
        "architecture": "is for linux/s390x, and this host is linux/",
        "never": "imagePullPolicy is Never",
        "init": "unknown",
    }[what]
    for message in said.values():
        assert message.startswith("pull: image ")
        assert any(word in message for word in words.split("|")), message
        assert "wrong" not in message
    assert pids(boss) == before
    for host in hosts(boss):
        assert logins(host) == []
    # And back: nothing restarts.
    boss.apply(agent(good))
    assert pids(boss) == before


# ------------------------------------------------------------------------------------- logins


@pytest.mark.parametrize("kind", ["json", "cfg"])
def test_pull_secrets_open_a_registry_and_stay_secret(
    boss: Admin, private: Registry, kind: str
) -> None:
    image = private.publish(boss.fleet["build"], "closed:v1", "closed")
    spec = agent(image, imagePullSecrets=[{"name": "login"}])
    refused = boss.apply(spec, flags=["--timeout", "5s"], code=3)
    assert failed(refused)
    assert any("there is no Secret default/login" in note for note in refused.json["notes"])
    result = boss.apply(login_secret(private, LOGIN[1], kind), spec)
    assert len({running(host) for host in hosts(boss)}) == 1
    pair = b64encode(":".join(LOGIN).encode()).decode()
    for host in hosts(boss):
        assert logins(host) == []
        journal = host.sh("journalctl --no-pager -o verbose").stdout
        kept = host.sh("grep -rlF -e swordfish -e " + pair + " /run /var/lib/fleetd-node /etc || :")
        for secret_word in (LOGIN[1], pair):
            assert secret_word not in journal
            assert secret_word not in result.stdout + result.stderr
        assert kept.stdout == ""
    before = pids(boss)
    boss.apply(login_secret(private, "changed", kind), spec)
    assert pids(boss) == before


SILENT = """
import socket, sys, time
server = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_login_is_hidden_while_its_pull_runs_and_goes_with_it(boss: Admin, name: str) -> None:
    host = boss.fleet[name]
    port = 5010 + NAMES.index(name)
    silent = boss.fleet.start_coordinator([sys.executable, "-c", SILENT, str(port)])
    assert silent.stdout is not None
    assert silent.stdout.readline() == "listening\n"
    pair = b64encode(b"me:swordfish").decode()
    image = f"{COORDINATOR_IP}:{port}/agent:v1"
    login = json.dumps({"auths": {f"{COORDINATOR_IP}:{port}": {"auth": pair}}})
    wanted = Wanted(image, logins=(login,))
    pull = Pull("f", 1, Runtime(host.spec.runtime), (wanted,), wait_s=1)
    reply = visit(host, pull)
    assert isinstance(reply, Ok), reply
    assert [seen.state for seen in reply.pulled] == ["pulling"]
    assert sorted(logins(host)) == ["600 root f", "700 root d", "700 root d"]
    assert host.sh("stat -c '%a %U' /run/fleetd-node/login").stdout == "700 root\n"
    everybody = host.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '")
    assert image in everybody.stdout
    assert pair not in everybody.stdout
    host.sh("systemctl stop 'fleetd-op-*'")
    assert logins(host) == []
    silent.kill()
    silent.communicate()


# --------------------------------------------------------------------- a registry that is away


def test_always_takes_what_is_there_when_no_registry_answers(boss: Admin) -> None:
    name = "nowhere.invalid/agent:latest"
    for host in hosts(boss):
        host.import_image(name)
    result = boss.apply(agent(name))
    assert "its registry cannot be reached; what is on this host is used" in result.stderr
    assert {running(host) for host in hosts(boss)} == ids(boss.fleet["pod"])
    boss.fleetd("delete", "ds", "agent")
    for host in hosts(boss):
        assert len(ids(host)) == 1, "what fleetd did not bring stays"


# -------------------------------------------------------------------------------------- pushed


def save(build: Host, name: str, form: str) -> Any:
    """An archive of an image of that name, seen from outside."""
    build.import_image(name, env={"BUILD": name})
    build.sh(f"rm -f /root/saved.tar; podman save --format {form} -o /root/saved.tar {name}")
    build.sh(f"podman rmi {name}")
    return build.rootfs / "root/saved.tar"


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_a_pushed_image_runs_without_a_registry(boss: Admin, form: str) -> None:
    name = "nowhere.example/pushed:v1"
    archive = save(boss.fleet["build"], name, form)
    result = boss.fleetd("image", "push", archive, "-o", "json")
    assert {f"{host}: pushed" for host in NAMES} <= set(result.json["notes"])
    again = boss.fleetd("image", "push", archive, "-o", "json")
    assert {f"{host}: there already" for host in NAMES} <= set(again.json["notes"])
    for host in hosts(boss):
        assert host.sh("ls /var/lib/fleetd-node/stage").stdout == ""
    boss.apply(agent(name, "Never" if form == "oci-archive" else ""))
    (one,) = {running(host) for host in hosts(boss)}
    assert f"sha256:{one}" in "".join(result.json["notes"])
    assert image_name(boss.fleet["pod"])
    assert boss.reconcile().did == []
    # What was pushed goes with the last trace.
    boss.fleetd("delete", "ds", "agent")
    for host in hosts(boss):
        assert leftovers(host) == []
        assert ids(host) == set()


def test_a_push_that_is_cut_goes_on_where_it_stopped(boss: Admin) -> None:
    name = "nowhere.example/cut:v1"
    archive = save(boss.fleet["build"], name, "docker-archive")
    boss.fleetd("image", "push", archive, "--node", "pod")
    dock = boss.fleet["dock"]
    started = boss.start("image", "push", archive)
    stage = dock.rootfs / "var/lib/fleetd-node/stage"
    wait_until(lambda: stage.exists() and any(stage.iterdir()), 30, "the archive on its way")
    started.kill()
    boss.end(started, code=None)
    result = boss.fleetd("image", "push", archive, "-o", "json")
    assert "pod: there already" in result.json["notes"]
    boss.apply(agent(name))
    assert len({running(host) for host in hosts(boss)}) == 1


# ----------------------------------------------------------------------------------- collected


def test_old_images_go_and_what_was_there_before_stays(boss: Admin, registry: Registry) -> None:
    build = boss.fleet["build"]
    for host in hosts(boss):
        host.import_image("operators/own:1")
    own = {host.name: ids(host) for host in hosts(boss)}
    had: dict[int, str] = {}
    for number in (1, 2, 3):
        boss.apply(agent(registry.publish(build, f"agent:r{number}", f"r{number}")))
        (had[number],) = {running(host) for host in hosts(boss)}
    for host in hosts(boss):
        assert ids(host) == own[host.name] | {had[2], had[3]}
    # Back to the one before: its image is there yet, and no registry is needed.
    boss.fleetd("rollout", "undo", "ds/agent")
    assert {running(host) for host in hosts(boss)} == {had[2]}
    # Another's container keeps an image.
    pod = boss.fleet["pod"]
    engine = pod.spec.runtime
    pod.sh(f"{engine} run -d --name theirs --network none --entrypoint sleep {had[3]} 600")
    boss.fleetd("delete", "ds", "agent")
    assert ids(boss.fleet["dock"]) == own["dock"]
    assert ids(pod) == own["pod"] | {had[3]}
    pod.sh(f"{engine} rm -f theirs")


def test_a_purge_takes_what_was_pulled(boss: Admin, registry: Registry) -> None:
    boss.apply(agent(registry.publish(boss.fleet["build"], "agent:p1", "p1")))
    boss.fleetd("purge", "pod")
    pod = boss.fleet["pod"]
    assert ids(pod) == set()
    assert not (pod.rootfs / "var/lib/fleetd-node").exists()


# ------------------------------------------------------------------------------------------ cuts


def test_a_host_that_is_cut_in_a_pull_comes_home(boss: Admin, registry: Registry) -> None:
    image = registry.publish(boss.fleet["build"], "agent:c1", "c1")
    pod = boss.fleet["pod"]
    started = boss.start("apply", boss.write(agent(image)))
    fetch = pod.rootfs / "var/lib/fleetd-node/fetch"
    wait_until(lambda: fetch.exists() and any(fetch.iterdir()), 60, "the pull to begin")
    pod.power_cut()
    started.kill()
    boss.end(started, code=None)
    pod.boot()
    pod.wait_ssh()
    boss.reconcile()
    assert len({running(host) for host in hosts(boss)}) == 1
    boss.fleetd("delete", "ds", "agent")
    for host in hosts(boss):
        assert ids(host) == set()
