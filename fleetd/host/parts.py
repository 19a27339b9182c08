"""The parts of a reply: for each, how a host writes it and how it is read, side by side.

Readers take the part's lines (already free of control characters but for the tab) and raise
ValueError for anything they cannot read; the caller makes that part Unknown. Writers serve
simulated hosts and are the twin of what the shell prints: `read(write(x)) == x`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fleetd.core.facts import (
    UP,
    Clock,
    ContainerSeen,
    Deviation,
    FileDeviation,
    Former,
    HostFacts,
    LedgerCopy,
    Owner,
    Role,
    Runtime,
    Slot,
    UnitState,
)
from fleetd.core.meta import Key
from fleetd.host import lines

_ARCHITECTURE = re.compile(r"[a-z0-9_]{2,20}")
_OPERATION = "fleetd-op-"
"""Transient units of pulls: never part of a copy."""


class Stamp(NamedTuple):
    """What the last start of a unit wrote."""

    revision: str
    invocation: str


class ProbeResult(NamedTuple):
    """What the last probe of a unit said, and of which start of it."""

    invocation: str
    ok: bool
    message: str
    since_s: float | None = None
    """The uptime at which it began to pass."""


def read_clock(rows: Sequence[str]) -> Clock:
    """`machine-id, boot-id, uptime`."""
    (row,) = rows
    machine_id, boot_id, uptime = lines.split(row)
    if not machine_id or not boot_id:
        raise ValueError("no machine id or no boot id")
    return Clock(machine_id, boot_id, float(uptime))


def write_clock(clock: Clock) -> Iterator[str]:
    """As `read_clock`."""
    yield lines.join(clock.machine_id, clock.boot_id, f"{clock.uptime_s:.2f}")


def read_owner(rows: Sequence[str]) -> Owner | None:
    """`fleet, term`, or nothing where no fleet has claimed the host."""
    if not rows:
        return None
    (row,) = rows
    fleet, term = lines.split(row)
    if not fleet:
        raise ValueError("an owner without a name")
    return Owner(fleet, int(term))


def write_owner(owner: Owner | None) -> Iterator[str]:
    """As `read_owner`."""
    if owner:
        yield lines.join(owner.fleet, owner.term)


def read_ledger(rows: Sequence[str]) -> tuple[LedgerCopy, ...]:
    """The host's ledger: the columns that are of use here. Other kinds of line are passed over."""
    copies: dict[tuple[str, str], LedgerCopy] = {}
    units: dict[tuple[str, str], dict[str, Role]] = {}
    paths: dict[tuple[str, str], list[str]] = {}
    containers: dict[tuple[str, str], list[str]] = {}
    replaced: dict[tuple[str, str], dict[str, Former]] = {}
    for row in rows:
        kind, ds, slot, *rest = lines.split(row)
        place = (ds, slot)
        match kind:
            case "copy":
                revision, bundle, runtime, complete, *_ = rest
                copies[place] = LedgerCopy(
                    *(lines.key(ds), Slot(slot), revision, bundle, Runtime(runtime)),
                    complete=lines.flag(complete),
                )
            case "unit":
                units.setdefault(place, {})[rest[0]] = Role(rest[1])
            case "file":
                paths.setdefault(place, []).append(rest[0])
            case "container":
                containers.setdefault(place, []).append(rest[0])
            case "replaced":
                replaced.setdefault(place, {})[rest[0]] = Former(rest[1], rest[2])
            case _:
                pass
    if not copies.keys() >= units.keys() | paths.keys() | containers.keys() | replaced.keys():
        raise ValueError("the ledger has lines of a copy that it does not name")
    return tuple(
        LedgerCopy(
            *(copy.ds, copy.slot, copy.revision, copy.bundle, copy.runtime),
            units=units.get(place, {}),
            files=tuple(paths.get(place, ())),
            containers=tuple(containers.get(place, ())),
            complete=copy.complete,
            replaced=replaced.get(place, {}),
        )
        for place, copy in copies.items()
    )


def write_ledger(copies: Iterable[LedgerCopy]) -> Iterator[str]:
    """As `read_ledger`."""
    for copy in copies:
        place = (copy.ds, copy.slot)
        yield lines.join(*("copy", *place, copy.revision, copy.bundle, copy.runtime, copy.complete))
        for name, role in copy.units.items():
            yield lines.join("unit", *place, name, role)
        for path in copy.files:
            yield lines.join("file", *place, path)
        for name in copy.containers:
            yield lines.join("container", *place, name)
        for name, former in copy.replaced.items():
            yield lines.join("replaced", *place, name, former.file_state, former.active)


def read_files(rows: Sequence[str]) -> tuple[FileDeviation, ...]:
    """`kind, path` for each file that differs from the ledger."""
    pairs = [lines.split(row) for row in rows]
    return tuple(FileDeviation(path, Deviation(kind)) for kind, path in pairs)


def write_files(deviations: Iterable[FileDeviation]) -> Iterator[str]:
    """As `read_files`."""
    for deviation in deviations:
        yield lines.join(deviation.kind, deviation.path)


def read_stamps(rows: Sequence[str]) -> dict[str, Stamp]:
    """`unit, revision, invocation`."""
    return {unit: Stamp(*rest) for unit, *rest in map(lines.split, rows)}


def read_probes(rows: Sequence[str]) -> dict[str, ProbeResult]:
    """`unit, invocation, ok[@uptime]|fail, message`."""
    results = {}
    for row in rows:
        unit, invocation, said, *message = lines.split(row)
        word, _, since = said.partition("@")
        if word not in {"ok", "fail"}:
            raise ValueError(f"{said!r} is no probe result")
        since_s = float(since) if since else None
        results[unit] = ProbeResult(invocation, word == "ok", " ".join(message), since_s)
    return results


