"""Prometheus' metrics of a service: fed by the events of its log, read from its state at a scrape.

A registry of our own, so that two services in one process (as in tests) do not add up. What the
state knows (the counters of DaemonSets, where rollouts stand) is read when somebody asks and kept
nowhere else; so a DaemonSet that was deleted has no series any more. Hosts are in `host_metrics`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleetd import __version__
from fleetd.adapters.host_metrics import OFF, HostMetrics
from fleetd.adapters.sinks import is_off
from fleetd.core.copies import DamageKind
from fleetd.core.records import (
    NodeRecord,
    ObjectRecord,
    RolloutRecord,
    RolloutState,
    StatusRecord,
)
from fleetd.ports import Clock, Store

STALLED = "stalled"
"""A rollout that goes on only when hosts come back: Kubernetes has no word for it."""
ROLLOUT_STATES = (*(state.value for state in RolloutState), STALLED)

_COUNTS = {
    "desired_number_scheduled": ("desired", "Nodes that are to run a copy."),
    "current_number_scheduled": ("current", "Nodes that are to run a copy and have one."),
    "number_ready": ("ready", "Nodes whose copy is ready."),
    "updated_number_scheduled": ("updated", "Nodes whose copy is of the latest revision."),
    "number_available": ("available", "Nodes whose copy is available."),
    "number_unavailable": ("unavailable", "Nodes that are to run a copy and have none available."),
    "number_misscheduled": ("misscheduled", "Nodes that run a copy and are not to."),
    "number_unknown": ("unknown", "Nodes that are to run a copy and do not answer."),
}
"""Named as kube-state-metrics names them, so that what is known of those holds here."""

_LOOK = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_QUICK = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each of ours


class Metrics:
    """An EventSink that counts, and the text of `/metrics`.

    The hosts are those that joined the inventory (`inventory_changed`) and have not left it. To be
    used on one thread.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        """Take where the state and the time are to be had."""
        self._store = store
        self._clock = clock
        self._names: set[str] = set()
        self._hosts = HostMetrics()
        for row in store.read(NodeRecord):
            self._hosts.remember(row.name, row.seen)
        registry = self._registry = CollectorRegistry()
        registry.register(_DaemonSets(store))
        ProcessCollector(registry=registry)
        self._own(registry)
        self._ours = {
            name.removeprefix("_on_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_on_")
        }

    def _own(self, registry: CollectorRegistry) -> None:
        build = Gauge(
            "fleetd_build_info", "1, with the versions.", ("version", "python"), registry=registry
        )
        build.labels(__version__, platform.python_version()).set(1)
        self._connections = Gauge(
            "fleetd_ssh_connections", "Hosts with a held SSH connection.", registry=registry
        )
        self._connecting = Histogram(
            "fleetd_ssh_connect_duration_seconds",
            "Duration of successful SSH handshakes.",
            buckets=_LOOK,
            registry=registry,
        )
        self._visits = Histogram(
            "fleetd_visit_duration_seconds",
            "Duration of visits to hosts.",
            ("request", "outcome"),
            buckets=_LOOK,
            registry=registry,
        )
        self._last_visit = Gauge(
            "fleetd_last_visit_timestamp_seconds",
            "When the last visit to any host ended, in seconds since the epoch; 0: none yet.",
            registry=registry,
        )
        self._passes = Histogram(
            "fleetd_pass_duration_seconds",
            "Duration of decisions over the whole fleet.",
            buckets=_QUICK,
            registry=registry,
        )
        self._last_pass = Gauge(
            "fleetd_last_pass_timestamp_seconds",
            "When the last decision ended, in seconds since the epoch; without news there is none.",
            registry=registry,
        )
        self._queue = Gauge("fleetd_queue_depth", "Hosts that wait for a visit.", registry=registry)
        self._planned = Gauge(
            "fleetd_actions_planned",
            "Actions that the last decision found due.",
            ("action",),
            registry=registry,
        )
        self._actions = Counter(
            "fleetd_actions_total",
            "Actions on hosts that have ended.",
            ("action", "reason", "outcome"),
            registry=registry,
        )
        self._lag = Histogram(
            "fleetd_event_lag_seconds",
            "From what happened on a host to its event being read here.",
            buckets=_QUICK,
            registry=registry,
        )
        self._replaced = Counter(
            "fleetd_streams_replaced_total",
            "Event streams that fell silent and were replaced.",
            registry=registry,
        )
        self._inventory(registry)

    def _inventory(self, registry: CollectorRegistry) -> None:
        self._known = Gauge("fleetd_inventory_hosts", "Hosts of the inventory.", registry=registry)
        self._failing = Gauge(
            "fleetd_inventory_failing",
            "1 when the inventory could not be read the last time, and is as it was before.",
            registry=registry,
        )
        self._read = Gauge(
            "fleetd_inventory_last_success_timestamp_seconds",
            "When the inventory was last read, in seconds since the epoch; 0: not yet.",
            registry=registry,
        )

    def emit(self, event: str, **fields: Any) -> None:
        """Count one event; what has no metric is passed over."""
        take = self._ours.get(event)
        if take is not None:
            take(**fields)

    def scrape(self) -> Callable[[], bytes]:
        """All metrics as they are now, in Prometheus' text format (0.0.4) once called.

        What is called only formats, which is most of the work with thousands of hosts: it touches
        nothing that is shared, and so may run on another thread.
        """
        names = sorted(self._names)
        self._hosts.keep(names)
        self._known.set(len(names))
        self._connections.set(self._hosts.connections)
        held = {row.name for row in self._store.read(NodeRecord, held=True)}
        fleet, hosts = generate_latest(self._registry), self._hosts.snapshot()
        return lambda: fleet + hosts.text(names, held).encode()

    def text(self) -> bytes:
        """The text of a scrape, at once."""
        return self.scrape()()

    # -- the events --------------------------------------------------------------------------

    def _on_visit(self, *, node: str, request: str, seconds: float, outcome: str, **_: Any) -> None:
        self._visits.labels(request.lower(), outcome).observe(seconds)
        self._last_visit.set(self._clock.now())
        answered = outcome != "lost"
        self._hosts.visited(node, seconds, self._clock.now(), answered=answered)

    def _on_connected(self, *, node: str, seconds: float, again: bool, **_: Any) -> None:
        self._connecting.observe(seconds)
        self._hosts.connected(node, again=again)

    def _on_disconnected(self, *, node: str, **_: Any) -> None:
        self._hosts.disconnected(node)

    def _on_pass_ended(self, *, seconds: float, queue: int, **_: Any) -> None:
        self._passes.observe(seconds)
        self._last_pass.set(self._clock.now())
        self._queue.set(queue)

    def _on_decided(self, *, actions: Iterable[dict[str, str]], **_: Any) -> None:
        self._planned.clear()
        for action in actions:
            self._planned.labels(action["action"]).inc()

    def _on_action_ended(
        self, *, node: str, action: str, reason: str, outcome: str, detail: str = "", **_: Any
    ) -> None:
        self._actions.labels(action, reason, outcome).inc()
        if outcome == "done":
            self._hosts.repaired(node, drift(action, reason, detail))

    def _on_stream(self, *, node: str, state: str, why: str, **_: Any) -> None:
        self._hosts.stream(node, OFF if is_off(why) else str(state))

    def _on_stream_event(self, *, lag_s: float | None, **_: Any) -> None:
        if lag_s is None:
            return  # the event says nothing of its time
        # The clocks of the two hosts may differ: before it happened nobody has read of it.
        self._lag.observe(max(0.0, lag_s))

    def _on_stream_replaced(self, **_: Any) -> None:
        self._replaced.inc()

    def _on_quarantined(self, *, node: str, **_: Any) -> None:
        self._hosts.quarantined(node)

    def _on_inventory_read(self, **_: Any) -> None:
        self._failing.set(0)
        self._read.set(self._clock.now())

    def _on_inventory_changed(
        self, *, joined: Iterable[str], left: Iterable[str], **_: Any
    ) -> None:
        self._names.update(joined)
        self._names.difference_update(left)
        self._hosts.keep(self._names)

    def _on_inventory_failed(self, **_: Any) -> None:
        self._failing.set(1)


