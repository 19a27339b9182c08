"""What people ask for between two applies: history, undo, restart, delete, and borrowed units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.admin import (
    IMAGE,
    Admin,
    Document,
    Result,
    config_map,
    daemonset,
    pod_agent,
    secret,
    unit_agent,
)
from tests.e2e.lab import HostSpec, boottime
from tests.e2e.proof import leftovers, snapshot, snapshots

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("dock", runtime="docker"), HostSpec("pod-1"), HostSpec("pod-2"))
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS]
ALL_AT_ONCE: dict[str, Any] = {"max_unavailable": "100%"}

Make = Callable[[str, dict[str, str]], Document]


def versions(admin: Admin, lock: str = "lock") -> set[tuple[str, ...]]:
    """The versions that ran on the hosts, in order; one row when all are alike."""
    timeline = admin.timeline(lock)
    return {tuple(timeline.versions(name)) for name in NAMES}


def lives(admin: Admin, lock: str = "lock") -> set[int]:
    return {admin.lives(name, lock) for name in NAMES}


# ------------------------------------------------------------------------------------- rollouts


def test_undo_brings_an_earlier_revision_back_and_restart_starts_anew(admin: Admin) -> None:
    for version in ("v1", "v2"):
        admin.apply(unit_agent(version=version, **ALL_AT_ONCE))
    history = admin.fleetd("rollout", "history", "ds/agent").stdout.splitlines()
    assert [line.split()[0] for line in history if line[:1].isdigit()] == ["1", "2"]
    admin.fleetd("rollout", "undo", "ds/agent")
    assert versions(admin) == {("v1", "v2", "v1")}
    admin.fleetd("rollout", "undo", "ds/agent", "--to-revision", "2")
    assert versions(admin) == {("v1", "v2", "v1", "v2")}
    before = lives(admin)
    admin.fleetd("rollout", "restart", "ds/agent")
    assert versions(admin) == {("v1", "v2", "v1", "v2")}
    assert lives(admin) == {life + 1 for life in before}
    assert admin.reconcile().did == []
    assert admin.apply(unit_agent(version="v2", **ALL_AT_ONCE)).did == []


def test_undo_brings_config_maps_back_too(admin: Admin) -> None:
    spec = unit_agent(systemd={"files": [conf("configMapKeyRef", "conf")]}, **ALL_AT_ONCE)
    for text in ("one", "two"):
        admin.apply(config_map("conf", {"text": text}), spec)
        assert delivered(admin) == {text}
    assert lives(admin) == {2}
    admin.fleetd("rollout", "undo", "ds/agent")
    assert delivered(admin) == {"one"}
    assert lives(admin) == {3}
    assert admin.get("configmaps", "conf")["data"] == {"text": "one"}


@pytest.mark.parametrize(
    ("make", "ref"),
    [
        pytest.param(config_map, "configMapKeyRef", id="config map"),
        pytest.param(secret, "secretKeyRef", id="secret"),
    ],
)
def test_changed_content_is_rolled_out_within_the_budget(
    admin: Admin, make: Make, ref: str
) -> None:
    spec = unit_agent(systemd={"files": [conf(ref, "conf")]})
    admin.apply(make("conf", {"text": "one"}), spec)
    since = boottime()
    report = admin.apply(make("conf", {"text": "two"}), spec)
    assert {action for _, action in report.did} == {"update"}
    assert delivered(admin) == {"two"}
    assert lives(admin) == {2}
    assert admin.timeline().peak(since, boottime()).count <= 1
    assert admin.apply(make("conf", {"text": "two"}), spec).did == []


@pytest.mark.parametrize(
    ("make", "volume"),
    [
        pytest.param(config_map, {"configMap": {"name": "conf"}}, id="config map"),
        pytest.param(secret, {"secret": {"secretName": "conf"}}, id="secret"),
    ],
)
def test_changed_content_reaches_containers(admin: Admin, make: Make, volume: Document) -> None:
    spec = pod_agent(mounts={"/etc/conf": volume}, **ALL_AT_ONCE)
    for text in ("one", "two"):
        admin.apply(make("conf", {"text": text}), spec)
        for host in admin.fleet.hosts.values():
            name = "fleetd-default.agent.agent.a"
            said = host.sh(f"{host.spec.runtime} exec {name} cat /etc/conf/text").stdout
            assert said == text
    assert lives(admin) == {2}


@pytest.mark.parametrize("on_change", ["nothing", "reload"])
def test_a_file_that_needs_no_restart_is_replaced_under_the_running_agent(
    admin: Admin, on_change: str
) -> None:
    file = {"path": "/etc/agent.conf", "onChange": on_change}
    reload = "ExecReload=/bin/cp /etc/agent.conf /var/lib/lab-agent/reloaded\n"
    for text in ("one", "two"):
        systemd = {"files": [{**file, "content": text}]}
        report = admin.apply(unit_agent(directives=reload, systemd=systemd, **ALL_AT_ONCE))
        assert len(report.did) == len(NAMES)
    assert delivered(admin) == {"two"}
    assert lives(admin) == {1}
    for host in admin.fleet.hosts.values():
        assert (host.agent_logs / "reloaded").exists() == (on_change == "reload")
    assert admin.reconcile().did == []


def conf(ref: str, name: str) -> Document:
    return {"path": "/etc/agent.conf", "mode": 0o600, ref: {"name": name, "key": "text"}}


def delivered(admin: Admin) -> set[str]:
    """What the delivered file says, on all hosts."""
    hosts = admin.fleet.hosts.values()
    return {(host.rootfs / "etc/agent.conf").read_text() for host in hosts}


# ----------------------------------------------------------------------------- by hand


def test_labels_and_edits_hold_beside_what_is_applied(admin: Admin) -> None:
    spec = unit_agent(**ALL_AT_ONCE)
    admin.apply(spec)
    admin.fleetd("label", "ds/agent", "team=infra")
    admin.fleetd("annotate", "ds", "agent", "kubernetes.io/change-cause=by hand")
    before = admin.get("ds", "agent")["metadata"]
    assert before["generation"] == 1
    assert "by hand" in admin.fleetd("rollout", "history", "ds/agent").stdout
    assert admin.reconcile().did == []
    edited = edit(admin, "sed -i s/AGENT_VERSION=v1/AGENT_VERSION=v2/")
    assert "daemonset.apps/agent edited" in edited.stdout
    assert versions(admin) == {("v1", "v2")}
    after = admin.get("ds", "agent")["metadata"]
    assert (after["generation"], after["labels"]) == (2, {"team": "infra"})
    assert admin.apply(spec).did != []
    assert versions(admin) == {("v1", "v2", "v1")}
    assert admin.get("ds", "agent")["metadata"]["labels"] == {"team": "infra"}
    refused = edit(admin, "sed -i s/maxUnavailable:.*/maxUnavailable:\\ -1/", code=2)
    assert "no valid changes were saved" in refused.stderr
    assert versions(admin) == {("v1", "v2", "v1")}


def edit(admin: Admin, editor: str, code: int = 0) -> Result:
    started = admin.fleet.start_coordinator(
        admin.argv("edit", "ds/agent"),
        env={**admin.env, "KUBE_EDITOR": editor},
        cwd=admin.directory,
    )
    return admin.end(started, code=code)


def test_a_deleted_pod_is_the_way_on_under_on_delete(admin: Admin) -> None:
    def by_hand(version: str) -> Document:
        spec = unit_agent(version=version)
        spec["spec"]["updateStrategy"] = {"type": "OnDelete"}
        return spec

    admin.apply(by_hand("v1"))
    assert admin.apply(by_hand("v2")).did == []
    ended = admin.fleetd("delete", "pod", "agent-pod-1")
    assert ended.stdout.startswith('pod "agent-pod-1" deleted\n')
    found = {name: admin.timeline().versions(name) for name in NAMES}
    assert found == {"dock": ["v1"], "pod-1": ["v1", "v2"], "pod-2": ["v1"]}
    assert "OnDelete" in admin.fleetd("rollout", "status", "ds/agent", code=2).stderr


def test_a_drain_leaves_agents_or_takes_them_away_and_uncordon_brings_them_back(
    admin: Admin,
) -> None:
    tolerant = {"tolerations": [{"operator": "Exists"}]}
    admin.apply(
        unit_agent(**ALL_AT_ONCE),
        pod_agent("boxed", lock="boxed", pod=tolerant, **ALL_AT_ONCE),
    )
    others = snapshots(admin.fleet[name] for name in ("dock", "pod-2"))
    refused = admin.fleetd("drain", "pod-1", code=3)
    assert refused.stdout == "node/pod-1 cordoned\n"
    assert "default/agent-pod-1, default/boxed-pod-1" in refused.stderr
    admin.fleetd("drain", "pod-1", "--ignore-daemonsets")
    assert admin.reconcile().did == []
    drained = admin.fleetd("drain", "pod-1", "--evict-daemonsets")
    assert drained.stdout.splitlines()[-1] == "node/pod-1 drained"
    assert leftovers(admin.fleet["pod-1"]) == []
    assert admin.reconcile().did == []
    assert "SchedulingDisabled" in admin.fleetd("get", "node", "pod-1").stdout
    assert snapshots(admin.fleet[name] for name in ("dock", "pod-2")) == others
    assert admin.fleetd("uncordon", "pod-1").stdout.startswith("node/pod-1 uncordoned\n")
    assert admin.lives("pod-1") == admin.lives("pod-1", "boxed") == 2
    assert admin.reconcile().did == []


def test_a_host_that_does_not_answer_is_not_called_drained(admin: Admin) -> None:
    admin.apply(unit_agent(**ALL_AT_ONCE))
    away = admin.fleet["pod-2"]
    away.sh("systemctl stop ssh.service ssh.socket; systemctl mask --runtime ssh.service")
    ended = admin.fleetd("drain", "pod-2", "--evict-daemonsets", "--timeout", "20s", code=3)
    assert "node/pod-2 drained" not in ended.stdout
    away.sh("systemctl unmask --runtime ssh.service; systemctl start ssh.service")
    away.wait_ssh()
    assert admin.reconcile().did == [("pod-2", "remove")]
    admin.fleetd("uncordon", "pod-2")
    assert admin.lives("pod-2") == 2


# ------------------------------------------------------------------------------------- deletion


def documents() -> list[Document]:
    files = [{"path": "/etc/lab/deep/agent.conf", "content": "some\n"}]
    return [
        config_map("conf", {"text": "one"}),
        unit_agent(systemd={"files": files}, **ALL_AT_ONCE),
        pod_agent(
            "pod", lock="pod", mounts={"/etc/conf": {"configMap": {"name": "conf"}}}, **ALL_AT_ONCE
        ),
    ]


def test_delete_takes_everything_away_and_nothing_else(admin: Admin) -> None:
    for host in admin.fleet.hosts.values():
        host.sh(FOREIGN.format(runtime=host.spec.runtime))
    foreign = {host.name: foreign_things(admin, host.name) for host in admin.fleet.hosts.values()}
    spec = admin.write(*documents())
    admin.fleetd("apply", spec)
    assert admin.reconcile().did == []
    report = admin.fleetd("delete", "-f", spec, "-o", "json")
    assert {action for _, action in report.did} == {"remove"}
    for host in admin.fleet.hosts.values():
        left = [name for name in leftovers(host) if "other" not in name]
        assert left == []
        assert not (host.rootfs / "etc/lab").exists()
        assert foreign_things(admin, host.name) == foreign[host.name]
    assert admin.get("ds")["items"] == []
    assert admin.get("pods")["items"] == []
    assert admin.reconcile().did == []
    for host in admin.fleet.hosts.values():
        host.sh(CLEAN.format(runtime=host.spec.runtime))


#: A unit and a container that look a little like ours, and are not.
FOREIGN = """
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/fleetd-other.service
systemctl daemon-reload
systemctl start fleetd-other.service
{runtime} run --detach --name fleetd-other --label fleetd.fleet=other \
    --label fleetd.ds=default/pod --label fleetd.slot=a \
    --entrypoint /bin/busybox example/agent:v1 sleep 1000 >/dev/null
