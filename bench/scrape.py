"""What the metrics of many hosts cost: memory, and the time of a scrape by what it holds up."""

from __future__ import annotations

import time
import tracemalloc

from bench.measures import Measure, Teller
from bench.options import Options
from fleetd.adapters.clock import SystemClock
from fleetd.adapters.metrics import Metrics
from fleetd.testing.store import FakeStore

BYTES = 2000.0
"""A host may cost the whole coordinator 80 KB."""
HELD_S = 0.01


def bench(options: Options) -> list[Measure]:
    tell = Teller("scrape")
    told = []
    for count in options.nodes:
        names = [f"node-{number:05}.rack-{number % 40}.example.net" for number in range(count)]
        tracemalloc.start()
        metrics = Metrics(FakeStore(), SystemClock())
        before, _ = tracemalloc.get_traced_memory()
        _work(metrics, names)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        held, whole, size = [], [], 0
        for _ in range(options.rounds):
            began = time.perf_counter()
            text = metrics.scrape()
            held.append(time.perf_counter() - began)
            size = len(text())
            whole.append(time.perf_counter() - began)
        fleet = f"{count} hosts"
        told += [
            tell.median(f"{fleet}, memory per host", [(after - before) / count], "B", target=BYTES),
            tell.median(f"{fleet}, the loop waits for", held, "s", target=HELD_S),
            tell.median(f"{fleet}, a scrape takes", whole, "s"),
            tell.median(f"{fleet}, its size", [size / 1e6], "MB"),
        ]
    return told


def _work(metrics: Metrics, names: list[str]) -> None:
    metrics.emit("inventory_changed", joined=names, left=[], changed=[])
    for name in names:
        metrics.emit("connected", node=name, seconds=0.1, again=False)
        metrics.emit("visit", node=name, request="observe", seconds=0.2, outcome="ok", reason="")
        metrics.emit("stream", node=name, state="live", why="")
        metrics.emit(
            "action_ended",
            node=name,
            daemonset="default/agent",
            action="repair",
            reason="Drift",
            detail="stopped: agent.service",
            revision="r1",
            outcome="done",
            message="",
        )
