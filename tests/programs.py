"""Programs of the machine that some tests need, where Python's packages cannot bring them.

A test says so by `@pytest.mark.needs("curl")`, or `needs("root")` to be other users. CI installs
what is missing once, before anything is collected, and fails where it cannot; elsewhere tests that
lack their program are left out, and the end of the run names them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Final

PACKAGES: Final[Mapping[str, str]] = {
    "busybox": "busybox",
    "curl": "curl",
    "promtool": "prometheus",
    "sshd": "openssh-server",
    "wget": "wget",
}


def find(program: str) -> str | None:
    """The path of a program, those that only root has among them; `root` itself is no program."""
    if program == "root":
        return "/" if os.geteuid() == 0 else None
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def install() -> None:
    """Install what is missing, as CI does on a fresh machine of Debian's kind.

    Raises:
        AssertionError: it cannot be installed.
    """
    missing = sorted(package for program, package in PACKAGES.items() if not find(program))
    if not missing:
        return
    may_install = os.geteuid() == 0 and shutil.which("apt-get")
    assert may_install, f"CI lacks {', '.join(missing)}: apt-get install {' '.join(missing)}"
    options = ["-o", "DPkg::Lock::Timeout=120", "--no-install-recommends"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for argv in (["update"], ["install", "-y", *options, *missing]):
        subprocess.run(["apt-get", "-q", *argv], check=True, env=environment)


def not_run(programs: Iterable[str]) -> str:
    """What the end of a run says of the tests that were left out."""
    missing = sorted(set(programs))
    packages = " ".join(PACKAGES[program] for program in missing if program in PACKAGES)
    return f"*** NOT RUN: the tests that need {', '.join(missing)}, which this machine lacks" + (
        f" (apt-get install {packages})" if packages else ""
    )
