"""A make-believe host for scripts that probe and hook: programs, a stamp, and a shell."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fleetd.workload.names import RUN_DIR, STATE_DIR
from tests.unit.workload.rendering import Rendered

UNIT = "fleetd-mon.agent_v2.main.a.service"
PATIENCE_S = 20
NEEDED = ("cat", "cut", "grep", "mkdir", "mv", "od", "rm", "sh", "timeout", "tr")
SHELLS = ("dash", pytest.param("busybox", marks=pytest.mark.needs("busybox")))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill all of its session: `timeout` makes groups of its own. On a host the unit does this."""
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, ProcessLookupError, PermissionError):
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)
    process.wait()


class Host:
    """Where scripts of a copy run: only the programs that it is given, and naps for sleeps."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self.shell = (shutil.which(shell) or shell, *(["ash"] if shell == "busybox" else []))
        (root / "bin").mkdir()
        (root / "run/stamp").mkdir(parents=True)
        for name in NEEDED:
            program = shell if shell == "busybox" else name
            (root / "bin" / name).symlink_to(shutil.which(program) or "/nowhere")
        self.program("sleep", f'printf "%s\\n" "$1" >>{root}/slept; exec /bin/sleep 0.02')

    def link(self, *names: str) -> None:
        """Put programs of this machine into the path."""
        for name in names:
            (self.root / "bin" / name).symlink_to(shutil.which(name) or "/nowhere")

    def program(self, name: str, script: str) -> None:
        """Put a program of ours into the path."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def engine(self, script: str = "exit 0", *, runs: bool = True) -> None:
        """A podman whose container `runs` until a stop; `script` answers `exec`, as `$@`."""
        up = self.root / "up"
        if runs:
            self.comes_up()
        self.program(
            "podman",
            f"""case $1 in
inspect) case $3 in
  *Running*) [ -e {up} ] && echo true || echo false ;;
  *) echo "127.0.0.1 " ;;
  esac ;;
stop) printf '%s\\n' "$*" >>{self.log}; rm -f {up} ;;
exec) export "$3"; shift 4; {script} ;;
esac""",
        )

    def comes_up(self) -> bool:
        """The container runs from now on."""
        (self.root / "up").touch()
        return True

    @property
    def log(self) -> Path:
        """Where the engine writes down its stops, and tests what they want in order with them."""
        return self.root / "log"

    @property
    def lines(self) -> list[str]:
        """What was written down."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def start(self, invocation: str) -> None:
        """The unit has been started."""
        (self.root / "run/stamp" / UNIT).write_text(f"r1 {invocation}\n")

    def deliver(self, bundle: Rendered) -> None:
        """Put the scripts of a bundle where they can be run."""
        for path in bundle.files:
            if path.endswith((".sh", "host.env")):
                self.path(path).parent.mkdir(parents=True, exist_ok=True)
                self.path(path).write_text(self.script(bundle.text(path)))

    def here(self, text: str) -> str:
        """The text with the places of a host moved below this one, in this one's shell."""
        moved = text.replace(RUN_DIR, f"{self.root}/run").replace(STATE_DIR, f"{self.root}/state")
        return moved.replace("/bin/sh ", " ".join(self.shell) + " ")

    def script(self, text: str) -> str:
        """A script as it runs here: other hosts of this kind share the machine's processes.

        Debian's busybox prefers its own programs to those in PATH.
        """
        here = self.here(text).replace("FLEETD_ASKER=", f"FLEETD_ASKER={self.root}:")
        return f'sleep() {{ "{self.root}/bin/sleep" "$@"; }}\n{here}'

    def path(self, path: str) -> Path:
        """Where a path of a host is here."""
        return Path(self.here(path))

    @property
    def environment(self) -> dict[str, str]:
        """What a unit would give."""
        return {"PATH": f"{self.root}/bin", "INVOCATION_ID": "i1"}

    def popen(self, bundle: Rendered, ending: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one of the bundle's scripts, in a process group of its own."""
        self.deliver(bundle)
        (script,) = (path for path in bundle.files if path.endswith(ending))
        return subprocess.Popen(
            [*self.shell, str(self.path(script)), *words],
            env=self.environment,
            stderr=sys.stderr,
            start_new_session=True,
        )

    @contextmanager
    def probing(self, bundle: Rendered) -> Iterator[None]:
        """While the probes of the bundle run."""
        process = self.popen(bundle, "main.probe.sh")
        try:
            yield
        finally:
            end(process)

    @property
    def place(self) -> Path:
        """Where the probes say it."""
        return self.root / "run/probe" / UNIT

    def result(self) -> str:
        """What the probes have said last, but since when."""
        text = self.place.read_text() if self.place.exists() else ""
        return re.sub(" ok@[0-9]+", " ok", text)

    def until(self, expected: str) -> None:
        """Wait until the result says so."""
        until(lambda: expected in self.result(), lambda: f"{expected!r} in {self.result()!r}")


def until(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what()}"
        time.sleep(0.01)
