"""Durations as people write them and ages as kubectl prints them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class Duration(click.ParamType[float]):
    """A parameter such as `90`, `90s`, `5m` or `1h30m`, in seconds."""

    name = "duration"

    def convert(
        self, value: float | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text; a wrong one is a usage error."""
        if not isinstance(value, str):
            return float(value)
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        if not value or _DURATION.sub("", value):
            self.fail(f"{value!r} is not a duration; write 90s, 5m or 1h30m", param, ctx)
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(value))


def seconds_of(timestamp: str) -> float | None:
    """UTC seconds of an RFC 3339 timestamp; None when there is none or it cannot be read."""
    try:
        read = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def age(timestamp: str, now: float) -> str:
    """How long ago, in kubectl's words: `5s`, `3m2s`, `4h`, `2d`."""
    then = seconds_of(timestamp)
    return "<unknown>" if then is None else human(now - then)


def human(seconds: float) -> str:
    """Kubectl's rounding: two units while the larger one is small, then one."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -1 else "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    rows = (
        (whole < 120, f"{whole}s", 0, ""),
        (minutes < 10, f"{minutes}m", whole % 60, "s"),
        (minutes < 180, f"{minutes}m", 0, ""),
        (hours < 8, f"{hours}h", minutes % 60, "m"),
        (hours < 48, f"{hours}h", 0, ""),
        (hours < 192, f"{days}d", hours % 24, "h"),
        (days < 730, f"{days}d", 0, ""),
        (days < 2920, f"{days // 365}y", days % 365, "d"),
        (True, f"{days // 365}y", 0, ""),
    )
    return next(big + (f"{rest}{unit}" if rest else "") for fits, big, rest, unit in rows if fits)
