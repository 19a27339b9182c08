"""What apply, reconcile, delete and rollout ask for, print and exit with."""

from __future__ import annotations

import json

import pytest
import yaml

from fleetd.client import Change, Entry, Report, RunOptions
from fleetd.errors import StateHeld
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import config_map, daemonset

CREATED = Change("DaemonSet", "default", "ne", "created")
CONFIGURED = Change("DaemonSet", "default", "ne", "configured", diff="-a\n+b\n")
UNCHANGED = Change("ConfigMap", "default", "settings", "unchanged")
FAILED = Entry(
    node="web-02",
    daemonset="prod/ne",
    decision="update",
    reason="RevisionChanged",
    detail="",
    outcome="failed",
    message="pull: no such image",
    revision="7d9f",
)
UNREACHABLE = Entry("web-03", "prod/ne", "unknown", "Unreachable", detail="no route to host")
STUCK = Report(
    changes=(CONFIGURED,),
    entries=(FAILED, UNREACHABLE),
    daemonsets=(daemonset("ne", "prod", numberUnavailable=1),),
    holders={
        "prod/ne": {
            "web-03": "unreachable",
            "web-07": "unreachable",
            "web-02": "pull: no such image",
        }
    },
    problems=("web-09: left the inventory and is not cleaned yet",),
    notes=("spec.x has no effect",),
    converged=False,
)


def test_apply_says_what_changed_and_where_it_stands(fleetd: CommandLine) -> None:
    fleetd.client.report = Report(changes=(CREATED, UNCHANGED), daemonsets=(daemonset(),))
    ended = fleetd("apply", "spec.yaml")
    assert ended.code == 0
    assert ended.out == (
        "daemonset.apps/ne created\n"
        "configmap/settings unchanged\n"
        "default/ne: 3 desired, 3 up-to-date, 2 available\n"
    )
    assert ended.err == ""


def test_what_holds_it_is_grouped_by_reason_with_advice(fleetd: CommandLine) -> None:
    fleetd.client.report = STUCK
    ended = fleetd("apply", "spec.yaml")
    assert ended.code == 3
    assert ended.out == (
        "daemonset.apps/ne configured\n"
        "prod/ne: 3 desired, 3 up-to-date, 2 available, 1 unavailable\n"
        "  unreachable (2): web-03, web-07\n"
        "  pull: no such image (1): web-02\n"
    )
    assert ended.err == (
        "note: spec.x has no effect\n"
        "problem: web-09: left the inventory and is not cleaned yet\n"
        "fleetd: not converged; to go on:\n"
        "  fleetd why web-02 prod/ne                 # what holds it there\n"
        "  fleetd logs ds/ne -n prod --node web-02   # what it says\n"
        "  fleetd rollout undo ds/ne -n prod         # back to the revision before\n"
        "  fleetd reconcile                          # try again; it is safe at any time\n"
    ).replace("   #", "  #")


def test_guarded_removals_are_counted_in_the_advice(fleetd: CommandLine) -> None:
    waits = [Entry(f"h{i}", "default/ne", "wait", "RemovalNeedsConfirmation") for i in range(4)]
    fleetd.client.report = Report(entries=tuple(waits), converged=False)
    assert "fleetd reconcile --confirm-removals=4" in fleetd("reconcile").err


def test_the_report_as_json_has_every_action_and_decision(fleetd: CommandLine) -> None:
    fleetd.client.report = STUCK
    ended = fleetd("reconcile", "-o", "json")
    assert ended.code == 3
    assert json.loads(ended.out) == {
        "apiVersion": "fleetd/v1",
        "kind": "Report",
        "converged": False,
        "changes": [
            {
                "kind": "DaemonSet",
                "namespace": "default",
                "name": "ne",
                "change": "configured",
                "diff": "-a\n+b\n",
            }
        ],
        "actions": [
            {
                "node": "web-02",
                "daemonset": "prod/ne",
                "action": "update",
                "reason": "RevisionChanged",
                "detail": "",
                "revision": "7d9f",
                "result": "failed",
                "message": "pull: no such image",
            }
        ],
        "decisions": [
            {
                "node": "web-03",
                "daemonset": "prod/ne",
                "decision": "unknown",
                "reason": "Unreachable",
                "detail": "no route to host",
            }
        ],
        "daemonsets": list(STUCK.daemonsets),
        "holders": STUCK.holders,
        "problems": list(STUCK.problems),
        "notes": list(STUCK.notes),
    }
    assert yaml.safe_load(fleetd("reconcile", "-o", "yaml").out) == json.loads(ended.out)