"""
CLEAN = """
systemctl stop fleetd-other.service
rm /etc/systemd/system/fleetd-other.service
systemctl daemon-reload
{{ {runtime} kill fleetd-other; {runtime} rm --force fleetd-other; }} >/dev/null 2>&1
"""


def foreign_things(admin: Admin, name: str) -> dict[str, str]:
    return {k: v for k, v in snapshot(admin.fleet[name]).items() if "fleetd-other" in k}


def test_a_foreground_deletion_keeps_the_daemonset_until_the_last_host_is_clean(
    admin: Admin,
) -> None:
    admin.apply(unit_agent(**ALL_AT_ONCE))
    away = admin.fleet["pod-2"]
    away.sh("systemctl stop ssh.service ssh.socket; systemctl mask --runtime ssh.service")
    report = admin.fleetd("delete", "ds", "agent", "--cascade=foreground", "-o", "json", code=3)
    assert {node for node, _ in report.did} == {"dock", "pod-1"}
    (marked,) = admin.get("ds")["items"]
    assert marked["metadata"]["deletionTimestamp"]
    assert admin.lives("pod-2") == 1
    away.sh("systemctl unmask --runtime ssh.service; systemctl start ssh.service")
    assert admin.reconcile().did == [("pod-2", "remove")]
    assert admin.get("ds")["items"] == []
    assert leftovers(away) == []


def test_a_deleted_daemonset_is_removed_later_from_a_host_that_was_away(admin: Admin) -> None:
    admin.apply(*documents())
    away = admin.fleet["pod-2"]
    away.sh("systemctl stop ssh.service ssh.socket; systemctl mask --runtime ssh.service")
    report = admin.fleetd("delete", "ds", "agent", "pod", "-o", "json", code=3)
    assert {node for node, _ in report.did} == {"dock", "pod-1"}
    assert admin.lives("pod-2") == 1
    away.sh("systemctl unmask --runtime ssh.service; systemctl start ssh.service")
    assert admin.reconcile().did == [("pod-2", "remove"), ("pod-2", "remove")]
    assert leftovers(away) == []
    assert admin.reconcile().did == []


def test_orphans_go_on_and_are_taken_over_as_they_run(admin: Admin) -> None:
    spec = admin.write(*documents())
    admin.fleetd("apply", spec)
    before = snapshots(admin.fleet.hosts.values())
    admin.fleetd("delete", "ds", "agent", "pod", "--cascade=orphan")
    assert admin.reconcile().did == []
    assert snapshots(admin.fleet.hosts.values()) == before
    report = admin.fleetd("apply", spec, "-o", "json")
    assert report.did == []
    assert snapshots(admin.fleet.hosts.values()) == before
    assert lives(admin) == lives(admin, "pod") == {1}


def test_a_foreign_drop_in_is_told_and_left_alone(admin: Admin) -> None:
    admin.apply(unit_agent(**ALL_AT_ONCE))
    host = admin.fleet["pod-1"]
    unit = "fleetd-default.agent.main.a.service"
    place = f"/etc/systemd/system/{unit}.d"
    host.sh(f"mkdir {place}; printf '[Service]\\nNice=5\\n' >{place}/nice.conf")
    host.sh("systemctl daemon-reload")
    before = snapshot(host)
    report = admin.reconcile()
    assert report.did == []
    assert [note for note in report.json["notes"] if f"{place}/nice.conf" in note]
    assert snapshot(host) == before
    assert f"{place}/nice.conf" in admin.fleetd("why", "pod-1", "agent").stdout
    admin.fleetd("delete", "ds", "agent")
    assert (host.rootfs / f"{place}/nice.conf".lstrip("/")).exists()


# ------------------------------------------------------------------------------- borrowed units

CLOCK = """
printf '%s\\n' '[Service]' 'Environment=AGENT_LOCK=/var/lib/lab-agent/clock' \
    'ExecStart=/opt/lab/agent' '[Install]' 'WantedBy=multi-user.target' \
    >/lib/systemd/system/clock.service
