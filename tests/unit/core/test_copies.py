from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleetd.core.actions import Mode
from fleetd.core.copies import Copy, judge, min_ready_s
from fleetd.core.facts import (
    ContainerSeen,
    Deviation,
    FileDeviation,
    Known,
    Observation,
    Role,
    Slot,
    UnitState,
    Unknown,
)
from fleetd.core.hostview import parse_unit_name
from fleetd.core.meta import Key
from fleetd.core.records import Phase
from tests.unit.core.worlds import AGENT, CRASHING, FAILED, Box, daemonset, observation

GOOD = Box()
NAME = GOOD.unit.removesuffix(".service")
OURS = ContainerSeen("c1", NAME, running=True, ours=True, ds=AGENT, slot=Slot.A)


def copies(what: Observation, min_ready: float = 10.0) -> tuple[Copy, ...]:
    found = judge(what, AGENT, min_ready)
    assert not isinstance(found, Unknown)
    return found


def one(*boxes: Box, min_ready: float = 10.0, **more: Any) -> Copy:
    (copy,) = copies(observation(*boxes, **more), min_ready)
    return copy


@pytest.mark.parametrize(
    ("box", "phase", "ready", "available"),
    [
        pytest.param(GOOD, Phase.RUNNING, True, True, id="good-K77-K78"),
        pytest.param(replace(GOOD, age=9.9), Phase.RUNNING, True, False, id="too-young-K78"),
        pytest.param(replace(GOOD, age=10.0), Phase.RUNNING, True, True, id="at-the-boundary-K79"),
        pytest.param(replace(GOOD, sub="exited"), Phase.RUNNING, True, True, id="RemainAfterExit"),
        pytest.param(replace(GOOD, sub="dead"), Phase.RUNNING, False, False, id="strange-sub"),
        pytest.param(replace(GOOD, stamp="r0"), Phase.RUNNING, False, False, id="other-stamp"),
        pytest.param(replace(GOOD, stamp=""), Phase.RUNNING, False, False, id="no-stamp"),
        pytest.param(CRASHING, Phase.STARTING, False, False, id="auto-restart"),
        pytest.param(FAILED, Phase.FAILED, False, False, id="failed"),
        pytest.param(
            replace(GOOD, active="inactive", sub="dead"), Phase.STOPPED, False, False, id="stopped"
        ),
        pytest.param(
            replace(GOOD, active="deactivating"), Phase.STARTING, False, False, id="on-its-way-out"
        ),
        pytest.param(replace(GOOD, active="reloading"), Phase.RUNNING, True, False, id="reloading"),
        pytest.param(
            replace(GOOD, active="reloading", sub="reload-notify"),
            Phase.RUNNING,
            True,
            False,
            id="notify-reload",
        ),
        pytest.param(
            replace(GOOD, active="refreshing", sub="mounting"),
            Phase.RUNNING,
            True,
            False,
            id="refreshing",
        ),
        pytest.param(replace(GOOD, probed=True), Phase.RUNNING, False, False, id="no-result-yet"),
        pytest.param(
            replace(GOOD, probed=True, probe=False), Phase.RUNNING, False, False, id="probe-fails"
        ),
        pytest.param(
            replace(GOOD, probed=True, probe=True), Phase.RUNNING, True, True, id="probe-passes"
        ),
    ],
)
def test_state(box: Box, phase: Phase, ready: bool, available: bool) -> None:
    copy = one(box)
    assert (copy.phase, copy.ready, copy.available) == (phase, ready, available)


def test_stamp_of_an_earlier_run_proves_nothing() -> None:
    what = observation(GOOD)
    assert isinstance(what.units, Known)
    (unit,) = what.units.value
    (copy,) = copies(replace(what, units=Known((replace(unit, invocation="i2"),))))
    assert not copy.ready
    assert copy.running_revision == ""


def test_a_restart_needs_ten_seconds_whatever_the_manifest_says() -> None:
    assert one(replace(GOOD, age=5.0), min_ready=1.0).available
    young = one(replace(GOOD, age=5.0, restarts=1), min_ready=1.0)
    assert (young.ready, young.available, young.ready_in_s) == (True, False, 5.0)


