"""One real host: Debian under systemd-nspawn, with its own disk, network, boot and power switch.

A host's disk is an overlay over the base image and outlives its boots, as a disk does; its run-time
state dies with `power_cut()`. What a test does here is what a technician could do: pull the plug
or the cable, fill the disk, look at it from outside. Nothing here goes through SSH except `ssh()`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from .machine import (
    Cgroup,
    LabError,
    add_netns,
    boottime,
    in_netns,
    ip_batch,
    run,
    wait_until,
)

Runtime = Literal["podman", "docker", "none"]
HERE: Final = Path(__file__).parent
#: Where a host sees what the lab shares with all hosts, read-only.
SHARE_INSIDE: Final = "/opt/lab"
_SYSTEM_CALLS: Final = "keyctl add_key bpf @keyring"
_NOISE: Final = {  # what an interactive-minded rc file of each login shell prints
    "bash": (".bashrc", "echo 'Welcome to the machine!'; echo 'disk is 93% full' >&2\n"),
    "zsh": (".zshenv", "echo 'Welcome to the machine!'; echo 'disk is 93% full' >&2\n"),
    "fish": (
        ".config/fish/config.fish",
        "echo 'Welcome to the machine!'; echo 'disk is 93% full' >&2\n",
    ),
    "tcsh": (".tcshrc", "echo 'Welcome to the machine!'\n"),
}


@dataclass(frozen=True, slots=True)
class HostSpec:
    """What kind of host to boot.

    `login_shell` is a name such as `bash` or `fish`; `user` is `root` or an account with `sudo -n`.
    `noisy_bashrc` makes the login shell's rc file chatter on every connection. `disk_mb` limits the
    whole root filesystem, so that it can be filled. `admin` marks the box that also runs the
    coordinator: it keeps python3, which every other host is without.
    """

    name: str
    runtime: Runtime = "podman"
    login_shell: str = "bash"
    user: Literal["fleet", "root"] = "fleet"
    noisy_bashrc: bool = False
    disk_mb: int | None = None
    admin: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fleet keeps one host: names and paths, nothing that changes."""

    index: int
    directory: Path
    base: Path
    share: Path
    cgroup: Cgroup
    cgroup_name: str
    run_name: str
    binds: tuple[tuple[Path, str], ...] = ()

    @property
    def netns(self) -> str:
        return f"lab-{self.run_name}-{self.index}"

    @property
    def fleet_netns(self) -> str:
        return f"lab-{self.run_name}"


