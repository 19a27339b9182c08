"""`fleetd rollout`: what becomes of a DaemonSet's revisions, with kubectl's words.

`pause` and `resume` are ours: kubectl refuses them for a DaemonSet (K 178).
"""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import click

from fleetd.cli.following import drive
from fleetd.cli.getting import named
from fleetd.cli.report import CHANGED, Form, Words
from fleetd.cli.tables import grid
from fleetd.cli.text import json_of, say, write, yaml_of
from fleetd.cli.verbs import (
    Invocation,
    bounds,
    dry_run_option,
    namespace_option,
    report_option,
    run_options,
    timeout_option,
    verb,
    wait_option,
)
from fleetd.client import Client, Progress, Report, Revision, RunOptions, Shape
from fleetd.core.key import Key
from fleetd.errors import NotFound

daemonset_argument = click.argument("what", nargs=-1, required=True, metavar="ds/NAME...")


@click.group("rollout", no_args_is_help=False)
def rollout() -> None:
    """See and steer the rollout of a DaemonSet: status, history, undo, restart, pause, resume."""


@verb(
    "status",
    "fleetd rollout status ds/node-exporter --timeout 10m",
    "fleetd rollout status ds/node-exporter --watch=false",
)
@daemonset_argument
@namespace_option
@click.option(
    "-w/ ",
    "--watch/--no-watch",
    "wait",
    default=True,
    help="Drive it on until it has ended (the default), or only tell.",
)
@timeout_option
@report_option
@click.pass_obj
def status(
    invocation: Invocation, /, what: Sequence[str], namespace: str, *, form: str, **given: Any
) -> int:
    """Tell where a rollout stands, and drive it on until it has ended.

    While another fleetd drives it, this one follows.
    """
    options = run_options(**given)
    return max(
        drive(invocation, namespace, name, cast("Form", form), options) for name in named(what)
    )


@verb("history", "fleetd rollout history ds/ne", "fleetd rollout history ds/ne --revision 2")
@daemonset_argument
@namespace_option
@click.option("--revision", type=int, default=0, metavar="N", help="Print this one's template.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="How to print them; JSON and YAML hold the templates.",
)
@click.pass_obj
def history(
    invocation: Invocation, what: Sequence[str], namespace: str, *, revision: int, form: str
) -> None:
    """List the revisions that undo can bring back, oldest first."""
    shapes: list[Shape] = []
    for number, name in enumerate(named(what)):
        known = _known(invocation, namespace, name)
        if revision:
            known = tuple(entry for entry in known if entry.number == revision)
            if not known:
                raise NotFound(f"unable to find the specified revision {revision} of {name}")
        shapes += [_shape(entry) for entry in known]
        if form == "table":
            if number:
                write("")
            _tell_history(name, known, one=bool(revision))
    if form != "table":
        every = {"apiVersion": "fleetd/v1", "kind": "History", "items": shapes}
        write(json_of(every) if form == "json" else yaml_of(every))


def _known(invocation: Invocation, namespace: str, name: str) -> tuple[Revision, ...]:
    return invocation.look(lambda reads: reads.history(namespace, name))


def _shape(entry: Revision) -> Shape:
    return {
        "revision": entry.number,
        "hash": entry.revision,
        "changeCause": entry.cause,
        "current": entry.current,
        "template": entry.template,
    }


def _tell_history(name: str, known: Sequence[Revision], *, one: bool) -> None:
    if not known:
        say("No rollout history found.")
    elif one:
        (entry,) = known
        write(f"daemonset.apps/{name} with revision #{entry.number}")
        write(pod_template(entry.template))
    else:
        rows = [("REVISION", "CHANGE-CAUSE")]
        rows += [(str(entry.number), entry.cause or "<none>") for entry in known]
        write(f"daemonset.apps/{name}\n{grid(rows)}")


def pod_template(template: Shape) -> str:
    """A template as `history --revision` and `undo --dry-run` print it."""
    return f"Pod Template:\n{textwrap.indent(yaml_of(template), '  ')}"


@verb("undo", "fleetd rollout undo ds/node-exporter", "fleetd rollout undo ds/ne --to-revision 2")
@daemonset_argument
@namespace_option
@click.option(
    "--to-revision",
    "to",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Which one; unsaid: the one before the present.",
)
@wait_option
@timeout_option
@dry_run_option
@bounds
@report_option
@click.pass_obj
def undo(
    invocation: Invocation,
    /,
    what: Sequence[str],
    namespace: str,
    *,
    to: int,
    form: str,
    **given: Any,
) -> int:
    """Bring an earlier revision back and roll it out; a dry run prints its template."""
    options = run_options(**given)
    which = f"revision {to}" if to else "the revision before"
    same = f"skipped rollback (current template already matches {which})"

    def template(report: Report) -> str:
        found = [shape["spec"]["template"] for shape in report.daemonsets]
        return pod_template(found[0]) if options.dry_run and found else ""

    return _on_each(
        invocation,
        what,
        lambda client, name, progress: client.undo(namespace, name, to, options, progress),
        cast("Form", form),
        options,
        words={"configured": "rolled back", "unchanged": same},
        also=template,
    )


@verb("restart", "fleetd rollout restart ds/node-exporter")
@daemonset_argument
@namespace_option
@wait_option
@timeout_option
@dry_run_option
@bounds
@report_option
@click.pass_obj
def restart(
    invocation: Invocation, /, what: Sequence[str], namespace: str, *, form: str, **given: Any
) -> int:
    """Restart all copies, within the budget, as a rollout of the same template."""
    options = run_options(**given)
    return _on_each(
        invocation,
        what,
        lambda client, name, progress: client.restart(namespace, name, options, progress),
        cast("Form", form),
        options,
        words={"configured": "restarted"},
    )


@verb("pause", "fleetd rollout pause ds/node-exporter")
@daemonset_argument
@namespace_option
@click.pass_obj
def pause(invocation: Invocation, what: Sequence[str], namespace: str) -> None:
    """Hold a rollout where it is: no further copy is replaced; what breaks is still repaired."""
    names = named(what)

    async def work(client: Client) -> list[str]:
        return [await client.pause(Key(namespace, name)) for name in names]

    write("\n".join(invocation.ask(work, mutating=True)))


@verb("resume", "fleetd rollout resume ds/node-exporter")
@daemonset_argument
@namespace_option
@wait_option
@timeout_option
@report_option
@click.pass_obj
def resume(
    invocation: Invocation, /, what: Sequence[str], namespace: str, *, form: str, **given: Any
) -> int:
    """Go on with a rollout that is paused, or that has failed."""
    options = run_options(**given)

    async def go_on(client: Client, name: str, progress: Progress) -> Report:
        line = await client.resume(Key(namespace, name))
        (write if form == "text" else say)(line)
        return await client.rollout_status(namespace, name, options, progress)

    return _on_each(invocation, what, go_on, cast("Form", form), options)


def _on_each(
    invocation: Invocation,
    what: Sequence[str],
    ask: Callable[[Client, str, Progress], Awaitable[Report]],
    form: Form,
    options: RunOptions,
    *,
    words: Words = CHANGED,
    also: Callable[[Report], str] | None = None,
) -> int:
    """Carry something out for each DaemonSet; the worst exit code."""

    def carry_out(name: str) -> int:
        return invocation.carry_out(
            lambda client, progress: ask(client, name, progress),
            form,
            options,
            words=words,
            also=also,
        )

    return max([carry_out(name) for name in named(what)])


for _verb in (status, history, undo, restart, pause, resume):
    rollout.add_command(_verb)
