from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fleetd.core.stream import EventKind, HostEvent, read
from fleetd.host.requests import Follow
from fleetd.testing.journal import KEPT, SimJournal
from fleetd.testing.units import HEALTHY, NEVER_STARTS, Behaviour, SimUnit

UNIT = "fleetd-default.agent.main.a.service"
NONCE = "0123456789abcdef"


@dataclass
class Ears:
    """Hears, and waits for nothing until it is told to."""

    told: list[bytes] = field(default_factory=list)
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    gone: bool = False

    def tell(self, data: bytes) -> None:
        self.told.append(data)

    def cut(self) -> None:
        self.gone = True

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def kinds(self) -> list[EventKind]:
        events = [read(line) for data in self.told for line in data.splitlines()]
        return [event.kind for event in events if isinstance(event, HostEvent)]


@dataclass
class Host:
    now: float = 100.0
    boot: int = 1


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def journal(host: Host) -> SimJournal:
    return SimJournal(lambda: host.now, lambda: f"boot-{host.boot}")


def test_a_follower_hears_of_what_happens_from_then_on(journal: SimJournal) -> None:
    ears = Ears()
    journal.note(EventKind.STOPPED, UNIT)
    end = journal.follow(NONCE, Follow(), ears)
    assert ears.kinds() == [EventKind.BEAT]
    journal.note(EventKind.STARTED, UNIT)
    journal.note(EventKind.FILES)
    journal.note(EventKind.RELOADED)
    assert ears.kinds()[1:] == [EventKind.STARTED, EventKind.FILES, EventKind.RELOADED]
    end()
    journal.note(EventKind.STARTED, UNIT)
    assert len(ears.kinds()) == 4
    assert not journal.is_followed()


def test_a_cursor_goes_on_after_the_line_that_bore_it(journal: SimJournal) -> None:
    ears = Ears()
    end = journal.follow(NONCE, Follow(), ears)
    journal.note(EventKind.STOPPED, UNIT)
    event = read(ears.told[-1].strip())
    assert isinstance(event, HostEvent)
    end()
    journal.note(EventKind.STARTED, UNIT)
    journal.note(EventKind.EXITED, UNIT)
    other = Ears()
    journal.follow(NONCE, Follow(event.cursor), other)
    assert other.kinds() == [EventKind.STARTED, EventKind.EXITED, EventKind.BEAT]


def test_it_keeps_the_last_lines_only(journal: SimJournal) -> None:
    for _ in range(KEPT + 50):
        journal.note(EventKind.STARTED, UNIT)
    ears = Ears()
    journal.follow(NONCE, Follow("i=0"), ears)
    assert len(ears.kinds()) == KEPT + 1


def test_a_deaf_journal_tells_nothing_and_a_host_that_goes_down_cuts(journal: SimJournal) -> None:
    ears = Ears()
    journal.deaf = True
    journal.follow(NONCE, Follow(), ears)
    journal.note(EventKind.STOPPED, UNIT)
    assert ears.kinds() == []
    journal.cut()
    assert ears.gone
    assert not journal.is_followed()


CHANGES: dict[str, tuple[Behaviour, float, float | None]] = {
    "healthy": (HEALTHY, 10.0, None),
    "before it starts again": (HEALTHY, -2.0, 0.0),
    "never starts": (NEVER_STARTS, 12.0, 15.0),
    "will die": (Behaviour(dies_after_s=7), 3.0, 7.0),
    "will start again": (Behaviour(dies_after_s=7), 8.0, 12.0),
    "will die again": (Behaviour(dies_after_s=7), 13.0, 19.0),
    "will be ready": (Behaviour(ready_after_s=4), 1.0, 4.0),
    "is ready": (Behaviour(ready_after_s=4), 5.0, None),
    "will never be ready": (Behaviour(ready_after_s=float("inf")), 5.0, None),
}


@pytest.mark.parametrize(("behaviour", "age", "change"), CHANGES.values(), ids=CHANGES)
def test_when_a_unit_changes_next(behaviour: Behaviour, age: float, change: float | None) -> None:
    unit = SimUnit(UNIT, "web", behaviour=behaviour, probed=True)
    unit.start(100.0)
    assert unit.next_change(100.0 + age) == (None if change is None else 100.0 + change)


def test_what_becomes_of_a_unit_by_itself_is_told_in_time(journal: SimJournal, host: Host) -> None:
    unit = SimUnit(UNIT, "web", behaviour=Behaviour(dies_after_s=7, restart_s=5))
    unit.start(host.now)
    journal.foresee(unit)  # nobody would hear it
    ears = Ears()
    journal.follow(NONCE, Follow(), ears)
    ears.due.clear()
    journal.foresee(unit)
    journal.foresee(unit)
    ((seconds, call),) = ears.due
    host.now += seconds
    call()
    assert ears.kinds()[-1] is EventKind.EXITED
    seconds, call = ears.due[-1]
    host.now += seconds
    call()
    assert ears.kinds()[-1] is EventKind.STARTED


def test_a_unit_that_was_stopped_does_not_die_any_more(journal: SimJournal, host: Host) -> None:
    unit = SimUnit(UNIT, "web", behaviour=Behaviour(dies_after_s=7))
    unit.start(host.now)
    ears = Ears()
    journal.follow(NONCE, Follow(), ears)
    ears.due.clear()
    journal.foresee(unit)
    unit.stop()
    host.now += ears.due[0][0]
    ears.due[0][1]()
    assert ears.kinds() == [EventKind.BEAT]
