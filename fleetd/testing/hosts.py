"""A simulated host: it reads the same requests as a real one, and answers with the same replies.

It keeps a ledger, files, units and containers, has a registry to pull from, and lets a test do to
it what happens to hosts: crashes, edits, masks, reboots, power cuts in the middle of an apply.
Contract tests hold it to what the real scripts do. Time comes from outside, so it lives in real
and in virtual time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fleetd.core.actions import Mode
from fleetd.core.bundle import BundleFile, CheckKind, Inline, OnChange
from fleetd.core.facts import (
    Clock,
    ContainerSeen,
    Deviation,
    FileDeviation,
    HostFacts,
    Known,
    LedgerCopy,
    Observation,
    Owner,
    Role,
    Runtime,
    Slot,
)
from fleetd.core.meta import Key
from fleetd.host import replies, wire
from fleetd.host.replies import Failed, Ok, Pulled, Refused
from fleetd.host.requests import (
    Adopt,
    Apply,
    Exec,
    Logs,
    Observe,
    Pull,
    Purge,
    Remove,
    Request,
)
from fleetd.ports import Output
from fleetd.testing.commands import PowerCut, run_command
from fleetd.testing.units import HEALTHY, Behaviour, SimUnit

Place = tuple[Key, Slot]


class Answer(NamedTuple):
    """What came back, and how long the host took."""

    output: Output
    takes_s: float = 0.0


@dataclass(slots=True)
class Registry:
    """Where hosts pull from: everything is there but what is `missing`."""

    missing: set[str] = field(default_factory=set)
    pull_s: float = 2.0

    def digest(self, image: str) -> str:
        """The digest that a tag stands for; a reference by digest is its own."""
        _, at, digest = image.partition("@")
        return digest if at else f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Moment:
    """A start or a stop of a copy, for tests that look back: `time` is the shared clock's."""

    time: float
    event: str
    ds: Key
    slot: Slot
    revision: str


@dataclass(slots=True)
class SimFile:
    """A file: what fleetd wrote, and what is there now (None: nothing)."""

    wrote: tuple[bytes, int]
    now: tuple[bytes, int] | None
    on_change: OnChange = OnChange.RESTART


def facts_of(name: str) -> HostFacts:
    """A Debian 12 host with podman."""
    return HostFacts(
        *(name, "linux", "amd64", "6.1.0-18-amd64", "debian 12"),
        systemd=252,
        podman="4.3.1",
    )


