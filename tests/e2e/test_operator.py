"""The verbs as an operator uses them, one after the other, on one settled fleet.

Every test leaves the fleet as it found it; what changes hosts for good is in other modules.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.e2e.admin import (
    AGENT_DIR,
    FLEETD,
    IMAGE,
    Admin,
    config_map,
    pod_agent,
    secret,
    unit_agent,
)
from tests.e2e.lab import Fleet, Host, HostSpec
from tests.e2e.lab.machine import in_netns, wait_until
from tests.e2e.proof import leftovers, never_two, snapshots, wipe

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod-1"), HostSpec("pod-2"))
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS]
UNIT = "fleetd-default.agent.main.a.service"
TOKEN = "a-token-nobody-should-see"
GATE = f"{AGENT_DIR}/gate"
"""A gated copy is ready on hosts where this file is."""


@pytest.fixture(scope="module")
def admin(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A settled fleet: a unit and a container on every host, a ConfigMap and a Secret."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(wipe, fleet.hosts.values()))
    admin = Admin(fleet, tmp_path_factory.mktemp("operator") / "admin")
    admin.apply(*settled())
    yield admin
    never_two(fleet.hosts.values())


def settled(version: str = "v1", **more: Any) -> list[dict[str, Any]]:
    mounts = {"/etc/token": {"secret": {"secretName": "token"}}}
    container = pod_agent("boxed", lock="boxed", mounts=mounts, max_unavailable="100%")
    return [
        config_map("settings", {"interval": "30"}),
        secret("token", {"token": TOKEN}),
        container,
        unit_agent("agent", version, **({"max_unavailable": "100%"} | more)),
    ]


def shell(admin: Admin, script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script of an operator's shell on the fleet's network, with `fleetd` at hand."""
    env = {
        **admin.env,
        "PATH": f"{FLEETD.parent}:{admin.env['PATH']}",
        "FLEETD_INVENTORY": str(admin.inventory),
        "FLEETD_STATE": str(admin.state),
    }
    argv = ["bash", "-c", script]
    return admin.fleet.coordinator(argv, env=env, cwd=admin.directory, timeout=timeout)


def untouched(admin: Admin) -> dict[str, Any]:
    """Everything that a verb which only looks must leave as it is: the hosts and the state."""
    state = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in admin.state.iterdir()
        if path.is_file()
    }
    return {"state": state, **snapshots(admin.fleet.hosts.values())}


def logins(admin: Admin) -> int:
    """How often sshd of any host has let somebody in."""
    count = "journalctl -q --no-pager -u ssh | grep -c 'Accepted publickey' || true"
    return sum(int(host.sh(count).stdout) for host in admin.fleet.hosts.values())


# ----------------------------------------------------------------------------------------- get


@pytest.mark.parametrize(
    ("words", "kind", "heading", "names"),
    [
        (
            "ds",
            "DaemonSet",
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE",
            ["agent", "boxed"],
        ),
        (
            "pods",
            "Pod",
            "NAME READY STATUS RESTARTS AGE",
            [f"{name}-{node}" for name in ("agent", "boxed") for node in NAMES],
        ),
        ("nodes", "Node", "NAME STATUS ROLES AGE VERSION", NAMES),
        ("events", "Event", "LAST SEEN TYPE REASON OBJECT MESSAGE", None),
        ("revisions", "ControllerRevision", "NAME CONTROLLER REVISION AGE", None),
        ("configmaps", "ConfigMap", "NAME DATA AGE", ["settings"]),
        ("secrets", "Secret", "NAME TYPE DATA AGE", ["token"]),
    ],
    ids=["ds", "pods", "nodes", "events", "revisions", "configmaps", "secrets"],
)
def test_every_kind_is_printed_in_every_form(
    admin: Admin, words: str, kind: str, heading: str, names: list[str] | None
) -> None:
    listed = admin.get(words)
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "List")
    found = listed["items"]
    assert {item["kind"] for item in found} == {kind}
    shown = [item["metadata"]["name"] for item in found]
    assert names is None or shown == names
    assert yaml.safe_load(admin.fleetd("get", words, "-o", "yaml").stdout) == listed

    table = admin.fleetd("get", words).stdout.splitlines()
    assert table[0].split() == heading.split()
    assert len(table) == len(found) + 1
    assert "<unknown>" not in "\n".join(table)
    wide = admin.fleetd("get", words, "-o", "wide").stdout.splitlines()
    assert len(wide) == len(table)
    every = admin.fleetd("get", words, "-A").stdout.splitlines()
    assert every[0].startswith("NAMESPACE") == (kind != "Node")
    printed = admin.fleetd("get", words, "-o", "name").stdout.splitlines()
    assert [line.partition("/")[2] for line in printed] == shown
    if kind not in {"Event", "ControllerRevision"}:
        one = admin.get(f"{words}/{shown[0]}")
        assert one == found[0] == admin.get(words, shown[0])


