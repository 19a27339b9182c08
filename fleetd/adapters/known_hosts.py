"""The known_hosts file: the only home of host keys.

A file is parsed once (and again when it changes) into dictionaries, since asyncssh would read and
scan it anew for each connection: milliseconds times hosts (P 4). Keys stay text until a
connection asks for them, so that this module needs no asyncssh. Lines that nobody can read are
passed over, as OpenSSH does.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hmac
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleetd.errors import Refused

CA = "@cert-authority"
REVOKED = "@revoked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: where it is, its marker ("" for a plain key), and the key as `type base64`."""

    line: int
    marker: str
    key: str


@dataclass(slots=True)
class KnownHosts:
    """A parsed file. Plain names are looked up; hashed names and patterns are tried in turn."""

    exact: dict[str, list[Entry]] = field(default_factory=dict)
    hashed: list[tuple[bytes, bytes, Entry]] = field(default_factory=list)
    patterns: list[tuple[tuple[tuple[bool, re.Pattern[str]], ...], Entry]] = field(
        default_factory=list
    )

    def find(self, name: str, address: str, port: int) -> tuple[Entry, ...]:
        """What the file says of a host: all entries under its name or its address, in file order.

        On another port than 22 the forms `[name]:port` and `[address]:port` count, and so does
        the bare name, which is an alias; never the bare address, behind which another host may
        be.
        """
        wanted = {
            spelling.lower()
            for spelling in (name, *spellings(name, port), *spellings(address, port))
        }
        found = {entry for name in wanted for entry in self.exact.get(name, ())}
        found.update(
            entry
            for salt, digest, entry in self.hashed
            if any(hmac.digest(salt, name.encode(), "sha1") == digest for name in wanted)
        )
        found.update(entry for patterns, entry in self.patterns if _matches(patterns, wanted))
        return tuple(sorted(found, key=lambda entry: entry.line))


def file_of(setting: str) -> str:
    """The known_hosts file of the SSH settings, else the user's own."""
    return setting or str(Path("~/.ssh/known_hosts").expanduser())


def spellings(host: str, port: int) -> tuple[str, ...]:
    """How OpenSSH writes a host at a port."""
    return (host,) if port == 22 else (f"[{host}]:{port}",)


def parse(text: str) -> KnownHosts:
    """Read the text of a file; what is not a line of known_hosts is passed over."""
    known = KnownHosts()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in {"", CA, REVOKED}:
            continue
        entry = Entry(number, marker, f"{words[1]} {words[2]}")
        _add(known, words[0].lower() if not words[0].startswith("|") else words[0], entry)
    return known


def _add(known: KnownHosts, names: str, entry: Entry) -> None:
    if names.startswith("|"):
        known.hashed.extend((salt, digest, entry) for salt, digest in _hash_of(names))
    elif any(sign in names for sign in "*?!"):
        known.patterns.append((tuple(_pattern(name) for name in names.split(",")), entry))
    else:
        for name in names.split(","):
            known.exact.setdefault(name, []).append(entry)


def _hash_of(names: str) -> Iterator[tuple[bytes, bytes]]:
    try:
        magic, salt, digest = names[1:].split("|")
        if magic == "1":
            yield base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except (ValueError, binascii.Error):
        return


def _pattern(text: str) -> tuple[bool, re.Pattern[str]]:
    """A wildcard pattern: whether it admits (or, with `!`, rules out), and what it matches."""
    body = text.removeprefix("!")
    expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in body)
    return not text.startswith("!"), re.compile(expression)


def _matches(patterns: tuple[tuple[bool, re.Pattern[str]], ...], names: Iterable[str]) -> bool:
    """Whether a line is meant: a pattern that rules out any of the names rules out the host."""
    verdicts = [admits for admits, pattern in patterns for name in names if pattern.fullmatch(name)]
    return bool(verdicts) and all(verdicts)


class KnownHostsFiles:
    """All files in use, each parsed again when it has changed; a missing file is an empty one."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[tuple[int, int, int], KnownHosts]] = {}

    def find(self, file: str, name: str, address: str, port: int) -> tuple[Entry, ...]:
        """`KnownHosts.find` in that file as it is now. Raises OSError when it cannot be read."""
        path = Path(file)
        try:
            stat = path.stat()
        except FileNotFoundError:
            return ()
        version = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        cached = self._parsed.get(file)
        if cached is None or cached[0] != version:
            cached = (version, parse(path.read_text("utf-8", "replace")))
            self._parsed[file] = cached
        return cached[1].find(name, address, port)


def pin(file: str, name: str, address: str, port: int, key: str) -> bool:
    """Trust `key` (`type base64`) for a host from now on; False when that was so already.

    The line is appended by one write under a lock and is on the disk on return. Raises Refused
    where the file pins another key for that name or address, or revokes this one: nobody
    overwrites a pin unseen.
    """
    path = Path(file)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        text = path.read_text("utf-8", "replace")
        told = [entry for entry in parse(text).find(name, address, port) if entry.marker != CA]
        for entry in told:
            if entry.marker == REVOKED and entry.key == key:
                raise Refused(f"{file}:{entry.line} revokes the key that {name} shows")
            if entry.marker != REVOKED and entry.key != key:
                raise Refused(
                    f"{file}:{entry.line} pins another key for {name} ({address}); if the host"
                    " was reinstalled, check the new key at its console, delete that line, and"
                    " enroll again"
                )
        if any(entry.marker != REVOKED for entry in told):
            return False
        names = dict.fromkeys([name.lower(), *spellings(address.lower(), port)])
        torn = text and not text.endswith("\n")
        os.write(descriptor, f"{chr(10) if torn else ''}{','.join(names)} {key}\n".encode())
        os.fsync(descriptor)
        return True
    finally:
        os.close(descriptor)
