"""`get` and `events`: what there is, once or as it changes. They take no lock and write nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from fleetd.api.hiding import hide_values
from fleetd.cli.kinds import Kind, kind_of, targets
from fleetd.cli.output import (
    Format,
    FormatType,
    Found,
    print_objects,
    sorted_by,
)
from fleetd.cli.selecting import Chosen, by_fields, by_labels
from fleetd.cli.tables import Look, at
from fleetd.cli.text import say
from fleetd.cli.verbs import Invocation, namespace_option, verb
from fleetd.cli.watching import Printer, news, polled
from fleetd.client import Query, Reads, Shape
from fleetd.errors import InvalidInput, NotFound

F = TypeVar("F", bound=Callable[..., Any])

all_namespaces = click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces.")
refresh_option = click.option(
    "--refresh", is_flag=True, help="Look at the hosts now, in place of the last look's answer."
)
selector_option = click.option(
    "-l",
    "--selector",
    default="",
    metavar="SELECTOR",
    help="By labels: a=b, a!=b, 'a in (b,c)', 'a notin (b,c)', a, '!a'; joined by commas.",
)
format_option = click.option(
    "-o",
    "--output",
    "form",
    type=FormatType(),
    default="table",
    help=(
        "table, wide, json, yaml, name, jsonpath=TEMPLATE, jsonpath-file=FILE, "
        "custom-columns=HEADING:PATH,..., custom-columns-file=FILE."
    ),
)
no_headers_option = click.option(
    "--no-headers", "bare", is_flag=True, help="Tables without their headings."
)


def watch_options(command: F) -> F:
    """The options of a verb that can go on as things change."""
    for option in (
        click.option(
            "--output-watch-events",
            "events",
            is_flag=True,
            help="In a watch say ADDED, MODIFIED or DELETED.",
        ),
        click.option("--watch-only", is_flag=True, help="As --watch, without what is there now."),
        click.option("-w", "--watch", is_flag=True, help="Go on printing what changes."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call of `get` asks for."""

    targets: tuple[tuple[Kind, str], ...]
    namespace: str | None
    labels: Chosen | None = None
    fields: str = ""
    sort: str = ""
    reveal: bool = False
    lenient: bool = False

    @property
    def single(self) -> bool:
        """Whether exactly one object is named."""
        return len(self.targets) == 1 and self.targets[0][1] != ""

    async def fetch(self, reads: Reads, *, refresh: bool = False) -> tuple[Found, list[str]]:
        """What is there, kind by kind, and sentences about names that are not."""
        found: dict[str, tuple[Kind, list[Shape]]] = {}
        missing = []
        for kind, name in self.targets:
            shapes = await reads.get(kind.plural, Query(self.namespace, name, refresh))
            if name and not shapes:
                missing.append(f'{kind.resource} "{name}" not found')
            found.setdefault(kind.plural, (kind, []))[1].extend(self._shown(kind, shapes))
        if self.sort:
            found = {
                word: (kind, sorted_by(self.sort, all_)) for word, (kind, all_) in found.items()
            }
        return list(found.values()), [] if self.lenient else missing

    def _shown(self, kind: Kind, shapes: Sequence[Shape]) -> list[Shape]:
        chosen = [self.labels] if self.labels else []
        chosen += [by_fields(self.fields, kind)] if self.fields else []
        kept = [shape for shape in shapes if all(fits(shape) for fits in chosen)]
        hidden = kind.plural == "secrets" and not self.reveal
        return [hide_values(shape) for shape in kept] if hidden else kept


@verb(
    "get",
    "fleetd get ds -A",
    "fleetd get pods -w --field-selector spec.nodeName=web-01",
    "fleetd get ds/ne -o yaml",
    """fleetd get nodes -l 'rack in (a,b)' -o jsonpath='{.items[*].metadata.name}'""",
)
@click.argument("what", nargs=-1, required=True, metavar="KIND [NAME]...")
@namespace_option
@all_namespaces
@selector_option
@click.option(
    "--field-selector",
    "fields",
    default="",
    metavar="SELECTOR",
    help="By fields: metadata.name, spec.nodeName, status.phase, involvedObject.name, reason, ...",
)
@format_option
@watch_options
@click.option("--sort-by", "sort", default="", metavar="PATH", help="By a field: .metadata.name.")
@no_headers_option
@click.option("--show-labels", "labels", is_flag=True, help="A column with all labels.")
@click.option(
    "-L",
    "--label-columns",
    multiple=True,
    metavar="LABEL",
    help="A column for this label; repeatable, or joined by commas.",
)
@click.option("--ignore-not-found", is_flag=True, help="A name that is not there is no error.")
@refresh_option
@click.option("--show-secrets", is_flag=True, help="Print the values of Secrets.")
@click.pass_obj
def get(
    invocation: Invocation,
    what: Sequence[str],
    namespace: str,
    *,
    all_namespaces: bool,
    selector: str,
    fields: str,
    form: Format,
    watch: bool,
    watch_only: bool,
    events: bool,
    sort: str,
    bare: bool,
    labels: bool,
    label_columns: Sequence[str],
    ignore_not_found: bool,
    refresh: bool,
    show_secrets: bool,
) -> None:
    """Print objects: ds, pods, nodes, events, revisions, configmaps, secrets; all is pods and ds.

    Several kinds are written with commas: ds,pods. Both KIND NAME and KIND/NAME are taken.
    """
    wanted = Wanted(
        targets(what),
        None if all_namespaces else namespace,
        by_labels(selector) if selector else None,
        fields,
        sort,
        reveal=show_secrets,
        lenient=ignore_not_found,
    )
    if (selector or fields) and any(name for _, name in wanted.targets):
        raise click.UsageError("names and a selector do not go together")
    for kind, _ in wanted.targets:
        by_fields(fields, kind)
    columns = tuple(each for text in label_columns for each in text.split(",") if each)
    look = Look(bare=bare, labels=labels, label_columns=columns)
    if watch or watch_only:
        if refresh:
            raise click.UsageError("a watch follows the state; the passes look at the hosts")
        if len({kind.plural for kind, _ in wanted.targets}) > 1:
            raise click.UsageError("a watch is of one kind")
        _watch(invocation, wanted, form, look, only=watch_only, events=events)
        return
    if refresh:
        found, missing = invocation.ask(lambda client: wanted.fetch(client, refresh=True))
    else:
        found, missing = invocation.look(wanted.fetch)
    if not missing or any(items for _, items in found):
        single = wanted.single and sum(len(items) for _, items in found) == 1
        print_objects(found, form, wanted.namespace, single=single, look=look)
    if missing:
        raise NotFound("\n".join(missing))


