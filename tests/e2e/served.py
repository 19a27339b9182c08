"""`fleetd run` beside an admin's box: started, killed, started again, and read."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Self

import yaml

from tests.e2e.admin import Admin
from tests.e2e.lab.machine import wait_until


class Served:
    """The service of one admin; `with Served(admin):` it runs, and every verb goes through it."""

    def __init__(self, admin: Admin, **service: object) -> None:
        self.admin = admin
        self.log = admin.directory / "service.log"
        self._process: subprocess.Popen[str] | None = None
        settings = {"service": {"logFormat": "json", **service}}
        (admin.directory / "fleetd.yaml").write_text(yaml.safe_dump(settings))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def socket(self) -> Path:
        return self.admin.state / "fleetd.sock"

    def start(self) -> None:
        """Start it, and return when it answers."""
        # It becomes the command itself, with its log in a file that nobody has to read.
        script = f'exec "$@" >>{self.log} 2>&1'
        argv = ["sh", "-c", script, "sh", *self.admin.argv("run")]
        self._process = self.admin.fleet.start_coordinator(
            argv, env=self.admin.env, cwd=self.admin.directory
        )
        wait_until(self._answers, 60, "the service to answer")

    def _answers(self) -> bool:
        process = self._process
        assert process is not None
        assert process.poll() is None, f"the service ended: {self.tail()}"
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(os.fspath(self.socket))
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, at whatever it is doing."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()
        self._process = None

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"the service did not end: {self.tail()}") from None
        return process.returncode

    def tail(self, size: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""
