"""Where the fleet is described and where its state lives: flags, environment, `fleetd.yaml`.

A flag wins over the environment, the environment over the file, the file over the default. All
paths leave here absolute, since the state remembers its inventory sources by name. Separate from
the verbs so that the service and cron read the very same settings.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fleetd.errors import InvalidInput, Problem

if TYPE_CHECKING:  # only for annotations: YAML is imported when there is a file to read
    import yaml

KEYS = ("inventory", "service", "socket", "state")
SYSTEM_STATE = "/var/lib/fleetd"
SYSTEM_SOCKET = "/run/fleetd/fleetd.sock"
LogFormat = Literal["auto", "json", "console"]
LOG_FORMATS = get_args(LogFormat)


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; empty where it said nothing."""

    inventory: tuple[str, ...] = ()
    state: str = ""
    config: str = ""
    debug: bool = False


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What only `fleetd run` reads: the mapping `service:` of the settings file.

    Members of `socket_group` may connect and read, those of `operator_group` may change things
    ("": nobody; None: nothing was said of it). `metrics_address` is `HOST:PORT`, "" serves nothing
    on TCP. A host that is looked at through its stream has a full look each `full_look_s`, one
    without a stream each `poll_s`; programs of the inventory are run each `inventory_s`.
    `log_format` is one of `LOG_FORMATS`.
    """

    socket_group: str | None = None
    operator_group: str | None = None
    metrics_address: str = ""
    streams: bool = True
    full_look_s: float = 900.0
    poll_s: float = 30.0
    inventory_s: float = 60.0
    log_format: LogFormat = "auto"
    events_kept: int = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run works with: absolute inventory sources (`-` is stdin) and the state directory.

    `config` is the file that was read, "" when there was none; `named` says whether the state was
    said and not taken by default; `socket` is where the service of this state listens.
    """

    inventory: tuple[str, ...]
    state: str
    config: str = ""
    debug: bool = False
    named: bool = False
    socket: str = ""
    service: ServiceSettings = field(default_factory=ServiceSettings)


def read_settings(flags: Flags, env: Mapping[str, str], cwd: Path, *, root: bool) -> Settings:
    """Join flags, environment and file; `root` says whose default state directory to take.

    Raises InvalidInput for a file that is missing, unreadable or says anything it should not.
    """
    config = _config_file(flags, env, cwd)
    said, service = _read_file(config, env) if config else ({}, ServiceSettings())
    inventory = (
        flags.inventory
        or tuple(filter(None, env.get("FLEETD_INVENTORY", "").split(os.pathsep)))
        or said.get("inventory", ())
    )
    state = flags.state or env.get("FLEETD_STATE", "") or "".join(said.get("state", ()))
    place = _absolute(state, cwd, env) if state else str(_default_state(env, root=root))
    socket = env.get("FLEETD_SOCKET", "") or "".join(said.get("socket", ()))
    return Settings(
        inventory=tuple(_absolute(source, cwd, env) for source in inventory),
        state=place,
        config=str(config or ""),
        debug=flags.debug,
        named=bool(state),
        socket=_absolute(socket, cwd, env) if socket else socket_of(place, named=bool(state)),
        service=service,
    )


def socket_of(state: str, *, named: bool) -> str:
    """Where the service of a state listens, unless it is told otherwise.

    Whoever names no state means the service of this machine, where there is one.
    """
    if state == SYSTEM_STATE or (not named and _may_exist(SYSTEM_SOCKET)):
        return SYSTEM_SOCKET
    return f"{state}/fleetd.sock"


def places(env: Mapping[str, str], cwd: Path) -> tuple[Path, ...]:
    """Where a `fleetd.yaml` is looked for, in this order; the first one there is the one read."""
    personal = Path(env.get("XDG_CONFIG_HOME") or _home(env) / ".config")
    return tuple(
        folder / "fleetd.yaml" for folder in (cwd, personal / "fleetd", Path("/etc/fleetd"))
    )


def _may_exist(path: str) -> bool:
    """Whether it is there, or we are not let near enough to know."""
    try:
        Path(path).lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _config_file(flags: Flags, env: Mapping[str, str], cwd: Path) -> Path | None:
    named = flags.config or env.get("FLEETD_CONFIG", "")
    if named:
        return Path(_absolute(named, cwd, env))
    found = next((path for path in places(env, cwd) if path.is_file()), None)
    # An inventory may be a program: never run what a stranger left in a shared directory.
    if found and found.parent == cwd and cwd.stat().st_mode & stat.S_IWOTH:
        raise _invalid(
            found, 0, "", "its directory is writable by everyone", "name it with --config"
        )
    return found


