"""A simulated host: it reads the same requests as a real one, and answers with the same replies.

It keeps a ledger, files, units and containers, has a registry to pull from, and lets a test do to
it what happens to hosts: crashes, edits, masks, reboots, power cuts in the middle of an apply.
Contract tests hold it to what the real scripts do. Time comes from outside, so it lives in real
and in virtual time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from fleetd.core.actions import Mode
from fleetd.core.bundle import Bundle, BundleUnit, CheckKind, Inline, OnChange
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
from fleetd.core.stream import EventKind
from fleetd.host import replies, wire
from fleetd.host.paths import copy_dir
from fleetd.host.replies import Failed, Ok, Refused
from fleetd.host.requests import (
    Adopt,
    Apply,
    Exec,
    Follow,
    Load,
    Logs,
    Observe,
    Pull,
    Purge,
    Remove,
    Request,
)
from fleetd.ports import Output
from fleetd.testing import replacing
from fleetd.testing.commands import PowerCut, run_command
from fleetd.testing.images import Place, Registry, SimImages
from fleetd.testing.journal import Ears, SimJournal
from fleetd.testing.units import HEALTHY, Behaviour, SimUnit


class Answer(NamedTuple):
    """What came back, and how long the host took."""

    output: Output
    takes_s: float = 0.0


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


_LIVING = frozenset({Role.MAIN, Role.BORROWED, Role.TRIGGER})


class Work(Enum):
    """What an apply must do about running programs."""

    START = "start"
    RESTART = "restart"


def facts_of(name: str) -> HostFacts:
    """A Debian 12 host with podman."""
    return HostFacts(
        *(name, "linux", "amd64", "6.1.0-18-amd64", "debian 12"),
        systemd=252,
        podman="4.3.1",
    )


def _is_mark(path: str) -> bool:
    """Whether this is our drop-in at a unit that the host has already."""
    return ".d/50-fleetd-" in path


def _files_of(request: Apply) -> dict[str, SimFile]:
    """All files of a copy by path, with the per-host values beside the bundle's own."""
    files = {}
    for file in request.bundle.files:
        content = file.content
        data = (
            content.data()
            if isinstance(content, Inline)
            else request.secrets[f"{content.namespace}/{content.name}/{content.key}"]
        )
        files[file.path] = SimFile((data, file.mode), (data, file.mode), file.on_change)
    values = "".join(f"{name}={text}\n" for name, text in sorted(request.values.items())).encode()
    path = f"{copy_dir(request.bundle.ds, request.bundle.slot)}/host.env"
    files[path] = SimFile((values, 0o600), (values, 0o600), OnChange.NOTHING)
    return files


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
        """Units that the host had before fleetd came, to be borrowed or replaced."""
        self.missing_paths: set[str] = set()
        self.engine = SimImages(self.registry, clock)
        self.containers: dict[str, ContainerSeen] = {}
        """Containers that our units did not start, by name; they hide one of ours."""
        self.history: list[Moment] = []
        self.cut_at = ""
        """Where the power fails in the next apply: check, record, files, units, done."""
        self._borrowed: dict[str, tuple[bool, bool]] = {}
        self._boots = 0
        self._booted_at = clock()
        self.journal = SimJournal(lambda: self.uptime_s, lambda: self.boot_id)
        self._boot()

    @property
    def images(self) -> set[str]:
        """What its engine has, by name, digest or id."""
        return self.engine.present

    @property
    def up(self) -> bool:
        """Whether it answers: not while it is booting."""
        return self.clock() >= self._booted_at

    @property
    def uptime_s(self) -> float:
        """Seconds since it booted."""
        return self.clock() - self._booted_at

    @property
    def boot_id(self) -> str:
        """Another one after each boot."""
        return f"{self.machine_id[:8]}-boot-{self._boots}"

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

    def follow(self, stdin: bytes, ears: Ears) -> Callable[[], None]:
        """Tell what happens, from now on; returns what ends that. Raises ValueError, TypeError."""
        nonce, request = wire.decode(stdin)
        if not isinstance(request, Follow):
            raise TypeError("this is no request to follow")
        end = self.journal.follow(nonce, request, ears)
        for unit in self._all_units():
            self.journal.foresee(unit)
        return end

    def visit(self, request: Request) -> tuple[Ok | Failed | Refused, float]:
        """Carry out a typed request: the reply, and how long it took. Raises PowerCut."""
        match request:
            case Observe():
                facts = request.facts and request.boot != self.boot_id
                return Ok(self.observe(engine=request.engine, facts=facts)), 0.0
            case Pull() | Load():
                refused = self._refusal(request)
                return (refused, 0.0) if refused else self._bring(request)
            case Apply() | Remove() | Purge():
                return self._refusal(request) or self._fenced(request), 0.0
            case Adopt():
                return Ok(self.observe(facts=True), owner_key=self.owner_key), 0.0
            case Exec() | Logs() | Follow():
                raise TypeError("raw output is not a reply")

    def observe(self, *, engine: bool = True, facts: bool = False) -> Observation:
        """Everything that an observe visit brings home."""
        now = self.uptime_s
        shown = [unit for unit in self._all_units() if unit.started_at is not None or unit.fragment]
        return Observation(
            clock=Known(Clock(self.machine_id, self.boot_id, now)),
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
        self.journal.cut()
        self._boots += 1
        for place in self._alive():
            self._note("stop", place)
        self._booted_at = self.clock() + down_s
        self._boot()

    def crash(self, unit: str) -> None:
        """Kill the unit's main process; systemd restarts it."""
        self.unit(unit).crash(self.uptime_s)
        self._tell(EventKind.EXITED, unit)

    def stop(self, unit: str) -> None:
        """`systemctl stop`, by hand."""
        self.unit(unit).stop()
        self._tell(EventKind.STOPPED, unit)

    def mask(self, unit: str) -> None:
        """Put a link to /dev/null in place of the unit's file, by hand, and stop it."""
        found = self.unit(unit)
        found.masked = True
        self._tell(EventKind.RELOADED)
        self.stop(unit)
        if found.fragment in self.files:
            self.edit(found.fragment, b"")

    def disable(self, unit: str) -> None:
        """`systemctl disable`, by hand."""
        self.unit(unit).enabled = False
        self._tell(EventKind.RELOADED)

    def edit(self, path: str, data: bytes | None) -> None:
        """Change a delivered file by hand; None deletes it."""
        file = self.files[path]
        file.now = None if data is None else (data, file.wrote[1])
        self._tell(EventKind.FILES)

    def _tell(self, kind: EventKind, unit: str = "") -> None:
        """Have the journal tell it, and what becomes of the unit by itself."""
        self.journal.note(kind, unit)
        if unit:
            self.journal.foresee(self.unit(unit))

    def unit(self, name: str) -> SimUnit:
        """A unit by name. Raises KeyError."""
        return self.units[name] if name in self.units else self.own_units[name]

    # Requests.

    def _refusal(self, request: Apply | Remove | Purge | Pull | Load) -> Refused | None:
        owner = self.owner
        if owner and owner.fleet != request.fleet:
            return Refused(owner, f"this host belongs to fleet {owner.fleet}")
        if owner and request.term < owner.term:
            return Refused(
                owner,
                f"this host obeys term {owner.term}, and the order is of term {request.term}",
            )
        return None

    def _fenced(self, request: Apply | Remove | Purge) -> Ok | Failed | Refused:
        match request:
            case Apply():
                return self._apply(request)
            case Remove():
                places = [
                    place
                    for place in list(self.ledger)
                    if place[0] == request.ds and request.slot in {None, place[1]}
                ]
                if places:
                    self._own(request)
                notes = [note for place in places for note in self._remove(place)]
                return Ok(self.observe(), changed=bool(places), notes=tuple(notes))
            case Purge():
                notes = [note for place in list(self.ledger) for note in self._remove(place)]
                for image in list(self.engine.brought):
                    self.engine.forget(image)
                self.owner, self.owner_key = None, ""
                return Ok(self.observe(engine=False), changed=True, notes=tuple(notes))

    def _own(self, request: Apply | Remove) -> None:
        """Claim the host, or raise the term: only in a visit that changes something."""
        if self.owner is None and isinstance(request, Apply):
            self.owner_key = request.fleet_key
        self.owner = Owner(request.fleet, request.term)

    def _bring(self, request: Pull | Load) -> tuple[Ok, float]:
        if isinstance(request, Load):
            return self.engine.load(request), 0.0
        return self.engine.pull(request)

    def _apply(self, request: Apply) -> Ok | Failed:
        bundle = request.bundle
        place = (bundle.ds, Slot(bundle.slot))
        engine = bundle.runtime is not Runtime.SYSTEMD
        self._step("check")
        refusal = self._unmet(bundle) or replacing.refusal(request.replaces, bundle.ds, self.ledger)
        if refusal:
            return Failed(*refusal, self.observe(engine=engine))
        files = _files_of(request)
        wanted = LedgerCopy(
            *(bundle.ds, place[1], bundle.revision, bundle.digest(), bundle.runtime),
            units={unit.name: unit.role for unit in bundle.units},
            files=tuple(files),
            containers=bundle.containers,
            replaced=replacing.formers(
                *(request.replaces, place, self.ledger, self.own_units, self.uptime_s)
            ),
        )
        work = self._decide(request, wanted, files)
        if not work:
            return Ok(self.observe(engine=engine), changed=False)
        self._own(request)
        old = self.ledger.get(place)
        self.ledger[place] = replace(
            wanted,
            units={**(old.units if old else {}), **wanted.units},
            files=tuple(dict.fromkeys([*wanted.files, *(old.files if old else ())])),
            complete=False,
        )
        self._step("record")
        for path in old.files if old else ():
            if path not in files:
                self.files.pop(path, None)
        self.files.update(files)
        self._tell(EventKind.FILES)
        self._step("files")
        notes = replacing.put_away(request.replaces, self.own_units)
        for name in old.units if old else ():
            if name not in wanted.units:
                self._drop_unit(name)
        for unit in bundle.units:
            self._bring_up(unit, place, bundle, restart=work is Work.RESTART)
        self._step("units")
        self.ledger[place] = wanted
        self.engine.use(place, bundle.images)
        self._step("done")
        return Ok(self.observe(engine=engine), changed=True, notes=notes)

    def _unmet(self, bundle: Bundle) -> tuple[str, str] | None:
        """The step that refuses the bundle, and why."""
        other = self.ledger.get((bundle.ds, Slot.B if bundle.slot == Slot.A else Slot.A))
        if other is not None and other.revision == bundle.revision:
            held = f"slot {other.slot} holds a copy of revision {bundle.revision} already"
            return "check", f"{held}: two of one revision never run"
        for check in bundle.checks:
            if check.kind is CheckKind.UNIT_EXISTS:
                found = check.subject in self.own_units
            else:
                found = check.kind.value.startswith("make-") or (
                    check.subject not in self.missing_paths
                )
            if not found:
                return "check", f"{check.subject} is not a {check.kind}"
        for image in bundle.images:
            if image not in self.images:
                return "image", f"{image} is not on this host"
        return None

    def _decide(
        self, request: Apply, wanted: LedgerCopy, files: Mapping[str, SimFile]
    ) -> Work | None:
        """What the host needs to become what is wanted; None when it is so already."""
        old = self.ledger.get((wanted.ds, wanted.slot))
        contents = set()
        different = False
        for path, file in files.items():
            there = self.files.get(path)
            different = different or there is None or there.now != file.wrote
            if there is None or there.now is None:
                contents.add(OnChange.NOTHING if _is_mark(path) else file.on_change)
            elif there.now[0] != file.wrote[0]:
                contents.add(file.on_change)
        restart = request.mode is Mode.RESTART or OnChange.RESTART in contents
        if old is not None:
            restart = restart or not old.complete or not old.units.keys() <= wanted.units.keys()
        idle = restamp = False
        for wish in request.bundle.units:
            unit = self.units.get(wish.name) or self.own_units.get(wish.name)
            if unit is None or not unit.running(self.uptime_s):
                idle = idle or wish.enable or wish.role is Role.MAIN
            elif wish.role is Role.MAIN and unit.stamp != wanted.revision:
                restamp = True
                # Started by another revision: in order only if what differs needs no restart.
                restart = restart or not contents
            different = different or unit is None or unit.masked or (wish.enable > unit.enabled)
        different = different or bool(replacing.in_the_way(request.replaces, self.own_units))
        if restart:
            return Work.RESTART
        return Work.START if different or idle or restamp or old != wanted else None

    def _bring_up(self, wish: BundleUnit, place: Place, bundle: Bundle, *, restart: bool) -> None:
        unit = self._unit_for(wish.name, wish.role)
        unit.masked = False
        unit.enabled = unit.enabled or wish.enable
        unit.static = wish.role is Role.TRIGGERED
        unit.oneshot = wish.role is Role.INIT
        unit.revision = "" if wish.role is Role.TRIGGER else bundle.revision
        if wish.role is Role.MAIN:
            unit.behaviour = self._behaviour(bundle)
            unit.probed = any(other.role is Role.PROBE for other in bundle.units)
        idle = unit.started_at is None
        if wish.role is Role.TRIGGERED and restart:
            unit.stop()  # nobody but its trigger starts it
        elif restart or (idle and (wish.enable or wish.role is Role.MAIN)):
            if wish.role in {Role.MAIN, Role.TRIGGER} and not idle:
                self._note("stop", place, unit.stamp)
            self.containers.pop(unit.name.removesuffix(".service"), None)
            unit.start(self.uptime_s)
            self._tell(EventKind.STARTED, unit.name)
            if wish.role in _LIVING:
                self._note("start", place, bundle.revision)
        elif not idle:
            unit.stamp = unit.revision

    def _unit_for(self, name: str, role: Role) -> SimUnit:
        if role is Role.BORROWED:
            unit = self.own_units[name]
            self._borrowed.setdefault(name, (unit.enabled, unit.started_at is not None))
            return unit
        unit = self.units.setdefault(name, SimUnit(name, self.name))
        unit.fragment = f"/etc/systemd/system/{name}"
        return unit

    def _remove(self, place: Place) -> tuple[str, ...]:
        """Take a copy away; what became of the host's own units, in its words."""
        copy = self.ledger[place]
        self._tell(EventKind.FILES)
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
        self.engine.use(place, ())
        return replacing.bring_back(copy, others, self.own_units, self.uptime_s)

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
        for unit in self._all_units():
            if unit.started_at is not None:
                self.journal.note(EventKind.STARTED, unit.name)
        self.engine.pulls.clear()

    def _alive(self) -> list[Place]:
        """The copies of which a main unit is started."""
        started = {unit.name for unit in self._all_units() if unit.started_at is not None}
        return [
            place
            for place, copy in self.ledger.items()
            if any(name in started and role in _LIVING for name, role in copy.units.items())
        ]

    def _note(self, event: str, place: Place, revision: str = "") -> None:
        ds, slot = place
        at = max(self.clock(), self._booted_at) if event == "start" else self.clock()
        moment = Moment(at, event, ds, slot, revision or self.ledger[place].revision)
        if self.history[-1:] != [moment]:  # a copy of several units starts once
            self.history.append(moment)

    def _behaviour(self, bundle: Bundle) -> Behaviour:
        texts = [bundle.revision, *bundle.images]
        texts += [file.content.text for file in bundle.files if isinstance(file.content, Inline)]
        for mark, behaviour in self.faults.items():
            if any(mark in text for text in texts):
                return behaviour
        return HEALTHY

    def _all_units(self) -> list[SimUnit]:
        used = {name for copy in self.ledger.values() for name in (*copy.units, *copy.replaced)}
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
                if unit.oneshot:
                    continue  # its container has ended
                state = unit.state(now)
                identity = hashlib.sha256(state.invocation.encode()).hexdigest()
                ours = ContainerSeen(identity, name, True, True, ds, slot, unit.stamp)  # noqa: FBT003
                seen.setdefault(name, ours)
        return [seen[name] for name in sorted(seen)]