class Host:
    """A host that exists; `boot()` gives it power. Made by `Fleet`."""

    def __init__(self, spec: HostSpec, place: Place, client_key: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.ip = f"10.77.{place.index // 200}.{place.index % 200 + 11}"
        self.machine_id = hashlib.md5(  # as random as the run's name, and reproducible inside it
            f"{place.run_name}/{spec.name}".encode(), usedforsecurity=False
        ).hexdigest()
        #: The merged root filesystem seen from outside, powered or not (not what lies on a tmpfs
        #: of the host such as /run, nor container storage).
        self.rootfs = place.directory / "root"
        #: Boot clock of every power cut, for the timeline.
        self.cuts: list[float] = []
        self._place = place
        self._client_key = client_key
        self._power: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.ip}>"

    # ------------------------------------------------------------------------------- the disk

    def assemble(self) -> None:
        """Make the disk: an overlay over the base, then everything that is this host's own."""
        where = self._place.directory
        where.mkdir(parents=True)
        if self.spec.disk_mb is not None:
            disk = where / "disk"
            disk.mkdir()
            run(["mount", "-t", "tmpfs", "-o", f"size={self.spec.disk_mb}m", "tmpfs", disk])
        else:
            disk = where
        for path in (
            disk / "upper",
            disk / "work",
            self.rootfs,
            where / "podman",
            where / "docker",
        ):
            path.mkdir()
        layers = f"lowerdir={self._place.base},upperdir={disk / 'upper'},workdir={disk / 'work'}"
        run(["mount", "-t", "overlay", "-o", layers, "overlay", self.rootfs])
        self._personalise()

    def _personalise(self) -> None:
        etc = self.rootfs / "etc"
        (etc / "machine-id").write_text(self.machine_id + "\n")
        (etc / "hostname").write_text(self.name + "\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.ip} {self.name}\n")
        key = etc / "ssh/ssh_host_ed25519_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key])
        self._own_login()
        if not self.spec.admin:
            for python in (self.rootfs / "usr/bin").glob("python3*"):
                python.unlink()
        if self.spec.runtime == "docker":
            (etc / "docker/daemon.json").write_text('{"storage-driver": "overlay2"}\n')
            wants = etc / "systemd/system/multi-user.target.wants"
            (wants / "docker.service").symlink_to("/lib/systemd/system/docker.service")
            dropin = etc / "systemd/system/docker.service.d/lab.conf"
            dropin.parent.mkdir()
            dropin.write_text(
                "[Service]\nExecStartPre=/bin/mount -o remount,rw /proc/sys\n"
                "ExecStartPre=/sbin/sysctl -qw net.ipv4.ip_forward=1\n"
            )
        engines = {"podman": ("docker",), "docker": ("podman",), "none": ("podman", "docker")}
        for absent in engines[self.spec.runtime]:
            (self.rootfs / "usr/bin" / absent).unlink()

    def _own_login(self) -> None:
        passwd = self.rootfs / "etc/passwd"
        shell = shutil.which(self.spec.login_shell, path=f"{self.rootfs}/bin:{self.rootfs}/usr/bin")
        if shell is None:
            raise LabError(
                f"host {self.name}: no login shell {self.spec.login_shell!r} in the base"
            )
        inside = f"/bin/{self.spec.login_shell}"  # /bin is /usr/bin
        lines = passwd.read_text().splitlines()
        mine = next(line for line in lines if line.startswith(f"{self.spec.user}:")).split(":")
        uid, gid, home = int(mine[2]), int(mine[3]), self.rootfs / mine[5].lstrip("/")
        changed = ":".join([*mine[:6], inside])
        lines = [changed if line.startswith(f"{self.spec.user}:") else line for line in lines]
        passwd.write_text("\n".join(lines) + "\n")

        def put(name: str, text: str, mode: int) -> None:
            path = home / name
            for made in [path.parent, *path.parent.parents]:
                if not made.is_relative_to(home) or made == home:
                    break
                made.mkdir(parents=True, exist_ok=True)
                made.chmod(0o700)
                os.chown(made, uid, gid)
            path.write_text(text)
            path.chmod(mode)
            os.chown(path, uid, gid)

        put(".ssh/authorized_keys", self._client_key.with_suffix(".pub").read_text(), 0o600)
        if self.spec.noisy_bashrc:
            if self.spec.login_shell not in _NOISE:
                raise LabError(f"host {self.name}: {self.spec.login_shell} reads no rc file here")
            put(*_NOISE[self.spec.login_shell], 0o644)

    def fill_disk(self, path: str = "/", leave_kb: int = 0) -> None:
        """Fill the disk that holds `path` until nothing fits but `leave_kb`; needs `disk_mb`."""
        if self.spec.disk_mb is None:
            raise LabError(f"host {self.name} has no disk of its own to fill: give it disk_mb")
        ballast = self.rootfs / path.lstrip("/") / ".ballast"
        block = b"\xff" * 4096
        with suppress(OSError), ballast.open("ab", buffering=0) as out:  # ENOSPC is the aim
            while out.write(block) == len(block):
                pass
        if leave_kb:
            os.truncate(ballast, max(0, ballast.stat().st_size - leave_kb * 1024))

    def free_disk(self, path: str = "/") -> None:
        """Take away what `fill_disk` wrote."""
        (self.rootfs / path.lstrip("/") / ".ballast").unlink(missing_ok=True)

    # -------------------------------------------------------------------------------- power

    def boot(self) -> None:
        """Switch on; returns at once. `wait_ssh()` says when it answers."""
        if self.powered:
            raise LabError(f"host {self.name} is on already")
        self._plug_cable_in()
        where = self._place.directory
        binds = [
            f"--bind={where / 'podman'}:/var/lib/containers",
            f"--bind={where / 'docker'}:/var/lib/docker",
            f"--bind-ro={self._place.share}:{SHARE_INSIDE}",
            *(f"--bind-ro={outside}:{inside}" for outside, inside in self._place.binds),
        ]
        nspawn = [
            *("systemd-nspawn", "--quiet", f"--directory={self.rootfs}", "--boot"),
            *(f"--machine={self._place.netns}", f"--hostname={self.name}"),
            *("--register=no", "--keep-unit", "--console=pipe", "--link-journal=no"),
            *("--resolv-conf=off", "--timezone=off", "--capability=all"),
            f"--network-namespace-path=/run/netns/{self._place.netns}",
            *(f"--system-call-filter={_SYSTEM_CALLS}", *binds),
        ]
        script = ["unshare", "--mount", "sh", str(HERE / "boot.sh"), self._place.cgroup_name]
        with (where / "console.log").open("ab") as console:
            self._power = subprocess.Popen(
                [*script, *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for us, not for the hosts
            )

    @property
    def powered(self) -> bool:
        return self._power is not None and self._power.poll() is None

    def power_cut(self) -> float:
        """Kill everything on the host at once; the boot clock of the moment.

        What it had written is on its disk, synced or not: this kernel keeps the page cache.
        """
        at = boottime()
        self._place.cgroup.kill()
        if self._power is not None:
            self._power.wait(20)
        self._place.cgroup.remove()
        self.cuts.append(at)
        return at

    def console(self) -> str:
        """What the console printed in all boots so far."""
        log = self._place.directory / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def wait_ssh(self, timeout: float = 60) -> None:
        """Return when sshd answers through the network with this host's key and lets users in."""
        nologin = "run/nologin"

        def listening() -> bool:
            if not self.powered:
                raise LabError(f"host {self.name} is off; its console: {self.console()[-2000:]}")
            leader = self._leader()
            if leader is None:
                return False
            try:
                sockets = Path(f"/proc/{leader}/net/tcp").read_text()
                users_wait = Path(f"/proc/{leader}/root", nologin).exists()
            except OSError:  # PID 1 of a boot that is over
                return False
            return ":0016 00000000:0000 0A" in sockets and not users_wait

        wait_until(listening, timeout, f"sshd on {self.name}")
        wait_until(self._answers, timeout, f"an SSH answer of {self.name} at {self.ip}")

    def _answers(self) -> bool:
        asked = [*in_netns(self._place.fleet_netns), "ssh-keyscan", "-T", "2", "-t", "ed25519"]
        return self.host_key in run([*asked, self.ip], check=False).stdout

    # ------------------------------------------------------------------------------ network

    @property
    def _port(self) -> str:
        return f"port{self._place.index}"

    def _plug_cable_in(self) -> None:
        """A fresh network namespace, as a boot gives, joined to the bridge of the fleet."""
        mine = self._place.netns
        add_netns(mine)
        ip_batch(
            self._place.fleet_netns,
            f"link add {self._port} type veth peer name eth0 netns {mine}",
            f"link set {self._port} master bridge up",
        )
        ip_batch(mine, f"addr add {self.ip}/16 dev eth0", "link set eth0 up")

    def unplug(self) -> None:
        """Pull the network cable: connections hang, they are not reset."""
        ip_batch(self._place.fleet_netns, f"link set {self._port} down")

    def plug(self) -> None:
        """Put the cable back."""
        ip_batch(self._place.fleet_netns, f"link set {self._port} up")

    # ------------------------------------------------------------------------------- access

    def _leader(self) -> int | None:
        """PID 1 of the host as this machine numbers it."""
        pids = self._payload.child("init.scope").pids()
        return min(pids) if pids else None

    @property
    def _payload(self) -> Cgroup:
        return self._place.cgroup.child("machine").child("payload")

    @property
    def host_key(self) -> str:
        """The public host key, as known_hosts has it after the address."""
        public = self.rootfs / "etc/ssh/ssh_host_ed25519_key.pub"
        return " ".join(public.read_text().split()[:2])

    def sh(
        self, command: str, *, check: bool = True, timeout: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on the host, out of band: not through SSH nor the network."""
        leader = self._leader()
        if leader is None:
            raise LabError(f"host {self.name} is off: cannot run `{command}`")
        enter = ["nsenter", f"--target={leader}", *"-m -u -i -n -p -C -r -w".split()]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = [*enter, "env", "-i", path, "HOME=/root", "LC_ALL=C.UTF-8", "sh", "-c", command]
        group = self._payload.child("lab").make()
        try:
            return run(group.entering(inside), stdin=stdin, check=check, timeout=timeout)
        except LabError as error:
            raise LabError(f"host {self.name}: {error}") from None

    def ssh_argv(self, *options: str) -> list[str]:
        """A command line of the ssh program, complete but for the remote command."""
        keys = ["-i", str(self._client_key), "-o", f"UserKnownHostsFile={self.known_hosts}"]
        asked = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10"]
        prefix = in_netns(self._place.fleet_netns)
        return [*prefix, "ssh", "-F", "none", *keys, *asked, *options, self.login]

    def ssh(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command over SSH as the fleet would: login account, client key, login shell."""
        return run([*self.ssh_argv(), command], check=check)

    @property
    def login(self) -> str:
        return f"{self.spec.user}@{self.ip}"

    @property
    def known_hosts(self) -> Path:
        return self._client_key.with_name("known_hosts")

    def freeze_sshd(self) -> None:
        """Stop sshd and every session: the kernel still accepts, nobody answers."""
        for group in self._ssh_groups():
            group.freeze(frozen=True)

    def thaw_sshd(self) -> None:
        for group in self._ssh_groups():
            group.freeze(frozen=False)

    def _ssh_groups(self) -> Sequence[Cgroup]:
        daemon = self._payload.child("system.slice").child("ssh.service")
        sessions = self._payload.child("user.slice")
        return [group for group in (daemon, sessions) if group.path.exists()]

    # ------------------------------------------------------------------------------ the end

    def forget(self) -> None:
        """Reap what the end of the run left of this host's process."""
        if self._power is not None:
            self._power.wait(20)
