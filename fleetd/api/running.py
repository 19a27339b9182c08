"""Runs of the engine, and their reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fleetd.api.delete import finish
from fleetd.api.reading import SOURCES, sources
from fleetd.api.rehearsal import Rehearsal
from fleetd.api.reports import Change, Entry, Progress, Report, RunOptions
from fleetd.api.session import Session
from fleetd.core.actions import (
    Action,
    Decision,
    Held,
    Reason,
    Skipped,
    UnknownHost,
    Wait,
)
from fleetd.core.copies import judge
from fleetd.core.facts import Known, Unknown
from fleetd.core.meta import Key
from fleetd.core.records import AuditRecord, InstanceRecord, ObjectRecord, Setting
from fleetd.engine.executor import Step
from fleetd.engine.passes import Pass, Run
from fleetd.engine.recording import trim_events
from fleetd.errors import Refused
from fleetd.ports import Put

_WAITING = {
    "ProgressDeadlineExceeded": "the rollout failed",
    "RolloutStalled": "the rollout waits for hosts",
    "RolloutPaused": "the rollout is paused",
}
"""Reasons of a DaemonSet's conditions that tell of a rollout which does not go on by itself."""


async def run(
    session: Session,
    scope: frozenset[Key] | None,
    options: RunOptions,
    progress: Progress,
    changes: tuple[Change, ...] = (),
) -> Report:
    """Bring these DaemonSets about, within the bounds of the options, and report."""
    check_sources(session, options)
    if options.dry_run:
        rehearsal = replace(session, store=Rehearsal(session.store))
        planned = await rehearsal.reconciler(scope, options, progress).once(act=False)
        return _report(Run(planned, (), "settled"), options, changes, planned.plan.actions)
    if options.confirm_removals is not None:
        told = f"of copies on up to {options.confirm_removals} hosts"
        audit = AuditRecord(session.clock.now(), session.who, "confirm", "Removals", told)
        session.store.commit([Put(audit)])
    if session.loop is not None:
        ended = await session.loop.perform(scope, options, progress)
        return _report(ended, options, changes)
    trim_events(session.store)  # a service does so as time goes by
    reconciler = session.reconciler(scope, options, progress)
    if not options.wait:
        done = await reconciler.once()
        return _report(Run(done, done.steps, "once"), options, changes)
    ended = await reconciler.converge(options.timeout_s)
    decisions, now = ended.last.plan.decisions, session.clock.now()
    finish(session.store, decisions, scope, now=now, who=session.who)
    return _report(ended, options, changes)


async def drain(
    session: Session,
    nodes: Sequence[str],
    options: RunOptions,
    progress: Progress,
    changes: tuple[Change, ...],
) -> Report:
    """Take copies off nodes, or bring them back; what is done elsewhere is told, and not judged.

    Done is what was seen to be done: a copy on a host that does not answer counts as there.
    """
    rows = [row for name in nodes for row in session.store.read(InstanceRecord, node=name)]
    known = session.store.read(ObjectRecord, kind="DaemonSet")
    scope = frozenset(Key(row.namespace, row.name) for row in rows)
    scope |= {Key(row.namespace, row.name) for row in known}
    if not scope:
        return Report(changes=changes)
    report = await run(session, scope, options, progress, changes)
    holders = {
        key: {node: why for node, why in hosts.items() if node in nodes}
        for key, hosts in report.holders.items()
    }
    holders = {key: hosts for key, hosts in holders.items() if hosts}
    entries = tuple(entry for entry in report.entries if entry.outcome or entry.node in nodes)
    return replace(
        report,
        entries=entries,
        holders=holders,
        converged=not options.dry_run and not holders,
    )


def check_sources(session: Session, options: RunOptions) -> None:
    """Remember the inventory's sources; another set of them needs saying so."""
    now = "\n".join(session.inventory.sources)
    was = sources(session.store)
    if was and was != session.inventory.sources and not options.new_inventory:
        raise Refused(
            f"this state was last used with another inventory: {', '.join(was)}; "
            f"now: {', '.join(session.inventory.sources)}. "
            "Hosts that only the other one has would count as leaving; "
            "say --new-inventory if that is meant"
        )
    if not options.dry_run and was != session.inventory.sources:
        told = now.replace("\n", ", ")
        audit = AuditRecord(session.clock.now(), session.who, "inventory", "Inventory", told)
        session.store.commit([Put(Setting(SOURCES, now)), Put(audit)])


