"""The build machine: the few primitives of Linux that the lab is made of.

Commands, control groups and network namespaces, each thing named after the run that made it, so
that a later run can tell its own things from another's and from the machine's.
Separate from hosts and fleets because cleaning up after a dead run needs exactly this and no more.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Debian package of each program that the build machine needs.
PROGRAMS: Final[Mapping[str, str]] = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "nsenter": "util-linux",
}
#: Held while apt works: it cannot wait for another one that fetches its lists.
APT: Final = Path("/run/fleetd-lab-apt.lock")
#: Without these about the 19th host hangs at boot. They are only ever raised.
SYSCTLS: Final[Mapping[str, int]] = {
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 1048576,
    "kernel/keys/maxkeys": 20000,
}


class LabError(RuntimeError):
    """The lab itself failed: the message says where, what, and what to do."""


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout: float = 120,
    check: bool = True,
    label: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with `check` a failure is a LabError that carries its stderr.

    `label` is what to call the command then, when it is not its own words.
    """
    words = [str(word) for word in argv]
    done = subprocess.run(
        words,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{label or shlex.join(words)!r} exited {done.returncode}: {said}")
    return done


def wait_until(
    condition: Callable[[], bool], timeout: float, what: str, every: float = 0.03
) -> None:
    """Return when `condition` holds; LabError naming `what` when it has not after `timeout` s."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"still waiting for {what} after {timeout:g} s")
        time.sleep(every)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; waits as long as another run holds it."""
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def boottime() -> float:
    """Seconds on the kernel's boot clock: the one clock that all hosts share with us."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def prepare() -> None:
    """Make this machine able to carry a fleet: root, programs and kernel limits."""
    if os.geteuid() != 0:
        raise LabError("the lab boots real hosts and needs root: run it with sudo")
    install(sorted({pkg for prog, pkg in PROGRAMS.items() if shutil.which(prog) is None}))
    for name, least in SYSCTLS.items():
        knob = Path("/proc/sys", name)
        if int(knob.read_text()) < least:
            knob.write_text(str(least))


def install(packages: Sequence[str]) -> None:
    """Install Debian packages on this machine; of several runs one at a time does so."""
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise LabError(f"install these first: {' '.join(packages)} (this is not Debian)")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    with locked(APT):
        run([*apt, "update"], timeout=300)
        run([*apt, "install", "--no-install-recommends", *packages], timeout=600)


def download(package: str, directory: Path) -> None:
    """Fetch the file of a Debian package into a directory."""
    get = f"cd {directory} && apt-get -q download {package}"
    with locked(APT):
        if run(["sh", "-c", get], check=False).returncode:
            run(["apt-get", "-q", "update"], timeout=300)
            run(["sh", "-c", get])


# ---------------------------------------------------------------------------------------- runs


def run_id(serial: int) -> str:
    """A name for a run of this process that tells a later one whether its owner still lives."""
    return f"{os.getpid()}-{_started(os.getpid())}-{serial}"


def owner_lives(run_name: str) -> bool:
    """Whether the process that made this run is there; a reused pid is another process."""
    try:
        pid, started, _ = (int(part) for part in run_name.split("-"))
    except ValueError:
        return True  # not a name of ours: not ours to touch
    return _started(pid) == started


def _started(pid: int) -> int | None:
    """Start of a process in clock ticks after boot, None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[19])


# ------------------------------------------------------------------------------ control groups


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One group of the version 2 hierarchy: `name` as /proc/PID/cgroup has it, `root` its mount."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.name.lstrip("/")

    def child(self, name: str) -> Cgroup:
        return Cgroup(self.root, f"{self.name}/{name}")

    def children(self) -> list[str]:
        """Names of the groups directly below."""
        return sorted(found.name for found in self.path.glob("*/"))

    def make(self) -> Cgroup:
        """Make the group and those above where they are missing."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def pids(self) -> list[int]:
        """Processes in exactly this group, as this machine numbers them."""
        try:
            return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]
        except OSError:  # no such group, or it went just now
            return []

    def populated(self) -> bool:
        """Whether any process is in this group or below."""
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text()
        except FileNotFoundError:
            return False

    def freeze(self, *, frozen: bool) -> None:
        """Stop every process below at once, or let them go on."""
        (self.path / "cgroup.freeze").write_text("1" if frozen else "0")

    def kill(self) -> None:
        """SIGKILL to everything below at once; returns when nothing is left."""
        if not self.path.exists():
            return
        (self.path / "cgroup.kill").write_text("1")
        wait_until(lambda: not self.populated(), 20, f"the end of {self.path}", every=0.005)

    def remove(self) -> None:
        """Kill and take the whole tree away."""
        self.kill()
        for found, _, _ in os.walk(self.path, topdown=False):
            with suppress(FileNotFoundError):
                Path(found).rmdir()

    def entering(self, argv: Sequence[str]) -> list[str]:
        """A command line that runs `argv` inside this group."""
        enter = 'echo $$ >"$0" && exec "$@"'
        return ["sh", "-c", enter, str(self.path / "cgroup.procs"), *argv]


# -------------------------------------------------------------------------- network namespaces

NETNS: Final = Path("/run/netns")


def ip_batch(netns: str, *lines: str) -> None:
    """Run several `ip` commands in one namespace, all or an error."""
    run(["ip", "-n", netns, "-batch", "-"], stdin="\n".join(lines) + "\n")


def add_netns(name: str) -> None:
    """A fresh namespace of that name; one that is left of an earlier boot is replaced."""
    del_netns(name)
    run(["ip", "netns", "add", name])
    ip_batch(name, "link set lo up")


def del_netns(name: str) -> None:
    if (NETNS / name).exists():
        run(["ip", "netns", "del", name])


def in_netns(name: str) -> tuple[str, ...]:
    """The prefix of a command that runs with only that namespace's network."""
    return ("nsenter", f"--net={NETNS / name}")


# -------------------------------------------------------------------------------------- mounts


def unmount(top: Path) -> None:
    """Unmount everything at or below a directory, the last made first.

    Lazily: hosts started later hold copies of the mounts in their own mount namespaces.
    """
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [Path(line.split(" ")[1]) for line in lines]
    for point in reversed(points):
        if point.is_relative_to(top):
            run(["umount", "--lazy", point])