PLANNED = Entry("web-01", "default/ne", "start", "Missing", outcome="planned")


@pytest.mark.parametrize(
    ("report", "argv", "code"),
    [
        pytest.param(Report(), ["apply", "x"], 0, id="converged"),
        pytest.param(Report(converged=False), ["apply", "x"], 3, id="not-converged"),
        pytest.param(Report(converged=False), ["apply", "x", "--no-wait"], 0, id="not-waited-for"),
        pytest.param(
            Report(converged=False, entries=(FAILED,)),
            ["apply", "x", "--no-wait"],
            3,
            id="failed-at-once",
        ),
        pytest.param(
            Report(converged=False, changes=(UNCHANGED,)),
            ["apply", "x", "--dry-run"],
            0,
            id="dry-run-nothing",
        ),
        pytest.param(
            Report(changes=(CREATED,)), ["apply", "x", "--dry-run"], 4, id="dry-run-document"
        ),
        pytest.param(
            Report(entries=(PLANNED,)), ["reconcile", "--dry-run"], 4, id="dry-run-action"
        ),
        pytest.param(Report(changes=(UNCHANGED,)), ["diff", "x"], 0, id="diff-nothing"),
        pytest.param(Report(changes=(CONFIGURED,)), ["diff", "x"], 4, id="diff"),
        pytest.param(Report(converged=False), ["purge", "web-01"], 3, id="purge"),
    ],
)
def test_exit_codes(fleetd: CommandLine, report: Report, argv: list[str], code: int) -> None:
    fleetd.client.report = report
    assert fleetd(*argv).code == code


def test_a_dry_run_says_what_it_would_do(fleetd: CommandLine) -> None:
    fleetd.client.report = Report(changes=(CREATED,), entries=(PLANNED,))
    assert fleetd("apply", "x", "--dry-run").out == (
        "daemonset.apps/ne created (dry run)\nweb-01: start default/ne (Missing): planned\n"
    )


def test_diff_prints_the_diff(fleetd: CommandLine) -> None:
    fleetd.client.report = Report(changes=(CONFIGURED, UNCHANGED))
    assert fleetd("diff", "x").out == "-a\n+b\n"


def test_validate_prints_objects_and_notes(fleetd: CommandLine) -> None:
    ended = fleetd("validate", "a", "-f", "b")
    assert (ended.code, ended.out) == (0, "DaemonSet/ne is valid\n")
    assert ended.err == "note: spec.hostIPC is not used here\n"
    assert fleetd.client.calls == [("validate", "a", "b")]


def test_progress_goes_to_stderr_line_by_line(fleetd: CommandLine) -> None:
    action = {
        "node": "web-01",
        "daemonset": "default/ne",
        "action": "update",
        "reason": "RevisionChanged",
    }
    told = {"desired": 2, "updated": 0, "available": 2, "unknown": 0}
    fleetd.client.events = (
        ("decided", {"statuses": {"default/ne": told}}),
        ("image_pulling", {"node": "web-01", "images": ["quay.io/ne:v2"]}),
        ("action_started", action),
        ("action_ended", {**action, "outcome": "done"}),
        ("something_new", {"surprise": object()}),
        ("decided", {"statuses": {"default/ne": told | {"updated": 2}}}),
    )
    ended = fleetd("apply", "x", "-o", "json")
    assert ended.err.splitlines() == [
        "default/ne: 0 of 2 done",
        "web-01: pulling quay.io/ne:v2",
        "web-01: update default/ne (RevisionChanged): done",
        "default/ne: 2 of 2 done",
    ]
    assert json.loads(ended.out)["converged"]


