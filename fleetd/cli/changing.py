"""The verbs about what is asked for: apply, diff, validate, delete, reconcile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from fleetd.cli.getting import choose, selector_option
from fleetd.cli.kinds import DELETABLE
from fleetd.cli.report import Form, change_line
from fleetd.cli.tables import items, text
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
from fleetd.client import Cascade, Client, Query, Reads, RunOptions
from fleetd.core.key import Key
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


@verb(
    "delete",
    "fleetd delete ds node-exporter",
    "fleetd delete pod node-exporter-web-03",
    "fleetd delete -f agents/ --cascade=orphan",
)
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
@selector_option
@click.option("--all", "every", is_flag=True, help="All objects of the kind in the namespace.")
@click.option(
    "--cascade",
    type=click.Choice(["background", "foreground", "orphan", "false"]),
    default="background",
    help=(
        "Remove the copies too (background, the default), keep the object until they are gone "
        "(foreground), or leave them where they are (orphan)."
    ),
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
    selector: str,
    every: bool,
    cascade: str,
    ignore_not_found: bool,
    form: str,
    **given: Any,
) -> int:
    """Delete DaemonSets and remove their copies from the hosts, or ConfigMaps and Secrets.

    A deleted pod is made anew; under the strategy OnDelete that is how a copy is updated.
    """
    if not (what or files) or (files and (selector or every)):
        raise click.UsageError("name what to delete: KIND NAME, or -f SPEC")
    chosen = (
        choose(invocation, what, namespace, DELETABLE, selector=selector, every=every)
        if what
        else ()
    )
    if not (chosen or files):
        say("No resources found")
        return 0
    pods = [name for kind, name in chosen if kind.plural == "pods"]
    names = [(kind.plural, namespace, name) for kind, name in chosen if kind.plural != "pods"]
    options = run_options(**given)
    try:
        codes = [_delete_pods(invocation, namespace, pods, cast("Form", form), options)]
        if names or files:
            codes.append(
                invocation.carry_out(
                    lambda client, progress: client.delete(
                        names, files, cast("Cascade", cascade), options, progress
                    ),
                    cast("Form", form),
                    options,
                )
            )
    except NotFound as error:
        if not ignore_not_found:
            raise
        say(f"note: {error}")
        return 0
    return max(codes)


def _delete_pods(
    invocation: Invocation,
    namespace: str,
    names: Sequence[str],
    form: Form,
    options: RunOptions,
) -> int:
    """Have copies made anew, and wait for them; the exit code."""
    if not names:
        return 0
    owners = invocation.look(lambda reads: _owners(reads, namespace, names))
    if options.dry_run:
        for name in names:
            write(f'pod "{name}" deleted (dry run)')
        return 4

    async def ask(client: Client) -> list[str]:
        return [await client.delete_pod(key, node) for key, node in owners]

    for line in invocation.ask(ask, mutating=True):
        (write if form == "text" else say)(line)
    if not options.wait:
        return 0
    return max([_settle(invocation, key, form, options) for key in dict(owners)])


def _settle(invocation: Invocation, key: Key, form: Form, options: RunOptions) -> int:
    return invocation.carry_out(
        lambda client, progress: client.rollout_status(*key, options, progress), form, options
    )


async def _owners(
    reads: Reads, namespace: str, names: Sequence[str]
) -> tuple[tuple[Key, str], ...]:
    """The DaemonSet and the node of each pod; raises NotFound."""
    found = []
    for name in names:
        pods = await reads.get("pods", Query(namespace, name))
        if not pods:
            raise NotFound(f'pods "{name}" not found')
        for pod in pods[:1]:
            (owner, *_) = items(pod, "metadata.ownerReferences")
            found.append((Key(namespace, text(owner, "name")), text(pod, "spec.nodeName")))
    return tuple(found)


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
