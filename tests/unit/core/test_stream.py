from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleetd.core.stream import (
    LONGEST_LINE,
    Budget,
    EventKind,
    HostEvent,
    Lag,
    Line,
    Lines,
    Said,
    Watching,
    read,
)

UNIT = "fleetd-default.agent.main.a.service"
CURSOR = "s=70b3;i=51;b=550a;m=5877983e4;t=660bbce80962c;x=c78a581b1e993377"


def line(**fields: Any) -> bytes:
    known = {
        "__CURSOR": CURSOR,
        "__MONOTONIC_TIMESTAMP": "23747724260",
        "_BOOT_ID": "550a547e",
        "MESSAGE": "something",
    }
    return json.dumps(known | fields).encode()


KINDS = {
    "starting": ("7d4958e842da4a758f6c1cdc7b36dcc5", EventKind.STARTED),
    "started": ("39f53479d3a045ac8e11786248231fbf", EventKind.STARTED),
    "stopping": ("de5b426a63be47a7b6ac3eaac82e2f6f", EventKind.STOPPED),
    "stopped": ("9d1aaa27d60140bd96365438aad20286", EventKind.STOPPED),
    "deactivated": ("7ad2d189f7e94e70a38c781354912448", EventKind.STOPPED),
    "exited": ("98e322203f7a4ed290d09fe03c09fe15", EventKind.EXITED),
    "failed": ("d9b373ed55a64feb8242e02dbe79a49c", EventKind.FAILED),
    "failed to start": ("be02cf6855d2428ba40df7e9d022f03d", EventKind.FAILED),
    "restart scheduled": ("5eb03494b6584870a536b337290809b3", EventKind.RESTARTING),
    "of a newer systemd": ("0" * 32, EventKind.UNIT),
}


@pytest.mark.parametrize(("identity", "kind"), KINDS.values(), ids=KINDS)
def test_what_systemd_says_of_a_unit_has_a_kind(identity: str, kind: EventKind) -> None:
    event = read(line(UNIT=UNIT, MESSAGE_ID=identity))
    assert event == HostEvent(kind, UNIT, CURSOR, "550a547e", 23747.72426)
    assert isinstance(event, HostEvent)
    assert event.why == f"{kind}: {UNIT}"


def test_a_line_without_a_unit_is_a_reload() -> None:
    event = read(line(MESSAGE="Reloading."))
    assert isinstance(event, HostEvent)
    assert (event.kind, event.why) == (EventKind.RELOADED, "systemd reloads")


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("fleetd_watch-7-2-files.service", EventKind.FILES),
        ("fleetd_watch-7-2-files.path", EventKind.BEAT),
        ("fleetd_watch-7-beat.service", EventKind.BEAT),
    ],
)
def test_units_of_the_stream_itself_tell_of_files_or_of_the_journal(
    unit: str, kind: EventKind
) -> None:
    event = read(line(UNIT=unit))
    assert isinstance(event, HostEvent)
    assert (event.kind, event.unit) == (kind, "")


OTHERS: dict[str, tuple[bytes, Line | None]] = {
    "watching": (b"watching\t7\t2", Watching(7, 2)),
    "watching what": (b"watching\tall", None),
    "watching too much": (b"watching\t7\t" + b"9" * 400, None),
    "said": (b"said\tno journal", Said("no journal")),
    "said to a terminal": (b"said\t\x1b[31mred\x07", Said("[31mred")),
    "said at length": (b"said\t" + b"x" * 5000, Said("x" * 200)),
    "unknown": (b"something else", None),
    "no text": (b"\xff\xfe\x00", None),
    "half": (line(UNIT=UNIT)[:-5], None),
    "no object": (b"{" * 20000, None),
}


@pytest.mark.parametrize(("said", "expected"), OTHERS.values(), ids=OTHERS)
def test_other_lines(said: bytes, expected: Line | None) -> None:
    assert read(said) == expected


