"""How long it takes to decide one pass, without any I/O."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import cycle, islice, repeat
from multiprocessing import get_context

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
from fleetd.core.members import Member, MemberState, to_json
from fleetd.core.meta import Key
from fleetd.core.node import Node, Ssh
from fleetd.core.plan import plan
from fleetd.core.records import InstanceRecord, Phase, RolloutRecord, RolloutState
from fleetd.core.survey import Sights
from fleetd.core.world import SetState, World

SETS = 20
NOW = 1_000_000.0
FLEET = "f1ee7"
REVISION = "r1"
BUNDLE = "digest"
AGE_S = 600.0
MOVED = 50
LARGEST_S = 1.5
"""For 10,000 nodes; smaller fleets have no target of their own."""


def bench(options: Options) -> list[Measure]:
    collect_rarely()  # as every run does
    tell = Teller("planning")
    rounds = max(3, options.rounds // 2)
    told = []
    for count in options.nodes:
        first = _first_of_processes(count, rounds)
        world = _world(count)
        memory = Sights()
        _seconds(world, memory)
        # What a service does all the time, and what every process does once.
        kinds: dict[str, list[float]] = {
            "again, nothing new": [_seconds(world, memory) for _ in range(rounds)],
            f"again, {MOVED} hosts looked at": [
                _seconds(told_anew, memory) for told_anew in islice(_said_anew(world), rounds)
            ],
            "the first of a process": first,
        }
        target = LARGEST_S if count == 10_000 else None
        for kind, samples in kinds.items():
            what = f"{count} nodes x {SETS} DaemonSets, {kind}"
            told.append(tell.median(what, samples, "s", target=target))
    return told


def _seconds(world: World, memory: Sights | None) -> float:
    began = time.process_time()
    decided = plan(world, NOW + 60, memory)
    took = time.process_time() - began
    assert decided.settled
    assert not decided.rollouts
    assert not decided.instances
    return took


def _first_of_processes(count: int, rounds: int) -> list[float]:
    """Nothing was judged before in these, and none of the memory that it takes was in use."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(_first, repeat(count, rounds)))


def _first(count: int) -> float:
    collect_rarely()
    return _seconds(_world(count), None)


def _said_anew(world: World) -> Iterator[World]:
    """The world again and again, each time with some hosts that said the same once more."""
    names = cycle(world.seen)
    while True:
        fresh = {name: replace(world.seen[name]) for name in islice(names, MOVED)}
        world = replace(world, seen={**world.seen, **fresh})
        yield world


def _world(count: int) -> World:
    """All is well, and the state has it."""
    keys = [Key("default", f"agent-{number}") for number in range(SETS)]
    nodes = tuple(
        Node(f"node-{number:05}", Ssh("192.0.2.1"), {"role": ("web", "db")[number % 2]})
        for number in range(count)
    )
    return World(
        nodes=nodes,
        sets=tuple(_state(key, nodes) for key in keys),
        seen={node.name: Known(_observation(node.name, keys)) for node in nodes},
        looked={node.name: NOW for node in nodes},
        fleet=FLEET,
    )


def _state(key: Key, nodes: tuple[Node, ...]) -> SetState:
    rollout = RolloutRecord(
        *(*key, REVISION, RolloutState.COMPLETE),
        baseline="",
        reason="",
        started=NOW - AGE_S,
        last_progress=NOW,
        finished=len(nodes),
    )
    members = to_json((Member("main", MemberState.RUNNING, ready=True),))
    instances = tuple(
        InstanceRecord(
            *(*key, node.name, str(Slot.A), REVISION, BUNDLE, str(Phase.RUNNING)),
            ready=True,
            available=True,
            restarts=0,
            message="",
            started=NOW - AGE_S,
            seen=NOW,
            created=NOW - AGE_S,
            members_json=members,
        )
        for node in nodes
    )
    return SetState(_daemonset(key), REVISION, rollout, instances=instances)


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
                    *(key, Slot.A, REVISION, BUNDLE, Runtime.PODMAN),
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
                        active_for_s=AGE_S,
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
