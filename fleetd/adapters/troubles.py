"""Why a host cannot be reached, as a sentence that says what to do.

Translates asyncssh's and the kernel's errors. The host is not named but in commands to try: who
shows the sentence shows the host beside it, and many hosts with one trouble share a line. Separate
from the connections, so that the words stand in one place. Text that comes from the far end is
stripped of control characters here, where it enters.
"""

from __future__ import annotations

import errno
import socket
from enum import StrEnum

import asyncssh

from fleetd.core.facts import HOST_KEY_CHANGED
from fleetd.core.node import Ssh
from fleetd.host import lines


class Trouble(StrEnum):
    """What kind of failure, for the decision when to try again."""

    NETWORK = "network"
    """No TCP connection: try again soon, the host may be booting."""
    CLOSED = "closed"
    """Closed in the middle of the handshake: it goes down or comes up just now, or has too many
    callers. No login was tried, so trying again soon offends nobody."""
    REFUSED = "refused"
    """A handshake or login that failed: trying often makes servers lock us out (P 17)."""
    SETTINGS = "settings"
    """Nothing was tried: the files on this side are not in order."""


class Unreachable(Exception):
    """A connection that could not be made: `str()` is the sentence, `trouble` the kind."""

    def __init__(self, message: str, trouble: Trouble) -> None:
        """Take the sentence and the kind."""
        super().__init__(message)
        self.trouble = trouble


def plain(text: object) -> str:
    """One line of at most 200 characters, without what a terminal would obey."""
    return lines.clean(str(text)).strip()[:200]


def unknown_key(name: str, file: str) -> Unreachable:
    """Nothing about this host in its known_hosts file."""
    return Unreachable(
        f"no host key is known for it in {file}; check and pin it: fleetd enroll {name}",
        Trouble.SETTINGS,
    )


def explain(error: BaseException, name: str, ssh: Ssh, file: str) -> Unreachable:
    """The failure of a connection attempt in plain words. `file` is the known_hosts file."""
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return Unreachable(
                f"{HOST_KEY_CHANGED} in {file} ({plain(error.reason)}):"
                " the host was reinstalled, or something else answers at its address. Nothing was"
                " sent. If the new key is right (look at the host's console), delete the old line"
                f" and run: fleetd enroll {name}",
                Trouble.REFUSED,
            )
        case asyncssh.PermissionDenied():
            shown = ssh.identity_file or "the keys of the SSH agent"
            return Unreachable(
                f"login refused for {shown}; add its public half to"
                f" ~{ssh.user}/.ssh/authorized_keys there, or set ssh.user or"
                " ssh.identityFile in the inventory",
                Trouble.REFUSED,
            )
        case asyncssh.KeyExchangeFailed():
            return Unreachable(
                f"no algorithm in common ({plain(error.reason)}): its host key is of"
                f" another kind than the one pinned in {file}, or its sshd is too old",
                Trouble.REFUSED,
            )
        case asyncssh.ChannelOpenError():
            return Unreachable(
                f"the jump host {ssh.jump} cannot reach it ({plain(error.reason)})",
                Trouble.NETWORK,
            )
        case asyncssh.ConnectionLost() | ConnectionResetError() | BrokenPipeError():
            return Unreachable(
                f"the connection was closed during the handshake ({plain(error)}): sshd"
                " limits connections (MaxStartups, PerSourcePenalties), has no host key of the"
                f" kind pinned in {file}, or is not sshd",
                Trouble.CLOSED,
            )
        case asyncssh.Error():
            return Unreachable(f"SSH failed: {plain(error)}", Trouble.REFUSED)
        case _:
            return Unreachable(f"{_network(error, ssh)}", Trouble.NETWORK)


def _network(error: BaseException, ssh: Ssh) -> str:
    match error:
        case TimeoutError():
            return "no answer in time; is it up, and is there a route or a firewall?"
        case socket.gaierror():
            return f"its address {ssh.address} cannot be resolved ({plain(error.strerror)})"
        case ConnectionRefusedError():
            return f"nothing listens on port {ssh.port}; is sshd running?"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return "no route to it"
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return "out of file descriptors here; raise the limit (ulimit -n)"
        case _:
            return f"cannot connect: {plain(error)}"
