"""`fleetd rollout`: status, history, undo and restart of a DaemonSet, with kubectl's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import click

from fleetd.cli.kinds import one_target
from fleetd.cli.report import Form
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
from fleetd.errors import NotFound

daemonset_argument = click.argument("what", nargs=-1, required=True, metavar="ds/NAME")


@click.group("rollout", no_args_is_help=False)
def rollout() -> None:
    """See and steer the rollout of a DaemonSet: status, history, undo, restart."""


@verb("status", "fleetd rollout status ds/node-exporter --timeout 10m")
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
    """Tell where a rollout stands, and drive it on until it has ended."""
    name, options = one_target(what, "daemonsets"), run_options(**given)
    code = invocation.carry_out(
        lambda client, progress: client.rollout_status(namespace, name, options, progress),
        cast("Form", form),
        options,
        mutating=options.wait,
    )
    if code == 0 and form == "text" and options.wait:
        write(f'daemon set "{name}" successfully rolled out')
    return code


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
    name = one_target(what, "daemonsets")
    known = invocation.look(lambda reads: reads.history(namespace, name))
    if revision:
        known = tuple(entry for entry in known if entry.number == revision)
        if not known:
            raise NotFound(f"daemonset.apps/{name} has no revision {revision}")
    shapes = [
        {
            "revision": entry.number,
            "hash": entry.revision,
            "changeCause": entry.cause,
            "current": entry.current,
            "template": entry.template,
        }
        for entry in known
    ]
    if form != "table":
        every = {"apiVersion": "fleetd/v1", "kind": "History", "items": shapes}
        write(json_of(every) if form == "json" else yaml_of(every))
    elif revision:
        write(f"daemonset.apps/{name} with revision #{revision}\n{yaml_of(known[0].template)}")
    elif known:
        rows = [("REVISION", "CHANGE-CAUSE")]
        rows += [(str(entry.number), entry.cause or "<none>") for entry in known]
        write(f"daemonset.apps/{name}\n{grid(rows)}")
    else:
        say("No rollout history found.")


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
    """Bring an earlier revision back and roll it out."""
    name, options = one_target(what, "daemonsets"), run_options(**given)
    return invocation.carry_out(
        lambda client, progress: client.undo(namespace, name, to, options, progress),
        cast("Form", form),
        options,
        done="rolled back",
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
    name, options = one_target(what, "daemonsets"), run_options(**given)
    return invocation.carry_out(
        lambda client, progress: client.restart(namespace, name, options, progress),
        cast("Form", form),
        options,
        done="restarted",
    )


for _verb in (status, history, undo, restart):
    rollout.add_command(_verb)
