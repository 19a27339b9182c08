"""The verbs that reach for hosts as such: exec, enroll, adopt, purge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import click

from fleetd.cli.kinds import kind_of, one_target
from fleetd.cli.progress import reporting
from fleetd.cli.report import Form
from fleetd.cli.tables import grid
from fleetd.cli.text import say, write, write_raw
from fleetd.cli.verbs import Invocation, namespace_option, report_option, verb
from fleetd.client import RunOptions


@verb("exec", "fleetd exec web-03 -- uptime", "fleetd exec ne-web-03 -- cat /etc/os-release")
@click.argument("target", metavar="NODE|POD")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@namespace_option
@click.option(
    "-c", "--container", default="", metavar="NAME", help="In this container, not in the first."
)
@click.pass_obj
def exec_(
    invocation: Invocation, target: str, argv: Sequence[str], namespace: str, container: str
) -> int:
    """Run a command on a node or in a pod; its exit status is fleetd's.

    Output is passed on byte by byte; there is no terminal, and stdin is empty.
    """
    word, slash, name = target.partition("/")
    where = f"{kind_of(word, {'nodes', 'pods'}).singular}/{name}" if slash else target
    return invocation.ask(
        lambda client: client.exec(
            where,
            namespace,
            argv,
            lambda data, err: write_raw(data, err=err),
            container=container,
        )
    )


@verb("enroll", "fleetd enroll web-03", "fleetd enroll --all --yes")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@click.option("--all", "every", is_flag=True, help="All hosts of the inventory.")
@click.option("-y", "--yes", "accept", is_flag=True, help="Pin the keys that the hosts show.")
@click.pass_obj
def enroll(invocation: Invocation, hosts: Sequence[str], *, every: bool, accept: bool) -> int:
    """Look at the host keys of new hosts and, with --yes, pin them.

    Without --yes the fingerprints are printed and nothing is kept, so that they can be compared. A
    key that is not the pinned one is refused, and the pin stays.
    """
    if bool(hosts) == every:
        raise click.UsageError("name hosts, or say --all")
    names = [one_target([host], "nodes") for host in hosts]
    with reporting() as progress:
        rows = invocation.ask(
            lambda client: client.enroll(names, every=every, accept=accept, progress=progress)
        )
    if rows:
        write(grid(rows))
    if rows and not accept:
        say("Nothing was pinned. Compare the fingerprints, then run it again with --yes.")
    return 3 if any(result.startswith("failed") for _, result in rows) else 0


@verb("adopt", "fleetd -i inventory/ adopt")
@report_option
@click.pass_obj
def adopt(invocation: Invocation, *, form: str) -> int:
    """Rebuild a lost state from the hosts; the same files applied afterwards restart nothing."""
    return invocation.carry_out(
        lambda client, progress: client.adopt(progress), cast("Form", form), RunOptions()
    )


@verb("purge", "fleetd purge web-03")
@click.argument("host")
@report_option
@click.pass_obj
def purge(invocation: Invocation, host: str, *, form: str) -> int:
    """Take every trace of the fleet off a host: copies, files, users and the ledger."""
    name = one_target([host], "nodes")
    return invocation.carry_out(
        lambda client, progress: client.purge(name, progress), cast("Form", form), RunOptions()
    )
