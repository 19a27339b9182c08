"""Requests as bytes on stdin, and back.

    <script length> NEWLINE <script>
    request TAB <nonce> TAB <verb> TAB <body length> TAB <body sha256> NEWLINE
    <body>

and after the body of `load` the archive that it announces. The script is constant per verb; the
body is typed lines, a line `data`, and the bytes of files or arguments. The host's shell reads the
same form that `decode` reads, so a simulated host and a real one are asked in the same words.
Nothing of a request is ever formatted into the script or the command line (P 83).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fleetd.core.actions import Mode
from fleetd.core.bundle import (
    Bundle,
    BundleFile,
    BundleUnit,
    BundleUser,
    Check,
    CheckKind,
    Inline,
    OnChange,
    SecretBytes,
)
from fleetd.core.facts import Role, Runtime, Slot
from fleetd.core.image import PullPolicy
from fleetd.host import lines, scripts
from fleetd.host.paths import copy_dir, stem
from fleetd.host.requests import (
    Adopt,
    Apply,
    Exec,
    Follow,
    Load,
    Logs,
    Observe,
    Pull,
    Purge,
    Remove,
    Request,
    Wanted,
)

DATA = b"data\n"
_NONCE = re.compile(r"[0-9a-f]{8,64}")


class Body(NamedTuple):
    """A request before framing: typed lines, and the bytes that follow them."""

    lines: list[str]
    data: bytes = b""


class Received(NamedTuple):
    """A body that has arrived whole."""

    typed: list[list[str]]
    data: bytes

    def all(self, kind: str) -> list[list[str]]:
        """The fields of every line of this kind."""
        return [fields[1:] for fields in self.typed if fields[0] == kind]

    def one(self, kind: str) -> list[str]:
        """The fields of the only line of this kind."""
        (fields,) = self.all(kind)
        return fields


def verb_of(request: Request) -> str:
    """The word that names the request and its script."""
    return type(request).__name__.lower()


def encode(request: Request, nonce: str) -> bytes:
    """All of stdin for one visit. `nonce` is hex and used once.

    Raises ValueError for what cannot be sent: documents were validated before, so that is a bug.
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError(f"{nonce!r} is not a nonce")
    verb = verb_of(request)
    script = scripts.script(verb)
    body = _body(request)
    payload = "".join(f"{line}\n" for line in body.lines).encode() + DATA + body.data
    digest = hashlib.sha256(payload).hexdigest()
    header = lines.join("request", nonce, verb, len(payload), digest) + "\n"
    return b"%d\n%b%b%b" % (len(script), script, header.encode(), payload)


def decode(stdin: bytes) -> tuple[str, Request]:
    """Read what `encode` wrote: (nonce, request). ValueError when it is not whole."""
    length, newline, rest = stdin.partition(b"\n")
    if not newline:
        raise ValueError("the request was cut before the script")
    header, newline, payload = rest[int(length) :].partition(b"\n")
    if not newline:
        raise ValueError("the request was cut in its header")
    kind, nonce, verb, size, digest = lines.split(header.decode())
    payload, follows = payload[: int(size)], payload[int(size) :]
    if kind != "request" or len(payload) != int(size):
        raise ValueError(f"the body has {len(payload)} bytes, not {size}")
    if hashlib.sha256(payload).hexdigest() != digest:
        raise ValueError("the body differs from its sha256")
    request = _READERS[verb](_split(payload))
    if isinstance(request, Load):
        if (len(follows), hashlib.sha256(follows).hexdigest()) != (request.size, request.digest):
            raise ValueError("the archive did not arrive whole")
    elif follows:
        raise ValueError(f"{len(follows)} bytes follow the body")
    return nonce, request


def _split(payload: bytes) -> Received:
    head, mark, data = (b"\n" + payload).partition(b"\n" + DATA)
    if not mark:
        raise ValueError("the body has no data line")
    return Received([lines.split(line) for line in head.decode().split("\n")[1:]], data)


