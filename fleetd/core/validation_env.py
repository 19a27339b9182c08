"""The rules for environments: variables and their sources (K 167)."""

from __future__ import annotations

from fleetd.core import names
from fleetd.core.expansion import variables
from fleetd.core.findings import Findings
from fleetd.core.pod import Container, EnvVar, EnvVarSource, KeyRef

FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "status.hostIP",
)


def check_env(found: Findings, path: str, container: Container) -> None:
    """Variables and their sources; a secret must not get into a command line by `$(VAR)`."""
    secret: set[str] = set()
    for i, variable in enumerate(container.env):
        here = f"{path}.env[{i}]"
        found.check(f"{here}.name", names.env_name, variable.name)
        _value(found, here, variable)
        source = variable.value_from
        if (source is not None and source.secret_key_ref is not None) or (
            secret.intersection(variables(variable.value))
        ):
            secret.add(variable.name)
        else:
            secret.discard(variable.name)
    for field, words in (("command", container.command), ("args", container.args)):
        for i, word in enumerate(words):
            for name in variables(word):
                if name in secret:
                    found.error(
                        f"{path}.{field}[{i}]",
                        f"$({name}) would show a secret in the list of processes",
                        f"let the program read the variable {name} itself, or mount the Secret",
                    )


def _value(found: Findings, path: str, variable: EnvVar) -> None:
    source = variable.value_from
    if source is None:
        found.check(f"{path}.value", names.text_block, variable.value)
        return
    here = f"{path}.valueFrom"
    if variable.value:
        found.error(here, "value and valueFrom are both there", "keep one of them")
    _env_source(found, here, source)


def _env_source(found: Findings, path: str, source: EnvVarSource) -> None:
    named = [source.field_ref, source.config_map_key_ref, source.secret_key_ref]
    if sum(each is not None for each in named) != 1:
        message = "must have exactly one of fieldRef, configMapKeyRef and secretKeyRef"
        found.error(path, message)
    if source.field_ref is not None:
        check_field_path(found, f"{path}.fieldRef.fieldPath", source.field_ref.field_path)
        if source.field_ref.api_version != "v1":
            found.error(f"{path}.fieldRef.apiVersion", "must be v1")
    check_key_ref(found, f"{path}.configMapKeyRef", source.config_map_key_ref)
    check_key_ref(found, f"{path}.secretKeyRef", source.secret_key_ref)


def check_field_path(found: Findings, path: str, field_path: str) -> None:
    """The fields of a pod that are known to a host."""
    if field_path not in FIELD_PATHS:
        message = f"{field_path!r} is not supported yet by this fleetd"
        found.error(path, message, f"known are {', '.join(FIELD_PATHS)}")


def check_key_ref(found: Findings, path: str, ref: KeyRef | None) -> None:
    """A legal name and key of a ConfigMap or Secret."""
    if ref is not None:
        found.check(f"{path}.name", names.dns_subdomain, ref.name)
        found.check(f"{path}.key", names.config_key, ref.key)