def test_time_left_until_available() -> None:
    assert one(replace(GOOD, age=3.0)).ready_in_s == 7.0
    assert one(GOOD).ready_in_s is None
    assert one(CRASHING).ready_in_s is None


def test_time_counts_from_when_the_probes_pass() -> None:
    late = replace(GOOD, age=300.0, probed=True, probe=True, passing_for=4.0)
    assert one(late, min_ready=30.0).ready_in_s == 26.0
    assert one(late, min_ready=3.0).available
    assert one(replace(late, restarts=1), min_ready=0.0).available  # it has run for long enough


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, 10.0, id="nothing-said"),
        pytest.param({"minReadySeconds": 3}, 3.0, id="said"),
        pytest.param({"probe": True}, 0.0, id="probe"),
        pytest.param({"probe": "startupProbe"}, 0.0, id="startup-probe"),
        pytest.param({"probe": "livenessProbe"}, 10.0, id="liveness-says-nothing-of-a-start"),
        pytest.param({"probe": True, "minReadySeconds": 30}, 30.0, id="both"),
    ],
)
def test_min_ready(spec: dict[str, Any], expected: float) -> None:
    assert min_ready_s(daemonset(**spec)) == expected


def container(**more: Any) -> dict[str, Any]:
    return {"engine": (replace(OURS, **more),)}


@pytest.mark.parametrize(
    ("box", "more", "expected"),
    [
        pytest.param(GOOD, {}, [], id="none"),
        pytest.param(CRASHING, {}, [], id="a-crash-loop-is-systemds-to-pace-I10"),
        pytest.param(FAILED, {}, [("failed", Mode.START)], id="failed"),
        pytest.param(replace(GOOD, active="inactive"), {}, [("stopped", Mode.START)], id="stopped"),
        pytest.param(
            replace(GOOD, load="masked"), {}, [("masked", Mode.RESTART)], id="masked-while-running"
        ),
        pytest.param(
            replace(GOOD, file_state="masked-runtime"),
            {},
            [("masked", Mode.RESTART)],
            id="masked-runtime",
        ),
        pytest.param(
            replace(GOOD, file_state="disabled"), {}, [("disabled", Mode.RELOAD)], id="disabled"
        ),
        pytest.param(
            replace(GOOD, load="not-found"),
            {},
            [("unit missing", Mode.RESTART)],
            id="unit-missing",
        ),
        pytest.param(
            replace(GOOD, load="bad-setting"),
            {},
            [("unit not loadable", Mode.RESTART)],
            id="unit-broken",
        ),
        pytest.param(
            replace(GOOD, need_reload=True),
            {},
            [("needs daemon-reload", Mode.RELOAD)],
            id="needs-reload",
        ),
        pytest.param(
            replace(GOOD, complete=False), {}, [("apply was cut", Mode.RESTART)], id="cut"
        ),
        pytest.param(
            replace(GOOD, stamp="r0"),
            {},
            [("runs another revision than its files", Mode.RESTART)],
            id="stale",
        ),
        pytest.param(
            GOOD,
            {"files": (FileDeviation(GOOD.path, Deviation.EDITED),)},
            [("file edited", Mode.RESTART)],
            id="file-edited",
        ),
        pytest.param(
            GOOD,
            {"files": (FileDeviation(GOOD.path, Deviation.MISSING),)},
            [("file missing", Mode.RESTART)],
            id="file-missing",
        ),
        pytest.param(
            GOOD,
            {"files": (FileDeviation(GOOD.path, Deviation.MODE),)},
            [("file mode or owner changed", Mode.RELOAD)],
            id="file-mode",
        ),
        pytest.param(
            GOOD,
            {"files": (FileDeviation("/etc/other", Deviation.EDITED),)},
            [],
            id="file-of-another-copy",
        ),
        pytest.param(GOOD, container(), [], id="container-runs"),
        pytest.param(
            GOOD,
            container(running=False),
            [("container missing", Mode.RESTART)],
            id="container-down-under-an-active-unit",
        ),
        pytest.param(
            GOOD, {"engine": ()}, [("container missing", Mode.RESTART)], id="container-gone"
        ),
        pytest.param(
            replace(GOOD, age=2.0), {"engine": ()}, [], id="container-may-not-be-there-yet"
        ),
        pytest.param(CRASHING, {"engine": ()}, [], id="no-container-between-two-tries"),
        pytest.param(
            GOOD,
            container(ours=False, ds=None),
            [("container replaced", Mode.RESTART)],
            id="container-replaced-by-hand",
        ),
        pytest.param(
            GOOD,
            {"engine": (OURS, replace(OURS, name="copy-of-it"))},
            [("not in the ledger", Mode.START)],
            id="second-container-of-the-slot",
        ),
    ],
)
def test_damage(box: Box, more: dict[str, Any], expected: list[tuple[str, Mode]]) -> None:
    assert [(str(d.kind), d.mode) for d in one(box, **more).damage] == expected


