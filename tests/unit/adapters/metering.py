"""Metrics over a fake state, and their text read back by the library's own parser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from prometheus_client.parser import text_string_to_metric_families

from fleetd.adapters.metrics import Metrics
from fleetd.core.records import (
    NodeRecord,
    ObjectRecord,
    Record,
    RolloutRecord,
    RolloutState,
    StatusRecord,
)
from fleetd.core.status import Status
from fleetd.ports import Put
from fleetd.testing.store import FakeStore

NOW = 1_000_000.0


Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    """The value of each series, by its name and labels."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            series = sample.name, frozenset(sample.labels.items())
            assert series not in found, "no series comes twice"
            found[series] = sample.value
    return found


class Now:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("metrics do not wait")


class Bench:
    """A Metrics over a fake state, and its text read back by the library's own parser."""

    def __init__(self, *hosts: str, rows: tuple[Record, ...] = ()) -> None:
        self.store = FakeStore()
        self.store.commit(Put(row) for row in rows)
        self.metrics = Metrics(self.store, Now())
        self.change(joined=hosts)

    def change(self, joined: Iterable[str] = (), left: Iterable[str] = ()) -> None:
        self.metrics.emit("inventory_changed", joined=list(joined), left=list(left), changed=[])

    def visit(self, node: str, seconds: float = 0.2, outcome: str = "ok") -> None:
        self.metrics.emit(
            "visit", node=node, request="Observe", seconds=seconds, outcome=outcome, reason=""
        )

    def samples(self) -> Samples:
        return samples(self.metrics)

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples().get((name, frozenset(labels.items())))

    def labelled(self, **labels: str) -> set[str]:
        """The names of all series with these labels."""
        return {name for name, at in self.samples() if labels.items() <= dict(at).items()}


def repair(metrics: Metrics, node: str, detail: str, outcome: str = "done") -> None:
    metrics.emit(
        "action_ended",
        node=node,
        daemonset="default/agent",
        action="repair",
        reason="Drift",
        detail=detail,
        revision="r1",
        outcome=outcome,
        message="",
    )


def daemonset(name: str, **of_status: object) -> list[Record]:
    status = Status(desired=5, current=4, ready=3, updated=2, available=3, unavailable=2, unknown=1)
    plain = {**asdict(status), **of_status}
    return [
        ObjectRecord("DaemonSet", "ns", name, "u", 4, 9, "{}", "{}", 0.0, observed_generation=3),
        StatusRecord("ns", name, json.dumps(plain), 0.0),
        RolloutRecord("ns", name, "r2", RolloutState.PROGRESSING, "r1", "", 0.0, 0.0),
    ]


def busy() -> Bench:
    """With at least one series of every metric, and all of its labels."""
    bench = Bench("n1", rows=(NodeRecord("n1", held=True), *daemonset("agent")))
    bench.visit("n1")
    bench.metrics.emit("quarantined", node="n1", why="another key")
    bench.metrics.emit("stream", node="n1", state="live", why="")
    bench.metrics.emit("connected", node="n1", seconds=0.1, again=False)
    bench.metrics.emit("decided", actions=[{"action": "repair"}], statuses={})
    repair(bench.metrics, "n1", "stopped: x")
    return bench
