"""The verbs about what is asked for: apply, diff, validate, delete, reconcile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from fleetd.cli.kinds import DELETABLE, targets
from fleetd.cli.report import Form, change_line
from fleetd.cli.text import say, write
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
from fleetd.client import Cascade
from fleetd.errors import NotFound

F = TypeVar("F", bound=Callable[..., Any])


def specs_argument(command: F) -> F:
    """Documents as arguments, or after `-f` for hands that know kubectl."""
    command = click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        type=click.Path(),
        metavar="SPEC",
        help="One more SPEC, as kubectl writes it.",
    )(command)
    return click.argument("specs", nargs=-1, type=click.Path(), metavar="SPEC...")(command)


def _specs(specs: Sequence[str], files: Sequence[str]) -> tuple[str, ...]:
    every = (*specs, *files)
    if not every:
        raise click.UsageError("name a file, a directory, or - for stdin")
    return every


@verb("apply", "fleetd apply node-exporter.yaml", "fleetd apply agents/ --dry-run")
@specs_argument
@wait_option
@timeout_option
@dry_run_option
@click.option("--prune", is_flag=True, help="Delete what an earlier apply of this set held.")
@bounds
@report_option
@click.pass_obj
def apply(
    invocation: Invocation,
    /,
    specs: Sequence[str],
    files: Sequence[str],
    *,
    form: str,
    prune: bool,
    **given: Any,
) -> int:
    """Take documents in and run them: one copy on every eligible host.

    SPEC is a YAML file, a directory of them, or - for stdin. An unchanged file changes nothing.
    """
    every, options = _specs(specs, files), run_options(**given)
    return invocation.carry_out(
        lambda client, progress: client.apply(every, options, progress, prune=prune),
        cast("Form", form),
        options,
    )


@verb("diff", "fleetd diff agents/")
@specs_argument
@click.pass_obj
def diff(invocation: Invocation, specs: Sequence[str], files: Sequence[str]) -> int:
    """Show what apply would change in the documents; exit 4 when there is anything."""
    every = _specs(specs, files)
    changes = invocation.ask(lambda client: client.diff(every))
    changed = [change for change in changes if change.verb != "unchanged"]
    for change in changed:
        write(change.diff or change_line(change))
    return 4 if changed else 0


@verb("validate", "fleetd validate agents/")
@specs_argument
@click.pass_obj
def validate(invocation: Invocation, specs: Sequence[str], files: Sequence[str]) -> None:
    """Check documents; every mistake with its file, line and field, and what to write instead."""
    every = _specs(specs, files)
    objects, notes = invocation.ask(lambda client: client.validate(every))
    for name in objects:
        write(f"{name} is valid")
    for note in notes:
        say(f"note: {note}")


@verb("delete", "fleetd delete ds node-exporter", "fleetd delete -f agents/ --cascade=orphan")
@click.argument("what", nargs=-1, metavar="KIND NAME...")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="SPEC",
    help="What these documents name.",
)
@namespace_option
@click.option(
    "--cascade",
    type=click.Choice(["background", "orphan", "false"]),
    default="background",
    help="Remove the copies too (background, the default), or leave them where they are.",
)
@click.option("--ignore-not-found", is_flag=True, help="What is not there counts as deleted.")
@wait_option
@timeout_option
@dry_run_option
@bounds
@report_option
@click.pass_obj
def delete(
    invocation: Invocation,
    /,
    what: Sequence[str],
    files: Sequence[str],
    namespace: str,
    *,
    cascade: str,
    ignore_not_found: bool,
    form: str,
    **given: Any,
) -> int:
    """Delete DaemonSets and remove their copies from the hosts, or ConfigMaps and Secrets."""
    named = targets(what, DELETABLE) if what else ()
    if not (named or files) or any(not name for _, name in named):
        raise click.UsageError("name what to delete: KIND NAME, or -f SPEC")
    names, options = [(kind.plural, namespace, name) for kind, name in named], run_options(**given)
    try:
        return invocation.carry_out(
            lambda client, progress: client.delete(
                names, files, cast("Cascade", cascade), options, progress
            ),
            cast("Form", form),
            options,
        )
    except NotFound as error:
        if not ignore_not_found:
            raise
        say(f"note: {error}")
        return 0


@verb("reconcile", "fleetd reconcile --timeout 10m", "fleetd reconcile --dry-run -o json")
@timeout_option
@dry_run_option
@bounds
@report_option
@click.pass_obj
def reconcile(invocation: Invocation, /, *, form: str, **given: Any) -> int:
    """Look at every host and put right what is not as asked, until all is settled; for cron."""
    options = run_options(**given)
    return invocation.carry_out(
        lambda client, progress: client.reconcile(options, progress), cast("Form", form), options
    )
