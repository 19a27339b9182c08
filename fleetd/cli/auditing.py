"""`audit`: who did what, to what, on which hosts, and what came of it. Reads the state alone."""

from __future__ import annotations

import time

import click

from fleetd.cli.getting import format_option, no_headers_option
from fleetd.cli.kinds import Kind, kind_of
from fleetd.cli.output import Format, print_objects
from fleetd.cli.tables import Look, at
from fleetd.cli.text import say
from fleetd.cli.times import Duration
from fleetd.cli.verbs import Invocation, verb
from fleetd.client import Query, Shape
from fleetd.errors import InvalidInput

ENTRY = Kind("audit", "auditentry", namespaced=False)
"""Not among the kinds of `get`: an entry is no object, and nothing else is done with one."""
WEEK_S = 7 * 86400.0


@verb(
    "audit",
    "fleetd audit",
    "fleetd audit --since 1h --for ds/monitoring/node-exporter",
    "fleetd audit --since 0 --node web-03 --who ann -o json",
)
@click.option(
    "--since",
    type=Duration(),
    default=WEEK_S,
    metavar="TIME",
    help="Not older than this: 10m, 3h, 30d; 0 is everything; unsaid: 7d.",
)
@click.option(
    "--for",
    "about",
    default="",
    metavar="KIND/NAME",
    help="What was done to this object: ds/NAME, ds/NAMESPACE/NAME, node/NAME.",
)
@click.option("--node", default="", metavar="NODE", help="What was done on this host.")
@click.option(
    "--who", default="", metavar="NAME", help="By this person; fleetd is what passes do unasked."
)
@format_option
@no_headers_option
@click.pass_obj
def audit(
    invocation: Invocation,
    *,
    since: float,
    about: str,
    node: str,
    who: str,
    form: Format,
    bare: bool,
) -> None:
    """Print who did what, on which host, with which revision and result, the latest last.

    Every change of what is wanted is there, and every action on a host; nothing in it is ever
    changed.
    """
    subject = _subject(about)
    query = Query(None, since=time.time() - since if since else 0.0)

    def fits(entry: Shape) -> bool:
        person = str(at(entry, "who"))
        return (
            (not subject or at(entry, "subject") == subject)
            and (not node or at(entry, "node") == node)
            and (not who or who in (person, person.partition("@")[0]))
        )

    entries = invocation.look(lambda reads: reads.get(ENTRY.plural, query))
    found = [entry for entry in entries if fits(entry)]
    if form.tabular and not found:
        say("No entries found.")
        return
    print_objects([(ENTRY, found)], form, None, single=False, look=Look(bare=bare))


def _subject(about: str) -> str:
    """How the audit writes an object: of the namespace `default` where none is said."""
    if not about:
        return ""
    word, slash, name = about.partition("/")
    if not slash or not name:
        raise InvalidInput(f'"{about}" is not KIND/NAME, such as ds/node-exporter')
    kind = kind_of(word, {"daemonsets", "pods", "nodes", "configmaps", "secrets"})
    title = {
        "daemonsets": "DaemonSet",
        "pods": "Pod",
        "nodes": "Node",
        "configmaps": "ConfigMap",
        "secrets": "Secret",
    }[kind.plural]
    place = name if "/" in name or not kind.namespaced else f"default/{name}"
    return f"{title} {place}"