def test_a_settled_reconcile_says_nothing_on_stderr(fleetd: CommandLine) -> None:
    told = {"desired": 2, "updated": 2, "available": 2}
    fleetd.client.events = (("decided", {"statuses": {"default/ne": told}}),)
    assert fleetd("reconcile").err == ""


def test_apply_passes_its_options_on(fleetd: CommandLine) -> None:
    fleetd(
        *("apply", "a", "b", "--no-wait", "--timeout", "5m", "--dry-run", "--prune"),
        *("--max-unreachable", "2", "--confirm-removals", "3", "--new-inventory"),
    )
    options = RunOptions(
        wait=False,
        timeout_s=300,
        dry_run=True,
        max_unreachable=2,
        confirm_removals=3,
        new_inventory=True,
    )
    assert fleetd.client.calls == [("apply", ("a", "b"), options, True)]


def test_runs_take_the_lock(fleetd: CommandLine) -> None:
    fleetd("apply", "x")
    fleetd("reconcile", "--timeout", "0")
    assert [mutating for _, mutating in fleetd.opener.opened] == [True, True]
    assert fleetd.client.calls[-1] == ("reconcile", RunOptions())


def test_a_held_state_is_exit_code_5(fleetd: CommandLine) -> None:
    fleetd.opener.error = StateHeld("the state is held by pid 7 (fleetd apply)")
    ended = fleetd("apply", "x")
    assert ended.code == 5
    assert ended.err == "fleetd: the state is held by pid 7 (fleetd apply)\n"


@pytest.mark.parametrize("what", [["ds", "ne"], ["ds/ne"]], ids=" ".join)
def test_delete_by_name(fleetd: CommandLine, what: list[str]) -> None:
    fleetd.client.objects["daemonsets"] = [daemonset()]
    fleetd.client.report = Report(changes=(Change("DaemonSet", "default", "ne", "deleted"),))
    ended = fleetd("delete", *what, "--cascade=orphan")
    assert (ended.code, ended.out) == (0, "daemonset.apps/ne deleted\n")
    names = (("daemonsets", "default", "ne"),)
    assert fleetd.client.calls[-1] == ("delete", names, (), "orphan", RunOptions())


def test_delete_by_file(fleetd: CommandLine) -> None:
    fleetd("delete", "-f", "a.yaml")
    assert fleetd.client.calls == [("delete", (), ("a.yaml",), "background", RunOptions())]


@pytest.mark.parametrize(
    "argv",
    [[], ["ds"], ["ds", "x", "-l", "a=b"], ["ds", "x", "--all"], ["events", "x"]],
    ids=["nothing", "no-name", "name-and-labels", "name-and-all", "kind"],
)
def test_delete_wants_names(fleetd: CommandLine, argv: list[str]) -> None:
    assert fleetd("delete", *argv).code == 2
    assert fleetd.opener.opened == []


def test_delete_of_what_is_not_there(fleetd: CommandLine) -> None:
    fleetd.client.objects["configmaps"] = [config_map()]
    assert fleetd("delete", "cm", "gone").code == 2
    assert fleetd("delete", "cm", "gone", "--ignore-not-found").code == 0


def test_changes_of_objects_are_told_at_once_and_once(fleetd: CommandLine) -> None:
    fleetd.client.events = (("applied", {"changes": (CONFIGURED,)}),)
    fleetd.client.report = Report(changes=(CONFIGURED,))
    assert fleetd("apply", "ne.yaml").out == "daemonset.apps/ne configured\n"
    assert fleetd("apply", "ne.yaml", "--dry-run").code == 4
    assert fleetd("apply", "ne.yaml", "-o", "json").out.startswith("{")


def test_hosts_with_one_trouble_share_a_line(fleetd: CommandLine) -> None:
    why = {name: f"unreachable: no key; fleetd enroll {name}" for name in ("web-1", "web-11")}
    holders = {"default/ne": {**why, "db": "unreachable: down; fleetd enroll db"}}
    fleetd.client.report = Report(holders=holders, converged=False)
    assert fleetd("reconcile").out == (
        "default/ne:\n"
        "  unreachable: no key; fleetd enroll HOST (2): web-1, web-11\n"
        "  unreachable: down; fleetd enroll db (1): db\n"
    )
