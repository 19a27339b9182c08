from __future__ import annotations

from dataclasses import asdict
from random import Random
from typing import Any

import pytest

from fleetd.adapters.metrics import ROLLOUT_STATES, drift
from fleetd.core.node import STREAMS_LABEL, Host, Inventory, Ssh
from fleetd.core.records import (
    NodeRecord,
    ObjectRecord,
    RolloutRecord,
    RolloutState,
)
from fleetd.core.status import Condition
from fleetd.core.stream import StreamState
from fleetd.engine.following import Following
from fleetd.ports import Drop, Put
from tests.unit.adapters.metering import NOW, Bench, Now, daemonset, repair


@pytest.mark.parametrize(
    ("outcome", "reachable"), [("ok", 1), ("failed", 1), ("refused", 1), ("lost", 0)]
)
def test_a_host_is_reachable_when_it_answered_whatever_it_said(
    outcome: str, reachable: int
) -> None:
    bench = Bench("n1")
    bench.visit("n1", outcome=outcome)
    assert bench.value("fleetd_host_reachable", node="n1") == reachable
    assert bench.value("fleetd_last_visit_timestamp_seconds") == NOW
    seen = bench.value("fleetd_host_last_seen_timestamp_seconds", node="n1")
    assert seen == (NOW if reachable else None)


def test_a_host_that_was_not_visited_yet_is_not_reachable() -> None:
    earlier = NodeRecord("n2", seen=500.0)
    bench = Bench("n1", "n2", rows=(earlier,))
    assert bench.value("fleetd_host_reachable", node="n1") == 0
    assert bench.value("fleetd_host_reachable", node="n2") == 0
    assert bench.value("fleetd_host_last_seen_timestamp_seconds", node="n1") is None
    assert bench.value("fleetd_host_last_seen_timestamp_seconds", node="n2") == 500.0


def test_visits_of_a_host_fall_into_their_buckets() -> None:
    bench = Bench("n1", "n2")
    for seconds in (0.05, 0.1, 0.11, 3.0, 600.0):
        bench.visit("n1", seconds)
    family = "fleetd_host_visit_duration_seconds"
    bounds = ("0.1", "0.5", "2.5", "10.0", "60.0", "+Inf")
    counts = [bench.value(f"{family}_bucket", node="n1", le=bound) for bound in bounds]
    assert counts == [2, 3, 3, 4, 4, 5]
    assert bench.value(f"{family}_count", node="n1") == 5
    assert bench.value(f"{family}_sum", node="n1") == pytest.approx(603.26)
    assert bench.value(f"{family}_count", node="n2") is None


def test_series_of_a_host_end_when_it_leaves_and_others_keep_their_own() -> None:
    bench = Bench("n1", "n2", "n3")
    for seconds, node in enumerate(("n1", "n2", "n3"), 1):
        bench.visit(node, float(seconds))
        bench.metrics.emit("stream", node=node, state="live", why="")
        for _ in range(seconds):
            bench.metrics.emit("connected", node=node, seconds=0.1, again=True)
        repair(bench.metrics, node, "stopped: a.service")
    bench.metrics.emit("quarantined", node="n2", why="another key")
    bench.change(left=["n2"])
    assert bench.labelled(node="n2") == set()
    for node, number in (("n1", 1), ("n3", 3)):
        assert bench.value("fleetd_host_visit_duration_seconds_sum", node=node) == number
        assert bench.value("fleetd_host_ssh_reconnects_total", node=node) == number
        assert bench.value("fleetd_host_stream_state", node=node, state="live") == 1
    assert bench.value("fleetd_inventory_hosts") == 2
    bench.change(joined=["n2"])
    assert bench.labelled(node="n2") == {"fleetd_host_reachable"}, "it begins anew"


def test_a_host_that_comes_again_begins_anew_though_nobody_looked_meanwhile() -> None:
    bench = Bench("n1", "n2")
    bench.visit("n1")
    bench.change(left=["n1"])
    bench.change(joined=["n1"])
    assert bench.labelled(node="n1") == {"fleetd_host_reachable"}
    assert bench.value("fleetd_host_reachable", node="n1") == 0


def test_drift_is_counted_by_kind_once_it_is_repaired() -> None:
    bench = Bench("n1")
    repair(bench.metrics, "n1", "stopped: a.service; file edited: /etc/a")
    repair(bench.metrics, "n1", "stopped: a.service")
    repair(bench.metrics, "n1", "masked: a.service", outcome="failed")
    count = "fleetd_host_drift_repaired_total"
    assert bench.value(count, node="n1", kind="stopped") == 2
    assert bench.value(count, node="n1", kind="file edited") == 1
    assert bench.value(count, node="n1", kind="masked") is None
    done = {"action": "repair", "reason": "Drift", "outcome": "done"}
    assert bench.value("fleetd_actions_total", **done) == 2


