"""Who is at the other end of the socket, and what they may do: the kernel's word, not theirs.

The rights of the socket's file say who may connect; what a peer may do follows from the credentials
that the kernel kept when it connected. Groups are taken from there too, so that whoever was given a
group has to log in anew, as everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from fleetd.client.wire import ROOT
from fleetd.errors import InvalidInput, StateHeld
from fleetd.server.connection import STALL_S, Connection

SO_PEERGROUPS = 59
"""Linux' number; Python's socket module does not name it."""
MOST_GROUPS = 65536
"""NGROUPS_MAX of Linux."""
MODE = 0o660
BACKLOG = 512
PAGER_S = 4 * 3600.0
"""How long a person may take nothing of what a verb prints."""
_PYTHONS_ROOM = 1024
_CREDENTIALS = struct.Struct("iII")


class Right(IntEnum):
    """What a peer may do; each holds what is below it."""

    NONE = 0
    READ = 1
    OPERATE = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks. `user` is the name of `uid`, or the number where it has none."""

    uid: int
    gid: int
    groups: frozenset[int]
    user: str
    right: Right


NOBODY = Peer(-1, -1, frozenset(), "nobody", Right.NONE)
"""Whoever came by another way than the socket: no right at all."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may do what: root, our own user and the operators' groups everything, others look.

    Whoever can connect may read: the socket's own rights have let them in.
    """

    operators: frozenset[int]
    """Ids of groups."""
    own_uid: int

    def of(self, uid: int, gid: int, groups: frozenset[int]) -> Right:
        """The right of a process with these ids."""
        if uid in {0, self.own_uid} or self.operators & (groups | {gid}):
            return Right.OPERATE
        return Right.READ


def rights_of(operator_group: str) -> Rights:
    """The rights under this operators' group ("": none but root and ourselves operate).

    Raises InvalidInput when there is no such group.
    """
    operators = frozenset({group_id(operator_group)} if operator_group else ())
    return Rights(operators, os.geteuid())


def group_id(name: str) -> int:
    """The id of a group, by its name or number. Raises InvalidInput."""
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise InvalidInput(
            f"there is no group {name!r} on this machine; make it (`groupadd --system {name}`), "
            "or name another one in the settings of the service"
        ) from error


def peer_of(connected: socket.socket, rights: Rights) -> Peer:
    """Who connected this socket; NOBODY for one that is no Unix socket."""
    if connected.family != socket.AF_UNIX:
        return NOBODY
    told = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(told)
    groups = _groups_of(connected)
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Peer(uid, gid, groups, user, rights.of(uid, gid, groups))


def _groups_of(connected: socket.socket) -> frozenset[int]:
    try:
        told = connected.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _PYTHONS_ROOM)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        told = _many_groups(connected)
    return frozenset(number for (number,) in struct.iter_unpack("I", told))


def _many_groups(connected: socket.socket) -> bytes:
    """The same for somebody in hundreds of groups: more than Python's own call has room for."""
    room = ctypes.create_string_buffer(4 * MOST_GROUPS)
    length = ctypes.c_uint32(len(room))
    where = (connected.fileno(), socket.SOL_SOCKET, SO_PEERGROUPS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(*where, room, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "the groups of a peer cannot be read")
    return room.raw[: length.value]


def protocol_for(rights: Rights) -> type[Connection]:
    """What uvicorn is to speak with each connection: its requests have `state["peer"]`."""

    class PeersProtocol(Connection):
        """HTTP/1.1 that knows who is there."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Ask the kernel once for each connection."""
            wrapped = transport.get_extra_info("socket")
            with socket.socket(fileno=os.dup(wrapped.fileno())) as connected:
                peer = peer_of(connected, rights)
            self.app_state = {**self.app_state, "peer": peer}
            super().connection_made(transport)

        def pause_writing(self) -> None:
            """Bear with a person's pager; whoever reads resources is a program."""
            verb = self.scope["path"].startswith(f"{ROOT}/verbs/")
            self.stall_s = PAGER_S if verb else STALL_S
            super().pause_writing()

    return PeersProtocol


def listen_on(path: str, group: str) -> socket.socket:
    """Listen at a path for a group; the caller holds the lock of the state.

    The socket is made under another name, given its owner and rights, and only then put in its
    place, so that at no moment anybody may connect who should not, and one that a killed service
    left is replaced in one step. The path may be of any length.

    Raises:
        InvalidInput: there is no such group or directory, or something else is at the path.
        StateHeld: somebody listens there.
    """
    place = Path(path)
    owner = group_id(group) if group else -1
    with _directory(place) as (directory, near):
        _check_free(place, near)
        made = f".{place.name}.{os.getpid()}"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made, dir_fd=directory)
            before = os.umask(0o177)
            try:
                listening.bind(f"{near}/{made}")
            finally:
                os.umask(before)
            _hand_over(made, directory, group, owner)
            listening.listen(BACKLOG)
            os.rename(made, place.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            listening.close()
            with contextlib.suppress(OSError):
                os.unlink(made, dir_fd=directory)
            raise
    listening.setblocking(False)  # noqa: FBT003 - the stdlib's own signature
    return listening


def _hand_over(made: str, directory: int, group: str, owner: int) -> None:
    try:
        os.chown(made, -1, owner, dir_fd=directory, follow_symlinks=False)
    except PermissionError as error:
        raise InvalidInput(
            f"the service may not give its socket to the group {group!r}: its own user has to be "
            "in that group"
        ) from error
    os.chmod(made, MODE, dir_fd=directory)


@contextlib.contextmanager
def _directory(place: Path) -> Iterator[tuple[int, str]]:
    """The directory of a path, held open, and a short name for it: an address has 107 bytes."""
    try:
        directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(
            f"no socket can be made at {place}: {place.parent}: {error.strerror}"
        ) from error
    try:
        yield directory, f"/proc/self/fd/{directory}"
    finally:
        os.close(directory)


def _check_free(place: Path, near: str) -> None:
    """Nobody may listen there, and what is there must be a socket that was left."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise InvalidInput(f"{place} is there and is no socket; name another one, or move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # noqa: FBT003 - the stdlib's own signature
        try:
            asking.connect(f"{near}/{place.name}")
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            pass  # so many wait there that somebody listens
    raise StateHeld(f"another service listens at {place}; stop it, or name another socket")
