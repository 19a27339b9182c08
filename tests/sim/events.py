"""What happens to a walk that is under way: each event takes the walk and alters its world."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetd.api import rollouts
from fleetd.core.facts import Owner
from fleetd.errors import NotFound, Refused
from fleetd.testing.fleet import LOST_AFTER, Fault, flood, garbage, stale
from tests.sim.harness import half

if TYPE_CHECKING:
    from tests.sim.walk import Walk

GOOD, BAD = "good", ("never", "dies", "late")


async def _join(walk: Walk) -> None:
    if len(walk.sim.names) < 12:
        walk.join()


async def _leave(walk: Walk) -> None:
    if len(walk.sim.names) > 2:
        walk.sim.names.remove(walk.random.choice(sorted(walk.sim.names)))


async def _return(walk: Walk) -> None:
    """A host that left is in the inventory again."""
    left = sorted(set(walk.stage.hosts) - set(walk.sim.names))
    if left and len(walk.sim.names) < 12:
        name = walk.random.choice(left)
        walk.sim.names.append(name)
        walk.label(name, walk.roles[name])
        walk.hold(name, on=False)
        walk.cordon(name, on=False)
        if name in walk.taints:
            walk.nodes().taint(name, ["bad:NoExecute"])  # it may have been forgotten
            walk.taint(name, "")


async def _rename(walk: Walk) -> None:
    if host := walk.host():
        old, new = host.name, f"h{next(walk.numbers):02}"
        # What was said of the old name follows once fleetd knows the machine: let that be little.
        walk.hold(old, on=False)
        walk.cordon(old, on=False)
        walk.taint(old, "")
        walk.stage.rename(old, new)
        walk.sim.names[walk.sim.names.index(old)] = new
        walk.label(new, walk.roles[old])
        walk.oracle.forget(lambda _, machine: machine == host.machine_id)


async def _reboot(walk: Walk) -> None:
    if host := walk.host():
        host.reboot(walk.random.choice((5.0, 30.0, 90.0)))


async def _blackout(walk: Walk) -> None:
    for host in walk.stage.hosts.values():
        host.reboot(walk.random.choice((5.0, 30.0)))


async def _hurt(walk: Walk) -> None:
    """Something happens to a unit or a file of ours."""
    host = walk.host()
    if host is None or not host.units or (host.owner and host.owner.fleet == "other"):
        return
    unit = walk.random.choice(sorted(host.units))
    files = sorted(host.files)
    match walk.random.choice(("crash", "mask", "stop", "disable", "fail", "edit", "delete")):
        case "crash":
            host.crash(unit)
        case "mask":
            host.mask(unit)
        case "stop":
            host.stop(unit)
        case "disable":
            host.disable(unit)
        case "fail":
            host.unit(unit).fail()
        case "edit" if files:
            host.edit(walk.random.choice(files), b"changed by hand")
        case "delete" if files:
            host.edit(walk.random.choice(files), None)
        case _:
            pass


async def _fault(walk: Walk) -> None:
    if host := walk.host():
        chance = walk.random
        fault = chance.choice(
            (
                Fault(unreachable=True),
                Fault(unreachable=True, times=chance.randint(1, 5)),
                Fault(slow_s=chance.choice((5.0, 20.0, 70.0, 400.0))),
                Fault(keep=chance.randint(0, 3000)),
                replace(LOST_AFTER, times=chance.randint(1, 3)),
                Fault(lie=garbage),
                Fault(lie=stale, times=2),
                Fault(lie=flood),
                Fault(lie=half),
            )
        )
        walk.stage.fault(host.name, fault)


async def _heal(walk: Walk) -> None:
    walk.stage.heal()


async def _break(walk: Walk) -> None:
    for host in (walk.host(), walk.host(), walk.host()):
        if host:
            walk.oracle.breaks.add(host.name)


async def _cut(walk: Walk) -> None:
    if host := walk.host():
        host.cut_at = walk.random.choice(("check", "record", "files", "units", "done"))


async def _release(walk: Walk) -> None:
    kind = walk.random.choice((GOOD, GOOD, *BAD))
    walk.release(walk.random.choice(sorted(walk.sets)), kind)


async def _release_all(walk: Walk) -> None:
    for key in walk.sets:
        walk.release(key, GOOD)


async def _remove(walk: Walk) -> None:
    if walk.version:
        walk.remove(walk.random.choice(sorted(walk.version)))


async def _mark(walk: Walk) -> None:
    """People say something of a node."""
    host = walk.host()
    if host is None:
        return
    name = host.name
    match walk.random.choice(("label", "taint", "cordon", "hold", "release")):
        case "label":
            walk.label(name, walk.random.choice(("web", "db")))
        case "taint":
            walk.taint(name, walk.random.choice(("NoSchedule", "NoExecute", "")))
        case "cordon":
            walk.cordon(name, on=name not in walk.cordoned)
        case "hold":
            walk.hold(name, on=True)
        case _:
            walk.hold(name, on=False)


async def _ask(walk: Walk) -> None:
    """Somebody deletes a pod, or pauses a rollout, or lets it go on."""
    key = walk.random.choice(sorted(walk.sets))
    host, word = walk.host(), walk.random.choice(("delete", "delete", "pause", "resume"))
    if host is None or key not in walk.version:
        return
    store = walk.sim.store
    match word:
        case "delete":
            with suppress(NotFound, Refused):  # no copy there, or on hold
                rollouts.delete_pod(store, key, host.name, now=0.0, who="test")
        case "pause":
            rollouts.pause(store, key, now=walk.now(), who="test")
        case _:
            rollouts.resume(store, key, now=walk.now(), who="test")


async def _other_fleet(walk: Walk) -> None:
    host = walk.host()
    if host and host.owner is None and not host.ledger:
        host.owner = Owner("other", 7)


async def _kill(walk: Walk) -> None:
    await walk.kill()


async def _start(walk: Walk) -> None:
    walk.start()


async def _restart(walk: Walk) -> None:
    await walk.kill()
    walk.start()


async def _haunt(walk: Walk) -> None:
    walk.haunt()


EVENTS = (
    *(_join, _leave, _return, _rename, _reboot, _blackout, _hurt, _hurt, _hurt),
    *(_fault, _fault, _fault, _heal, _break, _break, _cut, _cut, _release, _release),
    *(
        _release_all,
        _remove,
        _mark,
        _mark,
        _mark,
        _other_fleet,
        _ask,
        _ask,
        _kill,
        _start,
        _start,
        _restart,
        _haunt,
        _haunt,
        _haunt,
    ),
)
