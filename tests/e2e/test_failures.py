"""Updates that go wrong on real hosts: how far they get, what they tell, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.e2e.admin import IMAGE, Admin, Document, Result, pod_agent, unit_agent
from tests.e2e.lab import Entry, HostSpec, Timeline, boottime

pytestmark = pytest.mark.timeout(300)

HOSTS = (
    *(HostSpec(f"f{number}") for number in range(1, 7)),
    HostSpec("small", disk_mb=48),
)
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS[:6]]
#: Broken hosts, by the order in which an update goes: the first two by name.
HIT = NAMES[:2]
SOON: Mapping[str, str] = {"fleetd/progress-deadline-seconds": "5"}


@pytest.fixture
def six(admin: Admin) -> Admin:
    admin.know([Entry(admin.fleet[name]) for name in NAMES])
    return admin


def unit(version: str, start: str = "/opt/lab/agent", **more: Any) -> Document:
    spec = unit_agent(version=version, max_unavailable=2, annotations=SOON, **more)
    systemd = spec["spec"]["template"]["spec"]["systemd"]
    systemd["unit"] = systemd["unit"].replace("/opt/lab/agent", start)
    return spec


def current(timeline: Timeline) -> dict[str, str]:
    """The version that runs, or ran last, on each host."""
    return {name: timeline.versions(name)[-1] for name in NAMES}


def failed_rollout(admin: Admin, ended: Result, why: str) -> None:
    """Assert that a run ended with a failed rollout and told of each host that was hit why."""
    report = ended.json
    assert report["converged"] is False
    holders = report["holders"]["default/agent"]
    assert sorted(holders) == NAMES
    assert all(why in holders[name] for name in HIT), holders
    assert all(holders[name].startswith("still on revision") for name in NAMES[2:])
    assert any("the rollout failed" in problem for problem in report["problems"])
    events = admin.get("events")["items"]
    [told] = [each for each in events if each["reason"] == "RolloutFailed"][-1:]
    assert all(name in told["message"] for name in HIT)
    assert why in told["message"]


def test_bad_updates_stop_within_the_budget_and_tell_why_until_a_good_one_heals(
    six: Admin,
) -> None:
    six.apply(unit("good"))
    since = boottime()
    refuses = six.apply(unit("refuses", env={"AGENT_REFUSE": "1"}), code=3)
    failed_rollout(six, refuses, "exit status 1")
    absent = six.apply(unit("absent", start="/opt/lab/no-such-program"), code=3)
    failed_rollout(six, absent, "no-such-program is not executable")
    dies = six.apply(unit("dies", env={"AGENT_DIE_AFTER": "3"}, min_ready=5), code=3)
    failed_rollout(six, dies, "died")

    # Failed stays failed: another run changes nothing, and names the same hosts.
    again = six.reconcile(code=3)
    assert again.did == []
    failed_rollout(six, again, "died")

    # Three bad updates in a row took no more than the budget, and never another host.
    timeline = six.timeline(hosts=NAMES)
    assert timeline.peak(since, boottime()).hosts == set(HIT)
    assert current(timeline) == {**dict.fromkeys(NAMES, "good"), **dict.fromkeys(HIT, "dies")}

    six.apply(unit("mended"))
    timeline = six.timeline(hosts=NAMES)
    assert current(timeline) == dict.fromkeys(NAMES, "mended")
    assert timeline.peak(since, boottime()).count == 2


def test_a_missing_image_stops_no_copy_and_undo_goes_back(six: Admin) -> None:
    def agent(version: str, **more: Any) -> Document:
        return pod_agent(version=version, max_unavailable=2, annotations=SOON, **more)

    six.apply(agent("good"))
    since = boottime()
    missing = six.apply(agent("missing", image="registry.invalid/agent:v9"), code=3)
    failed = [action for action in missing.actions if action["result"] == "failed"]
    assert {action["node"] for action in failed} <= set(NAMES)
    assert failed
    assert all("registry.invalid/agent:v9" in action["message"] for action in failed)
    assert "registry.invalid/agent:v9" in json.dumps(six.get("events"))

    # It starts and dies: the first two copies are stopped, and undo brings them back.
    dies = six.apply(agent("dies", env={"AGENT_DIE_AFTER": "3"}, min_ready=5), code=3)
    failed_rollout(six, dies, "")
    assert six.timeline(hosts=NAMES).peak(since, boottime()).hosts == set(HIT)
    six.fleetd("rollout", "undo", "ds/agent", "--to-revision", "1")
    timeline = six.timeline(hosts=NAMES)
    assert current(timeline) == dict.fromkeys(NAMES, "good")
    assert all(timeline.versions(name) == ["good"] for name in NAMES[2:])


def test_a_full_disk_costs_no_copy_and_is_told_with_its_step(admin: Admin) -> None:
    small = admin.fleet["small"]
    admin.know([Entry(small), Entry(admin.fleet["f1"])])
    files = [{"path": "/opt/payload", "content": "x" * 200_000}]
    admin.apply(unit_agent(version="v1", systemd={"files": files}))
    files = [{"path": "/opt/payload", "content": "y" * 400_000}]
    update = unit_agent(version="v2", systemd={"files": files})
    small.disk.fill(leave_kb=100)
    since = boottime()
    try:
        ended = admin.apply(update, code=3)
    finally:
        small.disk.free()
    [failed] = {action["message"] for action in ended.actions if action["node"] == "small"}
    assert "No space left on device" in failed
    assert ended.json["holders"]["default/agent"].keys() == {"small"}
    assert failed in ended.json["holders"]["default/agent"]["small"]
    timeline = admin.timeline(hosts=["small", "f1"])
    assert [timeline.versions(name) for name in ("small", "f1")] == [["v1"], ["v1", "v2"]]
    assert timeline.peak(since, boottime()).hosts == {"f1"}, "the old copy runs on"
    assert (small.rootfs / "opt/payload").read_text() == "x" * 200_000

    assert admin.reconcile().did == [("small", "update")]
    assert admin.timeline().versions("small") == ["v1", "v2"]
    assert (small.rootfs / "opt/payload").read_text() == "y" * 400_000
