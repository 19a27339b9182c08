"""The verbs that tell of one thing: describe, why, logs. They take no lock and write nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import click

from fleetd.cli.getting import all_namespaces, refresh_option
from fleetd.cli.kinds import one_target, targets
from fleetd.cli.text import line, write
from fleetd.cli.times import Duration
from fleetd.cli.verbs import Invocation, namespace_option, verb
from fleetd.client import Client, LogQuery, Query, Reads


@verb("describe", "fleetd describe ds node-exporter", "fleetd describe node web-01")
@click.argument("what", nargs=-1, required=True, metavar="KIND NAME...")
@namespace_option
@all_namespaces
@refresh_option
@click.pass_obj
def describe(
    invocation: Invocation,
    what: Sequence[str],
    namespace: str,
    *,
    all_namespaces: bool,
    refresh: bool,
) -> None:
    """Tell everything about a DaemonSet, node or pod, with its events."""
    where = None if all_namespaces else namespace

    async def fetch(client: Reads) -> list[str]:
        return [
            await client.describe(kind.plural, Query(where, name, refresh))
            for kind, name in targets(what, {"daemonsets", "nodes", "pods"})
        ]

    texts = invocation.ask(fetch) if refresh else invocation.look(fetch)
    write("\n\n".join(text.rstrip("\n") for text in texts))


@verb("why", "fleetd why web-03", "fleetd why web-03 monitoring/node-exporter")
@click.argument("node")
@click.argument("daemonset", required=False, metavar="[DS]")
@namespace_option
@click.pass_obj
def why(invocation: Invocation, node: str, daemonset: str | None, namespace: str) -> None:
    """Explain what runs on a node and what does not, and for which reason.

    It names the taint or the term that keeps a DaemonSet away, or what an update waits for.
    """
    name = one_target([node], "nodes")
    which = _daemonset(daemonset, namespace) if daemonset else None
    for text in invocation.ask(lambda client: client.why(name, which)):
        write(text)


def _daemonset(text: str, namespace: str) -> tuple[str, str]:
    """Read `NAME`, `ds/NAME` or, as reports print it, `NAMESPACE/NAME`."""
    before, slash, name = text.partition("/")
    if slash and before not in {"ds", "daemonset", "daemonsets", "daemonset.apps"}:
        return before, name
    return namespace, name if slash else text


@verb("logs", "fleetd logs ds/node-exporter --since 10m", "fleetd logs ne-web-03 -f")
@click.argument("target", metavar="ds/NAME|POD")
@namespace_option
@click.option("--node", default="", metavar="NODE", help="Only the copy on this node.")
@click.option(
    "-c", "--container", default="", metavar="NAME", help="Only this one, or an init container."
)
@click.option("-f", "--follow", is_flag=True, help="Go on printing as lines arrive.")
@click.option(
    "--since", type=Duration(), default=0.0, metavar="TIME", help="Not older than this: 5s, 2m, 3h."
)
@click.option("--tail", "lines", type=int, default=-1, metavar="N", help="The last N lines only.")
@click.pass_obj
def logs(
    invocation: Invocation,
    target: str,
    namespace: str,
    *,
    node: str,
    container: str,
    follow: bool,
    since: float,
    lines: int,
) -> None:
    """Print what an agent wrote; for ds/NAME each line says on which node."""
    kind, _, name = target.rpartition("/")
    of_all = bool(kind) and targets([target], {"daemonsets", "pods"})[0][0].plural == "daemonsets"

    async def copy(client: Client) -> None:
        stream = client.logs(
            LogQuery(
                f"ds/{name}" if of_all else name,
                namespace,
                node=node,
                container=container,
                follow=follow,
                since=since,
                lines=lines,
            )
        )
        async with aclosing(stream):
            async for host, text in stream:
                write(line(f"{host}: {text}" if of_all else text))

    invocation.ask(copy)