def _body(request: Request) -> Body:
    match request:
        case Observe():
            look = ("observe", request.fleet, request.engine, request.facts, request.boot)
            return Body([lines.join(*look)])
        case Pull():
            return _pull_body(request)
        case Load():
            load = ("load", request.fleet, request.term, request.runtime)
            images = (lines.join("image", *image) for image in request.images)
            return Body([lines.join(*load, request.size, request.digest), *images])
        case Apply():
            return _apply_body(request)
        case Remove():
            slot = request.slot or "*"
            where = (request.ds, slot, stem(request.ds))
            return Body([lines.join("remove", request.fleet, request.term, *where)])
        case Adopt():
            return Body([lines.join("adopt", request.fleet)])
        case Purge():
            return Body([lines.join("purge", request.fleet, request.term)])
        case Logs():
            logs = ("logs", request.lines, request.follow, request.since)
            return Body([lines.join(*logs), *(lines.join("unit", name) for name in request.units)])
        case Exec():
            return _exec_body(request)
        case Follow():
            return Body([lines.join("follow", request.cursor, request.beat_s)])


def _pull_body(request: Pull) -> Body:
    pull = ("pull", request.fleet, request.term, request.runtime, request.wait_s, request.ds or "")
    typed = [lines.join(*pull)]
    for wanted in request.images:
        typed.append(lines.join("image", wanted.image, wanted.policy, wanted.source))
        typed += [lines.join("login", wanted.image, login) for login in wanted.logins]
    return Body(typed)


def _exec_body(request: Exec) -> Body:
    arguments = [text.encode("utf-8", "surrogateescape") for text in request.argv]
    if any(b"\0" in text for text in arguments):
        raise ValueError("an argument cannot hold a NUL")
    typed = [lines.join("exec", request.runtime, request.container)]
    typed += [lines.join("arg", len(text)) for text in arguments]
    return Body(typed, b"".join(arguments))


def _apply_body(request: Apply) -> Body:
    bundle = request.bundle
    contents = [_bytes_of(file, request.secrets) for file in bundle.files]
    typed = [
        lines.join("apply", request.fleet, request.fleet_key, request.term),
        lines.join(
            *("copy", bundle.ds, bundle.slot, bundle.revision, bundle.digest(), bundle.runtime),
            *(bundle.stop_s, request.mode, copy_dir(bundle.ds, bundle.slot)),
        ),
        *(lines.join("check", check.kind, check.subject) for check in bundle.checks),
        *(_user_line(user) for user in bundle.users),
        *(lines.join("dir", path, f"{mode:o}") for path, mode in bundle.directories),
        *(lines.join("image", image) for image in bundle.images),
        *(lines.join("container", name) for name in bundle.containers),
        *(lines.join("unit", unit.name, unit.role, unit.enable) for unit in bundle.units),
        *(lines.join("replace", name) for name in request.replaces),
        *(lines.join("value", name, text) for name, text in sorted(request.values.items())),
        *(_file_line(file, len(data)) for file, data in zip(bundle.files, contents, strict=True)),
    ]
    return Body(typed, b"".join(contents))


def _bytes_of(file: BundleFile, secrets: Mapping[str, bytes]) -> bytes:
    content = file.content
    if isinstance(content, Inline):
        return content.data()
    return secrets[f"{content.namespace}/{content.name}/{content.key}"]


def _user_line(user: BundleUser) -> str:
    return lines.join("user", user.name, user.home, user.shell, ",".join(user.groups))


def _file_line(file: BundleFile, length: int) -> str:
    fields = ("file", file.path, f"{file.mode:o}", file.owner, file.group, file.on_change, length)
    content = file.content
    if isinstance(content, Inline):
        return lines.join(*fields, "inline")
    secret = ("secret", content.namespace, content.name, content.key, content.digest)
    return lines.join(*fields, *secret)


def _read_observe(received: Received) -> Observe:
    fleet, engine, facts, boot = received.one("observe")
    return Observe(fleet, lines.flag(engine), lines.flag(facts), boot)


