"""How long it takes to decide one pass, without any I/O."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice, repeat

from bench.measures import Measure, Teller
from bench.options import Options
from fleetd.app import collect_rarely
from fleetd.core.daemonset import DaemonSet
from fleetd.core.facts import (
    Clock,
    ContainerSeen,
    Known,
    LedgerCopy,
    Observation,
    Owner,
    Role,
    Runtime,
    Slot,
    UnitState,
)
from fleetd.core.meta import Key
from fleetd.core.node import Node, Ssh
from fleetd.core.plan import plan
from fleetd.core.records import InstanceRecord
from fleetd.core.survey import Sights
from fleetd.core.world import SetState, World

SETS = 20
NOW = 1_000_000.0
FLEET = "f1ee7"
REVISION = "r1"
MOVED = 50
LARGEST_S = 1.5
"""For 10,000 nodes; smaller fleets have no target of their own."""


def bench(options: Options) -> list[Measure]:
    collect_rarely()  # as every run does
    tell = Teller("planning")
    told = []
    for count in options.nodes:
        world = _settled(_world(count))
        memory = Sights()
        plan(world, NOW + 60, memory)
        # What a service does all the time, and what a single run does once.
        kinds: dict[str, tuple[Iterator[World], Sights | None]] = {
            "again, nothing new": (repeat(world), memory),
            f"again, {MOVED} hosts looked at": (_said_anew(world), memory),
            "nothing known before": (repeat(world), None),
        }
        target = LARGEST_S if count == 10_000 else None
        for kind, (worlds, known) in kinds.items():
            samples = []
            for _ in range(max(3, options.rounds // 2)):
                now = next(worlds)
                began = time.process_time()
                decided = plan(now, NOW + 60, known)
                samples.append(time.process_time() - began)
                assert decided.settled
            what = f"{count} nodes x {SETS} DaemonSets, {kind}"
            told.append(tell.median(what, samples, "s", target=target))
    return told


def _said_anew(world: World) -> Iterator[World]:
    """The world again and again, each time with some hosts that said the same once more."""
    names = cycle(world.seen)
    while True:
        fresh = {name: replace(world.seen[name]) for name in islice(names, MOVED)}
        world = replace(world, seen={**world.seen, **fresh})
        yield world


def _settled(world: World) -> World:
    """The world after as many passes as it takes until none has anything to write down."""
    for _ in range(5):
        decided = plan(world, NOW)
        if decided.settled and not decided.rollouts and not decided.instances:
            return world
        rollouts = {Key(row.namespace, row.name): row for row in decided.rollouts}
        copies: dict[Key, list[InstanceRecord]] = defaultdict(list)
        for row in decided.instances:
            copies[Key(row.namespace, row.name)].append(row)
        sets = tuple(
            replace(
                state,
                rollout=rollouts.get(state.key, state.rollout),
                instances=tuple(copies[state.key]) or state.instances,
            )
            for state in world.sets
        )
        world = replace(world, sets=sets)
    raise AssertionError("a fleet where all is well does not settle")


def _world(count: int) -> World:
    keys = [Key("default", f"agent-{number}") for number in range(SETS)]
    nodes = tuple(
        Node(f"node-{number:05}", Ssh("192.0.2.1"), {"role": ("web", "db")[number % 2]})
        for number in range(count)
    )
    return World(
        nodes=nodes,
        sets=tuple(SetState(_daemonset(key), REVISION) for key in keys),
        seen={node.name: Known(_observation(node.name, keys)) for node in nodes},
        looked={node.name: NOW for node in nodes},
        fleet=FLEET,
    )


def _daemonset(key: Key) -> DaemonSet:
    return DaemonSet.model_validate(
        {
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": key.name}},
                "template": {
                    "metadata": {"labels": {"app": key.name}},
                    "spec": {"containers": [{"name": "main", "image": "agent:1"}]},
                },
            },
        }
    )


def _observation(node: str, keys: list[Key]) -> Observation:
    units = {key: f"fleetd-{key.namespace}.{key.name}.main.a.service" for key in keys}
    return Observation(
        clock=Known(Clock(node, "boot", 5000.0)),
        owner=Known(Owner(FLEET, 1)),
        ledger=Known(
            tuple(
                LedgerCopy(
                    *(key, Slot.A, REVISION, "digest", Runtime.PODMAN),
                    units={_target(key): Role.TARGET, unit: Role.MAIN},
                    files=tuple(f"/etc/systemd/system/{name}" for name in (_target(key), unit)),
                    containers=(unit.removesuffix(".service"),),
                    complete=True,
                )
                for key, unit in units.items()
            )
        ),
        files=Known(()),
        units=Known(
            (
                *(
                    UnitState(_target(key), "loaded", "active", "active", file_state="static")
                    for key in keys
                ),
                *(
                    UnitState(
                        unit,
                        load="loaded",
                        active="active",
                        sub="running",
                        invocation="i1",
                        active_for_s=600.0,
                        file_state="enabled",
                        stamp_revision=REVISION,
                        stamp_invocation="i1",
                    )
                    for unit in units.values()
                ),
            )
        ),
        engine=Known(
            tuple(
                ContainerSeen(
                    *(name, name.removesuffix(".service"), True, True),
                    *(key, Slot.A, REVISION),
                )
                for key, name in units.items()
            )
        ),
    )


def _target(key: Key) -> str:
    return f"fleetd-{key.namespace}.{key.name}.target"