def test_objects_have_kubernetes_fields(admin: Admin) -> None:
    daemonset = admin.get("ds", "agent")
    status = daemonset["status"]
    assert status["observedGeneration"] == daemonset["metadata"]["generation"]
    for count in ("desiredNumberScheduled", "currentNumberScheduled", "numberReady"):
        assert status[count] == len(NAMES)
    pod = admin.get("pods", "boxed-dock")
    assert pod["spec"]["nodeName"] == "dock"
    assert pod["spec"]["containers"][0]["image"] == IMAGE
    assert {"type": "Ready", "status": "True"} in pod["status"]["conditions"]
    assert pod["metadata"]["ownerReferences"][0]["name"] == "boxed"
    assert pod["metadata"]["uid"]
    node = admin.get("nodes", "pod-1")
    assert node["spec"]["taints"] == []
    (ready,) = node["status"]["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    assert node["status"]["nodeInfo"]["machineID"] == admin.fleet["pod-1"].machine_id
    assert admin.get("revisions")["items"][0]["revision"] == 1


def test_values_of_secrets_are_hidden_unless_asked_for(admin: Admin) -> None:
    hidden = admin.get("secrets", "token")
    assert hidden["data"] == {"token": f"<{len(TOKEN)} bytes, hidden>"}
    encoded = admin.get("secrets", "token", flags=["--show-secrets"])["data"]["token"]
    assert shell(admin, f"echo {encoded} | base64 -d").stdout == TOKEN
    told = admin.fleetd("describe", "ds", "boxed").stdout
    assert TOKEN not in told
    assert encoded not in told


def test_refresh_looks_at_the_hosts_and_changes_nothing(admin: Admin) -> None:
    host = admin.fleet["pod-1"]
    host.sh(f"systemctl stop {UNIT}")
    before = untouched(admin)
    assert status_of(admin.get("pods", "agent-pod-1")) == "True"
    assert status_of(admin.get("pods", "agent-pod-1", flags=["--refresh"])) == "False"
    table = admin.fleetd("get", "ds", "agent", "--refresh").stdout.splitlines()[1].split()
    assert table[:5] == ["agent", "3", "3", "2", "3"]
    assert "Failed" in admin.fleetd("describe", "pod", "agent-pod-1", "--refresh").stdout
    assert untouched(admin) == before
    assert admin.reconcile().did == [("pod-1", "repair")]


def status_of(pod: dict[str, Any]) -> str:
    return {each["type"]: str(each["status"]) for each in pod["status"]["conditions"]}["Ready"]


def test_looking_needs_neither_inventory_nor_state(admin: Admin) -> None:
    bare = "env -u FLEETD_INVENTORY -u FLEETD_STATE fleetd"
    nothing = shell(admin, f"{bare} --state nowhere get ds,pods,events")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "No resources found" in nothing.stderr
    assert not (admin.directory / "nowhere").exists()
    nodes = shell(admin, f"{bare} --state {admin.state} get nodes -o name").stdout.split()
    assert nodes == [f"node/{name}" for name in NAMES]
    refused = shell(admin, f"{bare} --state nowhere get nodes")
    assert refused.returncode == 2
    assert "FLEETD_INVENTORY" in refused.stderr


def test_get_selects_sorts_and_prints_templates(admin: Admin) -> None:
    def printed(*words: str) -> str:
        return admin.fleetd("get", *words).stdout

    on_dock = printed("pods", "--field-selector", "spec.nodeName=dock", "-o", "name")
    assert on_dock.split() == ["pod/agent-dock", "pod/boxed-dock"]
    assert printed("pods", "-l", "app in (boxed)", "-o", "name").count("boxed-") == len(NAMES)
    assert printed("nodes", "-l", "nobody", "-o", "name") == ""
    names = '{range .items[*]}{.metadata.name}{"\\n"}{end}'
    assert printed("nodes", "-o", f"jsonpath={names}").splitlines() == NAMES
    image = "jsonpath={.spec.template.spec.containers[?(@.name=='agent')].image}"
    assert printed("ds/boxed", "-o", image) == IMAGE
    columns = "custom-columns=N:.metadata.name,ON:.spec.nodeName"
    rows = printed("pods", "-o", columns, "--sort-by", ".spec.nodeName").splitlines()
    assert [row.split()[1] for row in rows[1:]] == sorted(NAMES * 2)
    events = admin.fleetd("events", "--for", "ds/agent", "-o", "json").json["items"]
    assert {item["involvedObject"]["name"] for item in events} == {"agent"}


def test_a_watch_shows_what_passes_find(admin: Admin) -> None:
    told = admin.directory / "watched"
    told.touch()
    watcher = subprocess.Popen(
        [
            *in_netns(admin.fleet.netns),
            *("sh", "-c", 'exec "$0" "$@" >watched'),
            *admin.argv("get", "pods", "-w", "--no-headers", "--output-watch-events"),
        ],
        env=admin.env,
        cwd=admin.directory,
    )

    def seen() -> list[list[str]]:
        return [row.split()[:2] for row in told.read_text().splitlines()]

    try:
        wait_until(lambda: len(seen()) == 2 * len(NAMES), 20, "the first look")
        admin.fleetd("label", "ds/agent", "seen=true")
        admin.fleet["pod-1"].sh(f"systemctl stop {UNIT}")
        admin.reconcile()
        wait_until(lambda: ["MODIFIED", "agent-pod-1"] in seen(), 20, "the change")
        assert all(name == "agent-pod-1" for _, name in seen()[2 * len(NAMES) :])
        assert watcher.poll() is None
    finally:
        watcher.terminate()
        watcher.wait(10)
        admin.fleetd("label", "ds/agent", "seen-")


# ------------------------------------------------------------------------------ describe and why


def test_describe_tells_everything_about_an_object(admin: Admin) -> None:
    told = admin.fleetd("describe", "ds", "agent").stdout
    assert "Desired Number of Nodes Scheduled: 3" in told
    assert "Pods Status:  3 Running / 0 Waiting" in told
    assert "  Systemd:\n    unit: |\n      [Service]\n" in told
    assert "RolloutComplete" in told
    told = admin.fleetd("describe", "node", "dock").stdout
    assert re.search(r"^  default +agent-dock +Running ", told, re.MULTILINE)
    assert re.search(r"Container Runtime Version: +docker://", told)
    told = admin.fleetd("describe", "pod", "boxed-pod-2").stdout
    assert "Controlled By:  DaemonSet/boxed" in told
    assert re.search(rf"Image: +{IMAGE}", told)
    assert admin.fleetd("describe", "ds", "nothing", code=2).stderr.startswith("fleetd: ")


def test_why_names_the_taint_and_the_term_and_the_hold(admin: Admin) -> None:
    admin.fleetd("taint", "pod-1", "dedicated=gpu:NoSchedule")
    admin.fleetd("hold", "pod-2")
    spec = unit_agent("chosen", lock="chosen", pod={"nodeSelector": {"disk": "ssd"}})
    admin.fleetd("apply", admin.write(spec, name="chosen.yaml"), "--no-wait")
    tainted = admin.fleetd("why", "pod-1", "agent").stdout
    assert "taint dedicated=gpu:NoSchedule is not tolerated" in tainted
    assert "disk" in admin.fleetd("why", "dock", "default/chosen").stdout
    assert "on hold" in admin.fleetd("why", "pod-2", "ds/agent").stdout
    assert "eligible: yes" in admin.fleetd("why", "dock", "agent").stdout
    admin.fleetd("taint", "pod-1", "dedicated-")
    admin.fleetd("unhold", "pod-2")
    admin.fleetd("delete", "ds", "chosen")
    assert "keep (UpToDate)" in admin.fleetd("why", "pod-1", "agent").stdout


def test_why_says_that_a_host_does_not_answer(admin: Admin) -> None:
    host = admin.fleet["pod-2"]
    host.sh("systemctl stop ssh.service ssh.socket", check=False)
    try:
        told = admin.fleetd("why", "pod-2", "agent").stdout
        assert "nothing listens on port 22" in told
        assert "last seen: revision" in told
        assert "nothing, the host's state is unknown" in told
    finally:
        host.sh("systemctl start ssh.service")
        host.wait_ssh()


# ------------------------------------------------------------------------- documents, no host


BAD = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: Bad_Name}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      containrs: []
      containers:
        - {name: a, image: ""}
