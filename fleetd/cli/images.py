"""`fleetd image`: images on hosts that no registry brings there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import click

from fleetd.cli.kinds import one_target
from fleetd.cli.report import Form
from fleetd.cli.selecting import by_labels
from fleetd.cli.verbs import Invocation, report_option, verb
from fleetd.client import Client, Progress, Query, Report, RunOptions
from fleetd.errors import NotFound


@click.group("image", no_args_is_help=False)
def image() -> None:
    """Bring images to hosts where there is no registry."""


@verb(
    "push",
    "podman save -o agent.tar registry.example/agent:v2 && fleetd image push agent.tar",
    "fleetd image push agent.tar -l role=web",
)
@click.argument("archive", type=click.Path(exists=True, dir_okay=False))
@click.option("-l", "--selector", default="", metavar="LABELS", help="To nodes with these labels.")
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="To this node; repeatable.")
@report_option
@click.pass_obj
def push(
    invocation: Invocation, archive: str, selector: str, nodes: Sequence[str], *, form: str
) -> int:
    """Bring an image archive to the hosts through SSH: all of them, unless some are chosen.

    ARCHIVE is what `docker save` or `podman save` wrote (docker-archive or oci-archive). A host
    that has the image is sent nothing, so a push that was cut is simply run again. A DaemonSet
    whose imagePullPolicy is IfNotPresent or Never then runs that image, and no registry is asked.
    """
    if selector and nodes:
        raise click.UsageError("say -l or --node, not both")
    names = [one_target([node], "nodes") for node in nodes]
    chosen = by_labels(selector)

    async def carry(client: Client, progress: Progress) -> Report:
        wanted = names
        if selector:
            shapes = await client.get("nodes", Query(namespace=None))
            wanted = [str(shape["metadata"]["name"]) for shape in shapes if chosen(shape)]
            if not wanted:
                raise NotFound(f"no node has the labels {selector}")
        return await client.push_image(archive, wanted, progress)

    return invocation.carry_out(carry, cast("Form", form), RunOptions())


image.add_command(push)