@pytest.mark.parametrize(
    ("action", "reason", "detail", "kinds"),
    [
        ("repair", "Drift", "stopped: x; stopped: y", ("stopped",)),
        ("repair", "Drift", "told by a newer fleetd: x", ("Drift",)),
        ("repair", "ApplyWasCut", "apply was cut", ("apply was cut",)),
        ("remove", "ExtraCopy", "not in the ledger: x", ("not in the ledger",)),
        ("remove", "Deleted", "stopped: x", ()),
        ("start", "Missing", "", ()),
        ("update", "RevisionChanged", "stopped: x", ()),
    ],
)
def test_kinds_of_drift_are_a_closed_set(
    action: str, reason: str, detail: str, kinds: tuple[str, ...]
) -> None:
    assert drift(action, reason, detail) == kinds


def test_a_stream_is_in_one_state() -> None:
    bench = Bench("n1", "n2")
    bench.metrics.emit("stream", node="n1", state="live", why="")
    bench.metrics.emit("stream", node="n1", state="polling", why="the journal may not be read")
    bench.visit("n2")
    states = {
        state: bench.value("fleetd_host_stream_state", node="n1", state=state)
        for state in ("live", "polling", "down")
    }
    assert states == {"live": 0, "polling": 1, "down": 0}
    assert "fleetd_host_stream_state" not in bench.labelled(node="n2")


@pytest.mark.parametrize(
    ("enabled", "label", "states"),
    [
        (False, "", {"live": 0, "polling": 0, "down": 0}),
        (True, "off", {"live": 0, "polling": 0, "down": 0}),
    ],
    ids=["by setting", "by label"],
)
def test_a_stream_that_is_not_wanted_is_no_trouble(
    enabled: bool, label: str, states: dict[str, int]
) -> None:
    """Held to what the streams themselves say of it."""
    bench = Bench("n1")
    host = Host("n1", Ssh("192.0.2.1"), labels={STREAMS_LABEL: label} if label else {})

    class Watcher:
        def wake(self, node: str, why: str) -> None:
            raise AssertionError("nothing happened")

        def note_stream(self, node: str, state: StreamState) -> None:
            pass

    hosts: Any = None  # nobody is followed
    following = Following(hosts, Watcher(), Now(), bench.metrics, Random(1), enabled=enabled)
    following.take_inventory(Inventory((host,), ()))
    found = {
        state: bench.value("fleetd_host_stream_state", node="n1", state=state) for state in states
    }
    assert found == states


def test_a_quarantine_ends_with_an_answer() -> None:
    bench = Bench("n1")
    bench.metrics.emit("quarantined", node="n1", why="another key")
    bench.visit("n1", outcome="lost")
    assert bench.value("fleetd_host_quarantined", node="n1") == 1
    bench.visit("n1")
    assert bench.value("fleetd_host_quarantined", node="n1") is None


def test_a_held_host_is_marked() -> None:
    bench = Bench("n1", "n2", rows=(NodeRecord("n1", held=True), NodeRecord("n2")))
    assert bench.value("fleetd_host_held", node="n1") == 1
    assert bench.value("fleetd_host_held", node="n2") is None


def test_the_loop_tells_of_its_passes() -> None:
    bench = Bench()
    assert bench.value("fleetd_last_pass_timestamp_seconds") == 0
    update = {"action": "update", "node": "n1"}
    bench.metrics.emit("decided", actions=[update, {"action": "start", "node": "n2"}], statuses={})
    bench.metrics.emit("decided", actions=[update], statuses={})
    bench.metrics.emit("pass_ended", hosts=2, looked=2, actions=1, seconds=0.02, queue=7)
    assert bench.value("fleetd_actions_planned", action="update") == 1
    assert bench.value("fleetd_actions_planned", action="start") is None
    assert bench.value("fleetd_queue_depth") == 7
    assert bench.value("fleetd_pass_duration_seconds_count") == 1
    assert bench.value("fleetd_last_pass_timestamp_seconds") == NOW


