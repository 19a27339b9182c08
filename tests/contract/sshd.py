"""A real sshd on loopback, run by whoever runs the tests: own keys, own configuration."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh

from fleetd.core.node import Ssh
from tests.programs import find

NAME = "target"

_CONFIG = """
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
MaxStartups 200:30:400
LogLevel VERBOSE
SetEnv PATH={home}/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


@dataclass(slots=True)
class Sshd:
    """A running server. `log` grows as it talks."""

    home: Path
    port: int
    process: asyncio.subprocess.Process
    key: str
    log: list[str] = field(default_factory=list)

    @property
    def ssh(self) -> Ssh:
        """How to reach it; its key is in the known_hosts file only after `trust`."""
        return Ssh(
            "127.0.0.1",
            self.port,
            getpass.getuser(),
            str(self.home / "identity"),
            str(self.home / "known_hosts"),
        )

    def trust(self, line: str = "") -> Ssh:
        """Write the known_hosts file: its own key by default."""
        text = line or f"[127.0.0.1]:{self.port} {self.key}"
        (self.home / "known_hosts").write_text(f"{text}\n")
        return self.ssh

    def at(self, port: int) -> Ssh:
        """The same server behind a proxy: trusted by its name."""
        self.trust(f"{NAME} {self.key}")
        return replace(self.ssh, port=port)

    @property
    def logins(self) -> int:
        """How many logins it has accepted."""
        return sum("Accepted publickey" in line for line in self.log)

    def children(self) -> list[int]:
        """The processes under the listener, and theirs: one chain for each open connection."""
        found, ask = list[int](), [self.process.pid]
        while ask:
            pid = ask.pop(0)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                ask += [int(child) for child in children]
                found += [int(child) for child in children]
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, and all of its processes."""
        for pid in self.children():
            with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, number)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


@asynccontextmanager
async def sshd(home: Path, *, options: Iterable[str] = (), port: int = 0) -> AsyncIterator[Sshd]:
    """Run one with these further lines of configuration (they win over the usual ones)."""
    program = find("sshd")
    assert program, "apt-get install openssh-server"
    _prepare(home, options)
    port = port or _free_port()
    process = await asyncio.create_subprocess_exec(
        *(program, "-D", "-e", "-f", str(home / "config"), "-p", str(port)),
        stderr=asyncio.subprocess.PIPE,
    )
    public = (home / "host_key.pub").read_text().split()
    server = Sshd(home, port, process, " ".join(public[:2]))
    ready = asyncio.Event()
    reading = asyncio.create_task(_read_log(server, ready))
    try:
        async with asyncio.timeout(20):
            await ready.wait()
        if process.returncode is not None:
            raise AssertionError(f"sshd does not start: {server.log}")
        yield server
    finally:
        server.signal(signal.SIGKILL)
        await process.wait()
        await reading


async def _read_log(server: Sshd, ready: asyncio.Event) -> None:
    assert server.process.stderr is not None
    async for line in server.process.stderr:
        server.log.append(line.decode("utf-8", "replace").strip())
        if "listening on" in server.log[-1]:
            ready.set()
    ready.set()


def _prepare(home: Path, options: Iterable[str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    if not (home / "host_key").exists():
        for name in ("host_key", "identity"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(home / name)
            (home / name).chmod(0o600)
            key.write_public_key(home / f"{name}.pub")
    shutil.copy(home / "identity.pub", home / "authorized_keys")
    (home / "config").write_text("\n".join([*options, _CONFIG.format(home=home)]))
    (home / "bin").mkdir(exist_ok=True)
    if os.geteuid() != 0:
        # Who runs the tests need not be allowed to become root, and no test needs it to be.
        (home / "bin/sudo").write_text('#!/bin/sh\nshift\nexec "$@"\n')
        (home / "bin/sudo").chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
