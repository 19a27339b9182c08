"""What runs on a host: one visit's facts, judged into copies with their state and their damage.

A copy is ready when every main unit is active, was started by the revision that the ledger names,
and passes its probe; it is available once that has lasted for the minimum on the host's own clock
(K 77-79, P 92). Damage is a difference to the host's ledger, never to what a newer fleetd would
render.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from fleetd.core.actions import Mode
from fleetd.core.daemonset import DaemonSet, SystemdSpec
from fleetd.core.facts import (
    UP,
    Deviation,
    LedgerCopy,
    Observation,
    Role,
    Slot,
    UnitState,
    Unknown,
)
from fleetd.core.hostview import HostView, parse_unit_name, read
from fleetd.core.members import Member, member
from fleetd.core.meta import Key
from fleetd.core.records import Phase

SETTLE_S = 10.0
"""How long a copy must run when nothing says otherwise: one dying every 3 s reads active often."""

ENGINE_SETTLE_S = 5.0
"""A unit that became active later than this may not have its container yet."""

_AGAIN = frozenset({"auto-restart", "auto-restart-queued"})
"""Ended, and started again by systemd; since 254 it tells apart those whose start has to wait."""

VENDOR_UNITS = ("/usr/lib/", "/lib/")
"""Where drop-ins lie that came with the system, and are nobody's change."""


class DamageKind(StrEnum):
    """How a copy differs from its ledger."""

    STOPPED = "stopped"
    FAILED = "failed"
    MASKED = "masked"
    DISABLED = "disabled"
    UNIT_MISSING = "unit missing"
    UNIT_BROKEN = "unit not loadable"
    NEEDS_RELOAD = "needs daemon-reload"
    FILE_MISSING = "file missing"
    FILE_EDITED = "file edited"
    FILE_MODE = "file mode or owner changed"
    CONTAINER_MISSING = "container missing"
    CONTAINER_FOREIGN = "container replaced"
    CUT = "apply was cut"
    STALE = "runs another revision than its files"
    EXTRA = "not in the ledger"
    REPLACED = "unit that is replaced is there"


@dataclass(frozen=True, slots=True)
class Damage:
    """One difference: what, where (unit, path or container), and what mending it takes."""

    kind: DamageKind
    subject: str
    mode: Mode

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}" if self.subject else str(self.kind)


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a DaemonSet on one host, as observed.

    `revision` and `bundle` are the ledger's; `running_revision` is what the last start stamped (""
    when that cannot be said). `ready_in_s` is the time after which the copy is available if nothing
    happens, None when time alone will not do. `active` says that a main unit runs, so that a
    restart would stop something. `foreign` are drop-ins that are not ours: reported only. A copy
    that is not in the ledger (`ledgered` false) is never ready. `replaced` are the units of the
    host in whose place it runs, with how they were before, in words. `restarted` is why a probe or
    a hook had it started again last, where that is known.
    """

    ds: Key
    slot: Slot
    revision: str
    running_revision: str = ""
    bundle: str = ""
    phase: Phase = Phase.STOPPED
    ready: bool = False
    available: bool = False
    ready_in_s: float | None = None
    active: bool = False
    active_for_s: float = 0.0
    restarts: int = 0
    damage: tuple[Damage, ...] = ()
    foreign: tuple[str, ...] = ()
    message: str = ""
    ledgered: bool = True
    replaced: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    restarted: str = ""


def min_ready_s(daemonset: DaemonSet) -> float:
    """How long a copy must be ready to be available: as the manifest says, else 10 s or a probe."""
    if daemonset.spec.min_ready_seconds:
        return float(daemonset.spec.min_ready_seconds)
    spec = daemonset.spec.template.spec
    if isinstance(spec, SystemdSpec):
        probed = spec.systemd.readiness_probe is not None
    else:
        probed = any(
            each.readiness_probe or each.startup_probe
            for each in (*spec.init_containers, *spec.containers)
        )
    return 0.0 if probed else SETTLE_S


def judge(observation: Observation, ds: Key, min_ready: float) -> tuple[Copy, ...] | Unknown:
    """The copies of one DaemonSet on a host, by slot; Unknown when that cannot be said."""
    view = read(observation)
    return view if isinstance(view, Unknown) else judge_view(view, ds, min_ready)


def judge_view(
    view: HostView, ds: Key, min_ready: float, replaces: Collection[str] = ()
) -> tuple[Copy, ...]:
    """As `judge`, on an observation that was indexed already.

    `replaces` are the units of the host that are to be out of the way while a copy is there.
    """
    strays = view.strays.get(ds, ())
    copies = [
        _judge_copy(
            view, entry, tuple(s for s in strays if s[0] is entry.slot), min_ready, replaces
        )
        for entry in view.ledger.get(ds, ())
    ]
    if strays:
        taken = {copy.slot for copy in copies}
        copies += [
            _stray_copy(ds, slot, tuple(stray for stray in strays if stray[0] is slot))
            for slot in Slot
            if slot not in taken and any(stray[0] is slot for stray in strays)
        ]
    return tuple(copies)


def _container_of(unit: str) -> str:
    """The container whose unit it is; the unit's own name where that was cut."""
    return unit.split(".")[2] if parse_unit_name(unit) else unit