def test_engine_that_was_asked_and_did_not_answer_is_no_damage() -> None:
    (copy,) = copies(replace(observation(GOOD), engine=Unknown("podman ps: rc 125")))
    assert copy.damage == ()
    assert copy.available


def test_copy_without_its_container_is_not_ready() -> None:
    assert not one(GOOD, engine=()).ready


def test_probe_bound_to_a_dead_unit_is_no_damage_of_its_own() -> None:
    damage = one(replace(FAILED, probed=True)).damage
    assert [entry.subject for entry in damage] == [GOOD.unit]


def test_borrowed_unit_is_the_hosts_and_stamps_nothing() -> None:
    what = observation(GOOD)
    assert isinstance(what.ledger, Known)
    (entry,) = what.ledger.value
    entry = replace(entry, units={"chrony.service": Role.BORROWED}, files=(), containers=())
    chrony = UnitState(
        "chrony.service", "loaded", "active", "running", active_for_s=60.0, drop_ins=("/etc/x",)
    )
    (copy,) = copies(replace(what, ledger=Known((entry,)), units=Known((chrony,))))
    assert (copy.available, copy.running_revision, copy.foreign) == (True, "r1", ())


def test_only_drop_ins_of_strangers_are_reported() -> None:
    paths = ("/etc/systemd/system/x.d/a.conf", "/usr/lib/systemd/system/service.d/b.conf")
    copy = one(replace(GOOD, drop_ins=(*paths, GOOD.path)))
    assert copy.foreign == paths[:1]
    assert copy.damage == ()


def test_two_slots_are_two_copies() -> None:
    found = copies(observation(GOOD, Box("r2", slot=Slot.B)))
    assert [(copy.slot, copy.revision) for copy in found] == [(Slot.A, "r1"), (Slot.B, "r2")]


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(observation(GOOD, Box(slot=Slot.B, ledgered=False)), id="unit"),
        pytest.param(
            observation(GOOD, engine=(OURS, replace(OURS, name="x", slot=Slot.B))), id="container"
        ),
    ],
)
def test_copy_that_no_ledger_knows(what: Observation) -> None:
    _, extra = copies(what)
    assert (extra.slot, extra.ledgered, extra.active, extra.ready) == (Slot.B, False, True, False)


def test_foreign_containers_and_units_are_nobodys_copies() -> None:
    strangers = (replace(OURS, name="x", ours=False), replace(OURS, name="y", ds=None))
    what = observation(GOOD, engine=(OURS, *strangers))
    assert isinstance(what.units, Known)
    units = (*what.units.value, UnitState("fleetd-drift.service", "loaded", "active", "running"))
    assert len(copies(replace(what, units=Known(units)))) == 1