"""


def test_documents_are_checked_without_a_host(admin: Admin) -> None:
    bad = admin.directory / "bad.yaml"
    bad.write_text(BAD)
    before, entered = snapshots(admin.fleet.hosts.values()), logins(admin)
    for verb in ("validate", "apply", "diff"):
        said = admin.fleetd(verb, bad, code=2).stderr
        for line, field in ((3, "metadata.name"), (9, "containrs"), (11, "containers[0].image")):
            assert f"{bad}:{line}: " in said
            assert field in said
        assert "3 problems; nothing was touched" in said
    good = admin.write(*settled())
    assert admin.fleetd("validate", good).stdout.splitlines() == [
        "configmap/settings is valid",
        "secret/token is valid",
        "daemonset/boxed is valid",
        "daemonset/agent is valid",
    ]
    assert admin.fleetd("diff", good).stdout == ""
    changed = admin.fleetd("diff", admin.write(*settled("v2")), code=4).stdout
    assert '-          Environment="AGENT_VERSION=v1"' in changed
    assert TOKEN not in changed
    assert logins(admin) == entered > 0
    assert snapshots(admin.fleet.hosts.values()) == before


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(admin: Admin) -> None:
    before = untouched(admin)
    spec = admin.write(*settled("v2"))
    told = admin.fleetd("apply", spec, "--dry-run", code=4).stdout
    assert "daemonset.apps/agent configured (dry run)" in told
    planned = [line for line in told.splitlines() if line.endswith("planned")]
    assert [line.partition(":")[0] for line in planned] == NAMES
    assert all("update default/agent" in line for line in planned)
    actions = admin.apply(*settled("v2"), flags=["--dry-run"], code=4).actions
    assert {action["result"] for action in actions} == {"planned"}
    assert untouched(admin) == before
    assert admin.fleetd("apply", admin.write(*settled()), "--dry-run").code == 0


# -------------------------------------------------------------------------------------- runs


def test_a_run_may_start_and_leave_or_give_up_waiting(admin: Admin) -> None:
    probe = {"exec": {"command": ["test", "-e", GATE]}, "periodSeconds": 1}
    gated = settled("v2", systemd={"readinessProbe": probe}, max_unavailable=1)
    slow = admin.write(*gated)
    left = admin.fleetd("apply", slow, "--no-wait")
    assert left.stdout.splitlines()[0] == "configmap/settings unchanged"
    assert "dock: update default/agent (RevisionChanged): done" in left.stderr
    waits = admin.fleetd("why", "pod-1", "agent").stdout
    assert "wait (NoSlot): maxUnavailable is 1, down: dock" in waits
    standing = admin.fleetd("rollout", "status", "ds/agent", "--no-watch").stdout
    assert "pod-2" in standing
    ended = admin.fleetd("apply", slow, "--timeout", "2s", "-o", "json", code=3)
    assert set(ended.json["holders"]["default/agent"]) == set(NAMES)
    assert "time ran out" in ended.json["problems"][0]

    # Reading goes on beside a writer.
    writer = admin.start("reconcile")
    wait_until(lambda: "fleetd" in (admin.state / "lock").read_text(), 20, "the writer")
    assert admin.fleetd("get", "ds,pods,nodes,events").code == 0
    assert admin.fleetd("why", "pod-2").code == 0
    assert admin.fleetd("reconcile", code=5).stdout == ""
    assert writer.poll() is None
    writer.terminate()
    assert "stopped" in admin.end(writer, code=143).stderr

    for host in admin.fleet.hosts.values():
        host.sh(f"touch {GATE}")
    assert admin.apply(*gated).json["converged"]
    assert "successfully rolled out" in admin.fleetd("rollout", "status", "ds/agent").stdout
    history = admin.fleetd("rollout", "history", "ds/agent", "-o", "json").json["items"]
    assert [(each["revision"], each["current"]) for each in history] == [(1, False), (2, True)]
    admin.apply(*settled())


def test_delete_by_file_takes_what_the_file_names(admin: Admin) -> None:
    spec = admin.write(
        unit_agent("gone", lock="gone", systemd={"env": [{"name": "A", "value": "b"}]}),
        config_map("gone", {"a": "b"}),
        name="gone.yaml",
    )
    admin.fleetd("apply", spec)
    ended = admin.fleetd("delete", "-f", spec)
    assert "daemonset.apps/gone deleted\nconfigmap/gone deleted\n" in ended.stdout
    for host in admin.fleet.hosts.values():
        assert [line for line in leftovers(host) if "gone" in line] == []
    assert admin.fleetd("delete", "-f", spec, code=2).stderr.startswith("fleetd: ")
    assert admin.fleetd("delete", "-f", spec, "--ignore-not-found").code == 0


# ------------------------------------------------------------------------------ logs and exec


def test_logs_of_a_daemonset_and_of_a_pod(admin: Admin) -> None:
    every = admin.fleetd("logs", "ds/boxed", "--since", "1h").stdout.splitlines()
    started = {line.partition(":")[0] for line in every if line.endswith("agent v1: started")}
    assert started == set(NAMES)
    last = admin.fleetd("logs", "boxed-pod-1", "--tail", "1").stdout.splitlines()
    assert len(last) == 1
    assert admin.fleetd("logs", "ds/agent", "--node", "dock", "--since", "1s").stdout == ""
    assert "is not a duration" in admin.fleetd("logs", "ds/agent", "--since", "x", code=2).stderr
    assert admin.fleetd("logs", "nothing-here", code=2).stderr.startswith("fleetd: ")


def test_logs_are_followed_until_the_reader_leaves(admin: Admin) -> None:
    told = admin.directory / "followed"
    follower = subprocess.Popen(
        [
            *in_netns(admin.fleet.netns),
            *("sh", "-c", 'exec "$0" "$@" >followed'),
            *admin.argv("logs", "agent-pod-1", "-f", "--tail", "0"),
        ],
        env=admin.env,
        cwd=admin.directory,
    )
    try:
        wait_until(lambda: follows(admin.fleet["pod-1"]), 20, "journalctl on the host")
        admin.fleet["pod-1"].sh(f"systemctl restart {UNIT}")
        wait_until(lambda: "agent v1: started" in told.read_text(), 20, "the line to arrive")
        assert follower.poll() is None
    finally:
        follower.terminate()
        follower.wait(10)
    wait_until(lambda: not follows(admin.fleet["pod-1"]), 20, "the end of journalctl")
    admin.reconcile()


def follows(host: Host) -> bool:
    return host.sh("pgrep -f '^journalctl .*-f'", check=False).returncode == 0


def test_exec_passes_arguments_output_and_status_on(admin: Admin) -> None:
    script = r'printf "%s|" "$@"; echo word >&2; exit 7'
    ended = admin.fleetd("exec", "pod-1", "--", "sh", "-c", script, "x", "a b", "$HOME", code=7)
    assert (ended.stdout, ended.stderr) == ("a b|$HOME|", "word\n")
    for target in ("boxed-dock", "pod/boxed-pod-1"):
        inside = admin.fleetd("exec", target, "--", "cat", "/etc/token/token")
        assert inside.stdout == TOKEN
    assert admin.fleetd("exec", "agent-pod-2", "--", "hostname").stdout == "pod-2\n"
    assert admin.fleetd("exec", "node/pod-2", "--", "false", code=1).stderr == ""
    assert admin.fleetd("exec", "nowhere", "--", "true", code=2).stderr.startswith("fleetd: ")


def test_exec_hands_bytes_on_as_they_are(admin: Admin) -> None:
    data = bytes(range(256)) * 4096
    (admin.fleet["pod-1"].rootfs / "root/data").write_bytes(data)
    assert shell(admin, "fleetd exec pod-1 -- cat /root/data >data").returncode == 0
    assert (admin.directory / "data").read_bytes() == data


# ------------------------------------------------------------------------------ the shell's side


@pytest.mark.parametrize(
    ("shell_name", "check"),
    [
        ("bash", "bash -c '. /dev/stdin && complete -p fleetd'"),
        ("zsh", "zsh -n"),
        ("fish", "fish --no-execute"),
    ],
    ids=["bash", "zsh", "fish"],
)
def test_completion_scripts_load(admin: Admin, shell_name: str, check: str) -> None:
    script = admin.fleetd("completion", shell_name).stdout
    assert "_FLEETD_COMPLETE" in script
    loaded = admin.fleet["pod-1"].sh(check, stdin=script)
    assert loaded.stderr == ""


def test_completion_completes_verbs(admin: Admin) -> None:
    asked = "COMP_WORDS='fleetd rol' COMP_CWORD=1 _FLEETD_COMPLETE=bash_complete fleetd"
    assert shell(admin, asked).stdout == "plain,rollout\n"


def test_a_reader_that_leaves_early_is_no_trouble(admin: Admin) -> None:
    ended = shell(admin, "fleetd get pods -o json | head -n 1; echo ${PIPESTATUS[0]}")
    assert ended.stdout.splitlines()[0] == "{"
    assert ended.stdout.splitlines()[1] in {"0", "141"}
    assert ended.stderr == ""


def test_version_and_explain_need_nothing(admin: Admin) -> None:
    told = json.loads(shell(admin, "env -i $(command -v fleetd) version -o json").stdout)
    assert told["command"].startswith("exec /bin/sh -c ")
    fields = admin.fleetd("explain", "--fields").stdout
    assert "spec.template.spec.containers[].image" in fields
    here = {line.split()[2] for line in fields.splitlines()[1:] if len(line.split()) > 2}
    assert here >= {"honoured", "ignored", "refused"}