def _stray_copy(ds: Key, slot: Slot, strays: tuple[tuple[Slot, str, bool], ...]) -> Copy:
    active = any(running for _, _, running in strays)
    return Copy(
        ds=ds,
        slot=slot,
        revision="",
        phase=Phase.RUNNING if active else Phase.STOPPED,
        active=active,
        damage=tuple(Damage(DamageKind.EXTRA, name, Mode.RESTART) for _, name, _ in strays),
        message=f"{', '.join(name for _, name, _ in strays)}: not in the host's ledger",
        ledgered=False,
    )


def _judge_copy(
    view: HostView,
    entry: LedgerCopy,
    strays: tuple[tuple[Slot, str, bool], ...],
    min_ready: float,
    replaces: Collection[str],
) -> Copy:
    units = _Units(
        living=_units(view, entry, _LIVING),
        triggered=_units(view, entry, (Role.TRIGGERED,)),
        inits=_units(view, entry, (Role.INIT,)),
    )
    mains, triggered = units.living, units.triggered
    active = any(_is_up(unit) for unit in (*mains, *triggered))
    restarts = sum(unit.restarts for unit in mains)
    damage = [
        *_cut_damage(entry),
        *_unit_damage(view, entry, active=active),
        *_file_damage(view, entry),
        *_container_damage(view, entry),
        *(Damage(DamageKind.EXTRA, name, Mode.START) for _, name, _ in strays),
        *_replaced_damage(view, entry, replaces),
    ]
    gone = any(d.kind in _CONTAINER_GONE for d in damage)
    started = (
        bool(mains)
        and all(_is_started(entry, unit) for unit in mains)
        and all(_ran_well(entry, unit) for unit in triggered)
    )
    probing = [name for name, role in entry.units.items() if role is Role.PROBE]
    probes = [_probe(view, name, several=len(probing) > 1) for name in probing]
    ready = started and not gone and all(probe is True for probe, _ in probes)
    settle = SETTLE_S if restarts else 0.0
    active_for = min((unit.active_for_s or 0.0 for unit in mains), default=0.0)
    rest = max(min_ready - _ready_for(view, probing, active_for), settle - active_for)
    phase = _phase(units)
    return Copy(
        ds=entry.ds,
        slot=entry.slot,
        revision=entry.revision,
        running_revision=_running_revision(entry, [*mains, *triggered]),
        bundle=entry.bundle,
        phase=phase,
        ready=ready,
        available=ready and rest <= 0,
        ready_in_s=rest if ready and rest > 0 else None,
        active=active,
        active_for_s=active_for,
        restarts=restarts,
        damage=tuple(damage),
        foreign=tuple(_foreign(view, entry)),
        message=_message(units, probes, damage, ready=ready, rest=rest),
        replaced=tuple(f"{name} (was {was})" for name, was in entry.replaced.items()),
        members=tuple(_members(view, units)),
        restarted=_restarted(units, probes),
    )


