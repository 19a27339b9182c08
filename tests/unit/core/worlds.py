"""Short ways to say what a fleet looks like, for tables and properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleetd.core.actions import Decision
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import (
    Clock,
    ContainerSeen,
    Deviation,
    FileDeviation,
    Known,
    LedgerCopy,
    Observation,
    Owner,
    Role,
    Runtime,
    Slot,
    UnitState,
    Unknown,
)
from fleetd.core.meta import Key
from fleetd.core.node import Node, Ssh, Taint
from fleetd.core.plan import Plan, plan
from fleetd.core.records import RolloutRecord, RolloutState, SlotRecord
from fleetd.core.world import SetState, World

NOW = 10_000.0
FLEET = "fleet-1"
AGENT = Key("default", "agent")


def daemonset(
    name: str = "agent",
    *,
    template: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    probe: bool | str = False,
    **spec: Any,
) -> DaemonSet:
    container: dict[str, Any] = {"name": "main", "image": "agent:1"}
    if probe:
        container["readinessProbe" if probe is True else probe] = {"tcpSocket": {"port": 80}}
    return DaemonSet.model_validate(
        {
            "metadata": {"name": name, "annotations": dict(annotations or {})},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [container], **(template or {})},
                },
                **spec,
            },
        }
    )


def rolling(unavailable: int | str = 1, surge: int | str = 0) -> dict[str, Any]:
    return {"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}


def node(name: str, *taints: str, labels: Mapping[str, str] | None = None, **more: Any) -> Node:
    return Node(
        name, Ssh("192.0.2.1"), labels or {}, taints=tuple(_taint(t) for t in taints), **more
    )


def _taint(text: str) -> Taint:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    assert effect in {"NoSchedule", "PreferNoSchedule", "NoExecute"}
    return Taint(key, value, effect)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Box:
    """One copy on a host, from which the host's words about it follow."""

    revision: str = "r1"
    age: float = 60.0
    active: str = "active"
    sub: str = "running"
    slot: Slot = Slot.A
    restarts: int = 0
    stamp: str | None = None
    complete: bool = True
    load: str = "loaded"
    file_state: str = "enabled"
    need_reload: bool = False
    ledgered: bool = True
    probe: bool | None = None
    probe_message: str = ""
    passing_for: float | None = None
    probed: bool = False
    drop_ins: tuple[str, ...] = ()
    target: str = ""
    """The state of the file of the target that groups its units; "" where there is none."""
    ds: Key = AGENT

    @property
    def unit(self) -> str:
        name = self.ds.name.replace(".", "_")
        return f"fleetd-{self.ds.namespace}.{name}.main.{self.slot}.service"

    @property
    def path(self) -> str:
        return f"/etc/systemd/system/{self.unit}"

    @property
    def probe_unit(self) -> str:
        return self.unit.replace(".service", ".probe.service")

    @property
    def target_unit(self) -> str:
        return self.unit.replace(f".main.{self.slot}.service", ".target")

    def units(self) -> tuple[UnitState, ...]:
        up = self.active == "active"
        main = UnitState(
            self.unit,
            load=self.load,
            active=self.active,
            sub=self.sub,
            restarts=self.restarts,
            invocation="i1",
            active_for_s=self.age if up else None,
            need_reload=self.need_reload,
            file_state=self.file_state,
            drop_ins=self.drop_ins,
            stamp_revision=self.revision if self.stamp is None else self.stamp,
            stamp_invocation="i1",
            probe=self.probe,
            probe_message=self.probe_message,
            passing_for_s=self.passing_for,
        )
        units = [main]
        if self.probed:
            state = "active" if up else "inactive"
            units.append(UnitState(self.probe_unit, "loaded", state, "running"))
        if self.target:
            units.append(
                UnitState(self.target_unit, "loaded", "active", "active", file_state=self.target)
            )
        return tuple(units)

    def ledger(self) -> LedgerCopy:
        units = {self.unit: Role.MAIN} | ({self.probe_unit: Role.PROBE} if self.probed else {})
        units |= {self.target_unit: Role.TARGET} if self.target else {}
        return LedgerCopy(
            self.ds,
            self.slot,
            self.revision,
            f"bundle-{self.revision}",
            Runtime.PODMAN,
            units,
            files=(self.path,),
            containers=(self.unit.removesuffix(".service"),),
            complete=self.complete,
        )


