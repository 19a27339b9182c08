"""A long time of mixed faults against a running service, and the history that it leaves.

Two hands hurt hosts, one host at a time each; a third does what concerns the whole fleet: versions
good and bad, pauses, hosts that leave and join, an inventory in trouble, the end of the service
itself. Which is next is drawn by a seed; the moments are those of the machine. What became of it is
judged in `verdict`, by what the hosts recorded.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.e2e import faults
from tests.e2e.admin import Admin
from tests.e2e.faults import BUDGET, DAMAGES, LOCKS, MIN_READY, Damage
from tests.e2e.lab import Entry, Host, boottime
from tests.e2e.proof import snapshot
from tests.e2e.served import Served
from tests.e2e.verdict import Agent, Compared, Fault, History, Silence, Window

MENDED_S = 120.0
"""A damage that is there after so long was overlooked: nothing here takes half of it."""
INF = float("inf")


@dataclass
class Soak:
    """One soak over all hosts of a fleet, with a service that runs."""

    admin: Admin
    served: Served
    seed: int
    seconds: float
    faults: list[Fault] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    unmended: list[Fault] = field(default_factory=list)
    repaired: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from cause to repaired, by kind."""
    done: Counter[str] = field(default_factory=Counter)
    windows: dict[str, list[Window]] = field(default_factory=dict)
    good: int = 0
    """The number of the last good version."""
    number: int = 0
    planted: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hosts = list(self.admin.fleet.hosts.values())
        self.busy = {host.name: threading.Lock() for host in self.hosts}
        self.fleet = threading.Lock()
        """Held by whoever does what concerns the whole fleet, or needs it to be quiet."""
        self.over = threading.Event()
        self.members = [host.name for host in self.hosts]
        self.kills: list[float] = []

    # ------------------------------------------------------------------------------- the run

    def run(self) -> History:
        """Begin, hurt for as long as was asked, heal, and tell what was recorded."""
        for host in self.hosts:
            faults.plant(host)
            self.planted[host.name] = faults.foreign(host)
            self.windows[host.name] = [(0.0, INF)]
        self.number = self.good = 1
        self._release(self.good)
        self._settle()
        hands = [
            threading.Thread(target=self._hand, args=(work, random.Random(self.seed + number)))
            for number, work in enumerate((self._hurt_one, self._hurt_one, self._change))
        ]
        self.trouble: list[BaseException] = []
        for hand in hands:
            hand.start()
        self.over.wait(self.seconds)
        self.over.set()
        for hand in hands:
            hand.join()
        if self.trouble:
            raise self.trouble[0]
        return self._end()

    def _hand(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            while not self.over.is_set():
                work(chance)
                self.over.wait(chance.uniform(0.2, 3.0))
        except BaseException as error:  # noqa: BLE001 - it is raised again by whoever waits for us
            self.trouble.append(error)
            self.over.set()

    def _end(self) -> History:
        """Everybody is back, the last good version is everywhere, and nothing moves any more."""
        self._know([host.name for host in self.hosts])
        self._release(self.good)
        self._settle()
        foreign = [
            Compared(host.name, self.planted[host.name], faults.foreign(host))
            for host in self.hosts
        ]
        before = {host.name: snapshot(host) for host in self.hosts}
        self._settle()
        time.sleep(5)
        settled = [Compared(host.name, before[host.name], snapshot(host)) for host in self.hosts]
        return History(
            agents=tuple(self._agent(name) for name in LOCKS),
            members={name: tuple(windows) for name, windows in self.windows.items()},
            faults=tuple(self.faults),
            silences=tuple(self.silences),
            foreign=tuple(foreign),
            settled=tuple(settled),
            unmended=tuple(self.unmended),
            versions=dict.fromkeys(LOCKS, f"v{self.good}"),
        )

    def _agent(self, name: str) -> Agent:
        timeline = self.admin.timeline(LOCKS[name])
        return Agent(name, BUDGET, MIN_READY, timeline.runs, timeline.overlaps)

    # ----------------------------------------------------------------------------- one host

    def _hurt_one(self, chance: random.Random) -> None:
        host = chance.choice(self.hosts)
        with self.busy[host.name]:
            if host.name not in self.members or self.over.is_set():
                return
            if chance.random() < 0.75:
                self._damage(host, chance.choice(DAMAGES))
            else:
                chance.choice((self._reboot, self._cut, self._unplug, self._freeze, self._journal))(
                    host, chance
                )

    def _damage(self, host: Host, damage: Damage) -> None:
        with self._fault(damage.kind, host, kills=damage.kills) as begin:
            host.sh(f"{{ {damage.script}; }} >/dev/null 2>&1", check=False)
        deadline = time.monotonic() + MENDED_S
        while not damage.right(host, begin):
            if time.monotonic() > deadline:
                self.unmended.append(Fault(damage.kind, host.name, begin, begin))
                return
            time.sleep(0.02)
        if not any(begin - 1 < kill for kill in self.kills):
            self.repaired[damage.kind].append(boottime() - begin)

    def _reboot(self, host: Host, _: random.Random) -> None:
        with self._fault("reboot", host, kills=True):
            host.reboot()
            host.wait_ssh()

    def _cut(self, host: Host, chance: random.Random) -> None:
        with self._fault("power cut", host, kills=True):
            host.power_cut()
            time.sleep(chance.uniform(0, 3))
            host.boot()
            host.wait_ssh()

    def _journal(self, host: Host, _: random.Random) -> None:
        with self._fault("journald restarted", host):
            host.sh("systemctl restart systemd-journald")

    def _unplug(self, host: Host, chance: random.Random) -> None:
        self._silence(host, chance, "unplug", host.unplug, host.plug)

    def _freeze(self, host: Host, chance: random.Random) -> None:
        self._silence(host, chance, "freeze sshd", host.freeze_sshd, host.thaw_sshd)

    def _silence(
        self,
        host: Host,
        chance: random.Random,
        kind: str,
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        """Nobody hears of a host for a while; half of the times nothing else goes on then."""
        seconds = chance.uniform(3, 25)
        if chance.random() < 0.5:
            with self._fault(kind, host):
                begin()
                self.over.wait(seconds)
                end()
            return
        with self.fleet:
            self._settle()
            since = boottime()
            with self._fault(f"{kind} while all is quiet", host):
                begin()
                self.over.wait(seconds)
                listed = self._is_listed(host)
                end()
            self._settle()
            self.silences.append(Silence(host.name, since, boottime(), quiet=True, listed=listed))

    def _is_listed(self, host: Host) -> bool:
        """Whether the copies of a silent host still stand in the state."""
        pods = self.admin.get("pods")["items"]
        there = {pod["metadata"]["name"] for pod in pods}
        sets = self.admin.get("ds")["items"]
        wanted = {each["status"]["desiredNumberScheduled"] for each in sets}
        return wanted == {len(self.members)} and all(f"{n}-{host.name}" in there for n in LOCKS)

    @contextmanager
    def _fault(self, kind: str, host: Host | None, *, kills: bool = False) -> Iterator[float]:
        begin = boottime()
        name = host.name if host else ""
        # Known from its first moment on, though not yet its end.
        self.faults.append(open_ := Fault(kind, name, begin, INF, kills))
        yield begin
        self.faults[self.faults.index(open_)] = replace(open_, end=boottime())
        self.done[kind] += 1

    # ---------------------------------------------------------------------------- the fleet

    def _change(self, chance: random.Random) -> None:
        works = (
            *(self._release_good, self._release_good, self._release_bad, self._pause),
            *(self._kill, self._kill, self._restart, self._move, self._move, self._spoil),
        )
        with self.fleet:
            if not self.over.is_set():
                chance.choice(works)(chance)

    def _release_good(self, chance: random.Random) -> None:
        with self._fault("a good version", None):
            self.number += 1
            self.good = self.number
            self._release(self.good)
            self.over.wait(chance.uniform(0, 20))

    def _release_bad(self, chance: random.Random) -> None:
        with self._fault("a bad version", None):
            self.number += 1
            self._apply(f"v{self.number}", dies=True)
            self.over.wait(chance.uniform(1, 6))
            if chance.random() < 0.5:
                self._move(chance)
            self.over.wait(chance.uniform(1, 6))
            self._release(self.good)

    def _pause(self, chance: random.Random) -> None:
        with self._fault("a pause", None):
            self.admin.fleetd("rollout", "pause", "ds/agent")
            self.number += 1
            self.good = self.number
            self._release(self.good)
            self.over.wait(chance.uniform(1, 6))
            # It waits for the rollout, and a host may be silent just now.
            self.admin.fleetd("rollout", "resume", "ds/agent", code=None, timeout=300)

    def _kill(self, chance: random.Random) -> None:
        with self._fault("the service killed", None):
            self.kills.append(boottime())
            self.served.kill()
            self.over.wait(chance.uniform(0, 3))
            self.served.start()
            self.kills.append(boottime())

    def _restart(self, _: random.Random) -> None:
        with self._fault("the service restarted", None):
            self.kills.append(boottime())
            self.served.stop()
            self.served.start()
            self.kills.append(boottime())

    def _move(self, chance: random.Random) -> None:
        """Who has left joins again; else somebody leaves."""
        away = [host for host in self.hosts if host.name not in self.members]
        host = away[0] if away else chance.choice(self.hosts)
        # Whoever has that host in hand may be waiting for the fleet, which is in ours.
        if not self.busy[host.name].acquire(blocking=False):
            return
        try:
            with self._fault("join" if away else "leave", host):
                if away:
                    self._know([*self.members, host.name])
                else:
                    self._know([name for name in self.members if name != host.name])
        finally:
            self.busy[host.name].release()

    def _spoil(self, chance: random.Random) -> None:
        """The inventory is empty, then half a file, then whole again."""
        with self._fault("an inventory in trouble", None):
            text = self.admin.inventory.read_text()
            self.admin.inventory.write_text("")
            self.over.wait(chance.uniform(0, 3))
            self.admin.inventory.write_text(text[: len(text) * 2 // 3])
            self.over.wait(0.3)
            self.admin.inventory.write_text(text)

    def _know(self, names: list[str]) -> None:
        now = boottime()
        for host in self.hosts:
            windows = self.windows[host.name]
            if host.name in names and windows[-1][1] != INF:
                windows.append((now, INF))
            elif host.name not in names and windows[-1][1] == INF:
                windows[-1] = (windows[-1][0], now)
        self.members = names
        self.admin.know([Entry(host) for host in self.hosts if host.name in names])

    def _release(self, number: int) -> None:
        self._apply(f"v{number}")

    def _apply(self, version: str, *, dies: bool = False) -> None:
        path = self.admin.write(*faults.documents(version, dies=dies))
        result = self.admin.fleetd("apply", path, "--no-wait", code=None)
        # A host may be silent just now, or fall silent in the middle of its order.
        assert result.code in {0, 3}, str(result)

    def _settle(self) -> None:
        """Until the service says that all is as asked."""
        deadline = time.monotonic() + 180
        while True:
            result = self.admin.fleetd("reconcile", "--timeout", "30s", code=None, timeout=120)
            if result.code == 0:
                return
            assert time.monotonic() < deadline, f"{result}\n{self.served.tail()}"

    # ------------------------------------------------------------------------------- report

    def report(self, found: list[str]) -> str:
        """What was done, how soon it was mended, and what was wrong."""
        every = sorted(seconds for times in self.repaired.values() for seconds in times)
        lines = [f"seed {self.seed}, {self.seconds:.0f} s, {len(self.hosts)} hosts", ""]
        lines += [f"{count:5} x {kind}" for kind, count in sorted(self.done.items())]
        lines += ["", f"{'from cause to repaired, s':32} {'times':>5} {'median':>8} {'longest':>8}"]
        for kind, times in [*sorted(self.repaired.items()), ("all", every)]:
            if times:
                middle = statistics.median(times)
                lines.append(f"{kind:32} {len(times):5} {middle:8.2f} {max(times):8.2f}")
        lines += ["", *(found or ["nothing was wrong"]), ""]
        return "\n".join(lines)


def write_report(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