_LIVING = (Role.MAIN, Role.BORROWED, Role.TRIGGER)
"""The roles of units that run for as long as the copy lives."""


@dataclass(frozen=True, slots=True)
class _Units:
    """The units of one copy, by what they are for."""

    living: list[UnitState]
    triggered: list[UnitState]
    inits: list[UnitState]

    @property
    def awaited(self) -> list[UnitState]:
        """The init containers, as long as others wait for them."""
        return [] if all(_is_up(unit) for unit in self.living) else self.inits


_CONTAINER_GONE = frozenset({DamageKind.CONTAINER_MISSING, DamageKind.CONTAINER_FOREIGN})


def _units(view: HostView, entry: LedgerCopy, roles: Collection[Role]) -> list[UnitState]:
    return [
        view.units.get(name) or UnitState(id=name)
        for name, role in entry.units.items()
        if role in roles
    ]


def _members(view: HostView, units: _Units) -> Iterator[Member]:
    """The containers one by one; a name with an underscore is fleetd's own, such as a holder's."""
    over = bool(units.living) and all(_is_up(unit) for unit in units.living)
    for initial, found in ((True, units.inits), (False, units.living)):
        for unit in found:
            name = _container_of(unit.id)
            if name.startswith("_") or parse_unit_name(unit.id) is None:
                continue
            prober = f"{unit.id.removesuffix('.service')}.probe.service"
            probed = prober in view.units
            probe = _probe(view, prober, several=False)[0] if probed else True
            yield member(name, unit, probe=probe, initial=initial, over=over)


def _is_up(unit: UnitState) -> bool:
    return unit.active in UP


def _is_started(entry: LedgerCopy, unit: UnitState) -> bool:
    """Up, and by the revision of the ledger; a borrowed unit or a trigger stamps nothing."""
    if not _is_up(unit):
        return False
    if entry.units[unit.id] is not Role.MAIN:
        return True
    # How a reload goes on is told by more and more words; only what runs a hook is not there yet.
    through = unit.active != "active" or unit.sub in {"running", "exited"}
    return through and _stamped(unit) == entry.revision


def _ran_well(entry: LedgerCopy, unit: UnitState) -> bool:
    """Whether a service that a timer or socket starts is in order: it need not run now.

    Its last run must not have failed, and one that is under way must be of this revision.
    """
    return unit.active != "failed" and (not _is_up(unit) or _stamped(unit) == entry.revision)


def _stamped(unit: UnitState) -> str:
    """The revision that this very run was started from; "" when its start left no stamp."""
    return unit.stamp_revision if unit.stamp_invocation == unit.invocation else ""


def _running_revision(entry: LedgerCopy, mains: list[UnitState]) -> str:
    stamps = {
        entry.revision if entry.units[unit.id] in {Role.BORROWED, Role.TRIGGER} else _stamped(unit)
        for unit in mains
        if _is_up(unit)
    }
    return stamps.pop() if len(stamps) == 1 else ""


def _phase(units: _Units) -> Phase:
    states = {unit.active for unit in (*units.living, *units.awaited)}
    if "failed" in states or any(unit.active == "failed" for unit in units.triggered):
        return Phase.FAILED
    if states and all(_is_up(unit) for unit in units.living):
        return Phase.RUNNING
    if states & {"activating", "deactivating"} or any(unit.job for unit in units.living):
        return Phase.STARTING
    return Phase.STOPPED


