from __future__ import annotations

import json
import time
from typing import Any

import pytest

from fleetd.client import Query, Shape
from tests.unit.cli.conftest import CommandLine


def entry(verb: str, **more: str) -> Shape:
    return {
        "apiVersion": "fleetd/v1",
        "kind": "AuditEntry",
        "metadata": {"name": f"{verb}.1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "time": "2026-01-01T00:00:00.000000Z",
        "who": "ann@admin",
        "verb": verb,
        "subject": "DaemonSet default/ne",
        "outcome": "done",
        **more,
    }


ENTRIES = [
    entry("apply", revision="abc"),
    entry("repair", who="fleetd", node="web-01", detail="Drift: stopped: \x1b[2Jne.service"),
    entry("hold", subject="Node web-01", node="web-01"),
    entry("apply", subject="DaemonSet monitoring/ne", who="bob"),
]


@pytest.mark.parametrize(
    ("argv", "verbs"),
    [
        ([], ["apply", "repair", "hold", "apply"]),
        (["--who", "ann"], ["apply", "hold"]),
        (["--who", "ann@admin"], ["apply", "hold"]),
        (["--who", "an"], []),
        (["--who", "fleetd"], ["repair"]),
        (["--node", "web-01"], ["repair", "hold"]),
        (["--for", "ds/ne"], ["apply", "repair"]),
        (["--for", "daemonset/monitoring/ne"], ["apply"]),
        (["--for", "node/web-01"], ["hold"]),
        (["--for", "ds/ne", "--node", "web-01"], ["repair"]),
    ],
    ids=lambda value: " ".join(value) or "all",
)
def test_entries_are_chosen(fleetd: CommandLine, argv: list[str], verbs: list[str]) -> None:
    fleetd.client.objects["audit"] = ENTRIES
    ended = fleetd("audit", "-o", "json", *argv)
    assert [item["verb"] for item in json.loads(ended.out)["items"]] == verbs
    assert ended.code == 0


def test_a_table_has_a_line_for_each_entry(fleetd: CommandLine) -> None:
    fleetd.client.objects["audit"] = ENTRIES
    heading, first, second, *_ = fleetd("audit").out.splitlines()
    assert heading.split() == [
        *("TIME", "WHO", "VERB", "SUBJECT", "NODE", "REVISION", "OUTCOME", "DETAIL")
    ]
    assert first.split()[-4:] == ["<none>", "abc", "done", "<none>"]
    assert second.endswith(r"Drift: stopped: \x1b[2Jne.service")
    assert "TIME" not in fleetd("audit", "--no-headers").out


@pytest.mark.parametrize(
    ("argv", "ago"),
    [([], 7 * 86400.0), (["--since", "1h"], 3600.0), (["--since", "0"], None)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_so_much_is_read(fleetd: CommandLine, argv: list[str], ago: Any) -> None:
    before = time.time()
    ended = fleetd("audit", *argv)
    after = time.time()
    ((_, kind, query),) = fleetd.client.calls
    assert isinstance(query, Query)
    assert (kind, query.namespace) == ("audit", None)
    if ago is None:
        assert query.since == 0.0
    else:
        assert before - ago <= query.since <= after - ago
    assert (ended.code, ended.out, ended.err) == (0, "", "No entries found.\n")


@pytest.mark.parametrize("about", ["ne", "ds/", "ev/x"])
def test_what_is_no_object_is_refused(fleetd: CommandLine, about: str) -> None:
    ended = fleetd("audit", "--for", about)
    assert ended.code == 2
    assert about.partition("/")[0] in ended.err
