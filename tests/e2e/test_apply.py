"""Apply on real hosts: one copy on every eligible one, whatever its shell, login and engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.admin import IMAGE, Admin, Document, pod_agent, unit_agent
from tests.e2e.lab import HostSpec, boottime
from tests.e2e.proof import snapshots

pytestmark = pytest.mark.timeout(300)

HOSTS = (
    HostSpec("bash", noisy_bashrc=True),
    HostSpec("dash", login_shell="dash"),
    HostSpec("dock", runtime="docker", login_shell="zsh", noisy_bashrc=True),
    HostSpec("fish", login_shell="fish", noisy_bashrc=True),
    HostSpec("root", user="root"),
    HostSpec("tcsh", login_shell="tcsh", noisy_bashrc=True),
)
IMAGES = (IMAGE,)
NAMES = [spec.name for spec in HOSTS]

WORKLOADS = [pytest.param(unit_agent, id="systemd"), pytest.param(pod_agent, id="container")]


@pytest.mark.parametrize("agent", WORKLOADS)
def test_one_copy_runs_on_every_host_and_a_second_apply_changes_nothing(
    admin: Admin, agent: Callable[..., Document]
) -> None:
    spec = agent(version="v1", max_unavailable="50%")
    first = admin.apply(spec)
    assert sorted(first.did) == [(name, "start") for name in NAMES]
    assert {action["result"] for action in first.actions} == {"done"}
    since = boottime()
    hosts = admin.fleet.hosts.values()
    before = snapshots(hosts)
    assert admin.apply(spec).did == []
    assert admin.reconcile().did == []
    assert snapshots(hosts) == before
    timeline = admin.timeline()
    assert {host: len(runs) for host, runs in timeline.runs.items()} == dict.fromkeys(NAMES, 1)
    assert timeline.peak(since, boottime()).count == 0