def _read_file(
    path: Path, env: Mapping[str, str]
) -> tuple[dict[str, tuple[str, ...]], ServiceSettings]:
    """The paths that each key of the file says, absolute; and what it says of the service."""
    import yaml

    try:
        document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, 0, "", f"cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _invalid(path, line, "", f"is not YAML: {error.problem}") from error
    service = ServiceSettings()
    if document is None:
        return {}, service
    if not isinstance(document, yaml.MappingNode):
        raise _invalid(path, 1, "", "must be a mapping", f"with the keys {_listed(KEYS)}")
    said: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for key, value in document.value:
        name, line = str(key.value), key.start_mark.line + 1
        problem = _key_problem(name, said, KEYS)
        if not problem and name == "service":
            said[name] = ()
            service = _service(path, value, problems)
            continue
        problem = problem or _value_problem(name, value)
        if problem:
            problems.append(Problem(str(path), line, name, *problem))
            continue
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        said[name] = tuple(_absolute(item.value, path.parent, env) for item in items)
    if problems:
        raise InvalidInput(problems)
    return said, service


def _service(path: Path, node: yaml.Node, problems: list[Problem]) -> ServiceSettings:
    """The mapping `service:`; what is wrong in it is added to the problems."""
    import yaml

    keys = {_camel(one.name): one.name for one in fields(ServiceSettings)}
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        hint = f"with some of the keys {_listed(tuple(keys))}"
        problems.append(Problem(str(path), line, "service", "must be a mapping", hint))
        return ServiceSettings()
    said: dict[str, Any] = {}
    for key, value in node.value:
        name = str(key.value)
        problem = _key_problem(name, said, tuple(keys))
        if not problem:
            said[name], problem = _service_value(name, value)
        if problem:
            line = key.start_mark.line + 1
            problems.append(Problem(str(path), line, f"service.{name}", *problem))
    if problems:
        return ServiceSettings()
    return ServiceSettings(**{keys[name]: value for name, value in said.items()})


def _service_value(name: str, node: yaml.Node) -> tuple[Any, tuple[str, str] | None]:
    """One value of `service:`, and what is wrong with it."""
    import yaml

    text = node.value if isinstance(node, yaml.ScalarNode) else None
    tag = node.tag.rpartition(":")[2]
    match name:
        case "streams":
            truths = {"true": True, "yes": True, "on": True, "false": False, "no": False}
            truths["off"] = False
            truth = truths.get(str(text).lower()) if tag == "bool" else None
            return truth, None if truth is not None else ("must be true or false", "")
        case "eventsKept":
            count = int(text) if tag == "int" and text and text.isdecimal() else 0
            return count, None if count else ("must be a whole number above 0", "")
        case "fullLookSeconds" | "pollSeconds" | "inventorySeconds":
            number = _number(text) if tag in ("int", "float") and text else 0.0
            return number, None if number >= 1 else ("must be a number of seconds, 1 or more", "")
        case "logFormat":
            wrong = f"must be one of {', '.join(LOG_FORMATS)}"
            return text, None if text in LOG_FORMATS else (wrong, "")
        case "metricsAddress":
            good = text == "" or (tag == "str" and _is_address(str(text)))
            return text or "", None if good else ("must be HOST:PORT", 'or "" for none')
        case _:
            good = tag == "str" and text is not None and not set(text) & set(": \t\n")
            return text, None if good else ("must be the name of a group", "")


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdecimal() and 0 <= int(port) < 65536


def _number(text: str) -> float:
    import math

    try:
        number = float(text)
    except ValueError:  # YAML knows forms that Python does not: 0x10, 1_0, .inf
        return 0.0
    return number if math.isfinite(number) else 0.0


def _camel(name: str) -> str:
    """A name as the file writes it: `full_look_s` is `fullLookSeconds`."""
    first, *rest = name.removesuffix("_s").split("_")
    return first + "".join(map(str.title, rest)) + ("Seconds" if name.endswith("_s") else "")


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _key_problem(
    name: str, said: Mapping[str, object], keys: tuple[str, ...]
) -> tuple[str, str] | None:
    import difflib

    if name not in keys:
        nearest = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known are {_listed(keys)}"
        return "unknown key", hint
    return ("is written twice", "keep one") if name in said else None


def _value_problem(name: str, value: yaml.Node) -> tuple[str, str] | None:
    import yaml

    def path(node: yaml.Node) -> bool:
        text = isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str"
        return text and bool(node.value)

    if path(value):
        return None
    if name == "inventory" and isinstance(value, yaml.SequenceNode) and value.value:
        return None if all(map(path, value.value)) else ("must hold paths only", "")
    return ("must be a path or a list of paths" if name == "inventory" else "must be a path"), ""


def _invalid(path: Path, line: int, field: str, message: str, hint: str = "") -> InvalidInput:
    return InvalidInput([Problem(str(path), line, field, message, hint)])


def _absolute(path: str, folder: Path, env: Mapping[str, str]) -> str:
    if path == "-":
        return path
    if path == "~" or path.startswith("~/"):
        path = str(_home(env)) + path[1:]
    return os.path.normpath(folder / path)


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def _default_state(env: Mapping[str, str], *, root: bool) -> Path:
    if root:
        return Path(SYSTEM_STATE)
    return Path(env.get("XDG_STATE_HOME") or _home(env) / ".local" / "state") / "fleetd"
