"""Every way in which a host drifts from what it should run is put right by one `reconcile`.

All hosts are damaged at once, each in its own way, once at its systemd workload and once at its
container; then one run repairs them. A row per damage tells whether it did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.admin import AGENT_DIR, IMAGE, Admin, Result, config_map, pod_agent, unit_agent
from tests.e2e.lab import Fleet, HostSpec
from tests.e2e.proof import Snapshot, never_two, shape, snapshots

pytestmark = pytest.mark.timeout(300)

UNIT = "fleetd-default.agent.main.a.service"
TEXT = f"/etc/systemd/system/{UNIT}"
CONTAINER = "fleetd-default.pod.agent.a"
BESIDE = TEXT.replace(".a.service", ".b.service")
RUN = f"run --detach --env=AGENT_LOCK={AGENT_DIR}/stray --volume={AGENT_DIR}:{AGENT_DIR}"
LABELS = " ".join(
    f"--label=fleetd.{key}={value}"
    for key, value in {
        "fleet": "$(head -n 1 /var/lib/fleetd-node/owner | cut -f 1)",
        "ds": "default/pod",
        "slot": "a",
        "revision": "other",
    }.items()
)


@dataclass(frozen=True, slots=True)
class Drift:
    """A damage, as a shell script on one host, and how many lives its agent has in the end.

    `lives` is None where chance decides.
    """

    name: str
    host: str
    script: str
    lives: int | None = 2


UNIT_DRIFTS = (
    Drift("stopped", "p0", f"systemctl stop {UNIT}"),
    Drift(
        "masked",
        "p1",
        f"systemctl stop {UNIT}; ln -sf /dev/null {TEXT}; systemctl daemon-reload",
    ),
    Drift("disabled", "p2", f"systemctl disable {UNIT}", lives=1),
    Drift(
        "failed",
        "p3",
        f"""until systemctl is-failed --quiet {UNIT}; do
            systemctl kill --signal=KILL {UNIT}; sleep 0.2
        done""",
        lives=None,
    ),
    Drift("unit file edited", "p4", f"sed -i s/=v1/=v9/ {TEXT}"),
    Drift(
        "unit file edited and loaded",
        "p5",
        f"sed -i s/=v1/=v9/ {TEXT}; systemctl daemon-reload; systemctl restart {UNIT}",
        lives=3,
    ),
    Drift("unit file deleted", "p6", f"rm {TEXT}; systemctl daemon-reload"),
    Drift("delivered file edited", "d0", "echo more >>/etc/agent.conf"),
    Drift("delivered file deleted", "d1", "rm /etc/agent.conf"),
    Drift("delivered file opened to all", "d2", "chmod 666 /etc/agent.conf", lives=1),
    # The copied text stamps the original's runs, too: what that runs is not known any more.
    Drift(
        "unit copied",
        "d3",
        f"sed s,/lock,/stray, {TEXT} >{BESIDE}; systemctl daemon-reload;"
        f" systemctl enable --now {BESIDE.rpartition('/')[2]}",
    ),
)


def pod_drifts(runtime: str, *hosts: str) -> tuple[Drift, ...]:
    unit = f"{CONTAINER}.service"
    volume = "/var/lib/fleetd-node/w/default.pod/a/vol/v1/greeting"
    rows = (
        ("removed by hand", f"{runtime} rm --force {CONTAINER}", 2),
        (
            "replaced by hand",
            f"systemctl stop {unit}; {runtime} {RUN} --name={CONTAINER} {IMAGE}",
            2,
        ),
        # Containers of one slot are cleared together, then the slot is filled again.
        ("run twice", f"{runtime} {RUN} {LABELS} --name=again {IMAGE}", 2),
        ("unit stopped", f"systemctl stop {unit}", 2),
        ("volume edited", f"echo bye >{volume}", 2),
    )
    return tuple(
        Drift(f"{runtime}: {name}", host, script, lives)
        for host, (name, script, lives) in zip(hosts, rows, strict=False)
    )


POD_DRIFTS = pod_drifts(HostSpec("p0").runtime, "p0", "p1", "p2", "p3", "p4") + pod_drifts(
    "docker", "d0", "d1", "d2", "d3"
)
HOSTS = tuple(
    HostSpec(name, runtime="docker" if name.startswith("d") else "podman")
    for name in sorted({drift.host for drift in UNIT_DRIFTS + POD_DRIFTS})
)
IMAGES = (IMAGE,)
DOCUMENTS = (
    config_map("greeting", {"greeting": "hello"}),
    unit_agent(
        directives="RestartSec=100ms\n[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=3\n",
        systemd={"files": [{"path": "/etc/agent.conf", "mode": 0o640, "content": "some\n"}]},
        max_unavailable="100%",
    ),
    pod_agent(
        "pod",
        lock="pod",
        mounts={"/etc/greeting": {"configMap": {"name": "greeting"}}},
        max_unavailable="100%",
    ),
)


@dataclass(frozen=True, slots=True)
class Repaired:
    """The fleet before the damage and after the repair."""

    admin: Admin
    before: dict[str, Snapshot]
    after: dict[str, Snapshot]
    report: Result


@pytest.fixture(scope="module")
def repaired(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repaired]:
    admin = Admin(fleet, tmp_path_factory.mktemp("admin"))
    admin.apply(*DOCUMENTS)
    before = {host.name: shape(host) for host in fleet.hosts.values()}
    for drift in UNIT_DRIFTS + POD_DRIFTS:
        fleet[drift.host].sh(f"{{ {drift.script}; }} >/dev/null 2>&1")
    report = admin.reconcile("--timeout", "60s", code=None)
    after = {host.name: shape(host) for host in fleet.hosts.values()}
    yield Repaired(admin, before, after, report)
    never_two(fleet.hosts.values())


def test_one_run_settles_the_fleet(repaired: Repaired) -> None:
    assert repaired.report.code == 0, str(repaired.report)
    hosts = repaired.admin.fleet.hosts.values()
    before = snapshots(hosts)
    assert repaired.admin.reconcile().did == []
    assert snapshots(hosts) == before


@pytest.mark.parametrize("drift", UNIT_DRIFTS, ids=lambda drift: drift.name)
def test_a_systemd_workload_is_repaired(repaired: Repaired, drift: Drift) -> None:
    assert repaired.after[drift.host] == repaired.before[drift.host]
    assert drift.lives in {None, repaired.admin.lives(drift.host, "lock")}
    assert repaired.admin.timeline("lock").runs[drift.host][-1].version == "v1"


@pytest.mark.parametrize("drift", POD_DRIFTS, ids=lambda drift: drift.name)
def test_a_container_is_repaired(repaired: Repaired, drift: Drift) -> None:
    assert repaired.after[drift.host] == repaired.before[drift.host]
    assert repaired.admin.lives(drift.host, "pod") == drift.lives


def test_copies_that_were_whole_go_on_running(repaired: Repaired) -> None:
    damaged = {drift.host for drift in POD_DRIFTS}
    whole = [spec.name for spec in HOSTS if spec.name not in damaged]
    assert whole
    assert {repaired.admin.lives(name, "pod") for name in whole} == {1}
