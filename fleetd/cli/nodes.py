"""The verbs about a node's standing: cordon, drain, hold, taint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import click

from fleetd.cli.getting import choose, named, selector_option
from fleetd.cli.kinds import one_target
from fleetd.cli.report import Form
from fleetd.cli.tables import at, items
from fleetd.cli.text import say, write
from fleetd.cli.verbs import (
    Invocation,
    bounds,
    dry_run_option,
    report_option,
    run_options,
    timeout_option,
    verb,
)
from fleetd.client import Client, Query, Report
from fleetd.core.node import DRAINED
from fleetd.errors import NotConverged, NotFound

nodes_argument = click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
chosen_nodes_argument = click.argument("nodes", nargs=-1, metavar="NODE...")
change_argument = click.argument("what", nargs=-1, required=True, metavar="NODE CHANGE...")


def _each(
    invocation: Invocation, nodes: Sequence[str], work: Callable[[Client, str], Awaitable[str]]
) -> None:
    async def ask(client: Client) -> list[str]:
        return [await work(client, node) for node in nodes]

    write("\n".join(invocation.ask(ask, mutating=True)))


def _chosen(invocation: Invocation, nodes: Sequence[str], selector: str) -> tuple[str, ...]:
    """Node names as arguments (`NODE`, `node/NODE`, `node NODE`), or the nodes with labels."""
    if not selector:
        if not nodes:
            raise click.UsageError("name nodes, or choose them with -l SELECTOR")
        bare = len(nodes) > 1 and nodes[0] in {"no", "node", "nodes"}
        return tuple(one_target([node], "nodes") for node in (nodes[1:] if bare else nodes))
    if nodes:
        raise click.UsageError("names and a selector do not go together")
    found = choose(invocation, ["nodes"], "", {"nodes"}, selector=selector)
    if not found:
        raise NotFound(f"no node has labels that match {selector}")
    return tuple(name for _, name in found)


@verb("cordon", "fleetd cordon web-03", "fleetd cordon -l rack=a")
@chosen_nodes_argument
@selector_option
@click.pass_obj
def cordon(invocation: Invocation, nodes: Sequence[str], selector: str) -> None:
    """Mark nodes unschedulable; as in Kubernetes, DaemonSets tolerate that and stay."""
    names = _chosen(invocation, nodes, selector)
    _each(invocation, names, lambda client, node: client.cordon(node, on=True))


@verb("uncordon", "fleetd uncordon web-03", "fleetd uncordon -l rack=a")
@chosen_nodes_argument
@selector_option
@timeout_option
@report_option
@click.pass_obj
def uncordon(
    invocation: Invocation, /, nodes: Sequence[str], selector: str, *, form: str, **given: Any
) -> int:
    """Mark nodes schedulable again; agents that a drain took away come back."""
    names, options = _chosen(invocation, nodes, selector), run_options(**given)

    async def drained(client: Client) -> list[str]:
        return [name for name in names if await _is_drained(client, name)]

    emptied = invocation.ask(drained)
    others = [name for name in names if name not in emptied]
    if others:
        _each(invocation, others, lambda client, node: client.cordon(node, on=False))
    if not emptied:
        return 0
    return invocation.carry_out(
        lambda client, progress: client.drain(emptied, options, progress, on=False),
        cast("Form", form),
        options,
        words={"configured": "uncordoned", "unchanged": "already uncordoned"},
    )


async def _is_drained(client: Client, name: str) -> bool:
    found = await client.get("nodes", Query(None, name))
    return any(
        at(taint, "key") == DRAINED.key for item in found for taint in items(item, "spec.taints")
    )


@verb(
    "drain",
    "fleetd drain web-03 --ignore-daemonsets",
    "fleetd drain web-03 --evict-daemonsets",
    "fleetd drain -l rack=a --evict-daemonsets --confirm-removals 12",
)
@chosen_nodes_argument
@selector_option
@click.option(
    "--ignore-daemonsets", "ignore", is_flag=True, help="Leave the agents where they are; cordon."
)
@click.option(
    "--evict-daemonsets",
    "evict",
    is_flag=True,
    help="Take the agents away too, and keep them away until uncordon.",
)
@click.option(
    "--force",
    is_flag=True,
    expose_value=False,
    help="Taken for kubectl's sake: nothing here needs it.",
)
@click.option(
    "--delete-emptydir-data",
    is_flag=True,
    expose_value=False,
    help="Taken for kubectl's sake: it goes with the agent.",
)
@timeout_option
@dry_run_option
@bounds
@report_option
@click.pass_obj
def drain(
    invocation: Invocation,
    /,
    nodes: Sequence[str],
    selector: str,
    *,
    ignore: bool,
    evict: bool,
    form: str,
    **given: Any,
) -> int:
    """Prepare nodes for maintenance: cordon them, and let their agents stay or go, as asked.

    As with kubectl, a node with agents is only cordoned unless it is said what becomes of them.
    """
    if ignore and evict:
        raise click.UsageError("--ignore-daemonsets leaves the agents, --evict-daemonsets does not")
    names, options = _chosen(invocation, nodes, selector), run_options(**given)
    if evict:
        return _evict(invocation, names, cast("Form", form), options_given=given)
    suffix = " (dry run)" if options.dry_run else ""

    async def work(client: Client) -> dict[str, list[str]]:
        pods = await _pods_of(client, names)
        for name in names:
            write(
                f"node/{name} cordoned{suffix}"
                if options.dry_run
                else await client.cordon(name, on=True)
            )
        return pods

    pods = invocation.ask(work, mutating=not options.dry_run)
    refused = [name for name in names if pods[name] and not ignore]
    for name in names:
        if name in refused:
            continue
        if pods[name]:
            say(f"Warning: ignoring DaemonSet-managed Pods: {', '.join(pods[name])}")
        write(f"node/{name} drained{suffix}")
    if refused:
        every = ", ".join(pod for name in refused for pod in pods[name])
        raise NotConverged(
            "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to leave them, "
            f"--evict-daemonsets to take them away): {every}"
        )
    return 0


def _evict(
    invocation: Invocation, names: Sequence[str], form: Form, options_given: dict[str, Any]
) -> int:
    options = run_options(**options_given)

    def drained(report: Report) -> str:
        if options.dry_run:
            return ""
        left = {node for hosts in report.holders.values() for node in hosts}
        return "\n".join(f"node/{name} drained" for name in names if name not in left)

    return invocation.carry_out(
        lambda client, progress: client.drain(names, options, progress, on=True),
        form,
        options,
        words={"configured": "cordoned", "unchanged": "already cordoned"},
        also=drained,
    )


async def _pods_of(client: Client, names: Sequence[str]) -> dict[str, list[str]]:
    """The pods on each node; raises NotFound for a node that is not known."""
    for name in names:
        if not await client.get("nodes", Query(None, name)):
            raise NotFound(f'nodes "{name}" not found')
    found: dict[str, list[str]] = {name: [] for name in names}
    for pod in await client.get("pods", Query(None)):
        node = str(at(pod, "spec.nodeName"))
        if node in found:
            found[node].append(f"{at(pod, 'metadata.namespace')}/{at(pod, 'metadata.name')}")
    return found


@verb("hold", "fleetd hold web-03")
@nodes_argument
@click.pass_obj
def hold(invocation: Invocation, nodes: Sequence[str]) -> None:
    """Keep hands off nodes: nothing is started, updated or removed there."""
    names = [one_target([node], "nodes") for node in nodes]
    _each(invocation, names, lambda client, node: client.hold(node, on=True))


@verb("unhold", "fleetd unhold web-03")
@nodes_argument
@click.pass_obj
def unhold(invocation: Invocation, nodes: Sequence[str]) -> None:
    """Take nodes back into care; the next pass brings them up to date."""
    names = [one_target([node], "nodes") for node in nodes]
    _each(invocation, names, lambda client, node: client.hold(node, on=False))


@verb("taint", "fleetd taint web-03 dedicated=gpu:NoSchedule", "fleetd taint web-03 dedicated-")
@change_argument
@click.pass_obj
def taint(invocation: Invocation, what: Sequence[str]) -> None:
    """Add taints KEY=VALUE:EFFECT to a node, or take them: KEY:EFFECT- or KEY-."""
    # kubectl writes `taint nodes NAME ...`; the name alone is enough here.
    words = what[1:] if what[0] in {"no", "node", "nodes"} else what
    if len(words) < 2:
        raise click.UsageError("name a node and a change, such as dedicated=gpu:NoSchedule")
    (node,), changes = named(words[:1], "nodes"), words[1:]
    write(invocation.ask(lambda client: client.taint(node, changes), mutating=True))
