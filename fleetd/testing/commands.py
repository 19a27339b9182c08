"""The few commands that a simulated host knows, for `fleetd exec` and `fleetd logs`."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fleetd.host.requests import Exec, Logs
from fleetd.testing.units import SimUnit


class PowerCut(Exception):
    """The host died in the middle of a request: what was done stays done, nothing is answered."""


class Machine(Protocol):
    """What commands need of a host."""

    name: str

    @property
    def uptime_s(self) -> float:
        """Seconds since it booted."""
        ...

    def unit(self, name: str) -> SimUnit:
        """A unit by name. Raises KeyError."""
        ...

    def crash(self, unit: str) -> None:
        """Kill the unit's main process."""
        ...

    def stop(self, unit: str) -> None:
        """Stop the unit."""
        ...

    def mask(self, unit: str) -> None:
        """Mask and stop."""
        ...

    def disable(self, unit: str) -> None:
        """Start it at boots no more."""
        ...

    def edit(self, path: str, data: bytes | None) -> None:
        """Change a delivered file; None deletes it. Raises KeyError."""
        ...

    def reboot(self, down_s: float = 30.0) -> None:
        """Power off and on."""
        ...


class Ended(NamedTuple):
    """How a command ended: exit status, stdout, and how long it took."""

    status: int
    stdout: bytes = b""
    takes_s: float = 0.0


def run_command(machine: Machine, request: Exec | Logs) -> Ended:
    """Run one; what it does not know ends with 127, as in a shell. Raises PowerCut."""
    if isinstance(request, Logs):
        return Ended(0, "".join(_log(machine, name) for name in request.units).encode())
    match request.argv:
        case ("truncate", "--size=0", path):
            return _edit(machine, path, b"")
        case ("rm", path):
            return _edit(machine, path, None)
        case ("systemctl", "daemon-reload"):
            return Ended(0)
        case ("ln", "-sf", "/dev/null", path):
            return _systemctl(machine, "mask", path.rpartition("/")[2])
        case ("systemctl", verb, unit):
            return _systemctl(machine, verb, unit)
        case ("reboot",):
            machine.reboot()
            raise PowerCut(machine.name)
        case words:
            return _program(machine, words)


def _program(machine: Machine, words: tuple[str, ...]) -> Ended:
    """A command that changes nothing."""
    match words:
        case ("hostname",):
            return Ended(0, f"{machine.name}\n".encode())
        case ("uptime",):
            return Ended(0, f"up {machine.uptime_s:.0f} s\n".encode())
        case ("echo", *said):
            return Ended(0, f"{' '.join(said)}\n".encode("utf-8", "surrogateescape"))
        case ("yes", count):
            return Ended(0, b"y\n" * int(count))
        case ("sleep", seconds):
            return Ended(0, takes_s=float(seconds))
        case ("exit", status):
            return Ended(int(status))
        case _:
            return Ended(127, f"{words[0]}: not known to a simulated host\n".encode())


def _edit(machine: Machine, path: str, data: bytes | None) -> Ended:
    try:
        machine.edit(path, data)
    except KeyError:
        return Ended(1, f"{path}: No such file or directory\n".encode())
    return Ended(0)


def _systemctl(machine: Machine, verb: str, name: str) -> Ended:
    try:
        unit = machine.unit(name)
    except KeyError:
        return Ended(4, f"Unit {name} could not be found.\n".encode())
    match verb:
        case "kill":
            machine.crash(name)
        case "stop":
            machine.stop(name)
        case "start" | "restart":
            unit.start(machine.uptime_s)
        case "mask":
            machine.mask(name)
        case "disable":
            machine.disable(name)
        case "is-active":
            state = unit.state(machine.uptime_s).active
            return Ended(0 if state == "active" else 3, f"{state}\n".encode())
        case _:
            return Ended(1, f"systemctl {verb}: not known to a simulated host\n".encode())
    return Ended(0)


def _log(machine: Machine, name: str) -> str:
    try:
        state = machine.unit(name).state(machine.uptime_s)
    except KeyError:
        return ""
    return f"{machine.name} {name}: {state.active} ({state.sub}), restarts: {state.restarts}\n"
