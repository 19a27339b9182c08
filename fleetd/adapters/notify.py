"""What a supervisor is told of the service: sd_notify(3), a datagram of lines to one socket.

Without a supervisor (no NOTIFY_SOCKET) everything here does nothing, so that the service need not
know whether it has one. Datagrams that cannot be sent are lost: a supervisor that misses them acts
by its own timeouts, and nothing here may hold up the service for long. Separate from the life cycle
because it is all that fleetd knows of systemd on its own machine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

PATIENCE_S = 2.0
"""How long a datagram may wait for a supervisor that is busy."""


class Supervisor:
    """The supervisor of this process, as its environment names it; or none."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Take NOTIFY_SOCKET (a path, or @ and an abstract name), WATCHDOG_USEC, WATCHDOG_PID."""
        address = env.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = env.get("WATCHDOG_PID") in (None, str(os.getpid()))
        usec = env.get("WATCHDOG_USEC", "") if ours and address else ""
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() else 0.0
        """How long a silence the supervisor bears, in seconds; 0.0 when it does not listen."""

    def ready(self) -> None:
        """The start, or a reload, is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows: one line."""
        self._send("STATUS=" + " ".join(text.split()))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """We still turn: the watchdog may begin to count anew."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Whatever is under way, start or stop, takes this much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, lines: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door,
        ):
            door.settimeout(PATIENCE_S)
            door.sendto(lines.encode(errors="replace"), self._address)