def drift(action: str, reason: str, detail: str) -> tuple[str, ...]:
    """The kinds of drift that an action mends: those that its detail tells, one by one.

    A start or an update mends none: what is put there anew was not there, or was asked for.
    """
    mends = action == "repair" or (action == "remove" and reason == "ExtraCopy")
    if not mends:
        return ()
    told = {part.partition(": ")[0] for part in detail.split("; ")}
    return tuple(kind.value for kind in DamageKind if kind.value in told) or (reason,)


class _DaemonSets(Collector):
    """What the state knows of DaemonSets, at the time of the scrape."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        labels = ("namespace", "daemonset")
        objects = self._store.read(ObjectRecord, kind="DaemonSet")
        live = {(row.namespace, row.name) for row in objects}
        statuses = {
            (row.namespace, row.name): json.loads(row.status_json)
            for row in self._store.read(StatusRecord)
            if (row.namespace, row.name) in live
        }
        for name, (field, text) in _COUNTS.items():
            family = GaugeMetricFamily(f"fleetd_daemonset_status_{name}", text, labels=labels)
            for place, status in statuses.items():
                family.add_metric(place, status.get(field, 0))
            yield family
        told = GaugeMetricFamily(
            "fleetd_daemonset_metadata_generation", "The generation asked for.", labels=labels
        )
        acted = GaugeMetricFamily(
            "fleetd_daemonset_status_observed_generation",
            "The generation that was last acted upon.",
            labels=labels,
        )
        for row in objects:
            told.add_metric((row.namespace, row.name), row.generation)
            acted.add_metric((row.namespace, row.name), row.observed_generation)
        yield from (told, acted)
        rollouts = GaugeMetricFamily(
            "fleetd_daemonset_rollout_state",
            "1 for the state in which the rollout is, 0 for the others.",
            labels=(*labels, "state"),
        )
        for rollout in self._store.read(RolloutRecord):
            place = (rollout.namespace, rollout.name)
            if place in live:
                now = _standing(rollout, statuses.get(place, {}))
                for state in ROLLOUT_STATES:
                    rollouts.add_metric((*place, state), state == now)
        yield rollouts


def _standing(rollout: RolloutRecord, status: dict[str, Any]) -> str:
    conditions = status.get("conditions", ())
    stalled = any(condition["reason"] == "RolloutStalled" for condition in conditions)
    return STALLED if stalled and rollout.state == "progressing" else rollout.state.value
