"""A fleet of real hosts on a network of its own, from boot to the last trace removed.

Everything of a fleet is named after its run: a tmpfs /run/fleetd-lab/RUN with the disks, a cgroup
/fleetd-lab/RUN with every process, network namespaces lab-RUN and lab-RUN-N. A run's name carries
the pid and start time of its owner, so what a killed run left behind is known to be nobody's and
swept by the next run, and nothing else is ever touched.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.e2e.lab.base import Base, Release
from tests.e2e.lab.disk import HostSpec, Place
from tests.e2e.lab.host import Host
from tests.e2e.lab.image import pack_share
from tests.e2e.lab.machine import (
    NETNS,
    Cgroup,
    LabError,
    add_netns,
    del_netns,
    in_netns,
    ip_batch,
    locked,
    owner_lives,
    prepare,
    run,
    run_id,
    unmount,
)

RUNS: Final = Path("/run/fleetd-lab")
#: Where the coordinator is on the fleet's network: the bridge's own address.
COORDINATOR_IP: Final = "10.77.255.1"
_PROJECT: Final = Path(__file__).parents[3]
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One host of an inventory, under its own name or another."""

    host: Host
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[str] = ()


class Fleet:
    """A context manager around running hosts: `with Fleet([HostSpec("web-1")]) as fleet:`.

    Entering builds what is missing, boots all hosts at once and returns when each answers SSH.
    Leaving, by whatever way, ends every process and removes every mount and namespace.
    """

    def __init__(self, specs: Sequence[HostSpec]) -> None:
        names = sorted(spec.name for spec in specs)
        if len(set(names)) != len(names):
            raise LabError(f"two hosts of one name: {names}")
        self.run_name = run_id(next(_serial))
        self.directory = RUNS / self.run_name
        self.hosts: dict[str, Host] = {}
        self._specs = tuple(specs)
        self._group = _top(self.directory / "cgroup").child(self.run_name)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        prepare()
        sweep()
        bases = {release: Base.built(release).root for release in self._releases}
        with ExitStack() as undo:
            undo.callback(self.close)
            self._lay_out(bases)
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda host: host.disk.make(), self.hosts.values()))
            self._write_known_hosts()
            for host in self.hosts.values():
                host.boot()
            for host in self.hosts.values():
                host.wait_ssh(timeout=60 + 2 * len(self.hosts))
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away; harmless when called again."""
        remove_run(self.run_name)
        for host in self.hosts.values():
            host.reap()

    # ------------------------------------------------------------------------------- making

    def _lay_out(self, bases: Mapping[Release, Path]) -> None:
        self.directory.mkdir(parents=True)
        # Disks in memory: nothing to delete afterwards, and an overlay's upper layer must not lie
        # on another overlay, which the root of a container or chroot often is.
        run(["mount", "-t", "tmpfs", "-o", "mode=755,size=75%", "tmpfs", self.directory])
        _mount_cgroups(self._group.root)
        self._group.child("coordinator").make()
        add_netns(self.netns)
        ip_batch(
            self.netns,
            "link add bridge type bridge",
            f"addr add {COORDINATOR_IP}/16 dev bridge",
            "link set bridge up",
        )
        share, keys = self.directory / "share", self.client_key.parent
        share.mkdir()
        pack_share(bases["bookworm"], share)
        keys.mkdir()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", self.client_key])
        for index, spec in enumerate(self._specs):
            place = Place(
                index=index,
                run_name=self.run_name,
                directory=self.directory / "hosts" / spec.name,
                base=bases[spec.release],
                share=share,
                keys=keys,
                cgroup=self._group.child(spec.name),
                mounts=self._admin_mounts() if spec.admin else (),
            )
            self.hosts[spec.name] = Host(spec, place)

    def _admin_mounts(self) -> tuple[tuple[Path, str], ...]:
        """What an admin box sees of us, read-only: the project, its dependencies, the keys.

        The keys keep their path, so that one inventory is right here and there.
        """
        if sys.version_info[:2] != (3, 11):
            raise LabError("an admin box has Debian's Python 3.11: run the tests with that version")
        packages = Path(sysconfig.get_path("purelib"))
        keys = self.client_key.parent
        return (
            (_PROJECT, "/opt/fleetd"),
            (packages, "/opt/site-packages"),
            (keys, str(keys)),
        )

    @property
    def _releases(self) -> set[Release]:
        """Those of the hosts, and the one that the shared agent and images are made of."""
        return {"bookworm", *(spec.release for spec in self._specs)}

    def _write_known_hosts(self) -> None:
        lines = [f"{host.ip} {host.disk.host_key}\n" for host in self.hosts.values()]
        self.known_hosts.write_text("".join(lines))

    # -------------------------------------------------------------------------------- using

    @property
    def netns(self) -> str:
        """Name of the network namespace where the coordinator runs."""
        return f"lab-{self.run_name}"

    @property
    def client_key(self) -> Path:
        """The private key that every host's login account accepts."""
        return self.directory / "keys" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys of all hosts by address."""
        return self.directory / "keys" / "known_hosts"

    def coordinator(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end on the fleet's network; its exit code is the caller's to judge.

        `timeout` ends the command by SIGKILL and raises `subprocess.TimeoutExpired`.
        """
        process = self.start_coordinator(argv, env=env, cwd=cwd)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_coordinator(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command on the fleet's network.

        The process is the command itself, not a wrapper: `kill()` is SIGKILL to it. It ends with
        the fleet at the latest.
        """
        words = [*in_netns(self.netns), *(str(word) for word in argv)]
        return subprocess.Popen(
            self._group.child("coordinator").entering(words),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def write_inventory(self, path: Path, entries: Iterable[Entry] | None = None) -> Path:
        """Write an inventory of these entries (else all hosts) in fleetd's form; returns `path`."""
        chosen = [Entry(host) for host in self.hosts.values()] if entries is None else list(entries)
        ssh = {
            "user": "fleet",
            "port": 22,
            "identityFile": str(self.client_key),
            "knownHostsFile": str(self.known_hosts),
        }
        hosts = {entry.name or entry.host.name: _fields(entry) for entry in chosen}
        lines = [f"  {name}: {json.dumps(fields)}\n" for name, fields in hosts.items()]
        text = f"defaults:\n  ssh: {json.dumps(ssh)}\nhosts:" + ("\n" if lines else " {}\n")
        path.write_text(text + "".join(lines))
        return path


def _fields(entry: Entry) -> dict[str, object]:
    """One host's part of an inventory; written as JSON it is YAML's flow style."""
    spec = entry.host.spec
    fields: dict[str, object] = {"address": entry.host.ip}
    if labels := {**spec.labels, **entry.labels}:
        fields["labels"] = labels
    if entry.taints:
        fields["taints"] = list(entry.taints)
    if spec.user != "fleet":
        fields["ssh"] = {"user": spec.user}
    return fields


# ------------------------------------------------------------------------------------ cleaning


def sweep() -> None:
    """Remove what runs whose owner is gone left behind; other runs are not touched.

    A run may have lost its directory and still have processes: that of a chroot that is gone.
    """
    RUNS.mkdir(parents=True, exist_ok=True)
    with locked(RUNS / "lock"), _all_runs() as group:
        found = {*group.children(), *(path.name for path in RUNS.glob("*-*-*"))}
        for run_name in sorted(found):
            if not owner_lives(run_name):
                remove_run(run_name)


def remove_run(run_name: str) -> None:
    """End every process of a run, then remove its groups, namespaces, mounts and directory."""
    with _all_runs() as group:
        group.child(run_name).remove()
    for netns in NETNS.glob(f"lab-{run_name}*"):
        del_netns(netns.name)
    directory = RUNS / run_name
    unmount(directory)
    if directory.is_dir():
        directory.rmdir()


@contextmanager
def _all_runs() -> Iterator[Cgroup]:
    """The group that holds the groups of all runs, mounted for the moment.

    The mount point is named like a run, so that it is swept like one if we are killed here.
    """
    root = RUNS / run_id(next(_serial))
    root.mkdir(parents=True)
    try:
        _mount_cgroups(root)
        yield _top(root)
        with suppress(OSError):  # another run's group is in it, or it is gone
            _top(root).path.rmdir()
    finally:
        unmount(root)
        root.rmdir()


def _top(root: Path) -> Cgroup:
    return Cgroup(root, "/fleetd-lab")


def _mount_cgroups(root: Path) -> None:
    root.mkdir(exist_ok=True)
    run(["mount", "-t", "cgroup2", "cgroup2", root])