def test_an_event_from_a_clock_ahead_has_no_negative_lag() -> None:
    bench = Bench("n1")
    bench.metrics.emit("stream_event", node="n1", why="unit", lag_s=-3.0)
    bench.metrics.emit("stream_event", node="n1", why="unit", lag_s=0.3)
    bench.metrics.emit("stream_event", node="n1", why="unit", lag_s=None)
    assert bench.value("fleetd_event_lag_seconds_sum") == pytest.approx(0.3)
    assert bench.value("fleetd_event_lag_seconds_count") == 2


def test_connections_are_counted_by_host() -> None:
    bench = Bench("n1", "n2")
    for node in ("n1", "n2"):
        bench.metrics.emit("connected", node=node, seconds=0.1, again=False)
    bench.metrics.emit("disconnected", node="n1", why="EOF")
    assert bench.value("fleetd_ssh_connections") == 1
    assert bench.value("fleetd_host_ssh_reconnects_total", node="n1") == 0
    assert bench.value("fleetd_ssh_connect_duration_seconds_count") == 2


def test_an_inventory_fails_until_it_is_read() -> None:
    bench = Bench()
    assert bench.value("fleetd_inventory_failing") == 0
    assert bench.value("fleetd_inventory_last_success_timestamp_seconds") == 0
    bench.metrics.emit("inventory_failed", why="hosts.yaml: line 3: ...")
    assert bench.value("fleetd_inventory_failing") == 1
    assert bench.value("fleetd_inventory_last_success_timestamp_seconds") == 0
    bench.metrics.emit("inventory_read", hosts=3)
    assert bench.value("fleetd_inventory_failing") == 0
    assert bench.value("fleetd_inventory_last_success_timestamp_seconds") == NOW


def test_a_daemonset_is_as_the_state_has_it_and_goes_with_it() -> None:
    bench = Bench(rows=tuple(daemonset("agent")))
    names = {
        "status_desired_number_scheduled": 5,
        "status_current_number_scheduled": 4,
        "status_number_ready": 3,
        "status_updated_number_scheduled": 2,
        "status_number_available": 3,
        "status_number_unavailable": 2,
        "status_number_misscheduled": 0,
        "status_number_unknown": 1,
        "metadata_generation": 4,
        "status_observed_generation": 3,
    }
    labels = {"namespace": "ns", "daemonset": "agent"}
    found = {name: bench.value(f"fleetd_daemonset_{name}", **labels) for name in names}
    assert found == names
    assert rollout(bench) == "progressing"
    bench.store.commit([Drop(ObjectRecord, name="agent")])
    assert bench.labelled(daemonset="agent") == set(), "its other rows may still be there"


def rollout(bench: Bench) -> str:
    """The one state that is 1; all the others are told too, as 0."""
    labels = {"namespace": "ns", "daemonset": "agent"}
    told = {
        state: bench.value("fleetd_daemonset_rollout_state", state=state, **labels)
        for state in ROLLOUT_STATES
    }
    assert sorted(told.values(), key=str) == [0, 0, 0, 0, 1]
    return next(state for state, value in told.items() if value)


@pytest.mark.parametrize("state", list(RolloutState))
def test_a_rollout_is_in_one_state(state: RolloutState) -> None:
    bench = Bench(rows=tuple(daemonset("agent")))
    bench.store.commit([Put(RolloutRecord("ns", "agent", "r2", state, "r1", "", 0.0, 0.0))])
    assert rollout(bench) == state.value


def test_a_rollout_that_waits_for_hosts_is_stalled() -> None:
    stalled = asdict(Condition("Progressing", "False", "RolloutStalled", "waiting for n1"))
    bench = Bench(rows=tuple(daemonset("agent", conditions=[stalled])))
    assert rollout(bench) == "stalled"


def test_names_cannot_break_out_of_their_label() -> None:
    name = 'a"} 1\nfleetd_host_reachable{node="b\\'
    bench = Bench(name)
    bench.visit(name)
    assert bench.value("fleetd_host_reachable", node=name) == 1
    assert bench.value("fleetd_host_reachable", node="b") is None


def test_a_scrape_is_of_one_moment() -> None:
    bench = Bench("n1")
    bench.visit("n1")
    later = bench.metrics.scrape()
    bench.visit("n1", outcome="lost")
    repair(bench.metrics, "n1", "stopped: x")
    bench.change(left=["n1"])
    bench.metrics.text()
    text = later().decode()
    assert 'fleetd_host_reachable{node="n1"} 1' in text
    assert 'kind="stopped"' not in text


def test_what_has_no_metric_is_passed_over() -> None:
    bench = Bench()
    bench.metrics.emit("looking", hosts=3, unreachable=0)
    assert bench.value("fleetd_queue_depth") == 0