@pytest.mark.parametrize("part", ["ledger", "units", "files"])
def test_unreadable_part_makes_the_host_unknown(part: str) -> None:
    what = replace(observation(GOOD), **{part: Unknown("cut short")})
    assert judge(what, AGENT, 10.0) == Unknown(f"{part}: cut short")


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        pytest.param("fleetd-a-b.c_d.main.a.service", (Key("a-b", "c.d"), Slot.A), id="main"),
        pytest.param("fleetd-a.b.main.b.probe.service", (Key("a", "b"), Slot.B), id="probe"),
        pytest.param("fleetd-a.b.target", None, id="target"),
        pytest.param("fleetd-drift.service", None, id="fleetds-own"),
        pytest.param("nginx.service", None, id="foreign"),
        pytest.param("fleetd-a.b.main.c.service", None, id="no-slot"),
    ],
)
def test_unit_names(unit: str, expected: tuple[Key, Slot] | None) -> None:
    assert parse_unit_name(unit) == expected


@pytest.mark.parametrize(
    ("box", "text"),
    [
        pytest.param(CRASHING, "died and is restarted by systemd", id="crash-loop"),
        pytest.param(
            replace(CRASHING, sub="auto-restart-queued"),
            "died and is restarted by systemd",
            id="crash-loop-queued",
        ),
        pytest.param(FAILED, "failed (success, exit status 0", id="failed"),
        pytest.param(replace(GOOD, probed=True), "probes have no result yet", id="probe"),
        pytest.param(replace(GOOD, age=4.0), "ready, available in 6 s", id="young"),
        pytest.param(replace(GOOD, file_state="disabled"), "disabled: fleetd-", id="damage"),
    ],
)
def test_message(box: Box, text: str) -> None:
    assert text in one(box).message


def probed(ok: bool | None, message: str, **more: Any) -> Box:
    return replace(GOOD, probed=True, probe=ok, probe_message=message, **more)


WHY = "liveness probe failed: HTTP status 503"
DYING = replace(CRASHING, probe=False, probe_message=WHY, restarts=3)


@pytest.mark.parametrize(
    ("box", "text"),
    [
        pytest.param(probed(False, WHY), WHY, id="falling"),
        pytest.param(probed(False, "startup probe: x"), "startup probe: x", id="startup"),
        pytest.param(probed(True, f"restarted: {WHY}"), f"restarted: {WHY}", id="ready-again"),
        pytest.param(
            probed(True, f"restarted: {WHY}", age=4.0, restarts=1),
            f"ready, available in 6 s, restarted: {WHY}",
            id="young-again",
        ),
        pytest.param(
            DYING,
            f"{GOOD.unit} died and is restarted by systemd ({WHY}, 3 restarts)",
            id="between-two-starts",
        ),
        pytest.param(
            replace(GOOD, active="activating", sub="start-post"),
            "postStart hook of main runs",
            id="post-start",
        ),
    ],
)
def test_what_holds_a_copy_is_said_in_its_own_words(box: Box, text: str) -> None:
    assert one(box).message == text


def test_good_copy_has_nothing_to_say() -> None:
    assert one(GOOD).message == ""


def pod(first: UnitState, main: UnitState, *, holder: bool = True) -> Copy:
    """A copy with a holder that is up, an init container and a container."""
    held = UnitState(
        _unit("_holder"), "loaded", "active", "running", invocation="i1", active_for_s=60.0
    )
    units = [replace(held, stamp_revision="r1", stamp_invocation="i1")] if holder else []
    what = observation(GOOD)
    assert isinstance(what.ledger, Known)
    roles = {held.id: Role.MAIN} if holder else {}
    entry = replace(
        what.ledger.value[0],
        units={**roles, first.id: Role.INIT, main.id: Role.MAIN},
        containers=tuple(_unit(name).removesuffix(".service") for name in ("first", "main")),
    )
    (copy,) = copies(
        replace(what, ledger=Known((entry,)), units=Known((*units, first, main)), engine=None)
    )
    return copy


def _unit(name: str) -> str:
    return f"fleetd-default.agent.{name}.a.service"