def _report(
    ended: Run,
    options: RunOptions,
    changes: tuple[Change, ...],
    planned: Iterable[Action] = (),
) -> Report:
    last = ended.last
    entries = [_entry(action, "planned") for action in planned]
    entries += _last_steps(ended.steps)
    entries += [
        _entry(item, "")
        for item in last.plan.decisions
        if isinstance(item, Wait | UnknownHost | Held)
        or (isinstance(item, Skipped) and item.reason is not Reason.NOT_ELIGIBLE)
    ]
    holders = {
        str(key): dict(status.holders)
        for key, status in last.plan.statuses.items()
        if status.holders
    }
    return Report(
        changes=changes,
        entries=tuple(entries),
        holders=holders,
        problems=_problems(last, ended.ended),
        notes=tuple(_notes(last)),
        converged=not options.dry_run
        and ended.ended == "settled"
        and _agreed(last, holders, options),
    )


def _agreed(
    last: Pass,
    holders: Mapping[str, Mapping[str, str]],
    options: RunOptions,
) -> bool:
    """Whether all that is not as asked is within what the caller takes."""
    unreachable = {item.node for item in last.plan.decisions if isinstance(item, UnknownHost)}
    if len(unreachable) > (options.max_unreachable or 0):
        return False
    guarded = any(item.reason is Reason.REMOVAL_GUARD for item in last.plan.decisions)
    foreign = any(item.reason is Reason.OTHER_FLEET for item in last.plan.decisions)
    # A taint with NoSchedule keeps the copy that was there before it: that is as asked, too.
    excused = {
        (str(item.ds), item.node)
        for item in last.plan.decisions
        if isinstance(item, UnknownHost | Held) or item.reason is Reason.MISSCHEDULED
    }
    holding = {(name, node) for name, nodes in holders.items() for node in nodes}
    return not guarded and not foreign and holding <= excused


def _problems(last: Pass, ended: str) -> tuple[str, ...]:
    problems = [f"{node}: {note}" for node, note in last.notes]
    problems += [
        f"{node.name}: left the inventory and is not cleaned yet; every run tries again "
        f"(`fleetd purge {node.name}` gives it up)"
        for node in last.nodes
        if node.left
    ]
    problems += [
        f"{key}: {_WAITING[condition.reason]}: {condition.message}"
        for key, status in sorted(last.plan.statuses.items())
        for condition in status.conditions
        if condition.reason in _WAITING
    ]
    if ended == "time":
        problems.append("time ran out before the fleet was settled; run again to go on")
    if ended == "stuck":
        problems.append("gave up on what failed several times; mend the cause and run again")
    return tuple(problems)


def _notes(last: Pass) -> Iterator[str]:
    """Drop-ins that others have put at our units: told, and left alone."""
    for node, part in sorted(last.seen.items()):
        units = part.value.units if isinstance(part, Known) else part
        if isinstance(part, Unknown) or isinstance(units, Unknown):
            continue
        if not any(unit.drop_ins for unit in units.value):
            continue
        for key in sorted(last.plan.statuses):
            copies = judge(part.value, key, min_ready=0.0)
            for copy in () if isinstance(copies, Unknown) else copies:
                for path in copy.foreign:
                    yield f"{node}: a drop-in that is not fleetd's, left alone: {path}"


def _last_steps(steps: Iterable[Step]) -> list[Entry]:
    """Each action once, as it ended last: a run tries again what failed."""
    last = {(step.action.node, step.action.ds, type(step.action)): step for step in steps}
    return [_stepped(step) for step in last.values()]


def _stepped(step: Step) -> Entry:
    return replace(_entry(step.action, step.outcome.value), message=step.message)


def _entry(item: Decision, outcome: str) -> Entry:
    return Entry(
        node=item.node,
        daemonset=str(item.ds),
        decision=type(item).__name__.lower().removesuffix("host"),
        reason=item.reason.value,
        detail=item.detail,
        outcome=outcome,
        revision=getattr(item, "revision", ""),
    )
