"""One script of commands, once without and once with a service: what is printed is the same.

On real hosts, with the real command: what is compared is exit codes and standard output, without
what no two runs share (times, ids, how wide a column is).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.admin import Admin, unit_agent
from tests.e2e.lab import Fleet, HostSpec
from tests.e2e.proof import leftovers, never_two, wipe
from tests.e2e.served import Served

pytestmark = pytest.mark.timeout(600)

HOSTS = (HostSpec("web-1"), HostSpec("web-2"))
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings"},
    "data": {"a": "1"},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "token"},
    "stringData": {"k": "hush"},
}
SCRIPT = """\
2 validate wrong.yaml
2 apply wrong.yaml
2 apply gone.yaml
0 validate v1.yaml
4 diff v1.yaml
4 apply v1.yaml --dry-run
0 apply v1.yaml
0 apply v1.yaml -o json
0 apply more.yaml
0 diff v1.yaml
0 get ds,cm -o wide
0 get ds agent -o yaml
0 get pods -o wide --sort-by .metadata.name
0 get pod agent-web-1 -o json
0 get nodes --show-labels
0 get secrets -o yaml
0 get secrets -o yaml --show-secrets
0 get controllerrevisions -o name
2 get ds nothing
0 get pods --refresh
0 describe node web-1
2 describe ds nothing
0 rollout status ds/agent
0 rollout history ds/agent
0 why web-1
0 why web-2 agent
2 why web-9
0 exec web-1 -- hostname
7 exec web-2 -- sh -c 'echo out; echo err >&2; exit 7'
0 exec agent-web-1 -- hostname
2 exec web-9 -- hostname
0 logs ds/agent --tail 2
2 logs ds/nothing
0 label ds agent tier=x
2 label ds agent tier=y
0 label ds agent tier=y --overwrite
0 annotate ds agent note=z
0 label node web-1 rack=1
0 cordon web-1
0 uncordon web-1
0 taint node web-2 a=b:NoSchedule
0 taint node web-2 a-
2 taint node web-2 a=b:Never
0 hold web-2
0 unhold web-2
2 cordon web-9
0 apply v2.yaml
0 rollout undo ds/agent
0 rollout restart ds/agent
0 rollout pause ds/agent
0 rollout resume ds/agent
0 delete pod agent-web-2
0 drain web-2 --evict-daemonsets
0 get pods
0 uncordon web-2
0 reconcile
0 reconcile -o json
4 delete ds agent --dry-run
2 image push v1.yaml
0 enroll --all
0 delete ds agent
2 delete ds agent
0 delete ds agent --ignore-not-found
0 apply v1.yaml
0 purge web-2
2 adopt
"""
"""Exit codes, and the words of a command. An edit and a watch need somebody there."""
VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:?00)"), "TIME"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r'(resourceVersion"?: )"?\'?\d+"?\'?'), r"\1N"),
    (re.compile(r"\b(\d+[smhd])+\b"), "AGE"),
    (re.compile(r"SHA256:\S+"), "KEY"),
    (re.compile(r"\b[bcdfghjklmnpqrstvwxz2456789]{10}\b"), "REVISION"),
    (re.compile(r"\[\d+\]:"), "[PID]:"),
    (re.compile(r" +"), " "),
)


@pytest.fixture
def places(fleet: Fleet, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    never_two(fleet.hosts.values())


def fresh(fleet: Fleet, directory: Path) -> Admin:
    """An admin over hosts that no fleet has touched, with the documents of the script."""
    for host in fleet.hosts.values():
        wipe(host)
        assert leftovers(host) == []
    admin = Admin(fleet, directory)
    admin.write(unit_agent(version="v1"), name="v1.yaml")
    admin.write(unit_agent(version="v2"), name="v2.yaml")
    admin.write(CONFIG, SECRET, name="more.yaml")
    wrong = unit_agent()
    wrong["spec"]["minReady"] = 1
    admin.write(wrong, name="wrong.yaml")
    return admin


def played(admin: Admin) -> list[str]:
    """What each command of the script prints, without what no two runs share."""
    told = []
    for line in SCRIPT.splitlines():
        code, *words = shlex.split(line)
        ended = admin.fleetd(*words, code=int(code), timeout=120)
        text = ended.stdout + (ended.stderr if code == "2" else "")
        if words[0] == "logs":  # hosts answer in any order, and systemd and its unit write in any
            text = "\n".join(sorted(text.splitlines()))
        text = text.replace(str(admin.directory), "DIR").partition("Events:")[0]
        for pattern, word in VOLATILE:
            text = pattern.sub(word, text)
        told.append(f"$ fleetd {line[2:]}\n{text}")
    return told


def test_every_verb_prints_the_same_with_and_without_a_service(fleet: Fleet, places: Path) -> None:
    without = played(fresh(fleet, places / "without"))
    admin = fresh(fleet, places / "with")
    with Served(admin):
        through = played(admin)
    pairs = zip(without, through, strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == []
