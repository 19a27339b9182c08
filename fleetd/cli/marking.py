"""The verbs that hang something on objects: label and annotate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

from fleetd.cli.getting import choose, selector_option
from fleetd.cli.kinds import KINDS, Kind
from fleetd.cli.tables import mapping
from fleetd.cli.text import line, say, write
from fleetd.cli.verbs import Invocation, dry_run_option, namespace_option, verb
from fleetd.client import Client, Marks, Query, Reads, Shape
from fleetd.core.key import Key
from fleetd.errors import NotFound

F = TypeVar("F", bound=Callable[..., Any])
Field = Literal["labels", "annotations"]

MARKABLE = frozenset({"daemonsets", "configmaps", "secrets", "nodes"})


def options(command: F) -> F:
    """What both verbs take."""
    for option in (
        dry_run_option,
        click.option("--list", "listing", is_flag=True, help="Print what there is."),
        click.option("--overwrite", is_flag=True, help="Replace a value that is there."),
        click.option("--all", "every", is_flag=True, help="All objects of the kind."),
        selector_option,
        namespace_option,
        click.argument("what", nargs=-1, required=True, metavar="KIND NAME CHANGE..."),
    ):
        command = option(command)
    return command


@verb(
    "label",
    "fleetd label node web-03 disktype=ssd",
    "fleetd label ds/node-exporter team=infra --overwrite",
    "fleetd label nodes -l rack=a disktype-",
    "fleetd label nodes --all --list",
)
@options
@click.pass_obj
def label(invocation: Invocation, /, what: Sequence[str], **given: Any) -> int:
    """Set labels KEY=VALUE on objects, or take them: KEY-. A name alone is a node's."""
    return _mark(invocation, "labels", what, **given)


@verb(
    "annotate",
    "fleetd annotate ds node-exporter kubernetes.io/change-cause='new certificates'",
    "fleetd annotate node web-03 rack-unit-",
)
@options
@click.pass_obj
def annotate(invocation: Invocation, /, what: Sequence[str], **given: Any) -> int:
    """Set annotations KEY=VALUE on objects, or take them: KEY-. A name alone is a node's."""
    return _mark(invocation, "annotations", what, **given)


def _mark(
    invocation: Invocation,
    field: Field,
    what: Sequence[str],
    *,
    namespace: str,
    selector: str,
    every: bool,
    overwrite: bool,
    listing: bool,
    dry_run: bool,
) -> int:
    names = [word for word in what if not _is_change(word)]
    changes = tuple(word for word in what if _is_change(word))
    if not names or bool(changes) == listing:
        example = "disktype=ssd" if field == "labels" else "note='seen by Ann'"
        raise click.UsageError(f"name an object and a change, such as {example}, or say --list")
    places = choose(
        invocation, _with_kind(names), namespace, MARKABLE, selector=selector, every=every
    )
    if not places:
        say("No resources found")
        return 0
    if listing:
        _list(invocation, field, places, namespace)
        return 0
    marks = Marks(field, changes, overwrite)

    async def work(client: Client) -> int:
        wrong: list[str] = []
        for kind, name in places:
            key = Key(namespace if kind.namespaced else "", name)
            try:
                text = await client.mark(kind.plural, key, marks, dry_run=dry_run)
            except NotFound:
                wrong.append(f'{kind.resource} "{name}" not found')
                continue
            write(f"{text} (dry run)" if dry_run else text)
        if wrong:
            raise NotFound("\n".join(wrong))
        return 0

    return invocation.ask(work, mutating=not dry_run)


def _is_change(word: str) -> bool:
    return "=" in word or word.endswith("-")


def _with_kind(names: Sequence[str]) -> Sequence[str]:
    """The names after a kind; without one they are nodes."""
    first = names[0].partition("/")
    if first[1]:
        return names
    words = {w for k in KINDS for w in (k.plural, k.singular, k.prefix, k.resource, *k.words)}
    known = all(word.lower() in words for word in names[0].split(","))
    return names if known else ("nodes", *names)


def _list(
    invocation: Invocation, field: Field, places: Sequence[tuple[Kind, str]], namespace: str
) -> None:
    async def look(reads: Reads) -> list[Shape]:
        found: list[Shape] = []
        for kind, name in places:
            where = namespace if kind.namespaced else None
            shapes = await reads.get(kind.plural, Query(where, name))
            if not shapes:
                raise NotFound(f'{kind.resource} "{name}" not found')
            found += shapes
        return found

    several = len(places) > 1
    for (kind, name), shape in zip(places, invocation.look(look), strict=True):
        if several:
            write(f"Listing {field} for {kind.prefix}/{name}:")
        for key, value in sorted(mapping(shape, f"metadata.{field}").items()):
            write(line(f"{' ' if several else ''}{key}={value}"))
