"""What a host answered: `parse` reads it, `render_reply` writes it as a host would.

    FLEETD1 <nonce> BEGIN
    <nonce> part NAME
    ...
    <nonce> end NAME <rc>
    FLEETD1 <nonce> END rc=<n>

Everything before BEGIN is a login shell's noise. A reply without END, or a call without an exit
status, is `Lost`: something may have happened, and nothing may be concluded. A part that is
missing, cut, or whose command failed is Unknown and never empty. What comes from a host is stripped
and bounded here, once, for everyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from fleetd.core.facts import Known, Observation, Owner, Part, UnitState, Unknown
from fleetd.host import lines, parts
from fleetd.host.requests import Adopt, Observe, Purge, Request
from fleetd.ports import Output

T = TypeVar("T")

LIMIT = 4 << 20
"""More bytes than this are no reply."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one image: `id` is the engine's, `digest` the registry's ("" without one).

    `platform` is `os/architecture`, as the image itself tells.
    """

    image: str
    state: Literal["present", "pulling", "failed"]
    id: str = ""
    digest: str = ""
    message: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Ok:
    """The request was carried out. `changed` is False when the host was already as asked.

    `notes` are sentences about what was done to units that are the host's own.
    """

    observation: Observation | None = None
    pulled: tuple[Pulled, ...] = ()
    owner_key: str = ""
    changed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The host said no, or a step failed there: transfer, check, verify, lock, image, stop, ..."""

    step: str
    message: str
    observation: Observation | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The host obeys another fleet, or has seen a newer term of ours. Nothing was touched."""

    owner: Owner
    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer that can be read. `sent` is False when certainly nothing reached the host."""

    why: str
    sent: bool = True


Reply = Ok | Failed | Refused | Lost


def reason(reply: Failed | Refused | Lost) -> str:
    """Why a request was not carried out, or nobody can tell; with the step, where one failed."""
    match reply:
        case Failed(step=step, message=message):
            return f"{step}: {message}"
        case Refused(message=message):
            return message
        case Lost(why=why):
            return why


class _Raw(NamedTuple):
    rows: tuple[str, ...]
    status: int


def begin_mark(nonce: str) -> str:
    """The line that a script prints first."""
    return f"FLEETD1 {nonce} BEGIN"


def after_begin(stdout: bytes, nonce: str) -> bytes | None:
    """What follows the BEGIN line (Logs and Exec are raw); None when there is no such line."""
    mark = begin_mark(nonce).encode() + b"\n"
    at = (b"\n" + stdout).find(b"\n" + mark)
    return None if at < 0 else stdout[at + len(mark) :]


def parse(output: Output, nonce: str, request: Request) -> Reply:
    """Read a reply. Never raises: what cannot be read is Lost, or an Unknown part."""
    why = _lost(output)
    if why:
        return Lost(why, sent=output.sent)
    body = after_begin(output.stdout, nonce)
    if body is None:
        return Lost(_never_began(output), sent=output.sent)
    text, end, _ = body.decode("utf-8", "replace").rpartition(f"FLEETD1 {nonce} END rc=")
    if not end:
        return Lost("the reply has no end", sent=output.sent)
    raw = _split(text.split("\n"), nonce)
    try:
        return _reply(raw, request)
    except ValueError as error:
        return Lost(f"the reply cannot be read: {lines.clean(str(error))}", sent=output.sent)


def _lost(output: Output) -> str:
    if len(output.stdout) > LIMIT:
        return f"more than {LIMIT} bytes came back"
    if output.status is None:
        return lines.clean(output.error) or "the connection was lost before the end"
    return lines.clean(output.error)


def _never_began(output: Output) -> str:
    """Why the script did not start: what the login shell or sudo said."""
    said = " ".join(
        lines.clean(row) for row in output.stderr.decode("utf-8", "replace").split("\n")
    )
    said = said.strip()[-500:]
    if "sudo" in said:
        return f"sudo -n was refused; give this account NOPASSWD, or log in as root: {said}"
    return f"the script did not start (exit status {output.status}): {said or 'no message'}"


def _split(rows: Sequence[str], nonce: str) -> dict[str, _Raw]:
    """The finished parts; one without its end line is left out, and so becomes Unknown."""
    raw: dict[str, _Raw] = {}
    name, kept = "", list[str]()
    for row in rows:
        word, _, rest = row.partition(" ")
        if word != nonce:
            kept.append("\t".join(lines.clean(text) for text in row.split("\t")))
            continue
        verb, *names = rest.split(" ")
        if verb == "part" and len(names) == 1:
            name, kept = names[0], []
        elif verb == "end" and len(names) == 2 and names[0] == name:
            raw[name] = _Raw(tuple(kept), int(names[1]) if names[1].isdecimal() else 1)
            name = ""
    return raw


def _reply(raw: Mapping[str, _Raw], request: Request) -> Reply:
    if "refused" in raw:
        fleet, term, message = _row(raw["refused"])
        return Refused(Owner(fleet, int(term)), message)
    observation = _observation(raw, request) if "clock" in raw else None
    told = [lines.split(row) for row in raw["apply"].rows] if "apply" in raw else []
    failures = [fields for fields in told if fields[0] == "failed"]
    if failures:
        _, step, message = failures[0]
        return Failed(step, message, observation)
    pulled = tuple(_pulled(row) for row in raw["pull"].rows) if "pull" in raw else ()
    key = _row(raw["key"])[0] if raw.get("key", _Raw((), 1)).rows else ""
    if not told and not pulled and observation is None and not isinstance(request, Purge):
        raise ValueError("it has no parts")
    if isinstance(request, Adopt) and "key" not in raw:
        raise ValueError("it does not tell the key")
    notes = tuple(" ".join(fields[1:]) for fields in told if fields[0] == "note")
    return Ok(observation, pulled, key, changed=["changed", "1"] in told, notes=notes)


