"""What a run has done, for people and for programs.

The JSON form holds every action per host with its reason and result. The text form says first what
changed, then where each DaemonSet stands, who keeps it from being done and why, and what to try.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from fleetd.cli.kinds import kind_of
from fleetd.cli.tables import at
from fleetd.cli.text import json_of, line, say, write, yaml_of
from fleetd.client import Change, Entry, Report, RunOptions, Shape
from fleetd.errors import InvalidInput

Form = Literal["text", "json", "yaml"]
Words = Mapping[str, str]
"""What a verb says in place of what became of an object: `configured` as `restarted`."""

CHANGED: Words = {}
ACTIONS = frozenset({"start", "update", "repair", "remove"})
_BAD_ENDS = frozenset({"failed", "refused", "lost"})


def exit_code(report: Report, options: RunOptions) -> int:
    """0 done, 3 not converged, 4 a dry run found changes; without waiting, only failures count."""
    if options.dry_run:
        changed = any(change.verb != "unchanged" for change in report.changes)
        return 4 if changed or any(entry.outcome == "planned" for entry in report.entries) else 0
    if options.wait:
        return 0 if report.converged else 3
    return 3 if any(entry.outcome in _BAD_ENDS for entry in report.entries) else 0


def print_changes(
    changes: Iterable[Change], words: Words = CHANGED, *, dry_run: bool = False
) -> None:
    """Print a line about each object."""
    for change in changes:
        write(change_line(change, words, dry_run=dry_run))


def print_report(report: Report, form: Form, options: RunOptions) -> int:
    """Print a report, all but the changes of objects as text, and give the exit code."""
    code = exit_code(report, options)
    if form != "text":
        shape = json_report(report)
        write(json_of(shape) if form == "json" else yaml_of(shape))
        return code
    for text in _body(report, options):
        write(text)
    for note in report.notes:
        say(f"note: {note}")
    for problem in report.problems:
        say(f"problem: {problem}")
    if code == 3:
        say("fleetd: not converged; to go on:")
        for text in _advice(report):
            say(f"  {text}")
    return code


def json_report(report: Report) -> Shape:
    """The report as a plain object; `actions` were carried out or planned, `decisions` were not."""
    return {
        "apiVersion": "fleetd/v1",
        "kind": "Report",
        "converged": report.converged,
        "changes": [
            {
                "kind": change.kind,
                "namespace": change.namespace,
                "name": change.name,
                "change": change.verb,
                "diff": change.diff,
            }
            for change in report.changes
        ],
        "actions": [_action(entry) for entry in report.entries if entry.decision in ACTIONS],
        "decisions": [_decision(e) for e in report.entries if e.decision not in ACTIONS],
        "daemonsets": list(report.daemonsets),
        "holders": {name: dict(hosts) for name, hosts in report.holders.items()},
        "problems": list(report.problems),
        "notes": list(report.notes),
    }


def change_line(change: Change, words: Words = CHANGED, *, dry_run: bool = False) -> str:
    """Kubectl's line about one object: `daemonset.apps/x configured`, in the verb's own words."""
    try:
        prefix = kind_of(change.kind).prefix
    except InvalidInput:
        prefix = change.kind.lower()
    verb = words.get(change.verb, change.verb)
    return line(f"{prefix}/{change.name} {verb}" + (" (dry run)" if dry_run else ""))


def _action(entry: Entry) -> dict[str, str]:
    return {
        "node": entry.node,
        "daemonset": entry.daemonset,
        "action": entry.decision,
        "reason": entry.reason,
        "detail": entry.detail,
        "revision": entry.revision,
        "result": entry.outcome,
        "message": entry.message,
    }


def _decision(entry: Entry) -> dict[str, str]:
    return {
        "node": entry.node,
        "daemonset": entry.daemonset,
        "decision": entry.decision,
        "reason": entry.reason,
        "detail": entry.detail,
    }


def _body(report: Report, options: RunOptions) -> Iterator[str]:
    if options.dry_run:
        for entry in report.entries:
            if entry.outcome == "planned":
                why = entry.detail or entry.reason
                yield line(f"{entry.node}: {entry.decision} {entry.daemonset} ({why}): planned")
    statuses = {_name(shape): shape for shape in report.daemonsets}
    for name in sorted({*statuses, *report.holders}):
        if name in statuses:
            yield summary(statuses[name])
        else:
            yield f"{name}:"
        yield from _grouped(report.holders.get(name, {}))


def summary(daemonset: Shape) -> str:
    """Where a DaemonSet stands, in one line; what is zero and good to be zero is left out."""

    def number(path: str) -> int:
        value = at(daemonset, f"status.{path}")
        return value if isinstance(value, int) else 0

    desired = number("desiredNumberScheduled")
    words = [
        f"{desired} desired",
        f"{number('updatedNumberScheduled')} up-to-date",
        f"{number('numberAvailable')} available",
    ]
    rest = (("numberUnavailable", "unavailable"), ("numberMisscheduled", "misscheduled"))
    words += [f"{number(path)} {word}" for path, word in rest if number(path)]
    return line(f"{_name(daemonset)}: {', '.join(words)}")


def _grouped(holders: Mapping[str, str]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for host, reason in holders.items():
        # Reasons that differ by nothing but the host in a command to try share a line.
        by_reason[re.sub(rf"(?<!\S){re.escape(host)}(?!\S)", "HOST", reason)].append(host)
    for reason, hosts in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        told = reason if len(hosts) > 1 else holders[hosts[0]]
        yield line(f"  {told} ({len(hosts)}): {', '.join(sorted(hosts))}")


def _advice(report: Report) -> Iterator[str]:
    rows: list[tuple[str, str]] = []
    for name, hosts in sorted(report.holders.items()):
        rows += [(f"fleetd why {host} {name}", "what holds it there") for host in sorted(hosts)[:1]]
    failed = {e.daemonset: e.node for e in reversed(report.entries) if e.outcome == "failed"}
    for name, node in sorted(failed.items()):
        namespace, _, short = name.rpartition("/")
        where = f" -n {namespace}" if namespace not in {"", "default"} else ""
        rows.append((f"fleetd logs ds/{short}{where} --node {node}", "what it says"))
        rows.append((f"fleetd rollout undo ds/{short}{where}", "back to the revision before"))
    guarded = {e.node for e in report.entries if e.reason == "RemovalNeedsConfirmation"}
    if guarded:
        count = len(guarded)
        rows.append((f"fleetd reconcile --confirm-removals={count}", f"remove from {count} hosts"))
    rows.append(("fleetd reconcile", "try again; it is safe at any time"))
    width = max(len(command) for command, _ in rows)
    for command, why in rows:
        yield line(f"{command.ljust(width)}  # {why}")


def _name(daemonset: Shape) -> str:
    return f"{at(daemonset, 'metadata.namespace') or 'default'}/{at(daemonset, 'metadata.name')}"
