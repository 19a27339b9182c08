"""Where the fleet is described and where its state lives: flags, environment, `fleetd.yaml`.

A flag wins over the environment, the environment over the file, the file over the default. All
paths leave here absolute, since the state remembers its inventory sources by name. Separate from
the verbs so that the service and cron read the very same settings.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetd.errors import InvalidInput, Problem

if TYPE_CHECKING:  # only for annotations: YAML is imported when there is a file to read
    import yaml

KEYS = ("inventory", "state")


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; empty where it said nothing."""

    inventory: tuple[str, ...] = ()
    state: str = ""
    config: str = ""
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run works with: absolute inventory sources (`-` is stdin) and the state directory.

    `config` is the file that was read, "" when there was none.
    """

    inventory: tuple[str, ...]
    state: str
    config: str = ""
    debug: bool = False


def read_settings(flags: Flags, env: Mapping[str, str], cwd: Path, *, root: bool) -> Settings:
    """Join flags, environment and file; `root` says whose default state directory to take.

    Raises InvalidInput for a file that is missing, unreadable or says anything it should not.
    """
    config = _config_file(flags, env, cwd)
    said = _read_file(config, env) if config else {}
    inventory = (
        flags.inventory
        or tuple(filter(None, env.get("FLEETD_INVENTORY", "").split(os.pathsep)))
        or said.get("inventory", ())
    )
    state = flags.state or env.get("FLEETD_STATE", "") or "".join(said.get("state", ()))
    return Settings(
        inventory=tuple(_absolute(source, cwd, env) for source in inventory),
        state=_absolute(state, cwd, env) if state else str(_default_state(env, root=root)),
        config=str(config or ""),
        debug=flags.debug,
    )


def places(env: Mapping[str, str], cwd: Path) -> tuple[Path, ...]:
    """Where a `fleetd.yaml` is looked for, in this order; the first one there is the one read."""
    personal = Path(env.get("XDG_CONFIG_HOME") or _home(env) / ".config")
    return tuple(
        folder / "fleetd.yaml" for folder in (cwd, personal / "fleetd", Path("/etc/fleetd"))
    )


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


def _read_file(path: Path, env: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    import yaml

    try:
        document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(path, 0, "", f"cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _invalid(path, line, "", f"is not YAML: {error.problem}") from error
    if document is None:
        return {}
    if not isinstance(document, yaml.MappingNode):
        raise _invalid(path, 1, "", "must be a mapping", f"with the keys {' and '.join(KEYS)}")
    said: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for key, value in document.value:
        name, line = str(key.value), key.start_mark.line + 1
        problem = _key_problem(name, said) or _value_problem(name, value)
        if problem:
            problems.append(Problem(str(path), line, name, *problem))
            continue
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        said[name] = tuple(_absolute(item.value, path.parent, env) for item in items)
    if problems:
        raise InvalidInput(problems)
    return said


def _key_problem(name: str, said: Mapping[str, object]) -> tuple[str, str] | None:
    import difflib

    if name not in KEYS:
        nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known are {' and '.join(KEYS)}"
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
        return Path("/var/lib/fleetd")
    return Path(env.get("XDG_STATE_HOME") or _home(env) / ".local" / "state") / "fleetd"
