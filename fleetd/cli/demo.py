"""`fleetd demo`: the main job on a fleet of simulated hosts that speak real SSH on loopback.

Nothing here is special to the demo: it starts the hosts, writes an agent's manifest, and runs the
same commands that a person would type, in processes of their own. Needs neither root nor an engine.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

AGENT = """\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: node-exporter
spec:
  selector:
    matchLabels: {{app: node-exporter}}
  updateStrategy:
    rollingUpdate: {{maxUnavailable: 4}}
  minReadySeconds: 1
  template:
    metadata:
      labels: {{app: node-exporter}}
    spec:
      hostNetwork: true
      containers:
        - name: node-exporter
          image: quay.io/prometheus/node-exporter:{version}
"""
UNIT = "fleetd-default.node-exporter.node-exporter.a.service"
NEXT = """
What to try next
  fleetd explain --fields          what fleetd does with every field of a manifest
  less README.md                   a real fleet in five minutes: inventory, enroll, apply
  ls agents inventory systemd      agents, inventories and units to copy
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: where it lives."""

    place: Path

    def say(self, text: str) -> None:
        """Tell what comes next."""
        click.echo(f"\n# {text}")

    def run(self, *words: str, may_end: tuple[int, ...] = (0,)) -> None:
        """Run a fleetd command as a person would; another exit status ends the demo.

        Raises click.ClickException when it does.
        """
        click.echo(f"$ fleetd {' '.join(words)}")
        sys.stdout.flush()
        ended = subprocess.run(  # noqa: S603 - our own program and our own words
            [sys.executable, "-m", "fleetd", *words], cwd=self.place, check=False
        )
        if ended.returncode not in may_end:
            raise click.ClickException(f"that was not to end with {ended.returncode}")

    def write_agent(self, version: str) -> None:
        """Write the manifest, at this version of the agent."""
        (self.place / "agent.yaml").write_text(AGENT.format(version=version))


def demo(hosts: int) -> None:
    """Run it."""
    with tempfile.TemporaryDirectory(prefix="fleetd-demo-") as directory:
        place = Path(directory)
        click.echo(f"# Starting {hosts} simulated hosts that speak real SSH on loopback ...")
        with simulated(hosts, place):
            (place / "fleetd.yaml").write_text("inventory: inventory.yaml\nstate: state\n")
            _tell(Demo(place), f"sim-{1:0{len(str(hosts))}}")
    click.echo(NEXT, nl=False)


def _tell(show: Demo, victim: str) -> None:
    show.write_agent("v1.8.1")
    show.say("An agent for every host: apply it as you would with kubectl.")
    show.run("apply", "agent.yaml")
    show.run("get", "ds")
    show.say("Once more: nothing to do, and nothing is done.")
    show.run("apply", "agent.yaml")
    show.say(f"Somebody stops the agent on {victim} ...")
    show.run("exec", victim, "--", "systemctl", "stop", UNIT)
    show.say("... and the next pass (from cron, say) repairs it.")
    show.run("reconcile")
    show.say("A new version: rolled out 4 hosts at a time, each watched until it is ready.")
    show.write_agent("v1.8.2")
    show.run("diff", "agent.yaml", may_end=(4,))
    show.run("apply", "agent.yaml")
    show.run("rollout", "history", "ds/node-exporter")
    show.say("Why does a host run what it runs?")
    show.run("why", victim)


@contextmanager
def simulated(hosts: int, place: Path) -> Iterator[None]:
    """Serve simulated hosts from a process of their own, which ends with its stdin."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [
            sys.executable,
            *("-m", "fleetd.testing", "--hosts", str(hosts)),
            *("--dir", str(place), "--pull-seconds", "0.5"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        if server.stdout is None or server.stdin is None or server.stdout.readline() != "ready\n":
            raise click.ClickException("the simulated hosts did not start")
        try:
            yield
        finally:
            server.stdin.close()
            server.wait(timeout=30)
