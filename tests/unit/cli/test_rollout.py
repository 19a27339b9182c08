"""`rollout` speaks as kubectl: K 171-179, and what is ours (pause, resume, rollouts that fail)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetd.client import Change, Report, Revision, RunOptions, Shape
from fleetd.core.key import Key
from fleetd.errors import NotFound, Refused, StateHeld
from tests.unit.cli.conftest import CommandLine
from tests.unit.cli.shapes import daemonset

CONFIGURED = Change("DaemonSet", "default", "ne", "configured")
UNCHANGED = Change("DaemonSet", "default", "ne", "unchanged")
HELD = StateHeld("the state is held by pid 7 (fleetd apply)")
TEMPLATE: Shape = {"spec": {"containers": [{"name": "main"}]}}
WAITING = 'Waiting for daemon set "ne" rollout to finish:'
DONE = 'daemon set "ne" successfully rolled out'


def standing(*, generation: int = 1, observed: int = 1, **counts: Any) -> Shape:
    shape = daemonset(**counts)
    shape["metadata"]["generation"] = generation
    shape["status"]["observedGeneration"] = observed
    return shape


NOT_SEEN = standing(generation=2, updatedNumberScheduled=0)
UPDATING = standing(updatedNumberScheduled=1, numberAvailable=0)
STARTING = standing(numberAvailable=2)
FINISHED = standing(numberAvailable=3)


def told(fleetd: CommandLine, shape: Shape, *argv: str) -> list[str]:
    fleetd.client.objects["daemonsets"] = [shape]
    fleetd.client.report = Report(daemonsets=(shape,), converged=False)
    return fleetd("rollout", "status", "ds/ne", *argv).out.splitlines()


# -------------------------------------------------------------------------------------- status


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        pytest.param(
            NOT_SEEN, "Waiting for daemon set spec update to be observed...", id="K171-observed"
        ),
        pytest.param(
            UPDATING, f"{WAITING} 1 out of 3 new pods have been updated...", id="K171-updated"
        ),
        pytest.param(
            STARTING, f"{WAITING} 2 of 3 updated pods are available...", id="K171-available"
        ),
        pytest.param(FINISHED, DONE, id="K171-done"),
        pytest.param(standing(numberAvailable=3, numberMisscheduled=2), DONE, id="K173"),
    ],
)
def test_where_a_rollout_stands(fleetd: CommandLine, shape: Shape, sentence: str) -> None:
    assert told(fleetd, shape, "--watch=false")[0] == sentence
    assert [mutating for _, mutating in fleetd.opener.opened] == [False, False]


@pytest.mark.parametrize("rule", ["K171"])
def test_a_rollout_by_hand_has_no_status(fleetd: CommandLine, rule: str) -> None:
    shape = standing()
    shape["spec"]["updateStrategy"] = {"type": "OnDelete"}
    fleetd.client.objects["daemonsets"] = [shape]
    ended = fleetd("rollout", "status", "ds/ne")
    assert (ended.code, ended.out) == (2, "")
    assert "rollout status is only available for RollingUpdate strategy type" in ended.err


@pytest.mark.parametrize("rule", ["K172"])
def test_status_drives_on_until_done_and_tells_each_step_once(
    fleetd: CommandLine, rule: str
) -> None:
    def decided(updated: int, available: int) -> tuple[str, dict[str, Any]]:
        counts = {"desired": 3, "updated": updated, "available": available}
        return "decided", {"statuses": {"default/ne": counts, "default/other": counts}}

    fleetd.client.objects["daemonsets"] = [UPDATING]
    fleetd.client.events = (decided(1, 0), decided(1, 0), decided(3, 2), decided(3, 3))
    fleetd.client.report = Report(daemonsets=(FINISHED,))
    ended = fleetd("rollout", "status", "daemonset/ne", "--timeout", "5m")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"{WAITING} 1 out of 3 new pods have been updated...",
        f"{WAITING} 2 of 3 updated pods are available...",
        "default/ne: 3 desired, 3 up-to-date, 3 available",
        DONE,
    ]
    (_, *_, options) = fleetd.client.calls[-1]
    assert isinstance(options, RunOptions)
    assert options.timeout_s is not None
    assert 299 < options.timeout_s <= 300


def test_a_rollout_that_failed_ends_the_wait(fleetd: CommandLine) -> None:
    fleetd.client.objects["daemonsets"] = [UPDATING]
    problem = "default/ne: the rollout failed: broken on web-01"
    fleetd.client.report = Report(problems=(problem,), converged=False)
    ended = fleetd("rollout", "status", "ds/ne")
    assert ended.code == 3
    assert f"problem: {problem}" in ended.err
    assert DONE not in ended.out


@pytest.mark.parametrize("rule", ["K172"])
def test_what_another_fleetd_drives_is_followed_to_its_end(fleetd: CommandLine, rule: str) -> None:
    fleetd.opener.held = [HELD]
    fleetd.client.looks = [[UPDATING], [UPDATING], [STARTING], [FINISHED]]
    ended = fleetd("rollout", "status", "ds/ne")
    assert (ended.code, ended.err) == (0, f"note: {HELD}; following it\n")
    assert ended.out.splitlines() == [
        f"{WAITING} 1 out of 3 new pods have been updated...",
        f"{WAITING} 2 of 3 updated pods are available...",
        DONE,
    ]


@pytest.mark.parametrize(
    ("looks", "argv", "code", "message"),
    [
        pytest.param(
            [[UPDATING], [UPDATING], []], [], 2, "object has been deleted", id="K172-deleted"
        ),
        pytest.param(
            [[UPDATING]],
            ["--timeout", "100ms"],
            3,
            "timed out waiting for the condition",
            id="K172-timeout",
        ),
        pytest.param(
            [
                [UPDATING],
                [
                    standing(
                        updatedNumberScheduled=1,
                        conditions=[
                            {
                                "type": "Progressing",
                                "status": "False",
                                "reason": "ProgressDeadlineExceeded",
                                "message": "broken on web-01",
                            }
                        ],
                    )
                ],
            ],
            [],
            3,
            "problem: default/ne: ProgressDeadlineExceeded: broken on web-01",
            id="failed",
        ),
        pytest.param([[]], [], 2, 'daemonsets.apps "ne" not found', id="unknown"),
    ],
)
def test_following_ends(
    fleetd: CommandLine, looks: list[list[Shape]], argv: list[str], code: int, message: str
) -> None:
    fleetd.opener.held = [HELD, HELD]
    fleetd.client.looks = looks
    ended = fleetd("rollout", "status", "ds/ne", *argv)
    assert ended.code == code
    assert message in ended.err
    assert DONE not in ended.out


def test_several_are_told_one_after_the_other(fleetd: CommandLine) -> None:
    a, b = daemonset("a", numberAvailable=3), daemonset("b", numberAvailable=3)
    fleetd.client.objects["daemonsets"] = [a, b]
    out = fleetd("rollout", "status", "ds/a", "daemonset.apps/b").out
    assert out == "".join(f'daemon set "{name}" successfully rolled out\n' for name in "ab")


# ------------------------------------------------------------------------------------- history


@pytest.fixture
def revisions(fleetd: CommandLine) -> None:
    fleetd.client.revisions = (
        Revision(1, "aaaa", "first", False, TEMPLATE),
        Revision(3, "bbbb", "", True, TEMPLATE),
    )


@pytest.mark.usefixtures("revisions")
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(
            [],
            "daemonset.apps/ne\nREVISION   CHANGE-CAUSE\n1          first\n3          <none>\n",
            id="K174",
        ),
        pytest.param(
            ["--revision", "3"],
            "daemonset.apps/ne with revision #3\nPod Template:\n"
            "  spec:\n    containers:\n    - name: main\n",
            id="K174-one",
        ),
    ],
)
def test_history(fleetd: CommandLine, argv: list[str], expected: str) -> None:
    assert fleetd("rollout", "history", "ds/ne", *argv).out == expected


@pytest.mark.usefixtures("revisions")
def test_history_as_json_has_the_templates(fleetd: CommandLine) -> None:
    entries = json.loads(fleetd("rollout", "history", "ds/ne", "-o", "json").out)["items"]
    assert [(entry["revision"], entry["template"]) for entry in entries] == [
        (1, TEMPLATE),
        (3, TEMPLATE),
    ]


@pytest.mark.usefixtures("revisions")
@pytest.mark.parametrize("rule", ["K175"])
def test_a_revision_that_is_not_there_is_not_found(fleetd: CommandLine, rule: str) -> None:
    ended = fleetd("rollout", "history", "ds/ne", "--revision", "2")
    assert (ended.code, ended.out) == (2, "")
    assert "unable to find the specified revision 2" in ended.err


@pytest.mark.parametrize("rule", ["K174"])
def test_no_history_is_said(fleetd: CommandLine, rule: str) -> None:
    assert fleetd("rollout", "history", "ds/ne").err == "No rollout history found.\n"


# ------------------------------------------------------------------- undo, restart, pause, resume


@pytest.mark.parametrize(
    ("argv", "change", "line"),
    [
        pytest.param(["undo", "ds/ne"], CONFIGURED, "rolled back", id="undo-K175"),
        pytest.param(
            ["undo", "ds/ne", "--to-revision=2"],
            UNCHANGED,
            "skipped rollback (current template already matches revision 2)",
            id="undo-to-the-present-K175",
        ),
        pytest.param(["restart", "ds/ne"], CONFIGURED, "restarted", id="restart-K179"),
        pytest.param(["restart", "ds", "ne"], CONFIGURED, "restarted", id="two-words"),
        pytest.param(["restart", "ne"], CONFIGURED, "restarted", id="bare"),
    ],
)
def test_undo_and_restart_speak_as_kubectl(
    fleetd: CommandLine, argv: list[str], change: Change, line: str
) -> None:
    fleetd.client.report = Report(changes=(change,))
    assert fleetd("rollout", *argv).out == f"daemonset.apps/ne {line}\n"


@pytest.mark.parametrize("flag", ["--dry-run", "--dry-run=client"], ids=["K177", "K177-client"])
def test_a_dry_undo_prints_the_template_it_would_set(fleetd: CommandLine, flag: str) -> None:
    fleetd.client.report = Report(changes=(CONFIGURED,), daemonsets=(daemonset(),), converged=False)
    ended = fleetd("rollout", "undo", "ds/ne", flag)
    assert ended.code == 4
    lines = ended.out.splitlines()
    assert lines[:2] == ["daemonset.apps/ne rolled back (dry run)", "Pod Template:"]
    assert "      image: quay.io/ne:v1" in lines
    assert [mutating for _, mutating in fleetd.opener.opened] == [False]


@pytest.mark.parametrize("verb", ["undo", "restart"])
def test_several_daemonsets_are_each_asked_for(fleetd: CommandLine, verb: str) -> None:
    fleetd("rollout", verb, "ds/a", "ds/b", "-n", "prod", "--no-wait")
    assert [call[:3] for call in fleetd.client.calls] == [
        (verb, "prod", "a"),
        (verb, "prod", "b"),
    ]


@pytest.mark.parametrize("rule", ["K178"])
def test_pause_and_resume_are_ours(fleetd: CommandLine, rule: str) -> None:
    paused = fleetd("rollout", "pause", "ds/a", "ds/b", "-n", "prod")
    assert paused.out == "daemonset.apps/a paused\ndaemonset.apps/b paused\n"
    resumed = fleetd("rollout", "resume", "ds/a", "-n", "prod", "--wait=false")
    assert (resumed.code, resumed.out) == (0, "daemonset.apps/a resumed\n")
    assert fleetd.client.calls == [
        ("pause", Key("prod", "a")),
        ("pause", Key("prod", "b")),
        ("resume", Key("prod", "a")),
        ("status", "prod", "a", RunOptions(wait=False)),
    ]


@pytest.mark.parametrize("error", [NotFound("no such DaemonSet"), Refused("no last revision")])
def test_errors_of_the_state_are_told_as_they_are(fleetd: CommandLine, error: Exception) -> None:
    fleetd.opener.error = error
    ended = fleetd("rollout", "undo", "ds/ne")
    assert (ended.code, ended.err) == (2, f"fleetd: {error}\n")
