"""A fleet of real hosts in a network of its own, from boot to the last trace removed.

Everything of a fleet is named after its run: a tmpfs in /run/fleetd-lab/RUN with the disks, a
cgroup /fleetd-lab/RUN with every process, network namespaces lab-RUN and lab-RUN-N. A run's name
carries the pid and start time of its owner, so what a killed run left is found and swept by the
next one, and nothing else is ever touched.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .base import Base
from .host import Host, HostSpec, Place
from .machine import (
    NETNS,
    Cgroup,
    LabError,
    add_netns,
    del_netns,
    in_netns,
    ip_batch,
    mounts_below,
    owner_lives,
    prepare,
    run,
    run_id,
    undo_on_error,
    unmount,
)

RUNS: Final = Path("/run/fleetd-lab")
#: Where the coordinator is on the fleet's network: the bridge's own address.
COORDINATOR_IP: Final = "10.77.255.1"
_GROUP: Final = "fleetd-lab"
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an inventory: a host under its own name or another."""

    host: Host
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[str] = ()


class Fleet:
    """A context manager around running hosts: `with Fleet([HostSpec("web-1")]) as fleet:`.

    Entering builds what is missing, boots all hosts at once and returns when each answers SSH.
    Leaving, by whatever way, ends every process and removes every mount and namespace.
    """

    def __init__(
        self, specs: Sequence[HostSpec], *, binds: Mapping[Path, str] | None = None
    ) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise LabError(f"two hosts of one name: {sorted(names)}")
        self.run_name = run_id(next(_serial))
        self.directory = RUNS / self.run_name
        self.hosts: dict[str, Host] = {}
        self._specs = tuple(specs)
        self._binds = tuple((binds or {}).items())

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        prepare()
        sweep()
        base = Base.built()
        with undo_on_error(self.close):
            self._lay_out(base)
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(Host.assemble, self.hosts.values()))
            self.known_hosts.write_text(self._known_hosts())
            for host in self.hosts.values():
                host.boot()
            for host in self.hosts.values():
                host.wait_ssh(timeout=60 + 2 * len(self.hosts))
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
            host.forget()

    # ------------------------------------------------------------------------------- making

    def _lay_out(self, base: Base) -> None:
        self.directory.mkdir(parents=True)
        # Disks in memory: nothing to delete afterwards, and an overlay's upper layer must not lie
        # on another overlay, which the root of a container or chroot often is.
        run(["mount", "-t", "tmpfs", "-o", "mode=700,size=75%", "tmpfs", self.directory])
        top = _own_cgroups(self.directory).child(_GROUP).child(self.run_name).make()
        self.group = top
        top.child("coordinator").make()
        add_netns(self.netns)
        ip_batch(
            self.netns,
            "link add bridge type bridge",
            f"addr add {COORDINATOR_IP}/16 dev bridge",
            "link set bridge up",
        )
        share = self.directory / "share"
        share.mkdir()
        base.pack_image(share / "image.tar")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", self.client_key])
        for index, spec in enumerate(self._specs):
            place = Place(
                index=index,
                directory=self.directory / "hosts" / spec.name,
                base=base.root,
                share=share,
                cgroup=top.child(spec.name),
                cgroup_name=f"/{_GROUP}/{self.run_name}/{spec.name}",
                run_name=self.run_name,
                binds=self._binds if spec.admin else (),
            )
            self.hosts[spec.name] = Host(spec, place, self.client_key)

    def _known_hosts(self) -> str:
        return "".join(f"{host.ip} {host.host_key}\n" for host in self.hosts.values())

    # -------------------------------------------------------------------------------- using

    @property
    def netns(self) -> str:
        return f"lab-{self.run_name}"

    @property
    def client_key(self) -> Path:
        """The private key that every host's login account accepts."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def coordinator(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end on the fleet's network; its exit code is the caller's to judge."""
        return subprocess.run(
            self._on_the_network(argv),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start_coordinator(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command on the fleet's network. The process is the command itself, no wrapper:
        `kill()` is SIGKILL to it."""
        return subprocess.Popen(
            self._on_the_network(argv),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _on_the_network(self, argv: Sequence[str | Path]) -> list[str]:
        words = [str(word) for word in argv]
        return self.group.child("coordinator").entering([*in_netns(self.netns), *words])

    def write_inventory(self, path: Path, entries: Iterable[Entry] | None = None) -> Path:
        """Write an inventory of these entries (else all hosts) in fleetd's form; returns `path`."""
        chosen = [Entry(host) for host in self.hosts.values()] if entries is None else list(entries)
        text = [
            "defaults:",
            "  ssh: "
            + _flow(
                user="fleet",
                port=22,
                identityFile=str(self.client_key),
                knownHostsFile=str(self.known_hosts),
            ),
            "hosts:" if chosen else "hosts: {}",
        ]
        for entry in chosen:
            host = entry.host
            fields: dict[str, object] = {"address": host.ip}
            if labels := {**host.spec.labels, **entry.labels}:
                fields["labels"] = labels
            if entry.taints:
                fields["taints"] = list(entry.taints)
            if host.spec.user != "fleet":
                fields["ssh"] = {"user": host.spec.user}
            text.append(f"  {entry.name or host.name}: {_flow(**fields)}")
        path.write_text("\n".join(text) + "\n")
        return path


def _flow(**fields: object) -> str:
    return json.dumps(fields)  # flow YAML


def _own_cgroups(directory: Path) -> Cgroup:
    """The root of the version 2 hierarchy, mounted for us alone."""
    mount = directory / "cgroup"
    if not mount.is_mount():
        mount.mkdir()
        run(["mount", "-t", "cgroup2", "cgroup2", mount])
    return Cgroup(mount)


def sweep() -> None:
    """Remove what runs whose owner is gone left behind; other runs are not touched."""
    found = {path.name for path in RUNS.glob("*-*-*")}
    found |= {path.name.removeprefix("lab-") for path in NETNS.glob("lab-*-*-?")}
    for run_name in sorted(found):
        if not owner_lives(run_name):
            remove_run(run_name)


def remove_run(run_name: str) -> None:
    """End every process of a run, then remove its namespaces, mounts and directory."""
    directory = RUNS / run_name
    if any(True for _ in mounts_below(directory)):
        _own_cgroups(directory).child(_GROUP).child(run_name).remove()
    for name in [f"lab-{run_name}", *(p.name for p in NETNS.glob(f"lab-{run_name}-*"))]:
        del_netns(name)
    unmount(directory)
    if directory.is_dir():
        directory.rmdir()