@verb(
    "events",
    "fleetd events --for ds/node-exporter",
    "fleetd events -w --types Warning",
    "fleetd events --for node/web-03 -A",
)
@namespace_option
@all_namespaces
@click.option(
    "--for",
    "about",
    default="",
    metavar="KIND/NAME",
    help="Of this DaemonSet, pod or node only; of a node also what happened to others there.",
)
@click.option(
    "--types", default="", metavar="TYPES", help="Normal, Warning, or both joined by a comma."
)
@format_option
@watch_options
@no_headers_option
@click.pass_obj
def events(
    invocation: Invocation,
    namespace: str,
    *,
    all_namespaces: bool,
    about: str,
    types: str,
    form: Format,
    watch: bool,
    watch_only: bool,
    events: bool,
    bare: bool,
) -> None:
    """Print what happened, the latest last."""
    chosen = [kind for kind in types.split(",") if kind]
    if wrong := [kind for kind in chosen if kind not in {"Normal", "Warning"}]:
        raise click.UsageError(f"{wrong[0]!r} is no type of events; there are Normal and Warning")
    concerns = _about(about) if about else None

    def fits(item: Shape) -> bool:
        typed = not chosen or at(item, "type") in chosen
        return typed and (concerns is None or concerns(item))

    wanted = Wanted(
        ((kind_of("events"), ""),),
        None if all_namespaces else namespace,
        fits,
        sort=".lastTimestamp",
        lenient=True,
    )
    look = Look(bare=bare)
    if watch or watch_only:
        _watch(invocation, wanted, form, look, only=watch_only, events=events)
        return
    found, _ = invocation.look(wanted.fetch)
    if form.tabular and not any(items for _, items in found):
        say("No events found" + ("" if all_namespaces else f" in {namespace} namespace."))
        return
    print_objects(found, form, wanted.namespace, single=False, look=look)


def named(what: Sequence[str], kind: str = "daemonsets") -> tuple[str, ...]:
    """The names of `KIND/NAME...`, `KIND NAME...` or, of one kind only, a bare `NAME`."""
    if len(what) == 1 and "/" not in what[0]:
        return (what[0],)
    return tuple(name for _, name in targets(what, {kind}))


def choose(
    invocation: Invocation,
    what: Sequence[str],
    namespace: str,
    allowed: Collection[str],
    *,
    selector: str = "",
    every: bool = False,
) -> tuple[tuple[Kind, str], ...]:
    """The objects that a changing verb means: by name, by labels, or all of a kind.

    Raises:
        InvalidInput: for what names nothing, or says the same in two ways.
    """
    wanted = targets(what, allowed)
    by_name = any(name for _, name in wanted)
    if by_name + bool(selector) + every != 1:
        raise click.UsageError("say which: names, -l SELECTOR or --all")
    if by_name:
        return wanted
    search = Wanted(wanted, namespace, by_labels(selector) if selector else None)
    found, _ = invocation.look(search.fetch)
    return tuple((kind, item["metadata"]["name"]) for kind, items in found for item in items)


def _watch(
    invocation: Invocation,
    wanted: Wanted,
    form: Format,
    look: Look,
    *,
    only: bool,
    events: bool,
) -> None:
    drawn = Look(
        namespaces=wanted.namespace is None,
        bare=look.bare,
        labels=look.labels,
        label_columns=look.label_columns,
    )
    printer = Printer(form, drawn, events=events)
    _, missing = invocation.look(wanted.fetch)
    if missing:
        raise NotFound("\n".join(missing))
    looks = polled(lambda: invocation.look(wanted.fetch)[0])
    for fresh in news(looks, only=only):
        printer.show(fresh)


def _about(text: str) -> Chosen:
    """Whether an event concerns `ds/NAME`, `pod/NAME` or `node/NAME`.

    Events tell of DaemonSets, and on which host: a pod is a DaemonSet on a host.
    """
    word, slash, name = text.partition("/")
    if not slash or not name:
        raise InvalidInput(f'"{text}" is not KIND/NAME, such as ds/node-exporter')
    kind = kind_of(word, {"daemonsets", "pods", "nodes"})
    titles = {"daemonsets": "DaemonSet", "pods": "Pod", "nodes": "Node"}

    def concerns(item: Shape) -> bool:
        what = (at(item, "involvedObject.kind"), at(item, "involvedObject.name"))
        host = at(item, "source.host")
        if what == (titles[kind.plural], name):
            return True
        if kind.plural == "nodes":
            return host == name
        return kind.plural == "pods" and f"{what[1]}-{host}" == name

    return concerns
