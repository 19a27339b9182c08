"""Brownfield: copies take the place of an agent that somebody installed by hand, and give it back.

What was there is the lab's agent with the lock of the copies: so the timeline shows that never two
of them ran at once, and how many hosts had none.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.admin import AGENT_DIR, Admin, Document, unit_agent
from tests.e2e.lab import Entry, Host, HostSpec, boottime
from tests.e2e.lab.machine import wait_until
from tests.e2e.proof import leftovers

pytestmark = pytest.mark.timeout(300)

HOSTS = tuple(HostSpec(f"r{number}", runtime="none") for number in (1, 2, 3))
NAMES = [spec.name for spec in HOSTS]
OLD = "old-exporter.service"
PORT = 9100
SERVES = {"AGENT_HTTP": str(PORT), "AGENT_READY": f"{AGENT_DIR}/index.html"}
REPLACES = {"fleetd/replaces": OLD}
ENABLED, STARTED, BOTH = "enabled inactive", "disabled active", "enabled active"


@pytest.fixture
def hosts(admin: Admin) -> list[Host]:
    """Hosts where the port is held by a unit that is not fleetd's."""
    found = list(admin.fleet.hosts.values())
    words = " ".join(f'"{k}={v}"' for k, v in {"AGENT_VERSION": "by-hand", **SERVES}.items())
    unit = f"[Service]\nEnvironment={words}\nExecStart=/opt/lab/agent\n"
    for host in found:
        # A copy of an earlier test left it as it was before; this is a fresh start in any case.
        host.sh(f"systemctl disable --now {OLD}; rm -f /usr/local/sbin/systemctl", check=False)
        path = host.rootfs / "etc/systemd/system" / OLD
        path.write_text(f"{unit}[Install]\nWantedBy=multi-user.target\n")
        host.sh(f"rm -rf {AGENT_DIR}/*; systemctl daemon-reload; systemctl enable --now {OLD}")
        wait_until(lambda host=host: served(host) == "by-hand", 20, "the old exporter")  # type: ignore[misc]
    return found


def exporter(version: str = "v1", **more: Any) -> Document:
    """The copy that wants the same port."""
    return unit_agent(
        "exporter", version, env=SERVES, **{"annotations": REPLACES, "min_ready": 2, **more}
    )


def served(host: Host) -> str:
    """The version that holds the port: the last one that started, where the port answers."""
    told = host.sh(f"busybox wget -qO- http://127.0.0.1:{PORT}/index.html", check=False)
    log = host.agent_logs / "lock.log"
    lines = log.read_text().splitlines() if log.exists() else []
    starts = [line for line in lines if line.startswith("start ")]
    return starts[-1].split()[3] if told.returncode == 0 and starts else ""


def state(host: Host) -> str:
    """What systemd says of the old unit: `enabled active`."""
    told = host.sh(f"systemctl is-enabled {OLD}; systemctl is-active {OLD}", check=False)
    return " ".join(told.stdout.split())


def serves(host: Host, version: str) -> None:
    wait_until(lambda: served(host) == version, 20, f"{host.name} to serve {version}")


def test_an_old_agent_is_replaced_within_the_budget_and_given_back(
    admin: Admin, hosts: list[Host]
) -> None:
    hosts[1].sh(f"systemctl disable {OLD}")
    planned = admin.apply(exporter(), flags=["--dry-run"], code=None)
    assert f"takes the place of {OLD}" in planned.stdout
    assert [served(host) for host in hosts] == ["by-hand"] * 3

    since = boottime()
    admin.apply(exporter())
    for host in hosts:
        serves(host, "v1")
        assert state(host) == "disabled inactive"
    timeline = admin.timeline()
    assert timeline.overlaps == ()
    assert timeline.peak(since, boottime()).count == 1, "one host at a time was without one"
    assert [timeline.versions(name) for name in NAMES] == [["by-hand", "v1"]] * 3
    assert admin.reconcile().did == []

    # It is told where people look.
    assert OLD in admin.fleetd("describe", "ds", "exporter").stdout
    events = {each["reason"]: each["message"] for each in admin.get("events")["items"]}
    assert OLD in events["TookOver"]
    assert f"{OLD} (was enabled, active)" in admin.fleetd("why", "r1", "exporter").stdout

    # An update keeps it away, and what somebody does to it is drift that restarts no copy.
    admin.apply(exporter("v2"))
    before = admin.lives("r1")
    hosts[0].sh(f"systemctl enable {OLD}")
    assert admin.reconcile().did == [("r1", "repair")]
    assert state(hosts[0]) == "disabled inactive"
    assert (admin.lives("r1"), admin.reconcile().did) == (before, [])

    admin.fleetd("delete", "ds", "exporter")
    assert [state(host) for host in hosts] == [BOTH, STARTED, BOTH]
    for host in hosts:
        serves(host, "by-hand")
        assert leftovers(host) == []
    events = {each["reason"]: each["message"] for each in admin.get("events")["items"]}
    assert OLD in events["GaveBack"]
    assert admin.timeline().overlaps == ()