def observation(
    *boxes: Box,
    files: tuple[FileDeviation, ...] = (),
    engine: tuple[ContainerSeen, ...] | None = None,
    owner: str | None = FLEET,
) -> Observation:
    return Observation(
        clock=Known(Clock("m1", "b1", 5000.0)),
        owner=Known(Owner(owner, 1) if owner else None),
        ledger=Known(tuple(box.ledger() for box in boxes if box.ledgered)),
        files=Known(files),
        units=Known(tuple(unit for box in boxes for unit in box.units())),
        engine=None if engine is None else Known(engine),
    )


def seen(*boxes: Box, **more: Any) -> Known[Observation]:
    return Known(observation(*boxes, **more))


SILENT = Unknown("connection timed out")
CRASHING = Box(active="activating", sub="auto-restart", restarts=3)
FAILED = Box(active="failed", sub="failed")


def hosts(words: str) -> dict[str, Known[Observation] | Unknown]:
    """`old old! new~ - ?` as what nodes n0, n1, ... said.

    `old` runs r1, `new` runs r2; `!` failed, `*` in a crash loop, `~` too young to be available,
    `#` good but its unit file was edited, `%` good but disabled, `.` on its way out; `-` no copy;
    `?` silent; `old+new` a copy in each slot.
    """
    return {f"n{index}": _host(word) for index, word in enumerate(words.split())}


def _host(word: str) -> Known[Observation] | Unknown:
    if word == "?":
        return SILENT
    if word == "-":
        return seen()
    boxes = [_box(each, where) for each, where in zip(word.split("+"), Slot, strict=False)]
    changed = [edited(box.path) for box, text in boxes if text.endswith("#")]
    return seen(*(box for box, _ in boxes), files=tuple(changed))


def _box(word: str, where: Slot) -> tuple[Box, str]:
    name = word.rstrip("!*~#%.")
    revision = {"old": "r1", "new": "r2", "newer": "r3"}[name]
    plain = {
        "": Box(),
        "#": Box(),
        "!": FAILED,
        "*": CRASHING,
        "~": Box(age=3.0),
        "%": Box(file_state="disabled"),
        ".": Box(active="deactivating", sub="stop-sigterm"),
    }[word.removeprefix(name)]
    return replace(plain, revision=revision, slot=where), word


def edited(path: str) -> FileDeviation:
    return FileDeviation(path, Deviation.EDITED)


def record(
    revision: str = "r1",
    state: RolloutState = RolloutState.COMPLETE,
    *,
    baseline: str = "",
    finished: int = 1,
    at: float = NOW - 100,
    reason: str = "",
) -> RolloutRecord:
    return RolloutRecord(
        *AGENT, revision, state, baseline, reason, started=at, last_progress=at, finished=finished
    )


def slot(name: str, revision: str = "r2", *, taken: float = NOW - 50, **more: Any) -> SlotRecord:
    return SlotRecord(*AGENT, name, revision, "update", taken, **more)


def world(
    said: Mapping[str, Known[Observation] | Unknown],
    *sets: SetState,
    nodes: tuple[Node, ...] | None = None,
    **more: Any,
) -> World:
    return World(nodes or tuple(node(name) for name in said), sets, said, FLEET, **more)


def verdict(decision: Decision) -> str:
    """`update:RevisionChanged`, `repair/restart:Drift`, ..."""
    mode = f"/{decision.mode}" if hasattr(decision, "mode") else ""
    return f"{type(decision).__name__.lower()}{mode}:{decision.reason}"


def verdicts(result: Plan) -> str:
    return " ".join(verdict(entry) for entry in result.decisions)


def decide(words: str, state: SetState, **more: Any) -> Plan:
    return plan(world(hosts(words), state, **more), NOW)