systemctl daemon-reload
systemctl {how} clock.service
"""


def test_a_unit_of_the_host_is_borrowed_and_given_back_as_it_was(admin: Admin) -> None:
    states = {
        "dock": ("disable --now", "disabled inactive"),
        "pod-1": ("enable --now", "enabled active"),
        "pod-2": ("mask", "masked inactive"),
    }
    for name, (how, state) in states.items():
        admin.fleet[name].sh(CLOCK.format(how=how))
        assert clock_state(admin, name) == state
    before = admin.lives("pod-1", "clock")
    admin.apply(daemonset("clock", {"systemd": {"existingUnit": "clock.service"}}, api="fleetd/v1"))
    assert {clock_state(admin, name) for name in NAMES} == {"enabled active"}
    assert admin.lives("pod-1", "clock") == before == 1
    admin.fleet["pod-1"].sh("systemctl disable --now clock.service")
    assert admin.reconcile().did == [("pod-1", "repair")]
    assert clock_state(admin, "pod-1") == "enabled active"
    admin.fleetd("delete", "ds", "clock")
    for name, (_, state) in states.items():
        assert clock_state(admin, name) == state
        assert leftovers(admin.fleet[name]) == []
        admin.fleet[name].sh(
            "systemctl unmask clock; systemctl disable --now clock; rm /lib/systemd/system/clock*"
        )


def clock_state(admin: Admin, name: str) -> str:
    shown = admin.fleet[name].sh(
        "systemctl is-enabled clock.service; systemctl is-active clock.service", check=False
    )
    return " ".join(shown.stdout.split())
