"""The environment of a workload: values, references and `$(VAR)`, as Kubernetes puts them together.

A value may hold what only the host knows (a per-host value) or what only the host may know (a
secret). Such places are kept apart from literal text as `Text`, which becomes a word of a shell
script; so nothing that a document says is ever read as shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetd.core.bundle import SecretBytes
from fleetd.core.daemonset import SystemdEnvVar
from fleetd.core.expansion import expand
from fleetd.core.pod import Container, EnvVar, KeyRef, PodSpec
from fleetd.workload.content import Content
from fleetd.workload.errors import RenderError
from fleetd.workload.parts import Copy
from fleetd.workload.text import Text
from fleetd.workload.values import FIELDS

__all__ = ["Environment", "Text", "container_env", "resolve", "secret_files"]

_LONGEST = 131_000
"""The kernel takes no longer argument or variable (P 84)."""


@dataclass(frozen=True, slots=True)
class Environment:
    """All variables by name, and the secrets that shell variables in them stand for.

    `lines` of a shell compute further variables that stand in them; they run once the values of the
    host are there.
    """

    variables: Mapping[str, Text] = field(default_factory=dict)
    secrets: Mapping[str, SecretBytes] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def expand(self, text: str, path: str) -> Text:
        """`text` with `$(VAR)` replaced; a variable that is not there stays as it is written.

        Raises:
            RenderError: a NUL in the text.
        """
        return _expand(text, self.variables, path)


def container_env(copy: Copy, spec: PodSpec, container: Container, path: str) -> Environment:
    """The environment of a container of the pod; `path` is the container's field path.

    Raises:
        RenderError: see `resolve`.
    """
    del spec
    return resolve(container.env, copy.ds.namespace, copy.content, f"{path}.env")


def resolve(
    env: Sequence[EnvVar | SystemdEnvVar], namespace: str, content: Content, path: str
) -> Environment:
    """The environment that `env` describes; a value sees the variables before it only.

    Raises:
        RenderError: a reference that nothing answers, or a value that no process can be given.
    """
    variables: dict[str, Text] = {}
    secrets: dict[str, SecretBytes] = {}
    for at, var in enumerate(env):
        where = f"{path}[{at}]"
        field_path, config_map, secret, where_from = _source(var, where)
        text: Text | None
        if secret is not None:
            found = content.secret_key(namespace, secret, f"{where_from}.secretKeyRef")
            text = None
            if found is not None:
                holder = f"fleetd_secret_{at}"
                secrets[holder] = found
                text = Text.variable(holder, secret=True)
        elif config_map is not None:
            text = _config_map_text(content, config_map, f"{where_from}.configMapKeyRef")
        elif field_path:
            if field_path not in FIELDS:
                raise RenderError(where_from, f"no value for {field_path!r}; known: {_known()}")
            text = Text.variable(FIELDS[field_path])
        else:
            text = _expand(var.value, variables, f"{where}.value")
        if text is not None:
            variables.pop(var.name, None)
            variables[var.name] = text
    return Environment(variables, secrets)


def _source(
    var: EnvVar | SystemdEnvVar, path: str
) -> tuple[str, KeyRef | None, KeyRef | None, str]:
    if isinstance(var, SystemdEnvVar):
        return var.field_path, var.config_map_key_ref, var.secret_key_ref, path
    source = var.value_from
    if source is None:
        return "", None, None, path
    field_path = source.field_ref.field_path if source.field_ref else ""
    return field_path, source.config_map_key_ref, source.secret_key_ref, f"{path}.valueFrom"


def _config_map_text(content: Content, ref: KeyRef, path: str) -> Text | None:
    data = content.config_map_key(ref, path)
    if data is None:
        return None
    try:
        return _checked(Text(data.decode()), data.decode(), path)
    except UnicodeDecodeError:
        raise RenderError(
            path, f"key {ref.key} of ConfigMap {ref.name} is not text; mount it as a file"
        ) from None


def _expand(text: str, variables: Mapping[str, Text], path: str) -> Text:
    used: list[Text] = []

    def value_of(name: str) -> str | None:
        if name not in variables:
            return None
        used.append(variables[name])
        return variables[name].marked

    expanded = Text(expand(text, value_of), any(value.secret for value in used))
    return _checked(expanded, text, path)


def _checked(result: Text, written: str, path: str) -> Text:
    if "\0" in written:
        raise RenderError(path, "must not contain a NUL character")
    if len(result.marked.encode()) > _LONGEST:
        raise RenderError(path, f"is longer than {_LONGEST} bytes; mount it as a file")
    return result


def _known() -> str:
    return ", ".join(sorted(FIELDS))


def secret_files(directory: str, secrets: Iterable[SecretBytes]) -> Mapping[SecretBytes, str]:
    """Where the secrets of an environment are delivered, one path for each."""
    return {found: f"{directory}/secrets/{found.name}/{found.key}" for found in secrets}
