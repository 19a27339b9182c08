"""A host's disk: an overlay over the base image, and what on it makes the host itself.

Separate from the host because a disk outlives every boot, can be read and written from outside
with the power off, and can be made small enough to be filled.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.e2e.lab.base import Release, usual
from tests.e2e.lab.machine import Cgroup, LabError, run

Runtime = Literal["podman", "docker", "none"]
#: Programs that a host of each runtime is without.
_ABSENT: Final[Mapping[Runtime, tuple[str, ...]]] = {
    "podman": ("docker", "dockerd"),
    "docker": ("podman",),
    "none": ("podman", "docker", "dockerd"),
}
#: Where each login shell looks for the file that chatters on every connection.
_RC_FILES: Final[Mapping[str, str]] = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "fish": ".config/fish/config.fish",
    "tcsh": ".tcshrc",
}
#: podman 3 and docker 20.10.5 give a privileged container every capability that the kernel knows,
#: later ones only what they have themselves; and the machine under the lab may be without this one.
_RUNC: Final = r"""#!/bin/sh
for word; do
    case $last in
    --bundle) asked=$word/config.json ;;
    --process) asked=$word ;;
    esac
    last=$word
done
[ -z "$asked" ] || sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$asked"
exec /usr/sbin/runc "$@"
"""
_CHATTER: Final = "echo 'Welcome to the machine!'\nsh -c 'echo disk is 93% full >&2'\n"


@dataclass(frozen=True, slots=True)
class HostSpec:
    """What kind of host to boot.

    `login_shell` is a name such as `bash` or `fish`; `user` is `root` or an account with `sudo -n`.
    With `noisy_bashrc` the login shell's rc file chatters on every connection. `disk_mb` limits the
    root filesystem, so that it can be filled. `release` is what the host was installed with.
    `admin` marks the box that also runs the coordinator: it alone has python3, the project and the
    fleet's keys, and is always of the release whose Python is ours. A host of a release that has no
    podman gets docker where podman is asked for, so that tests of no engine in particular run there
    as they are.
    """

    name: str
    runtime: Runtime = "podman"
    login_shell: str = "bash"
    user: Literal["fleet", "root"] = "fleet"
    noisy_bashrc: bool = False
    disk_mb: int | None = None
    admin: bool = False
    curl: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    release: Release = field(default_factory=usual)

    def __post_init__(self) -> None:
        if self.admin:
            object.__setattr__(self, "release", "bookworm")
        elif self.runtime == "podman" and self.release == "focal":
            object.__setattr__(self, "runtime", "docker")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fleet keeps one host: names and paths, nothing that changes.

    `directory` is the host's own, `base` the lower layer, `share` what all hosts see, `keys` the
    directory of the fleet's client key, `mounts` more directories (read-only) as (outside, inside).
    """

    index: int
    run_name: str
    directory: Path
    base: Path
    share: Path
    keys: Path
    cgroup: Cgroup
    mounts: tuple[tuple[Path, str], ...] = ()

    @property
    def netns(self) -> str:
        return f"lab-{self.run_name}-{self.index}"

    @property
    def fleet_netns(self) -> str:
        return f"lab-{self.run_name}"

    @property
    def ip(self) -> str:
        return f"10.77.{self.index // 200}.{self.index % 200 + 11}"

    @property
    def mac(self) -> str:
        """One for all boots: else its neighbours look for the old one for half a minute."""
        return f"02:00:0a:4d:{self.index // 200:02x}:{self.index % 200 + 11:02x}"