def _ready_for(view: HostView, probing: list[str], active_for: float) -> float:
    """How long all that are up have also passed their probes (K 78)."""
    beside = (view.units.get(name.replace(".probe.", ".")) for name in probing)
    passing = [unit.passing_for_s for unit in beside if unit is not None]
    return min([active_for, *(seconds for seconds in passing if seconds is not None)])


def _restarted(units: _Units, probes: list[tuple[bool | None, str]]) -> str:
    """Why a probe or a hook had a container started again, while that is known."""
    for unit in units.living:
        if unit.sub in _AGAIN and unit.probe is False:
            return unit.probe_message
    found = (text.partition("restarted: ") for _, text in probes)
    return next((cause for _, said, cause in found if said), "")


def _probe(view: HostView, name: str, *, several: bool) -> tuple[bool | None, str]:
    """The result of a probe unit: beside itself, or beside the main unit it is named after."""
    whose = f"{_container_of(name)}: " if several else ""
    for unit_id in (name, name.replace(".probe.", ".")):
        unit = view.units.get(unit_id)
        if unit is not None and unit.probe is not None:
            return unit.probe, unit.probe_message and f"{whose}{unit.probe_message}"
    return None, f"{whose}probes have no result yet" if several else ""


def _cut_damage(entry: LedgerCopy) -> Iterator[Damage]:
    if not entry.complete:
        yield Damage(DamageKind.CUT, "", Mode.RESTART)


def _unit_damage(view: HostView, entry: LedgerCopy, *, active: bool) -> Iterator[Damage]:
    for name, role in entry.units.items():
        unit = view.units.get(name) or UnitState(id=name)
        if unit.load == "masked" or unit.file_state.startswith("masked"):
            yield Damage(DamageKind.MASKED, name, Mode.RESTART)
        elif unit.load == "not-found":
            yield Damage(DamageKind.UNIT_MISSING, name, Mode.RESTART)
        elif unit.load != "loaded":
            yield Damage(DamageKind.UNIT_BROKEN, name, Mode.RESTART)
        if unit.file_state == "disabled" and role is not Role.TARGET:
            yield Damage(DamageKind.DISABLED, name, Mode.RELOAD)
        if unit.need_reload:
            yield Damage(DamageKind.NEEDS_RELOAD, name, Mode.RELOAD)
        if not _is_idle(view, entry, unit, role, active=active):
            yield from _state_damage(unit, role, entry.revision)


def _is_idle(
    view: HostView, entry: LedgerCopy, unit: UnitState, role: Role, *, active: bool
) -> bool:
    """Whether it is in order that the unit does not run.

    A target only groups. A probe is bound to its own unit. An init container has done its work when
    the others are up.
    """
    if role is Role.PROBE:
        probed = unit.id.replace(".probe.", ".")
        return not (_is_up(view.units[probed]) if probed in view.units else active)
    if role is Role.INIT:
        return all(_is_up(main) for main in _units(view, entry, (Role.MAIN,)))
    return role is Role.TARGET


def _state_damage(unit: UnitState, role: Role, revision: str) -> Iterator[Damage]:
    """What its state alone is to be mended for."""
    if unit.active == "failed" and role is not Role.TRIGGERED:
        yield Damage(DamageKind.FAILED, unit.id, Mode.START)
    elif unit.active == "inactive" and not unit.job and role is not Role.TRIGGERED:
        yield Damage(DamageKind.STOPPED, unit.id, Mode.START)
    elif role in {Role.MAIN, Role.TRIGGERED} and _is_up(unit) and _stamped(unit) != revision:
        yield Damage(DamageKind.STALE, unit.id, Mode.RESTART)


def _replaced_damage(
    view: HostView, entry: LedgerCopy, replaces: Collection[str]
) -> Iterator[Damage]:
    """Units that this copy replaces, and that are not out of its way (any more)."""
    for name in replaces:
        unit = view.units.get(name) or UnitState(id=name)
        runs = _is_up(unit) or unit.active == "activating"
        if name not in entry.replaced or runs or unit.file_state.startswith("enabled"):
            yield Damage(DamageKind.REPLACED, name, Mode.START)


