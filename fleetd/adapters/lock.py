"""One writer per state directory: an flock on `<state>/lock`, which also names its holder.

The kernel gives the lock back when the holder ends, however it ends, so there is nothing to clean
up: the file stays, and what it says counts only while the lock is held.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fleetd.errors import Refused, StateBroken, StateHeld

LIMIT = 4096
WHAT_LIMIT = 400


@contextmanager
def hold(state_dir: Path, what: str) -> Iterator[None]:
    """Be the only writer of this state directory (made when missing) inside the `with` block.

    `what` is the command as a person would recognise it. Raises `StateHeld`, naming the holder, at
    once when there is one, `StateBroken` where no lock can be had at all, and `Refused` for root in
    the state of somebody else: what root made there its owner could not use, and root has neither
    the keys nor the known hosts that the owner has.
    """
    path = state_dir / "lock"
    try:
        if os.geteuid() == 0 and state_dir.exists() and (owner := state_dir.stat().st_uid) != 0:
            name = _name_of(owner)
            raise Refused(
                f"the state in {state_dir} is the user {name}'s, and no service of theirs runs: "
                f"start it (`systemctl start fleetd`), or work as that user (`sudo -u {name} "
                f"fleetd --state {state_dir} ...`)"
            )
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateBroken(f"{path} cannot be opened for writing: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(os.pread(file, LIMIT, 0))
            raise StateHeld(f"the state in {state_dir} is held by {holder}") from error
        except OSError as error:
            raise StateBroken(f"{path} cannot be locked: {error.strerror}") from error
        _sign(file, path, what)
        yield
        os.ftruncate(file, 0)
    finally:
        os.close(file)


def _sign(file: int, path: Path, what: str) -> None:
    text = json.dumps(
        {
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "user": _name_of(os.getuid()),
            "command": what[:WHAT_LIMIT],
            "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode(), 0)
    except OSError as error:
        raise StateBroken(f"{path} cannot be written: {error.strerror}") from error


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _holder(text: bytes) -> str:
    """The holder in words; it may be about to sign, or to let go."""
    try:
        said = json.loads(text)
        return (
            f"`{said['command']}` (process {said['pid']} of {said['user']} on {said['host']}, "
            f"since {said['since']}); wait for it or stop it"
        )
    except (ValueError, TypeError, KeyError):
        return "another fleetd that has only just begun; try again"
