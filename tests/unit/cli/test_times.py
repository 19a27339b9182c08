from __future__ import annotations

import click
import pytest

from fleetd.cli.times import Duration, age, human

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2.5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (5.9, "5s"),
        (119, "119s"),
        (120, "2m"),
        (182, "3m2s"),
        (10 * MINUTE + 5, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 5 * MINUTE, "3h5m"),
        (8 * HOUR + 5 * MINUTE, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (2 * DAY + 3 * HOUR, "2d3h"),
        (8 * DAY + 3 * HOUR, "8d"),
        (729 * DAY, "729d"),
        (730 * DAY, "2y"),
        (740 * DAY, "2y10d"),
        (9 * 365 * DAY + 40 * DAY, "9y"),
    ],
)
def test_ages_round_as_kubectl_rounds_them(seconds: float, text: str) -> None:
    assert human(seconds) == text


@pytest.mark.parametrize("timestamp", ["", "soon"])
def test_an_age_of_no_timestamp_is_unknown(timestamp: str) -> None:
    assert age(timestamp, 0) == "<unknown>"


def test_a_timestamp_without_a_zone_is_utc() -> None:
    assert age("1970-01-01T00:00:10", 15) == age("1970-01-01T00:00:10Z", 15) == "5s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 m", "5x", "1h junk"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 90s, 5m or 1h30m"):
        Duration().convert(text, None, None)