def _read_pull(received: Received) -> Pull:
    fleet, term, runtime, wait, ds = received.one("pull")
    logins = received.all("login")
    images = tuple(
        Wanted(
            *(image, PullPolicy(policy), source),
            logins=tuple(login for of, login in logins if of == image),
        )
        for image, policy, source in received.all("image")
    )
    key = lines.key(ds) if ds else None
    return Pull(fleet, int(term), Runtime(runtime), images, key, int(wait))


def _read_load(received: Received) -> Load:
    fleet, term, runtime, size, digest = received.one("load")
    images = tuple((identity, name) for identity, name in received.all("image"))
    return Load(fleet, int(term), Runtime(runtime), images, int(size), digest)


def _read_apply(received: Received) -> Apply:
    fleet, fleet_key, term = received.one("apply")
    ds, slot, revision, digest, runtime, stop, mode, _ = received.one("copy")
    files, secrets = _read_files(received.all("file"), received.data)
    bundle = Bundle(
        ds=lines.key(ds),
        slot=slot,
        revision=revision,
        runtime=Runtime(runtime),
        files=files,
        units=tuple(
            BundleUnit(name, Role(role), lines.flag(enable))
            for name, role, enable in received.all("unit")
        ),
        directories=tuple((path, int(mode, 8)) for path, mode in received.all("dir")),
        checks=tuple(Check(CheckKind(kind), subject) for kind, subject in received.all("check")),
        users=tuple(
            BundleUser(name, home, shell, tuple(groups.split(",")) if groups else ())
            for name, home, shell, groups in received.all("user")
        ),
        images=tuple(ref for (ref,) in received.all("image")),
        containers=tuple(name for (name,) in received.all("container")),
        stop_s=int(stop),
    )
    if bundle.digest() != digest:
        raise ValueError("the bundle differs from its digest")
    values = dict(received.all("value"))
    replaces = tuple(name for (name,) in received.all("replace"))
    return Apply(fleet, fleet_key, int(term), bundle, values, Mode(mode), secrets, replaces)


def _read_files(
    rows: list[list[str]], data: bytes
) -> tuple[tuple[BundleFile, ...], dict[str, bytes]]:
    files: list[BundleFile] = []
    secrets: dict[str, bytes] = {}
    for path, mode, owner, group, on_change, length, *source in rows:
        content, data = data[: int(length)], data[int(length) :]
        held: Inline | SecretBytes = Inline.of(content)
        if source[0] == "secret":
            held = SecretBytes(*source[1:])
            secrets[f"{held.namespace}/{held.name}/{held.key}"] = content
        files.append(BundleFile(path, int(mode, 8), held, owner, group, OnChange(on_change)))
    return tuple(files), secrets


def _read_remove(received: Received) -> Remove:
    fleet, term, ds, slot, _ = received.one("remove")
    return Remove(fleet, int(term), lines.key(ds), None if slot == "*" else Slot(slot))


def _read_adopt(received: Received) -> Adopt:
    (fleet,) = received.one("adopt")
    return Adopt(fleet)


def _read_purge(received: Received) -> Purge:
    fleet, term = received.one("purge")
    return Purge(fleet, int(term))


def _read_logs(received: Received) -> Logs:
    count, follow, since = received.one("logs")
    units = tuple(name for (name,) in received.all("unit"))
    return Logs(units, since, int(count), lines.flag(follow))


def _read_exec(received: Received) -> Exec:
    runtime, container = received.one("exec")
    argv, data = list[str](), received.data
    for (length,) in received.all("arg"):
        argument, data = data[: int(length)], data[int(length) :]
        argv.append(argument.decode("utf-8", "surrogateescape"))
    return Exec(tuple(argv), container, Runtime(runtime))


def _read_follow(received: Received) -> Follow:
    cursor, beat = received.one("follow")
    return Follow(cursor, int(beat))


_READERS: dict[str, Callable[[Received], Request]] = {
    "observe": _read_observe,
    "pull": _read_pull,
    "load": _read_load,
    "apply": _read_apply,
    "remove": _read_remove,
    "adopt": _read_adopt,
    "purge": _read_purge,
    "logs": _read_logs,
    "exec": _read_exec,
    "follow": _read_follow,
}