def _row(raw: _Raw) -> list[str]:
    (row,) = raw.rows
    return lines.split(row)


def _pulled(row: str) -> Pulled:
    image, state, *told = lines.split(row)
    identity, digest, message, platform = told
    if state == "present":
        return Pulled(image, "present", identity, digest, message, platform)
    if state == "pulling":
        return Pulled(image, "pulling", identity, digest, message, platform)
    if state == "failed":
        return Pulled(image, "failed", identity, digest, message, platform)
    raise ValueError(f"{state!r} is no state of a pull")


def _observation(raw: Mapping[str, _Raw], request: Request) -> Observation:
    clock = _part(raw, "clock", parts.read_clock)
    whatever = Observe("", engine="engine" in raw, facts="facts" in raw)
    wants = request if isinstance(request, Observe) else whatever
    same_boot = isinstance(clock, Known) and clock.value.boot_id == wants.boot
    return Observation(
        clock=clock,
        owner=_part(raw, "owner", parts.read_owner),
        ledger=_part(raw, "ledger", parts.read_ledger),
        files=_part(raw, "files", parts.read_files),
        units=_units(raw, clock.value.uptime_s) if isinstance(clock, Known) else clock,
        engine=_part(raw, "engine", parts.read_engine) if wants.engine else None,
        facts=None if same_boot or not wants.facts else _part(raw, "facts", parts.read_facts),
    )


def _units(raw: Mapping[str, _Raw], uptime_s: float) -> Part[tuple[UnitState, ...]]:
    stamps = _part(raw, "stamps", parts.read_stamps)
    if isinstance(stamps, Unknown):
        return stamps
    probes = _part(raw, "probes", parts.read_probes)
    if isinstance(probes, Unknown):
        return probes
    return _part(
        *(raw, "units"),
        lambda rows: parts.read_units(rows, uptime_s, stamps.value, probes.value),
    )


def _part(raw: Mapping[str, _Raw], name: str, read: Callable[[Sequence[str]], T]) -> Part[T]:
    if name not in raw:
        return Unknown(f"{name}: not in the reply")
    part = raw[name]
    if part.status != 0:
        said = " ".join(row for row in part.rows if row)[-300:]
        return Unknown(f"{name}: failed on the host with {part.status}{said and ': '}{said}")
    try:
        return Known(read(part.rows))
    except (ValueError, LookupError, TypeError) as error:
        return Unknown(f"{name}: cannot be read: {lines.clean(str(error))}")


def render_reply(nonce: str, reply: Ok | Failed | Refused) -> bytes:
    """A reply as a host writes it, for simulated hosts: `parse` gives the same value back.

    Unknown parts are written as failed ones; times are kept to a hundredth of a second.
    """
    out = [begin_mark(nonce)]
    match reply:
        case Refused(owner, message):
            _add(out, nonce, "refused", [lines.join(owner.fleet, owner.term, message)])
        case Failed(step, message):
            _add(out, nonce, "apply", [lines.join("failed", step, message)])
        case Ok():
            notes = (lines.join("note", note) for note in reply.notes)
            _add(out, nonce, "apply", [lines.join("changed", reply.changed), *notes])
            _add(out, nonce, "pull", [_pulled_line(pulled) for pulled in reply.pulled])
            _add(out, nonce, "key", [reply.owner_key] if reply.owner_key else [])
    if not isinstance(reply, Refused) and reply.observation is not None:
        _add_observation(out, nonce, reply.observation)
    out.append(f"FLEETD1 {nonce} END rc=0")
    return "".join(f"{row}\n" for row in out).encode()


def _pulled_line(pulled: Pulled) -> str:
    told = (pulled.id, pulled.digest, pulled.message, pulled.platform)
    return lines.join(pulled.image, pulled.state, *told)


def _add(out: list[str], nonce: str, name: str, rows: Iterable[str], status: int = 0) -> None:
    out += [f"{nonce} part {name}", *rows, f"{nonce} end {name} {status}"]


def _add_observation(out: list[str], nonce: str, seen: Observation) -> None:
    def add(name: str, part: Part[T], write: Callable[[T], Iterable[str]]) -> None:
        if isinstance(part, Known):
            _add(out, nonce, name, write(part.value))
        else:
            _add(out, nonce, name, [lines.clean(part.why)], status=1)

    uptime = seen.clock.value.uptime_s if isinstance(seen.clock, Known) else 0.0
    add("clock", seen.clock, parts.write_clock)
    add("owner", seen.owner, parts.write_owner)
    add("ledger", seen.ledger, parts.write_ledger)
    add("files", seen.files, parts.write_files)
    add("units", seen.units, lambda units: parts.write_units(units, uptime))
    add("stamps", seen.units, parts.write_stamps)
    add("probes", seen.units, parts.write_probes)
    if seen.engine is not None:
        add("engine", seen.engine, parts.write_engine)
    if seen.facts is not None:
        add("facts", seen.facts, parts.write_facts)
