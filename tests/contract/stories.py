"""What the stories of the client's suite have in common: an agent, and who listens to a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fleetd.client import Client, Query, RunOptions, Shape
from fleetd.core.key import Key
from tests.contract.forms import World

AGENT = Key("default", "agent")
UNIT = "fleetd-default.agent.main.a.service"
Play = Callable[..., None]
"""Tells a story in one of the client's forms."""


def agent(version: str = "1", more: str = "") -> str:
    return f"""\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
  labels: {{team: a}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  minReadySeconds: 1
  updateStrategy: {{rollingUpdate: {{maxUnavailable: 3}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec:
      containers:
      - name: main
        image: registry.example/agent:{version}
{more}"""


class Heard:
    """Progress, as it comes."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        self.events.append((event, fields))

    def named(self, event: str) -> list[Mapping[str, Any]]:
        return [fields for name, fields in self.events if name == event]


def unwatched(event: str, fields: Mapping[str, Any]) -> None:
    """Nobody looks."""


async def applied(client: Client, world: World, text: str | None = None) -> None:
    path = world.write("agent.yaml", agent() if text is None else text)
    report = await client.apply([path], RunOptions(), unwatched)
    assert report.converged, report


async def daemonset(client: Client) -> Shape:
    (shape,) = await client.get("daemonsets", Query(name="agent"))
    return shape


def image_of(shape: Shape) -> str:
    image = shape["spec"]["template"]["spec"]["containers"][0]["image"]
    assert isinstance(image, str)
    return image
