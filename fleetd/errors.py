"""Every error that fleetd raises on purpose, in one tree.

    FleetdError               1  an unexpected failure that fleetd can name
    ├── InvalidInput          2  documents, inventory, settings or arguments; nothing was touched
    │   └── InventoryUnknown  2  a source of the inventory failed, is empty or was half read
    ├── NotFound              2  a name that the state does not know
    ├── Refused               2  a legal request that the state forbids (guard, conflict)
    ├── StateHeld             5  another fleetd holds the state directory
    ├── StateBroken           1  the state cannot be read, or is of a newer fleetd
    └── NotConverged          3  time ran out, a rollout failed, hosts unreachable or refused

The number is the exit code of the command line. What a single host does wrong is never an
exception: it is that host's fact (`core.facts.Unknown`) or the result of its step (`host.replies`).
"""

from __future__ import annotations

from dataclasses import dataclass


class FleetdError(Exception):
    """The root: `str()` is one plain sentence or several lines, ready for a person."""

    exit_code = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in an input: where it is, what it is, and what to write instead.

    `line` is 1-based, 0 where there is none; `path` is a Kubernetes field path such as
    `spec.template.spec.containers[0].image`; `hint` may be empty.
    """

    source: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        text = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        return f"{text}; {self.hint}" if self.hint else text


class InvalidInput(FleetdError):
    """Input that cannot be used: all its problems at once, in the order of the files."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | tuple[Problem, ...] | str) -> None:
        """Take the problems found, or one sentence where there is no file to point at."""
        self.problems = (
            (Problem("fleetd", 0, "", problems),) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InventoryUnknown(InvalidInput):
    """What the inventory says is not known, so that no host may be taken to have left it (I3)."""


class NotFound(FleetdError):
    """A DaemonSet, node, revision or host that the state does not know."""

    exit_code = 2


class Refused(FleetdError):
    """A legal request that the present state forbids; the message says what would allow it."""

    exit_code = 2


class StateHeld(FleetdError):
    """Another fleetd is the writer of this state directory; the message names it."""

    exit_code = 5


class StateBroken(FleetdError):
    """The state directory cannot be read, or was written by a newer fleetd."""


class NotConverged(FleetdError):
    """The fleet is not as asked; the message lists the hosts that hold it."""

    exit_code = 3


def known(error: BaseException) -> FleetdError | None:
    """The error of ours, also out of the group of a TaskGroup when all in it are ours."""
    if isinstance(error, FleetdError):
        return error
    if isinstance(error, ExceptionGroup):
        inner = [known(one) for one in error.exceptions]
        return None if None in inner else inner[0]
    return None