def test_a_host_that_cannot_run_the_copy_keeps_its_old_agent(
    admin: Admin, hosts: list[Host]
) -> None:
    soon = {**REPLACES, "fleetd/progress-deadline-seconds": "5"}
    absent = exporter(annotations=soon, systemd={"files": [{"path": "/etc/x", "content": ""}]})
    hosts[0].sh("mkdir /etc/x")
    try:
        ended = admin.apply(absent, code=3)
    finally:
        hosts[0].sh("rmdir /etc/x")
    assert "/etc/x is a directory" in str(ended.json["holders"])
    # It holds the one slot that there is: nobody else loses an agent to a workload that may be bad.
    assert [served(host) for host in hosts] == ["by-hand"] * 3
    assert [state(host) for host in hosts] == [BOTH] * 3


def test_what_runs_for_another_daemonset_is_not_replaced(admin: Admin, hosts: list[Host]) -> None:
    soon = {**REPLACES, "fleetd/progress-deadline-seconds": "5"}
    admin.apply(exporter(max_unavailable=3))
    again = unit_agent("second", "s1", lock="second", annotations=soon)
    ended = admin.apply(again, code=3)
    assert "it belongs to DaemonSet default/exporter" in str(ended.json["holders"])
    assert [served(host) for host in hosts] == ["v1"] * 3


def test_a_unit_that_another_one_starts_is_replaced_with_that_one(
    admin: Admin, hosts: list[Host]
) -> None:
    host = hosts[0]
    admin.know([Entry(host)])
    units = host.rootfs / "etc/systemd/system"
    (units / "asked.service").write_text("[Service]\nExecStart=/bin/sleep infinity\n")
    (units / "asked.socket").write_text(
        "[Socket]\nListenStream=9101\n[Install]\nWantedBy=sockets.target\n"
    )
    # One that was enabled by its path is a link, which goes with its being enabled.
    text = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    (host.rootfs / "opt/linked.service").write_text(text)
    host.sh("systemctl enable --now asked.socket /opt/linked.service; systemctl start asked")
    soon = {"fleetd/progress-deadline-seconds": "5"}

    def agent(names: str) -> Document:
        return unit_agent(
            "second", "s1", lock="second", annotations={**soon, "fleetd/replaces": names}
        )

    def states() -> list[str]:
        names = "asked.socket asked.service linked.service"
        told = host.sh(f"systemctl is-active {names}; systemctl is-enabled {names}", check=False)
        return told.stdout.split()

    ended = admin.apply(agent("asked.service"), code=3)
    assert "asked.service is started by asked.socket" in str(ended.json["holders"])
    assert states() == ["active"] * 3 + ["enabled", "static", "enabled"]
    admin.apply(agent("asked.service, asked.socket, linked.service, never-installed.service"))
    assert states()[:4] == ["inactive"] * 3 + ["disabled"]
    assert not (units / "linked.service").exists()
    assert admin.reconcile().did == []
    admin.fleetd("delete", "ds", "second")
    assert states() == ["active"] * 3 + ["enabled", "static", "enabled"]
    host.sh("systemctl disable --now asked.socket linked.service; systemctl stop asked")


def test_dropping_the_annotation_starts_nothing_and_a_purge_gives_back(
    admin: Admin, hosts: list[Host]
) -> None:
    admin.apply(exporter(max_unavailable=3))
    admin.apply(exporter(max_unavailable=3, annotations=None))
    assert admin.reconcile().did == []
    hosts[0].sh(f"systemctl enable {OLD}")
    assert admin.reconcile().did == [], "nobody watches it any more"
    assert [served(host) for host in hosts] == ["v1"] * 3
    for host in hosts:
        admin.fleetd("purge", host.name)
    assert [state(host) for host in hosts] == [BOTH] * 3
    for host in hosts:
        serves(host, "by-hand")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("disable -- old-exporter.service", id="before-it-is-disabled"),
        pytest.param("stop -- old-exporter.service", id="before-it-is-stopped"),
        pytest.param("start --no-block -- fleetd-", id="between-stop-and-start"),
    ],
)
def test_a_power_cut_in_the_middle_forgets_nothing(
    admin: Admin, hosts: list[Host], moment: str
) -> None:
    host = hosts[0]
    freeze = f"""#!/bin/sh
        case "$*" in *"{moment}"*) : >/run/frozen; exec sleep 1d ;; esac
        exec /usr/bin/systemctl "$@"
    """
    wrapper = host.rootfs / "usr/local/sbin/systemctl"
    wrapper.write_text(freeze)
    wrapper.chmod(0o755)
    running = admin.start("apply", admin.write(exporter()), "-o", "json")
    wait_until(lambda: host.sh("test -e /run/frozen", check=False).returncode == 0, 60, moment)
    running.kill()
    running.communicate()
    host.power_cut()
    wrapper.unlink()
    host.boot()
    host.wait_ssh()
    admin.apply(exporter())
    assert [state(each) for each in hosts] == ["disabled inactive"] * 3
    for each in hosts:
        serves(each, "v1")
    assert admin.timeline().overlaps == ()
    admin.fleetd("delete", "ds", "exporter")
    assert [state(each) for each in hosts] == [BOTH] * 3
    for each in hosts:
        serves(each, "by-hand")
