"""The rules for environments: variables and their sources (K 167)."""

from __future__ import annotations

from fleetd.core import names, quantity
from fleetd.core.expansion import variables
from fleetd.core.fieldrefs import (
    ENV_FIELDS,
    FILE_FIELDS,
    HOST_FIELDS,
    HUGE_PAGES,
    MAPS,
    RESOURCES,
    divisors,
    split,
)
from fleetd.core.findings import Findings
from fleetd.core.pod import (
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    FieldRef,
    KeyRef,
    PodSpec,
    ResourceFieldRef,
)


def check_env(found: Findings, path: str, container: Container) -> None:
    """Variables and their sources; a secret must not get into a command line by `$(VAR)`."""
    for i, source in enumerate(container.env_from):
        _env_from(found, f"{path}.envFrom[{i}]", source)
    secret: set[str] = set()
    for i, variable in enumerate(container.env):
        here = f"{path}.env[{i}]"
        found.check(f"{here}.name", names.env_name, variable.name)
        _value(found, here, variable)
        source_ = variable.value_from
        if (source_ is not None and source_.secret_key_ref is not None) or (
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


def _env_from(found: Findings, path: str, source: EnvFromSource) -> None:
    if source.prefix:
        found.check(f"{path}.prefix", names.env_name, source.prefix)
    if (source.config_map_ref is None) == (source.secret_ref is None):
        found.error(path, "must have exactly one of configMapRef and secretRef")
    for kind, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
        if ref is not None:
            found.check(f"{path}.{kind}.name", names.dns_subdomain, ref.name)


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
    named = (
        source.field_ref,
        source.resource_field_ref,
        source.config_map_key_ref,
        source.secret_key_ref,
    )
    if sum(each is not None for each in named) != 1:
        message = (
            "must have exactly one of fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef"
        )
        found.error(path, message)
    if source.field_ref is not None:
        check_field_ref(found, f"{path}.fieldRef", source.field_ref, ENV_FIELDS)
    if source.resource_field_ref is not None:
        check_resource_ref(found, f"{path}.resourceFieldRef", source.resource_field_ref)
    check_key_ref(found, f"{path}.configMapKeyRef", source.config_map_key_ref)
    check_key_ref(found, f"{path}.secretKeyRef", source.secret_key_ref)


def check_field_ref(found: Findings, path: str, ref: FieldRef, known: tuple[str, ...]) -> None:
    """A field of the pod: one of `known`, or a label or annotation by its key."""
    if ref.api_version != "v1":
        found.error(f"{path}.apiVersion", "must be v1")
    path = f"{path}.fieldPath"
    whole, key = split(ref.field_path)
    if key is not None and whole in MAPS:
        # The keys of annotations may have capitals where those of labels may not.
        if wrong := names.label_key(key.lower() if whole == MAPS[1] else key):
            found.error(path, f"the key {key!r} {wrong}")
    elif key is not None or whole not in known:
        keyed = ", ".join(f"{name}['KEY']" for name in MAPS)
        hint = f"known are {', '.join(known)}, {keyed}"
        what = "a file" if known == FILE_FIELDS else "a variable"
        found.error(path, f"{ref.field_path!r} is no field that {what} can be told", hint)


def check_field_path(found: Findings, path: str, field_path: str) -> None:
    """The fields that a systemd workload may ask for."""
    if field_path not in HOST_FIELDS:
        message = f"{field_path!r} is no field that a unit can be told"
        found.error(path, message, f"known are {', '.join(HOST_FIELDS)}")


def check_resource_ref(found: Findings, path: str, ref: ResourceFieldRef) -> None:
    """A known resource, in units that it is told in."""
    if ref.resource not in RESOURCES and not ref.resource.startswith(HUGE_PAGES):
        message = f"{ref.resource!r} is no resource that can be told"
        found.error(f"{path}.resource", message, f"known are {', '.join(RESOURCES)}")
        return
    allowed = divisors(ref.resource)
    try:
        divisor = quantity.parse(ref.divisor)
    except ValueError as error:
        found.error(f"{path}.divisor", f"{ref.divisor!r} {error}")
        return
    if divisor and divisor not in map(quantity.parse, allowed):
        message = f"{ref.divisor} is no unit of {ref.resource}"
        found.error(f"{path}.divisor", message, f"units are {', '.join(allowed)}")


def check_resource_refs(found: Findings, path: str, spec: PodSpec) -> None:
    """The containers that are named by variables are there."""
    pods = {container.name for container in (*spec.containers, *spec.init_containers)}
    for field, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
    ):
        for i, container in enumerate(containers):
            for j, variable in enumerate(container.env):
                ref = variable.value_from and variable.value_from.resource_field_ref
                if ref and ref.container_name:
                    here = f"{path}.{field}[{i}].env[{j}].valueFrom.resourceFieldRef"
                    check_container_name(found, here, ref, pods)


def check_container_name(
    found: Findings, path: str, ref: ResourceFieldRef, containers: set[str]
) -> None:
    """The container of a reference is one of the pod's."""
    if ref.container_name not in containers:
        message = f"there is no container {ref.container_name!r}"
        known = f"the pod has: {', '.join(sorted(containers))}"
        found.error(f"{path}.containerName", message, known)


def check_key_ref(found: Findings, path: str, ref: KeyRef | None) -> None:
    """A legal name and key of a ConfigMap or Secret."""
    if ref is not None:
        found.check(f"{path}.name", names.dns_subdomain, ref.name)
        found.check(f"{path}.key", names.config_key, ref.key)
