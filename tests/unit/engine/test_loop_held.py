from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fleetd.core.facts import Known, Observation, Unknown
from fleetd.core.stream import StreamState
from fleetd.engine.held import Held, Pace
from fleetd.testing.hosts import SimHost, facts_of

SILENT = Unknown("no answer")


def held() -> Held:
    return Held(Random(1), Pace(full_look_s=900, poll_s=30))


def seen(**changes: Any) -> Known[Observation]:
    host = SimHost("h", lambda: 100.0)
    return Known(replace(host.observe(), **changes))


def later(part: Known[Observation], seconds: float) -> Known[Observation]:
    clock, units = part.value.clock, part.value.units
    assert isinstance(clock, Known)
    assert isinstance(units, Known)
    aged = tuple(
        replace(unit, active_for_s=(unit.active_for_s or 0) + seconds) for unit in units.value
    )
    moved = replace(clock.value, uptime_s=clock.value.uptime_s + seconds)
    return Known(replace(part.value, clock=Known(moved), units=Known(aged)))


def test_a_look_that_only_confirms_keeps_the_observation_and_its_time() -> None:
    one, first = held(), seen()
    assert one.take("h", first, 10.0, 1.0)
    assert not one.take("h", later(first, 5), 15.0, 6.0)
    assert one.seen["h"] is first
    assert one.at["h"] == 10.0
    assert one.looked["h"] == 6.0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"owner": Unknown("cut")}, id="owner"),
        pytest.param({"files": Unknown("cut")}, id="files"),
        pytest.param({"ledger": Unknown("cut")}, id="ledger"),
        pytest.param({"units": Unknown("cut")}, id="units"),
        pytest.param({"engine": None}, id="engine"),
        pytest.param({"facts": Known(replace(facts_of("h"), kernel="7.0"))}, id="facts"),
        pytest.param({"clock": Unknown("cut")}, id="clock"),
    ],
)
def test_a_look_that_brings_something_else_is_news(change: dict[str, Any]) -> None:
    one = held()
    one.take("h", seen(), 10.0, 1.0)
    other = seen(**change)
    assert one.take("h", other, 15.0, 6.0)
    assert one.seen["h"] is other
    assert one.at["h"] == 15.0


def test_facts_that_were_not_asked_for_again_are_no_news() -> None:
    one = held()
    one.take("h", seen(facts=Known(facts_of("h"))), 10.0, 1.0)
    assert not one.take("h", seen(facts=None), 15.0, 6.0)


def test_the_age_of_a_copy_that_is_not_available_is_news() -> None:
    one, first = held(), seen()
    one.take("h", first, 10.0, 1.0)
    one.rest({"h": 0.0})
    assert one.take("h", later(first, 5), 15.0, 6.0)


def test_silence_is_news_once_and_then_only_another_reason_is() -> None:
    one = held()
    assert one.take("h", seen(), 1.0, 1.0)
    assert one.take("h", SILENT, 2.0, 2.0)
    assert not one.take("h", SILENT, 3.0, 3.0)
    assert one.take("h", Unknown("refused"), 4.0, 4.0)


def test_a_silent_host_is_tried_again_and_more_seldom_up_to_15_s() -> None:
    one = held()
    pauses = []
    for number in range(8):
        one.take("h", SILENT, number, number)
        pauses.append(one.pause("h", 0.0, left=False))
    assert pauses[0] <= 1.0
    assert all(7.5 <= pause <= 15.0 for pause in pauses[5:])
    assert one.pause("h", 0.0, left=True) > 15.0
    one.take("h", seen(), 9.0, 9.0)
    assert one.pause("h", 0.0, left=False) > 20.0


def test_a_watched_host_is_looked_at_seldom_and_another_is_polled() -> None:
    one = held()
    one.take("h", seen(), 1.0, 1.0)
    assert 22 <= one.pause("h", 0.0, left=False) <= 30
    one.streams["h"] = StreamState.LIVE
    pauses = [one.pause("h", 0.0, left=False) for _ in range(50)]
    assert 675 <= min(pauses) < max(pauses) <= 900
    assert max(pauses) - min(pauses) > 100


def test_a_copy_that_will_be_available_is_looked_at_then() -> None:
    one = held()
    one.take("h", seen(), 1.0, 1.0)
    one.streams["h"] = StreamState.LIVE
    one.rest({"h": 107.0})
    assert one.pause("h", 100.0, left=False) == pytest.approx(7.05)
    assert one.pause("h", 200.0, left=False) < 1.0
    one.streams["h"] = StreamState.POLLING
    assert one.pause("h", 100.0, left=False) <= 1.0


def test_who_becomes_restless_or_calm_is_told() -> None:
    one = held()
    assert one.rest({"a": 0.0, "b": 5.0}) == {"a", "b"}
    assert one.rest({"a": 0.0, "b": 6.0}) == {"b"}
    assert one.rest({}) == {"a", "b"}


def test_a_host_that_is_back_by_its_stream_is_not_silent() -> None:
    one = held()
    one.take("h", SILENT, 1.0, 1.0)
    assert one.is_silent("h")
    one.streams["h"] = StreamState.LIVE
    assert not one.is_silent("h")


def test_nothing_is_held_of_a_host_that_was_forgotten() -> None:
    one = held()
    one.take("h", SILENT, 1.0, 1.0)
    one.streams["h"] = StreamState.LIVE
    one.rest({"h": 1.0})
    one.forget("h")
    assert not any((one.seen, one.looked, one.streams, one.silent, one.restless, one.at))