HOSTILE: dict[str, dict[str, Any]] = {
    "a list as unit": {"UNIT": [1, 2, 3]},
    "a unit for a terminal": {"UNIT": "fleetd-\x1b[2J"},
    "an endless unit": {"UNIT": "fleetd-" + "x" * 5000},
    "a cursor with words": {"UNIT": UNIT, "__CURSOR": "x; reboot"},
    "an endless cursor": {"UNIT": UNIT, "__CURSOR": "x" * 5000},
    "a number as cursor": {"UNIT": UNIT, "__CURSOR": 7},
    "no time": {"UNIT": UNIT, "__MONOTONIC_TIMESTAMP": "soon"},
    "an endless time": {"UNIT": UNIT, "__MONOTONIC_TIMESTAMP": "9" * 5000},
    "a list as kind": {"UNIT": UNIT, "MESSAGE_ID": ["39f53479d3a045ac8e11786248231fbf"]},
    "nothing of all that": {"MESSAGE": None},
}


@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE)
def test_fields_of_another_form_are_left_out(fields: dict[str, Any]) -> None:
    event = read(line(**fields))
    assert isinstance(event, HostEvent)
    assert event.why.isprintable()
    assert len(event.why) < 300
    assert event.cursor in {"", CURSOR}
    assert event.at_s in {None, 23747.72426}


@given(st.binary(max_size=300))
def test_nothing_that_a_host_sends_raises(data: bytes) -> None:
    read(data)
    read(b"{" + data)


@given(st.lists(st.binary(min_size=1, max_size=20)), st.integers(1, 50))
def test_lines_do_not_depend_on_how_they_were_cut(texts: list[bytes], size: int) -> None:
    whole = b"".join(text.replace(b"\n", b"") + b"\n" for text in texts)
    lines = Lines()
    parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    found = [found for part in parts for found in lines.take(part)]
    assert found == [text for text in whole.split(b"\n") if text]


def test_a_line_that_never_ends_takes_no_room_and_those_after_it_come() -> None:
    lines = Lines()
    for _ in range(100):
        assert list(lines.take(b"x" * LONGEST_LINE)) == []
        assert len(lines._rest) <= LONGEST_LINE
    assert list(lines.take(b"end\nnext\n")) == [b"next"]


def test_a_line_that_is_too_long_is_dropped_whole() -> None:
    assert list(Lines().take(b"a\n" + b"x" * (LONGEST_LINE + 1) + b"\nb\n")) == [b"a", b"b"]


def test_a_budget_takes_a_burst_and_then_a_rate() -> None:
    budget = Budget(100.0)
    assert budget.take(Budget.BURST, 100.0)
    assert not budget.take(1, 100.0)
    assert budget.take(Budget.PER_SECOND, 102.0)
    assert budget.take(Budget.BURST, 10_000.0)
    assert not budget.take(2, 10_000.0)


def event(at: float, kind: EventKind = EventKind.STARTED, boot: str = "b") -> HostEvent:
    return HostEvent(kind, boot=boot, at_s=at)


def test_lag_is_what_an_event_took_longer_than_the_fastest() -> None:
    lag = Lag()
    assert lag.of(event(1000.0), 5.0) is None
    assert lag.of(event(1010.0), 15.5) == 0.5
    assert lag.of(event(1020.0), 24.0) == 0.0
    assert lag.of(event(1030.0), 34.25) == 0.25


def test_lag_does_not_compare_across_boots_or_without_a_time() -> None:
    lag = Lag()
    assert lag.of(event(1000.0), 5.0) is None
    assert lag.of(event(1.0, boot="other"), 60.0) is None
    assert lag.of(HostEvent(EventKind.UNIT), 61.0) is None
    assert lag.of(event(2.0, boot="other"), 62.0) == 1.0


def test_clocks_that_run_apart_do_not_add_up() -> None:
    lag = Lag()
    drift = 1.001
    late = [
        lag.of(event(second, EventKind.BEAT), second * drift) for second in range(0, 30000, 300)
    ]
    assert late[0] is None
    assert max(each or 0.0 for each in late[1:]) < 1.0