FIRST = UnitState(_unit("first"), "loaded", "active", "exited", invocation="i1", active_for_s=90.0)
WORKS = UnitState(
    _unit("main"),
    "loaded",
    "active",
    "running",
    invocation="i1",
    active_for_s=60.0,
    stamp_revision="r1",
    stamp_invocation="i1",
)
WAITS = UnitState(_unit("main"), "loaded", "inactive", "dead", job=True)
RUNS = UnitState(_unit("first"), "loaded", "activating", "start", invocation="i1")


@pytest.mark.parametrize(
    ("first", "main", "phase", "ready", "message"),
    [
        pytest.param(FIRST, WORKS, Phase.RUNNING, True, "", id="done"),
        pytest.param(
            RUNS, WAITS, Phase.STARTING, False, "init container first runs", id="init-runs"
        ),
        pytest.param(
            replace(RUNS, probe=False, probe_message="exit status 3, tried 2 times"),
            WAITS,
            Phase.STARTING,
            False,
            "init container first fails: exit status 3, tried 2 times",
            id="init-fails",
        ),
        pytest.param(
            replace(FIRST, active="inactive", sub="dead"),
            WORKS,
            Phase.RUNNING,
            True,
            "",
            id="init-is-over-and-the-others-are-up",
        ),
        pytest.param(
            replace(FIRST, active="failed", sub="failed", result="signal"),
            replace(WAITS, job=False),
            Phase.FAILED,
            False,
            f"{_unit('first')} failed (signal, exit status 0, 0 restarts)",
            id="init-gave-up",
        ),
    ],
)
def test_init_containers(
    first: UnitState, main: UnitState, phase: Phase, ready: bool, message: str
) -> None:
    copy = pod(first, main)
    assert (copy.phase, copy.ready, copy.message) == (phase, ready, message)


@pytest.mark.parametrize(
    ("first", "main", "expected"),
    [
        pytest.param(FIRST, WORKS, ("done", True, "running", True), id="works"),
        pytest.param(RUNS, WAITS, ("running", False, "waiting", False), id="begins"),
        pytest.param(
            replace(FIRST, active="inactive", sub="dead"),
            WORKS,
            ("done", True, "running", True),
            id="init-is-over",
        ),
        pytest.param(
            FIRST,
            replace(WORKS, active="failed", sub="failed"),
            ("done", True, "failed", False),
            id="failed",
        ),
    ],
)
def test_containers_are_seen_one_by_one_without_the_holder(
    first: UnitState, main: UnitState, expected: tuple[object, ...]
) -> None:
    one, other = pod(first, main).members
    assert (one.container, other.container) == ("first", "main")
    assert (one.state, one.ready, other.state, other.ready) == expected


def test_a_pod_that_waits_for_its_init_container_is_not_damaged() -> None:
    assert pod(RUNS, WAITS).damage == ()
    assert pod(FIRST, WORKS).damage == ()
    stopped = pod(replace(FIRST, active="inactive", sub="dead"), replace(WAITS, job=False))
    assert {entry.subject for entry in stopped.damage} == {_unit("first"), _unit("main")}


def test_a_container_that_ended_well_is_not_missing() -> None:
    what = observation(GOOD)
    assert isinstance(what.ledger, Known)
    name = FIRST.id.removesuffix(".service")
    entry = replace(what.ledger.value[0], units={FIRST.id: Role.INIT}, containers=(name,))
    seen = replace(what, ledger=Known((entry,)), units=Known((FIRST,)), engine=Known(()))
    (copy,) = copies(seen)
    assert copy.damage == ()


def test_a_probe_waits_for_its_own_container_alone() -> None:
    what = observation(replace(GOOD, probed=True))
    assert isinstance(what.ledger, Known)
    dead = UnitState(_unit("log"), "loaded", "activating", "auto-restart")
    probe = UnitState(_unit("log").replace(".service", ".probe.service"), "loaded")
    roles = {dead.id: Role.MAIN, probe.id: Role.PROBE, WORKS.id: Role.MAIN}
    entry = replace(what.ledger.value[0], units=roles)
    seen = replace(what, ledger=Known((entry,)), units=Known((dead, probe, WORKS)))
    (copy,) = copies(seen)
    assert copy.damage == ()