def read_units(
    rows: Sequence[str],
    uptime_s: float,
    stamps: Mapping[str, Stamp],
    probes: Mapping[str, ProbeResult],
) -> tuple[UnitState, ...]:
    """Blocks of `key=value` as `systemctl show` prints them, keys in any order (P 54), by name.

    A probe counts only for the start of the unit that it looked at.
    """
    blocks: list[dict[str, str]] = [{}]
    for row in rows:
        if not row:
            blocks.append({})
            continue
        name, equals, value = row.partition("=")
        if not equals:
            raise ValueError(f"{row[:40]!r} is not key=value")
        blocks[-1][name] = value
    found = {block["Id"]: block for block in blocks if block}
    return tuple(
        _unit(block, uptime_s, stamps.get(name), probes.get(name))
        for name, block in sorted(found.items())
        if not name.startswith(_OPERATION)
    )


def _unit(
    block: Mapping[str, str], uptime_s: float, stamp: Stamp | None, probe: ProbeResult | None
) -> UnitState:
    entered = int(block.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
    invocation = block.get("InvocationID", "")
    if probe and probe.invocation != invocation:
        probe = None
    return UnitState(
        id=block["Id"],
        load=block["LoadState"],
        active=block["ActiveState"],
        sub=block["SubState"],
        result=block.get("Result", ""),
        exec_status=int(block.get("ExecMainStatus") or 0),
        restarts=int(block.get("NRestarts") or 0),
        invocation=invocation,
        active_for_s=(
            round(max(0.0, uptime_s - entered), 2) if block["ActiveState"] in UP else None
        ),
        need_reload=block.get("NeedDaemonReload") == "yes",
        file_state=block.get("UnitFileState", ""),
        fragment=block.get("FragmentPath", ""),
        drop_ins=tuple(block.get("DropInPaths", "").split()),
        job=block.get("Job", "") not in {"", "0"},
        stamp_revision=stamp.revision if stamp else "",
        stamp_invocation=stamp.invocation if stamp else "",
        probe=probe.ok if probe else None,
        probe_message=probe.message if probe else "",
        passing_for_s=(
            round(max(0.0, uptime_s - probe.since_s), 2)
            if probe and probe.ok and probe.since_s is not None
            else None
        ),
    )


def write_units(units: Iterable[UnitState], uptime_s: float) -> Iterator[str]:
    """As `systemctl show` would."""
    for unit in units:
        entered = 0.0 if unit.active_for_s is None else uptime_s - unit.active_for_s
        yield f"Id={unit.id}"
        yield f"LoadState={unit.load}"
        yield f"ActiveState={unit.active}"
        yield f"SubState={unit.sub}"
        yield f"Result={unit.result}"
        yield f"ExecMainStatus={unit.exec_status}"
        yield f"NRestarts={unit.restarts}"
        yield f"InvocationID={unit.invocation}"
        yield f"ActiveEnterTimestampMonotonic={round(max(0.0, entered) * 1e6)}"
        yield f"NeedDaemonReload={'yes' if unit.need_reload else 'no'}"
        yield f"UnitFileState={unit.file_state}"
        yield f"FragmentPath={unit.fragment}"
        yield f"DropInPaths={' '.join(unit.drop_ins)}"
        yield f"Job={1 if unit.job else 0}"
        yield ""


def write_stamps(units: Iterable[UnitState]) -> Iterator[str]:
    """The stamps of those units that have one."""
    for unit in units:
        if unit.stamp_revision or unit.stamp_invocation:
            yield lines.join(unit.id, unit.stamp_revision, unit.stamp_invocation)


def write_probes(units: Iterable[UnitState]) -> Iterator[str]:
    """The probe results of those units that have one."""
    for unit in units:
        if unit.probe is not None:
            word = "ok" if unit.probe else "fail"
            yield lines.join(unit.id, unit.invocation, word, unit.probe_message)


def read_engine(rows: Sequence[str]) -> tuple[ContainerSeen, ...]:
    """`id, name, running, ours, ds, slot, revision`; docker's slash before a name is dropped."""
    seen = {}
    for row in rows:
        identity, name, running, ours, ds, slot, revision = lines.split(row)
        seen[identity] = ContainerSeen(
            id=identity,
            name=name.removeprefix("/"),
            running=lines.flag(running),
            ours=lines.flag(ours),
            ds=_label_key(ds),
            slot=Slot(slot) if slot in {"a", "b"} else None,
            revision=revision,
        )
    return tuple(seen.values())


def _label_key(text: str) -> Key | None:
    try:
        return lines.key(text)
    except ValueError:
        return None


def write_engine(containers: Iterable[ContainerSeen]) -> Iterator[str]:
    """As `read_engine`."""
    for seen in containers:
        yield lines.join(
            *(seen.id, seen.name, seen.running, seen.ours),
            *(seen.ds or "", seen.slot or "", seen.revision),
        )


def read_facts(rows: Sequence[str]) -> HostFacts:
    """`name, value` for each field of HostFacts."""
    facts = dict(lines.split(row)[:2] for row in rows)
    if not _ARCHITECTURE.fullmatch(facts["arch"]):
        raise ValueError(f"{facts['arch']!r} is no architecture")
    return HostFacts(
        hostname=facts["hostname"],
        os=facts["os"],
        arch=facts["arch"],
        kernel=facts["kernel"],
        distribution=facts["distribution"],
        systemd=int(facts["systemd"]),
        podman=facts["podman"],
        docker=facts["docker"],
        cgroup=int(facts["cgroup"]),
        selinux=lines.flag(facts["selinux"]),
    )


def write_facts(facts: HostFacts) -> Iterator[str]:
    """As `read_facts`."""
    for name in HostFacts.__slots__:
        yield lines.join(name, getattr(facts, name))
