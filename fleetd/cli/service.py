"""The verb of the service: `run`."""

from __future__ import annotations

import click

from fleetd.cli.verbs import Invocation, verb


@verb("run", "fleetd run", "fleetd run --config /etc/fleetd/fleetd.yaml")
@click.pass_obj
def run(invocation: Invocation) -> int:
    """Hold the fleet at its specs until told to end; what systemd starts as fleetd.service.

    The other verbs on this machine go through it while it runs. SIGHUP reads settings and inventory
    again; SIGTERM ends it, a second one at once.
    """
    return invocation.serve(invocation.settings)
