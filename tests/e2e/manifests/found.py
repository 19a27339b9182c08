"""What runs on a host, as the programs themselves, their engine and systemd tell it.

Read out of band, never through fleetd.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from fleetd.core.facts import Slot
from fleetd.core.key import Key
from fleetd.workload.names import HOLDER, probe_name, unit_name
from tests.e2e.lab import Host
from tests.e2e.manifests.manifest import Agent, Container

Told = dict[str, Any]
"""One telling of the stand-in: see standin.c."""

_PART: Final = re.compile(r"standin (\S+) (\d+)/(\d+) \|(.*)\|", re.DOTALL)
_ASKED: Final = (
    *("ActiveState", "MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "TimeoutStopUSec"),
    *("OOMScoreAdjust", "Type", "NRestarts", "After", "InvocationID"),
)


@dataclass
class Found:
    """One container: what its first process told, the engine's inspection, its unit."""

    unit: str
    dumps: list[Told] = field(default_factory=list)
    execs: list[Told] = field(default_factory=list)
    asked: list[Told] = field(default_factory=list)
    inspected: Told = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    probe: dict[str, str] = field(default_factory=dict)

    @property
    def dump(self) -> Told:
        """The telling of its last start; empty when it has told nothing."""
        return self.dumps[-1] if self.dumps else {}

    def status(self, name: str) -> str:
        """A line of /proc/self/status."""
        found = re.search(rf"^{name}:\s*(.*)$", self.dump.get("status", ""), re.MULTILINE)
        return found[1] if found else ""

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.partition("=")[::2] for each in self.dump.get("env", ()))

    @property
    def stop_timeout(self) -> int | None:
        """How long its engine lets it stop; podman 3 tells it in its own command alone."""
        config = self.inspected["Config"]
        words = [*(config.get("CreateCommand") or ())]
        said = [int(word[15:]) for word in words if word.startswith("--stop-timeout=")]
        found: int | None = config.get("StopTimeout", *said)
        return found

    def mount(self, target: str) -> Mount | None:
        """What is mounted there, the topmost."""
        for line in reversed(self.dump.get("mountinfo", "").splitlines()):
            mount = Mount.parse(line)
            if mount.target == target:
                return mount
        return None

    def place(self, target: str) -> tuple[int, int] | None:
        """Device and inode of what lies at a mount point."""
        found = [each for each in self.dump.get("places", ()) if each[0] == target]
        return (found[-1][1], found[-1][2]) if found else None

    def place_mode(self, target: str) -> tuple[str, int, int] | None:
        """Mode, user and group of what lies at a mount point."""
        found = [each for each in self.dump.get("places", ()) if each[0] == target]
        return (found[-1][3], found[-1][4], found[-1][5]) if found else None


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    target: str
    options: frozenset[str]
    shared: frozenset[str]
    kind: str
    super_options: str

    @classmethod
    def parse(cls, line: str) -> Mount:
        left, _, right = line.partition(" - ")
        fields, kinds = left.split(), right.split()
        target = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        shared = frozenset(each.partition(":")[0] for each in fields[6:])
        return cls(target, frozenset(fields[5].split(",")), shared, kinds[0], kinds[-1])

    @property
    def read_only(self) -> bool:
        return "ro" in self.options

    @property
    def propagation(self) -> str:
        """Kubernetes' word for it."""
        if "shared" in self.shared:
            return "Bidirectional"
        return "HostToContainer" if "master" in self.shared else "None"


def cursor(host: Host) -> str:
    """The end of the host's journal."""
    shown = host.sh("journalctl --no-pager -q -n 1 --show-cursor").stdout
    return shown.rpartition("-- cursor: ")[2].strip()


def tellings(host: Host, since: str) -> dict[str, list[Told]]:
    """What stand-ins have told since a cursor, by unit, in order."""
    fields = "MESSAGE,_SYSTEMD_UNIT,CONTAINER_NAME,CONTAINER_PARTIAL_MESSAGE,_PID,PRIORITY"
    command = f"journalctl --no-pager -q --all -o json --output-fields={fields}"
    # A terminal's lines end in a carriage return, for which journalctl shows numbers.
    numbers = ",".join(str(each) for each in b"standin")
    some = f"grep -E 'standin|CONTAINER_NAME|:.{numbers}' || true"
    shown = host.sh(f"{command} --after-cursor={shlex.quote(since)} | {some}")
    parts: dict[tuple[str, str], list[str]] = {}
    begun: dict[tuple[str, ...], str] = {}
    for line in shown.stdout.splitlines():
        entry = json.loads(line)
        message = entry.get("MESSAGE") or ""
        if isinstance(message, list):
            message = bytes(message).decode("ascii", "replace")
        name = entry.get("CONTAINER_NAME")
        if name:
            # The conmon of podman 3 tells a line in as many pieces as it was read in.
            writer = (name, entry["_PID"], entry.get("PRIORITY", ""))
            message = begun.pop(writer, "") + message
            if "CONTAINER_PARTIAL_MESSAGE" in entry:
                begun[writer] = message
                continue
        if found := _PART.match(message.strip("\r\n")):
            unit = f"{name}.service" if name else entry.get("_SYSTEMD_UNIT", "")
            pieces = parts.setdefault((unit, found[1]), [""] * int(found[3]))
            pieces[int(found[2]) - 1] = found[4]
    told: dict[str, list[Told]] = defaultdict(list)
    for (unit, _), pieces in parts.items():
        if all(pieces[:-1]):
            told[unit].append(json.loads("".join(pieces)))
    return told


def look(host: Host, agent: Agent, since: str) -> dict[str, Found]:
    """Every container of an agent by its name, and its holder as `_holder` where there is one."""
    ds = Key(agent.namespace, agent.name)
    told = tellings(host, since)
    names = [*(container.name for container in agent.containers), HOLDER]
    found = {name: Found(unit_name(ds, name, Slot.A)) for name in names}
    probes = {name: probe_name(ds, name, Slot.A) for name in names}
    for name, each in found.items():
        for one in told.get(each.unit, ()):
            kind = {"exec": each.execs, "asked": each.asked}.get(one["role"], each.dumps)
            kind.append(one)
        each.properties = _show(host, each.unit)
        each.probe = _show(host, probes[name])
    _inspect(host, found.values())
    if not found[HOLDER].inspected:
        del found[HOLDER]
    return found


def _show(host: Host, unit: str) -> dict[str, str]:
    shown = host.sh(f"systemctl show --property={','.join(_ASKED)} {unit}").stdout
    return dict(line.partition("=")[::2] for line in shown.splitlines())


def _inspect(host: Host, found: Iterable[Found]) -> None:
    names = {each.unit.removesuffix(".service"): each for each in found}
    engine = host.spec.runtime
    kind = "container" if engine == "podman" else "--type=container"
    words = f"{engine} {kind} inspect" if engine == "podman" else f"docker inspect {kind}"
    shown = host.sh(f"{words} {' '.join(names)} 2>/dev/null || true").stdout
    for one in json.loads(shown or "[]"):
        names[one["Name"].lstrip("/")].inspected = one


def started_in_order(agent: Agent, found: dict[str, Found]) -> list[tuple[str, float]]:
    """(container, boot clock of its last start) of all, in the template's order."""

    def start(container: Container) -> float:
        return float(found[container.name].dump.get("at", 0.0))

    return [(container.name, start(container)) for container in agent.containers]
