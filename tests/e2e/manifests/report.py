"""The table at the end: what each manifest asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable

from tests.e2e.manifests.course import Outcome


def table(outcomes: Iterable[Outcome]) -> str:
    """One line for each manifest and engine, then what was not run, and why."""
    rows = sorted(outcomes, key=lambda each: (each.name, each.runtime))
    width = max((len(each.name) for each in rows), default=8)
    lines = [f"{'MANIFEST':<{width}}  ENGINE  STARTED  FIELDS  DIFFER  IGNORED  SUPPLIED  SECONDS"]
    for each in rows:
        differ = sum(not row.same for row in each.rows)
        lines.append(
            f"{each.name:<{width}}  {each.runtime:<6}  {_started(each):<7}"
            f"  {len(each.rows):>6}  {differ:>6}  {len(each.ignored):>7}"
            f"  {len(each.supplied):>8}  {each.seconds:>7.0f}"
        )
    reasons: dict[str, list[str]] = {}
    for each in rows:
        for reason in each.not_run:
            reasons.setdefault(reason, []).append(f"{each.name} ({each.runtime})")
    lines += ["", "NOT RUN"]
    for reason, names in sorted(reasons.items()):
        lines.append(f"  {reason}: {len(names)}")
    return "\n".join(lines)


def _started(outcome: Outcome) -> str:
    if outcome.skipped:
        return "not run"
    return "yes" if outcome.started else "NO"