_FILE_DAMAGE = {
    Deviation.MISSING: (DamageKind.FILE_MISSING, Mode.RESTART),
    Deviation.EDITED: (DamageKind.FILE_EDITED, Mode.RESTART),
    Deviation.MODE: (DamageKind.FILE_MODE, Mode.RELOAD),
}


def _file_damage(view: HostView, entry: LedgerCopy) -> Iterator[Damage]:
    if not view.deviations:
        return
    for path in entry.files:
        if kind := view.deviations.get(path):
            damage, mode = _FILE_DAMAGE[kind]
            yield Damage(damage, path, mode)


def _container_damage(view: HostView, entry: LedgerCopy) -> Iterator[Damage]:
    """A container that is not what its unit thinks, where the engine was asked and answered."""
    if view.containers is None:
        return
    for name in entry.containers:
        unit = view.units.get(f"{name}.service")
        up = unit is not None and _is_up(unit)
        if up and entry.units.get(f"{name}.service") is Role.INIT:
            continue  # it has ended
        container = view.containers.get(name)
        if container is not None and not container.ours:
            yield Damage(DamageKind.CONTAINER_FOREIGN, name, Mode.RESTART if up else Mode.START)
            continue
        settled = unit is not None and up and (unit.active_for_s or 0.0) >= ENGINE_SETTLE_S
        if settled and (container is None or not container.running):
            # An active unit is not started again, so only a restart brings its container back.
            yield Damage(DamageKind.CONTAINER_MISSING, name, Mode.RESTART)


def _foreign(view: HostView, entry: LedgerCopy) -> Iterator[str]:
    for name, role in entry.units.items():
        unit = view.units.get(name)
        if unit is None or role is Role.BORROWED:
            continue
        for path in unit.drop_ins:
            if path not in entry.files and not path.startswith(VENDOR_UNITS):
                yield path


def _message(
    units: _Units,
    probes: list[tuple[bool | None, str]],
    damage: list[Damage],
    *,
    ready: bool,
    rest: float,
) -> str:
    """The one sentence that tells best why a copy is not available, or what is wrong with it."""
    living = units.living
    for unit in (*living, *units.triggered, *units.awaited):
        if unit.active == "failed" or unit.sub in _AGAIN:
            state = "failed" if unit.active == "failed" else "died and is restarted by systemd"
            cause = f"{unit.result}, exit status {unit.exec_status}"
            if unit.probe is False:  # a hook or a probe had it stopped
                cause = unit.probe_message
            return f"{unit.id} {state} ({cause}, {unit.restarts} restarts)"
    for unit in units.awaited:
        if unit.active == "activating":
            goes = f"fails: {unit.probe_message}" if unit.probe is False else "runs"
            return f"init container {_container_of(unit.id)} {goes}"
    if damage:
        return "; ".join(str(entry) for entry in damage)
    if waits := _waits_for(living, probes):
        return waits
    told = "; ".join(text for _, text in probes if text)  # why they were started again
    if ready and rest > 0:
        restarts = sum(unit.restarts for unit in living)
        why = told or (f"{restarts} restarts" if restarts else "")
        return f"ready, available in {rest:.0f} s" + (f", {why}" if why else "")
    return told


def _waits_for(living: list[UnitState], probes: list[tuple[bool | None, str]]) -> str:
    """The hook, probe or unit that is not there yet."""
    for unit in living:
        if unit.sub == "start-post":
            return f"postStart hook of {_container_of(unit.id)} runs"
    for result, text in probes:
        if result is not True:
            return text or f"probes {'have no result yet' if result is None else 'fail'}"
    for unit in living:
        if not _is_up(unit):
            return f"{unit.id} is {unit.active} ({unit.sub})"
    return ""
