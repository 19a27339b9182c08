"""The verbs about a node's standing: cordon, hold, taint, label."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fleetd.cli.kinds import one_target
from fleetd.cli.text import write
from fleetd.cli.verbs import Invocation, verb
from fleetd.client import Client

nodes_argument = click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
change_argument = click.argument("what", nargs=-1, required=True, metavar="NODE CHANGE...")


def _cordon(invocation: Invocation, nodes: Sequence[str], *, on: bool) -> None:
    async def work(client: Client) -> list[str]:
        return [await client.cordon(one_target([node], "nodes"), on=on) for node in nodes]

    write("\n".join(invocation.ask(work, mutating=True)))


def _hold(invocation: Invocation, nodes: Sequence[str], *, on: bool) -> None:
    async def work(client: Client) -> list[str]:
        return [await client.hold(one_target([node], "nodes"), on=on) for node in nodes]

    write("\n".join(invocation.ask(work, mutating=True)))


@verb("cordon", "fleetd cordon web-03")
@nodes_argument
@click.pass_obj
def cordon(invocation: Invocation, nodes: Sequence[str]) -> None:
    """Mark nodes unschedulable; as in Kubernetes, DaemonSets tolerate that and stay."""
    _cordon(invocation, nodes, on=True)


@verb("uncordon", "fleetd uncordon web-03")
@nodes_argument
@click.pass_obj
def uncordon(invocation: Invocation, nodes: Sequence[str]) -> None:
    """Mark nodes schedulable again."""
    _cordon(invocation, nodes, on=False)


@verb("hold", "fleetd hold web-03")
@nodes_argument
@click.pass_obj
def hold(invocation: Invocation, nodes: Sequence[str]) -> None:
    """Keep hands off nodes: nothing is started, updated or removed there."""
    _hold(invocation, nodes, on=True)


@verb("unhold", "fleetd unhold web-03")
@nodes_argument
@click.pass_obj
def unhold(invocation: Invocation, nodes: Sequence[str]) -> None:
    """Take nodes back into care; the next pass brings them up to date."""
    _hold(invocation, nodes, on=False)


def _node_and_changes(what: Sequence[str], example: str) -> tuple[str, Sequence[str]]:
    # kubectl writes `taint nodes NAME ...`; the name alone is enough here.
    words = what[1:] if what[0] in {"no", "node", "nodes"} else what
    if len(words) < 2:
        raise click.UsageError(f"name a node and a change, such as {example}")
    return one_target(words[:1], "nodes"), words[1:]


@verb("taint", "fleetd taint web-03 dedicated=gpu:NoSchedule", "fleetd taint web-03 dedicated-")
@change_argument
@click.pass_obj
def taint(invocation: Invocation, what: Sequence[str]) -> None:
    """Add taints KEY=VALUE:EFFECT to a node, or take them: KEY:EFFECT- or KEY-."""
    node, changes = _node_and_changes(what, "dedicated=gpu:NoSchedule")
    write(invocation.ask(lambda client: client.taint(node, changes), mutating=True))


@verb("label", "fleetd label web-03 disktype=ssd", "fleetd label web-03 disktype-")
@change_argument
@click.pass_obj
def label(invocation: Invocation, what: Sequence[str]) -> None:
    """Set labels KEY=VALUE on a node, or take them: KEY-."""
    node, changes = _node_and_changes(what, "disktype=ssd")
    write(invocation.ask(lambda client: client.label(node, changes), mutating=True))
