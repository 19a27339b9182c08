"""Counters and conditions of a DaemonSet, from the same places that the decisions are made on.

The counters have Kubernetes' meaning (K 126-138); `unknown` and the conditions are fleetd's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: `Progressing`, `Available` or `Degraded`, with the reason and a sentence."""

    type: Literal["Progressing", "Available", "Degraded"]
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a DaemonSet after a pass. `holders` maps a node that is not as wanted to why."""

    desired: int = 0
    current: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    unavailable: int = 0
    misscheduled: int = 0
    unknown: int = 0
    conditions: tuple[Condition, ...] = ()
    holders: Mapping[str, str] = field(default_factory=dict)
