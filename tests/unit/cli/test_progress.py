from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress as Display

from fleetd.cli.progress import Live, Tally, line_of

KEY = "default/ne"


def action(node: str, **more: Any) -> Mapping[str, Any]:
    return {"node": node, "daemonset": KEY, "action": "update", "reason": "Drift", **more}


def tally(*events: tuple[str, Mapping[str, Any]]) -> str:
    counted = Tally()
    for event, fields in events:
        counted.take(event, fields)
    return counted.sets[KEY].text()


TOLD = {"desired": 10, "updated": 4, "available": 6, "unavailable": 3, "unknown": 1}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        pytest.param([("decided", {"statuses": {KEY: {}}})], "0 of 0 done", id="nothing-known"),
        pytest.param(
            [("decided", {"statuses": {KEY: TOLD}})], "4 of 10 done, 1 skipped", id="statuses"
        ),
        pytest.param(
            [
                ("decided", {"statuses": {KEY: TOLD}}),
                ("action_started", action("a")),
                ("action_started", action("b")),
                ("action_ended", action("b", outcome="failed")),
                ("action_started", action("c")),
                ("action_ended", action("c", outcome="done")),
            ],
            "4 of 10 done, 1 in flight, 1 failed, 1 skipped",
            id="actions",
        ),
        pytest.param(
            [
                ("action_ended", action("b", outcome="failed")),
                ("action_started", action("b")),
                ("action_ended", action("b", outcome="done")),
            ],
            "1 of 1 done",
            id="tried-again",
        ),
        pytest.param(
            [
                (
                    "rollout",
                    {
                        "daemonset": KEY,
                        "desired": 40,
                        "done": 12,
                        "in_flight": 2,
                        "failed": 1,
                        "skipped": 3,
                        "unavailable": 3,
                        "budget": 4,
                    },
                )
            ],
            "12 of 40 done, 2 in flight, 1 failed, 3 skipped, 3 down (budget 4)",
            id="rollout-with-budget",
        ),
        pytest.param(
            [
                (
                    "decided",
                    {
                        "statuses": {
                            KEY: {
                                "desired": 6,
                                "updated": 3,
                                "available": 3,
                                "unavailable": 3,
                                "unknown": 1,
                                "budget": 2,
                            }
                        }
                    },
                )
            ],
            "3 of 6 done, 1 skipped, 2 down (budget 2)",
            id="silent-hosts-are-skipped-not-down",
        ),
        pytest.param(
            [
                ("decided", {"statuses": {KEY: {"desired": "many", "updated": None}}}),
                ("decided", {"statuses": None}),
                ("decided", {}),
                ("whatever", {}),
            ],
            "0 of 0 done",
            id="nonsense-is-left-out",
        ),
    ],
)
def test_hosts_are_counted(events: list[tuple[str, Mapping[str, Any]]], text: str) -> None:
    assert tally(*events) == text


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        ("action_started", action("a"), ""),
        ("action_ended", action("a", outcome="done"), "a: update default/ne (Drift): done"),
        (
            "action_ended",
            action("a", outcome="failed", message="start:\nbad\x1b[2J", detail="unit edited"),
            r"a: update default/ne (unit edited): failed: start: bad\x1b[2J",
        ),
        ("action_ended", {"node": "a", "action": "x", "outcome": "lost"}, "a: x : lost"),
        ("image_pulling", {"node": "a", "images": ["i", "j"]}, "a: pulling i, j"),
        ("image_pulling", {"node": "a", "image": "i"}, "a: pulling i"),
        ("node_forgotten", {"node": "a"}, "a: left the inventory, and is clean: forgotten"),
        ("key_pinned", {"node": "a", "message": "pinned"}, "a: pinned"),
        ("pass_started", {}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_an_event_has_one_line_or_none(event: str, fields: Mapping[str, Any], text: str) -> None:
    assert line_of(event, fields) == text


def test_the_live_display_counts_and_says_what_went_wrong() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, no_color=True)
    with Display("{task.description}", "{task.fields[text]}", console=console) as display:
        live = Live(display)
        live("decided", {"statuses": {KEY: TOLD}})
        live("action_ended", action("good", outcome="done"))
        live("action_ended", action("bad", outcome="failed", message="[red]x[/red]\x1b[2J"))
    shown = screen.getvalue()
    assert "default/ne 4 of 10 done, 1 failed, 1 skipped" in shown
    assert r"bad: update default/ne (Drift): failed: [red]x[/red]\x1b[2J" in shown
    assert "good:" not in shown
