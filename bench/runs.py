"""Programs run to their end, with what they took."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FLEETD = (sys.executable, "-m", "fleetd")


class Failed(Exception):
    """A program that had to work did not."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program said, and took: seconds of the clock, of CPU (user and system), memory."""

    output: str
    wall_s: float
    cpu_s: float
    peak_mb: float


def run(argv: Sequence[str | Path]) -> Ran:
    """Run a program. Raises Failed, with the end of what it said, unless it ends with 0."""
    words = [str(word) for word in argv]
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise Failed(f"{' '.join(words)} ended with {process.returncode}:\n{said[-2000:]}")
    return Ran(said, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