@dataclass(frozen=True, slots=True)
class Disk:
    """The root filesystem of one host, seen from outside at `root`, powered or not.

    Not seen there: what lies on a tmpfs of the host (/run, /tmp, /dev/shm) and container storage.
    """

    spec: HostSpec
    place: Place

    @property
    def root(self) -> Path:
        return self.place.directory / "root"

    @property
    def mounts(self) -> dict[str, Path]:
        """Writable directories of the host that lie outside its root: path inside to outside.

        Container storage must not lie on an overlay, or podman and docker could not use theirs.
        The agent's log must still be written when the root is full.
        """
        where = self.place.directory
        return {
            "/var/lib/containers": where / "podman",
            "/var/lib/docker": where / "docker",
            "/var/lib/containerd": where / "containerd",  # where docker 29 keeps its images
            "/var/lib/lab-agent": where / "agent",
        }

    def make(self) -> None:
        """Assemble the layers, then write everything that is this host's own."""
        where = self.place.directory
        layers = where / "layers"
        for path in (layers, self.root, *self.mounts.values()):
            path.mkdir(parents=True)
        if self.spec.disk_mb is not None:
            run(["mount", "-t", "tmpfs", "-o", f"size={self.spec.disk_mb}m", "tmpfs", layers])
        upper, work = layers / "upper", layers / "work"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={self.place.base},upperdir={upper},workdir={work}"
        run(["mount", "-t", "overlay", "-o", options, "overlay", self.root])
        self._write_identity()
        self._write_login()
        self._write_programs()

    @property
    def host_key(self) -> str:
        """The public host key, as known_hosts has it after the address."""
        public = self.root / "etc/ssh/ssh_host_ed25519_key.pub"
        return " ".join(public.read_text().split()[:2])

    def _write_identity(self) -> None:
        etc = self.root / "etc"
        name = f"{self.place.run_name}/{self.spec.name}"
        machine_id = hashlib.sha256(name.encode()).hexdigest()[:32]
        (etc / "machine-id").write_text(machine_id + "\n")
        (etc / "hostname").write_text(self.spec.name + "\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.place.ip} {self.spec.name}\n")
        key = etc / "ssh/ssh_host_ed25519_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.spec.name, "-f", key])

    def _write_login(self) -> None:
        shell = self.spec.login_shell
        if not (self.root / "usr/bin" / shell).exists():
            raise LabError(f"host {self.spec.name}: the base image has no login shell {shell!r}")
        passwd = self.root / "etc/passwd"
        accounts = [line.split(":") for line in passwd.read_text().splitlines()]
        [account] = [fields for fields in accounts if fields[0] == self.spec.user]
        account[6] = f"/bin/{shell}"
        passwd.write_text("".join(":".join(fields) + "\n" for fields in accounts))

        home = self.root / account[5].lstrip("/")
        files = {".ssh/authorized_keys": (self.place.keys / "id_ed25519.pub").read_text()}
        if self.spec.noisy_bashrc:
            if shell not in _RC_FILES:
                raise LabError(f"host {self.spec.name}: {shell} reads no rc file on a connection")
            files[_RC_FILES[shell]] = _CHATTER
        for name, text in files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            for made in (path, *path.parents[: len(Path(name).parents) - 1]):
                os.chown(made, int(account[2]), int(account[3]))
                made.chmod(0o700)

    def _write_programs(self) -> None:
        programs = self.root / "usr/bin"
        for name in _ABSENT[self.spec.runtime]:
            (self.root / "usr/sbin" / name).unlink(missing_ok=True)
            (programs / name).unlink(missing_ok=True)
        if self.spec.curl:
            (programs / "curl").symlink_to("/usr/lib/lab/curl")
        if self.spec.runtime == "docker":
            wants = self.root / "etc/systemd/system/multi-user.target.wants"
            (wants / "docker.service").symlink_to("/lib/systemd/system/docker.service")
        if self.spec.release == "bullseye":
            runc = self.root / "usr/local/sbin/runc"
            runc.write_text(_RUNC)
            runc.chmod(0o755)
            with (self.root / "etc/containers/containers.conf").open("a") as conf:
                conf.write('[engine.runtimes]\nrunc = ["/usr/local/sbin/runc"]\n')
        if self.spec.admin:
            paths = ":".join(inside for _, inside in self.place.mounts)
            command = self.root / "usr/local/bin/fleetd"
            command.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec python3 -m fleetd "$@"\n')
            command.chmod(0o755)
        else:
            for python in programs.glob("python3*"):
                python.unlink()

    def fill(self, leave_kb: int = 0) -> None:
        """Fill the root filesystem until nothing fits but `leave_kb`; needs `disk_mb`."""
        if self.spec.disk_mb is None:
            raise LabError(f"host {self.spec.name}: give it disk_mb to fill its disk")
        block = b"\xff" * 4096
        try:
            with self._ballast.open("ab", buffering=0) as out:
                while True:
                    out.write(block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - leave_kb * 1024))

    def free(self) -> None:
        """Take away what `fill` wrote."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.root / "var/ballast"
