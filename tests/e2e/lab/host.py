"""One real host: Debian under systemd-nspawn, with a power switch, a cable and a disk.

What a test does here is what a technician could do: cut the power, pull the cable, fill the disk,
look at it from outside. Nothing here goes through SSH except `ssh()` and `wait_ssh()`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.e2e.lab.disk import Disk, HostSpec, Place
from tests.e2e.lab.image import pack_image
from tests.e2e.lab.machine import (
    Cgroup,
    LabError,
    add_netns,
    boottime,
    in_netns,
    ip_batch,
    run,
    wait_until,
)

#: Where every host sees what the lab shares: the agent's script and the images, read-only.
SHARE: Final = "/opt/lab"
_SUPPLY: Final = Path(__file__).with_name("boot.sh")
_LISTENING: Final = ":0016 00000000:0000 0A"  # port 22, any peer, in /proc/net/tcp
_NAMESPACES: Final = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Host:
    """A host that exists; `boot()` gives it power. Made by `Fleet`."""

    def __init__(self, spec: HostSpec, place: Place) -> None:
        self.spec = spec
        self.name = spec.name
        self.ip = place.ip
        self.disk = Disk(spec, place)
        #: Boot clock of every power cut, for the timeline.
        self.cuts: list[float] = []
        self._place = place
        self._plugged = True
        self._supply: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.ip}>"

    @property
    def rootfs(self) -> Path:
        """The root filesystem from outside, powered or not (see `Disk`)."""
        return self.disk.root

    @property
    def agent_logs(self) -> Path:
        """The host's /var/lib/lab-agent from outside."""
        return self.disk.mounts["/var/lib/lab-agent"]

    @property
    def machine_id(self) -> str:
        return (self.rootfs / "etc/machine-id").read_text().strip()

    # -------------------------------------------------------------------------------- power

    def boot(self) -> None:
        """Switch on; returns at once. `wait_ssh()` says when it answers."""
        if self.powered:
            raise LabError(f"host {self.name} is on already")
        self._make_network()
        binds = [f"--bind={outside}:{inside}" for inside, outside in self.disk.mounts.items()]
        shared = ((self._place.share, SHARE), *self._place.mounts)
        binds += [f"--bind-ro={outside}:{inside}" for outside, inside in shared]
        nspawn = [
            *("systemd-nspawn", "--quiet", f"--directory={self.rootfs}", "--boot"),
            *(f"--machine={self._place.netns}", f"--hostname={self.name}"),
            *("--register=no", "--keep-unit", "--console=pipe", "--link-journal=no"),
            *("--resolv-conf=off", "--timezone=off", "--capability=all"),
            f"--network-namespace-path=/run/netns/{self._place.netns}",
            "--system-call-filter=keyctl add_key bpf @keyring",
            *binds,
        ]
        with self._console.open("ab") as console:
            self._supply = subprocess.Popen(
                ["unshare", "--mount", "sh", _SUPPLY, self._place.cgroup.name, *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for us, not for the hosts
            )

    @property
    def powered(self) -> bool:
        return self._supply is not None and self._supply.poll() is None

    def power_cut(self) -> float:
        """Kill everything on the host at once; returns the boot clock of the moment.

        What it had written is on its disk, synced or not: this kernel keeps the page cache.
        """
        at = boottime()
        self._place.cgroup.remove()
        self.reap()
        self.cuts.append(at)
        return at

    def reap(self) -> None:
        """Collect the supply's process, which is over or about to be."""
        if self._supply is not None:
            self._supply.wait(20)

    def reboot(self, timeout: float = 60) -> None:
        """Reboot in an orderly way, as the operator's `reboot` does; returns at the next boot."""
        before = self._leader()
        self.sh("systemctl reboot", check=False)  # this shell itself may not see the end
        wait_until(
            lambda: self._leader() not in {None, before}, timeout, f"{self.name} to boot again"
        )

    @property
    def _console(self) -> Path:
        return self._place.directory / "console.log"

    # ------------------------------------------------------------------------------ network

    def _make_network(self) -> None:
        """A fresh network namespace, as a boot gives, its port joined to the fleet's bridge."""
        add_netns(self._place.netns)
        # The kernel ends the old namespace, and with it the old cable, in its own time.
        run(["ip", "-n", self._place.fleet_netns, "link", "del", self._port], check=False)
        state = "up" if self._plugged else "down"
        ip_batch(
            self._place.fleet_netns,
            f"link add {self._port} type veth"
            f" peer name eth0 address {self._place.mac} netns {self._place.netns}",
            f"link set {self._port} master bridge {state}",
        )
        ip_batch(self._place.netns, f"addr add {self.ip}/16 dev eth0", "link set eth0 up")

    @property
    def _port(self) -> str:
        return f"port{self._place.index}"

    def unplug(self) -> None:
        """Pull the network cable, until `plug()`: connections hang, they are not reset."""
        self._plugged = False
        ip_batch(self._place.fleet_netns, f"link set {self._port} down")

    def plug(self) -> None:
        """Put the cable back."""
        self._plugged = True
        ip_batch(self._place.fleet_netns, f"link set {self._port} up")

    # ------------------------------------------------------------------------------- access

    def sh(
        self, command: str, *, check: bool = True, timeout: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on the host, out of band: not by SSH nor by the network."""
        leader = self._leader()
        if leader is None:
            raise LabError(f"host {self.name} is off: cannot run `{command}`")
        enter = ["nsenter", f"--target={leader}", *_NAMESPACES]
        inside = ["env", "-i", _PATH, "HOME=/root", "LC_ALL=C.UTF-8", "sh", "-c", command]
        group = self._payload.child("lab").make()
        label = f"{self.name}# {command}"
        argv = group.entering([*enter, *inside])
        return run(argv, stdin=stdin, check=check, timeout=timeout, label=label)

    def _leader(self) -> int | None:
        """PID 1 of the host as this machine numbers it, None when it is off.

        What it has just forked stands beside it, by a lower number where numbers began again.
        """
        pids = self._payload.child("init.scope").pids()
        return next((pid for pid in pids if _number_inside(pid) == 1), None)

    @property
    def _payload(self) -> Cgroup:
        return self._place.cgroup.child("machine").child("payload")

    def ssh_argv(self, *options: str) -> list[str]:
        """A command line of the ssh program on the fleet's network, all but the remote command.

        `options` win over the lab's own.
        """
        keys = self._place.keys
        known = f"UserKnownHostsFile={keys / 'known_hosts'}"
        asked = ("BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=10", known)
        flags = [word for option in asked for word in ("-o", option)]
        ssh = ["ssh", "-F", "none", "-i", str(keys / "id_ed25519"), *options, *flags]
        return [*in_netns(self._place.fleet_netns), *ssh, f"{self.spec.user}@{self.ip}"]

    def ssh(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command over SSH as the fleet would: login account, client key, login shell."""
        return run([*self.ssh_argv(), command], check=check)

    def wait_ssh(self, timeout: float = 60) -> None:
        """Return when sshd answers through the network with this host's key and lets users in."""
        wait_until(self._lets_users_in, timeout, f"sshd on {self.name}")
        wait_until(self._answers, timeout, f"an answer of sshd on {self.name} at {self.ip}")

    def _lets_users_in(self) -> bool:
        if not self.powered:
            said = self._console.read_text(errors="replace")[-2000:]
            raise LabError(f"host {self.name} is off; the end of its console: {said}")
        leader = self._leader()
        if leader is None:
            return False
        try:
            listening = _LISTENING in Path(f"/proc/{leader}/net/tcp").read_text()
            return listening and not Path(f"/proc/{leader}/root/run/nologin").exists()
        except OSError:  # this PID 1 has just ended
            return False

    def _answers(self) -> bool:
        scan = [*in_netns(self._place.fleet_netns), "ssh-keyscan", "-T", "2", "-t", "ed25519"]
        return self.disk.host_key in run([*scan, self.ip], check=False).stdout

    def freeze_sshd(self) -> None:
        """Stop sshd and every session: the kernel still accepts connections, nobody answers."""
        for group in self._ssh_groups():
            group.freeze(frozen=True)

    def thaw_sshd(self) -> None:
        """Let sshd and the sessions go on."""
        for group in self._ssh_groups():
            group.freeze(frozen=False)

    def _ssh_groups(self) -> list[Cgroup]:
        daemon = self._payload.child("system.slice").child("ssh.service")
        sessions = self._payload.child("user.slice")
        return [group for group in (daemon, sessions) if group.path.exists()]

    # ---------------------------------------------------------------------------- containers

    def import_image(
        self,
        name: str,
        *,
        env: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] = ("/agent",),
        cmd: Sequence[str] = (),
        arch: str = "",
    ) -> None:
        """Give the host an image of any name without a registry: busybox and the test agent.

        `env` is baked in, so that one tag of a name can be an agent that misbehaves. The same call
        on another host is the same image, by its id too. `arch` is what the image says it is for.
        """
        share = self._place.share
        path = pack_image(share, name, env=env or {}, entrypoint=entrypoint, cmd=cmd, arch=arch)
        self.sh(f"{self.spec.runtime} load --input {SHARE}/{path}")


def _number_inside(pid: int) -> int | None:
    """What a process of a host is numbered there, None when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1])
