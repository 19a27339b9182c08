"""Runs an executable inventory source: at most a minute, no stdin, JSON on stdout.

What it did not say clearly was not said: a status other than 0, silence, too much or too late all
end as `SourceFailed`, and nothing that it printed is used.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from fleetd.documents.yaml import MAX_BYTES

DEADLINE_S = 60.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class SourceFailed(Exception):
    """Why a source said nothing that can be used."""


def run(program: Path, deadline_s: float = DEADLINE_S) -> bytes:
    """The output of `program --list`.

    Raises:
        SourceFailed: when it failed in any way.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            # It is named by the administrator, as the file of the inventory is; there is no shell.
            process = subprocess.Popen(  # noqa: S603
                [str(program.absolute()), "--list"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise SourceFailed(f"cannot be run: {error.strerror}") from error
        try:
            status = process.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            raise SourceFailed(f"did not end within {deadline_s:g} s") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status:
            raise SourceFailed(f"ended with status {status}{_last_words(err.fileno())}")
        if os.fstat(out.fileno()).st_size > MAX_BYTES:
            raise SourceFailed(f"printed more than {MAX_BYTES >> 20} MiB")
        out.seek(0)
        return out.read()


def _last_words(errors: int) -> str:
    """The end of its stderr on one line, made safe to show."""
    size = os.fstat(errors).st_size
    text = os.pread(errors, 400, max(0, size - 400)).decode(errors="replace")
    shown = _CONTROL.sub(" ", text).strip()
    return f": {shown}" if shown else ""