class SimHost:
    """One host. `faults` maps a text in a bundle's files to how its program fares then."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        *,
        faults: Mapping[str, Behaviour] | None = None,
        registry: Registry | None = None,
    ) -> None:
        """Take its name, and a clock that it shares with the others (seconds, any origin)."""
        self.name = name
        self.clock = clock
        self.faults = faults if faults is not None else {}
        self.registry = registry if registry is not None else Registry()
        self.facts = facts_of(name)
        self.machine_id = hashlib.sha256(name.encode()).hexdigest()[:32]
        self.owner: Owner | None = None
        self.owner_key = ""
        self.ledger: dict[Place, LedgerCopy] = {}
        self.files: dict[str, SimFile] = {}
        self.units: dict[str, SimUnit] = {}
        self.own_units: dict[str, SimUnit] = {}
        """Units that the host had before fleetd came, for workloads that borrow them."""
        self.missing_paths: set[str] = set()
        self.images: set[str] = set()
        self.containers: dict[str, ContainerSeen] = {}
        """Containers that our units did not start, by name; they hide one of ours."""
        self.history: list[Moment] = []
        self.cut_at = ""
        """Where the power fails in the next apply: check, record, files, units, done."""
        self._borrowed: dict[str, tuple[bool, bool]] = {}
        self._pulls: dict[str, float] = {}
        self._boots = 0
        self._booted_at = clock()
        self._boot()

    @property
    def up(self) -> bool:
        """Whether it answers: not while it is booting."""
        return self.clock() >= self._booted_at

    @property
    def uptime_s(self) -> float:
        """Seconds since it booted."""
        return self.clock() - self._booted_at

    def answer(self, stdin: bytes) -> Answer:
        """One visit: a whole request gets a reply, a torn one an exit status and nothing else.

        Raises PowerCut.
        """
        try:
            nonce, request = wire.decode(stdin)
        except (ValueError, KeyError) as error:
            return Answer(Output(1, b"", f"{error}\n".encode()))
        if isinstance(request, Exec | Logs):
            ended = run_command(self, request)
            said = f"{replies.begin_mark(nonce)}\n".encode() + ended.stdout
            return Answer(Output(ended.status, said), ended.takes_s)
        reply, takes_s = self.visit(request)
        return Answer(Output(0, replies.render_reply(nonce, reply)), takes_s)

    def visit(self, request: Request) -> tuple[Ok | Failed | Refused, float]:
        """Carry out a typed request: the reply, and how long it took. Raises PowerCut."""
        match request:
            case Observe():
                return Ok(self.observe(engine=request.engine, facts=request.facts)), 0.0
            case Pull():
                return self._pull(request)
            case Apply() | Remove() | Purge():
                return self._fenced(request), 0.0
            case Adopt():
                return Ok(self.observe(), owner_key=self.owner_key), 0.0
            case Exec() | Logs():
                raise TypeError("raw output is not a reply")

    def observe(self, *, engine: bool = True, facts: bool = False) -> Observation:
        """Everything that an observe visit brings home."""
        now = self.uptime_s
        shown = [unit for unit in self._all_units() if unit.started_at is not None or unit.fragment]
        return Observation(
            clock=Known(Clock(self.machine_id, f"{self.machine_id[:8]}-boot-{self._boots}", now)),
            owner=Known(self.owner),
            ledger=Known(tuple(self.ledger[place] for place in sorted(self.ledger))),
            files=Known(tuple(self._deviations())),
            units=Known(tuple(unit.state(now) for unit in shown)),
            engine=Known(tuple(self._seen_containers())) if engine else None,
            facts=Known(self.facts) if facts else None,
        )

    # What happens to hosts.

    def reboot(self, down_s: float = 30.0) -> None:
        """Power off now, and on again: /run is empty, enabled units start."""
        self._boots += 1
        for place in self._alive():
            self._note("stop", place)
        self._booted_at = self.clock() + down_s
        self._boot()

    def crash(self, unit: str) -> None:
        """Kill the unit's main process; systemd restarts it."""
        self.unit(unit).crash(self.uptime_s)

    def stop(self, unit: str) -> None:
        """`systemctl stop`, by hand."""
        self.unit(unit).stop()

    def mask(self, unit: str) -> None:
        """`systemctl mask --now`, by hand."""
        self.unit(unit).masked = True
        self.unit(unit).stop()

    def disable(self, unit: str) -> None:
        """`systemctl disable`, by hand."""
        self.unit(unit).enabled = False

    def edit(self, path: str, data: bytes | None) -> None:
        """Change a delivered file by hand; None deletes it."""
        file = self.files[path]
        file.now = None if data is None else (data, file.wrote[1])

    def unit(self, name: str) -> SimUnit:
        """A unit by name. Raises KeyError."""
        return self.units[name] if name in self.units else self.own_units[name]

    # Requests.

    def _fenced(self, request: Apply | Remove | Purge) -> Ok | Failed | Refused:
        owner = self.owner
        if owner and owner.fleet != request.fleet:
            return Refused(owner, f"this host belongs to the fleet {owner.fleet}")
        if owner and request.term < owner.term:
            return Refused(owner, f"term {request.term} is older than {owner.term}")
        match request:
            case Apply():
                return self._apply(request)
            case Remove():
                if owner:
                    self.owner = Owner(request.fleet, request.term)
                places = [
                    place
                    for place in list(self.ledger)
                    if place[0] == request.ds and request.slot in {None, place[1]}
                ]
                for place in places:
                    self._remove(place)
                return Ok(self.observe(), changed=bool(places))
            case Purge():
                for place in list(self.ledger):
                    self._remove(place)
                self.owner, self.owner_key = None, ""
                return Ok(self.observe(), changed=True)

    def _pull(self, request: Pull) -> tuple[Ok, float]:
        now = self.clock()
        takes_s = 0.0
        for image in request.images:
            if request.always or image not in self.images:
                started = self._pulls.setdefault(image, now)
                left = started + self.registry.pull_s - now
                takes_s = max(takes_s, min(left, float(request.wait_s)))
        return Ok(
            pulled=tuple(self._pulled(image, now + takes_s) for image in request.images)
        ), takes_s

    def _pulled(self, image: str, by: float) -> Pulled:
        digest = self.registry.digest(image)
        started = self._pulls.get(image)
        if started is not None and by < started + self.registry.pull_s:
            return Pulled(image, "pulling")
        if started is not None:
            del self._pulls[image]
            if image in self.registry.missing:
                return Pulled(image, "failed", message=f"{image}: manifest unknown")
            self.images.add(image)
        return Pulled(image, "present", f"id-{digest[7:19]}", digest)

    def _apply(self, request: Apply) -> Ok | Failed:
        bundle = request.bundle
        place = (bundle.ds, Slot(bundle.slot))
        self._step("check")
        for check in bundle.checks:
            unmade = check.kind.value.startswith("make-")
            found = (
                check.subject in self.own_units
                if check.kind is CheckKind.UNIT_EXISTS
                else unmade or check.subject not in self.missing_paths
            )
            if not found:
                return Failed("check", f"{check.subject}: no such {check.kind}", self.observe())
        absent = [image for image in bundle.images if image not in self.images]
        if absent:
            return Failed("image", f"{absent[0]} is not on this host", self.observe())
        if self.owner is None:
            self.owner_key = request.fleet_key
        self.owner = Owner(request.fleet, request.term)
        old = self.ledger.get(place)
        wanted = LedgerCopy(
            *(bundle.ds, place[1], bundle.revision, bundle.digest(), bundle.runtime),
            units={unit.name: unit.role for unit in bundle.units},
            files=tuple(file.path for file in bundle.files),
            containers=bundle.containers,
        )
        self._record(place, replace(wanted, complete=False), old)
        self._step("record")
        changes = [file.on_change for file in bundle.files if self._write(file, request.secrets)]
        if old is not None and not old.complete:
            changes.append(OnChange.RESTART)  # it was cut: what runs may be older than its files
        self._step("files")
        self._drop_leftovers(old, wanted)
        changed = self._run_units(request, place, changes) or old != wanted
        self._step("units")
        self.ledger[place] = wanted
        self._step("done")
        return Ok(self.observe(), changed=changed)

    def _record(self, place: Place, copy: LedgerCopy, old: LedgerCopy | None) -> None:
        """Name everything that is about to be made, beside what the earlier copy made."""
        if old is not None:
            copy = replace(
                copy,
                units={**old.units, **copy.units},
                files=tuple(dict.fromkeys([*copy.files, *old.files])),
            )
        self.ledger[place] = copy

    def _write(self, file: BundleFile, secrets: Mapping[str, bytes]) -> bool:
        content = file.content
        data = (
            content.data()
            if isinstance(content, Inline)
            else secrets[f"{content.namespace}/{content.name}/{content.key}"]
        )
        there = self.files.get(file.path)
        wrote = (data, file.mode)
        self.files[file.path] = SimFile(wrote, wrote, file.on_change)
        return there is None or there.now != wrote

    def _drop_leftovers(self, old: LedgerCopy | None, new: LedgerCopy) -> None:
        for path in old.files if old else ():
            if path not in new.files:
                self.files.pop(path, None)
        for name in old.units if old else ():
            if name not in new.units:
                self._drop_unit(name)

    def _run_units(self, request: Apply, place: Place, changes: list[OnChange]) -> bool:
        """Bring the units to what the bundle says; whether any was touched."""
        bundle = request.bundle
        restart = request.mode is Mode.RESTART or OnChange.RESTART in changes
        reload = request.mode is Mode.RELOAD or OnChange.RELOAD in changes
        behaviour = self._behaviour(bundle.revision, bundle.files)
        probed = any(unit.role is Role.PROBE for unit in bundle.units)
        touched = False
        for wanted in bundle.units:
            unit = self._unit_for(wanted.name, wanted.role)
            fresh = (unit.masked, unit.enabled) != (False, wanted.enable)
            unit.masked, unit.enabled = False, wanted.enable
            unit.revision = bundle.revision
            if wanted.role is Role.MAIN:
                unit.behaviour, unit.probed = behaviour, probed
            idle = unit.started_at is None
            if restart or idle or (reload and unit.stamp != bundle.revision):
                self._start(unit, place, wanted.role, again=restart or idle)
                fresh = True
            touched = touched or fresh
        return touched or bool(changes)

    def _start(self, unit: SimUnit, place: Place, role: Role, *, again: bool) -> None:
        if not again:
            unit.stamp = unit.revision
            return
        if role in {Role.MAIN, Role.BORROWED} and unit.started_at is not None:
            self._note("stop", place, unit.stamp)
        self.containers.pop(unit.name.removesuffix(".service"), None)
        unit.start(self.uptime_s)
        if role in {Role.MAIN, Role.BORROWED}:
            self._note("start", place, unit.revision)

    def _unit_for(self, name: str, role: Role) -> SimUnit:
        if role is Role.BORROWED:
            unit = self.own_units[name]
            self._borrowed.setdefault(name, (unit.enabled, unit.started_at is not None))
            return unit
        unit = self.units.setdefault(name, SimUnit(name, self.name))
        unit.fragment = f"/etc/systemd/system/{name}"
        return unit

    def _remove(self, place: Place) -> None:
        copy = self.ledger[place]
        if place in self._alive():
            self._note("stop", place)
        others = [other for at, other in self.ledger.items() if at != place]
        for name in copy.units:
            if not any(name in other.units for other in others):
                self._drop_unit(name)
        for path in copy.files:
            if not any(path in other.files for other in others):
                self.files.pop(path, None)
        for name in copy.containers:
            self.containers.pop(name, None)
        del self.ledger[place]

    def _drop_unit(self, name: str) -> None:
        self.units.pop(name, None)
        if name in self._borrowed:
            enabled, active = self._borrowed.pop(name)
            unit = self.own_units[name]
            unit.enabled = enabled
            if not active:
                unit.stop()

    # State.

    def _step(self, name: str) -> None:
        if self.cut_at == name:
            self.cut_at = ""
            self.reboot()
            raise PowerCut(name)

    def _boot(self) -> None:
        for unit in self._all_units():
            unit.stamp = ""
            unit.started_at = None
            if unit.enabled and not unit.masked:
                unit.start(0.0)
        for place in self._alive():
            self._note("start", place)
        self._pulls.clear()

    def _alive(self) -> list[Place]:
        """The copies of which a main unit is started."""
        started = {unit.name for unit in self._all_units() if unit.started_at is not None}
        return [
            place
            for place, copy in self.ledger.items()
            if any(
                name in started and role in {Role.MAIN, Role.BORROWED}
                for name, role in copy.units.items()
            )
        ]

    def _note(self, event: str, place: Place, revision: str = "") -> None:
        ds, slot = place
        at = max(self.clock(), self._booted_at) if event == "start" else self.clock()
        self.history.append(Moment(at, event, ds, slot, revision or self.ledger[place].revision))

    def _behaviour(self, revision: str, files: tuple[BundleFile, ...]) -> Behaviour:
        texts = [revision]
        texts += [file.content.text for file in files if isinstance(file.content, Inline)]
        for mark, behaviour in self.faults.items():
            if any(mark in text for text in texts):
                return behaviour
        return HEALTHY

    def _all_units(self) -> list[SimUnit]:
        used = {name for copy in self.ledger.values() for name in copy.units}
        borrowed = [unit for name, unit in self.own_units.items() if name in used]
        return [*self.units.values(), *borrowed]

    def _deviations(self) -> list[FileDeviation]:
        found = []
        for path in sorted({path for copy in self.ledger.values() for path in copy.files}):
            file = self.files.get(path)
            if file is None or file.now is None:
                found.append(FileDeviation(path, Deviation.MISSING))
            elif file.now[0] != file.wrote[0]:
                found.append(FileDeviation(path, Deviation.EDITED))
            elif file.now[1] != file.wrote[1]:
                found.append(FileDeviation(path, Deviation.MODE))
        return found

    def _seen_containers(self) -> list[ContainerSeen]:
        now = self.uptime_s
        seen = dict(self.containers)
        for (ds, slot), copy in self.ledger.items():
            for name in copy.containers:
                unit = self.units.get(f"{name}.service")
                if copy.runtime is Runtime.SYSTEMD or unit is None or not unit.running(now):
                    continue
                state = unit.state(now)
                identity = hashlib.sha256(state.invocation.encode()).hexdigest()
                ours = ContainerSeen(identity, name, True, True, ds, slot, unit.stamp)  # noqa: FBT003
                seen.setdefault(name, ours)
        return [seen[name] for name in sorted(seen)]
