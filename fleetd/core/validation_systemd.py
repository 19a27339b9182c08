"""The rules for templates whose work is done by a systemd unit.

fleetd writes what these say as root, so paths are held to one plain spelling, and fleetd's own
directories are out of bounds.
"""

from __future__ import annotations

import base64
import binascii

from fleetd.core import names, unitfile
from fleetd.core.daemonset import Credential, Systemd, SystemdEnvVar, SystemUser, UnitFile
from fleetd.core.findings import Findings
from fleetd.core.validation_env import check_field_path, check_key_ref
from fleetd.core.validation_probes import check_probe
from fleetd.core.validation_volumes import check_mode

ARCHITECTURES = ("386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x")
OWN_DIRECTORIES = ("/var/lib/fleetd-node", "/run/fleetd-node", "/var/lib/fleetd", "/run/fleetd")
_VOLATILE = ("/proc/", "/sys/", "/dev/", "/run/", "/tmp/", "/var/tmp/")  # noqa: S108 - refused


def check_systemd(found: Findings, path: str, systemd: Systemd) -> None:
    """A unit of ours or of the host, its files, users and variables."""
    if (systemd.unit is None) == (systemd.existing_unit is None):
        found.error(path, "must have exactly one of unit and existingUnit")
    if systemd.unit is not None:
        _unit(found, f"{path}.unit", systemd.unit, _activation(systemd))
    _triggers(found, path, systemd)
    if systemd.existing_unit is not None:
        found.check(f"{path}.existingUnit", names.unit, systemd.existing_unit)
        if systemd.existing_unit.startswith("fleetd-"):
            found.error(f"{path}.existingUnit", "units named fleetd-... are fleetd's own")
        if systemd.env:
            found.error(f"{path}.env", "an existing unit keeps its own environment")
        if systemd.credentials:
            found.error(f"{path}.credentials", "an existing unit keeps its own credentials")
    credentials: set[object] = set()
    for i, credential in enumerate(systemd.credentials):
        found.unique(f"{path}.credentials[{i}].name", credential.name, credentials, "it")
        _credential(found, f"{path}.credentials[{i}]", credential)
    paths: set[object] = set()
    for i, file in enumerate(systemd.files):
        found.unique(f"{path}.files[{i}].path", file.path, paths, "the file")
        _file(found, f"{path}.files[{i}]", file)
    users: set[object] = set()
    for i, user in enumerate(systemd.users):
        found.unique(f"{path}.users[{i}].name", user.name, users, "the user")
        _user(found, f"{path}.users[{i}]", user)
    variables: set[object] = set()
    for i, variable in enumerate(systemd.env):
        found.unique(f"{path}.env[{i}].name", variable.name, variables, "the variable")
        _variable(found, f"{path}.env[{i}]", variable)
    if systemd.readiness_probe is not None:
        check_probe(found, f"{path}.readinessProbe", systemd.readiness_probe, frozenset())


def _activation(systemd: Systemd) -> unitfile.Kind | None:
    """What starts the service in fleetd's place."""
    if systemd.timer is not None:
        return unitfile.Kind.TIMER
    return None if systemd.socket is None else unitfile.Kind.SOCKET


def _unit(found: Findings, path: str, text: str, started_by: unitfile.Kind | None) -> None:
    if wrong := names.text_block(text.replace("\r\n", "\n")):
        found.error(path, wrong)
        return
    try:
        unit = unitfile.parse(text)
        unitfile.check(unit, started_by=started_by)
    except unitfile.UnitError as error:
        found.error(path, str(error))
        return
    _left_out(found, path, unit, unitfile.Kind.SERVICE)


def _triggers(found: Findings, path: str, systemd: Systemd) -> None:
    """The timer or the socket that starts the service."""
    texts = {unitfile.Kind.TIMER: systemd.timer, unitfile.Kind.SOCKET: systemd.socket}
    if None not in texts.values():
        found.error(f"{path}.socket", "a service is started by a timer or by a socket, not by both")
    for kind, text in texts.items():
        if text is None:
            continue
        here = f"{path}.{kind}"
        if systemd.unit is None:
            found.error(here, "starts the service beside it", "give its text under unit:")
        if systemd.readiness_probe is not None:
            message = f"a service that a {kind} starts does not always run, so nothing can probe it"
            found.error(f"{path}.readinessProbe", message)
        if wrong := names.text_block(text.replace("\r\n", "\n")):
            found.error(here, wrong)
            continue
        try:
            unit = unitfile.parse(text)
            unitfile.check_trigger(unit, kind)
        except unitfile.UnitError as error:
            found.error(here, str(error))
            continue
        _left_out(found, here, unit, kind)


def _left_out(found: Findings, path: str, unit: unitfile.UnitText, kind: unitfile.Kind) -> None:
    for setting in unitfile.left_out(unit, kind):
        message = "has no effect: a copy has one name, and fleetd says what starts it"
        found.note(path, f"line {setting.line}: {setting.key}={setting.value}: {message}")


def _credential(found: Findings, path: str, credential: Credential) -> None:
    found.check(f"{path}.name", names.config_key, credential.name)
    if (credential.config_map_key_ref is None) == (credential.secret_key_ref is None):
        found.error(path, "must have exactly one of configMapKeyRef and secretKeyRef")
    check_key_ref(found, f"{path}.configMapKeyRef", credential.config_map_key_ref)
    check_key_ref(found, f"{path}.secretKeyRef", credential.secret_key_ref)


def _file(found: Findings, path: str, file: UnitFile) -> None:
    if found.check(f"{path}.path", names.delivered_path, file.path):
        if any(file.path == d or file.path.startswith(f"{d}/") for d in OWN_DIRECTORIES):
            found.error(f"{path}.path", "is inside a directory of fleetd's own")
        elif file.path.startswith(_VOLATILE):
            message = "would not be there after the next boot"
            found.error(f"{path}.path", message, "choose a place under /etc, /opt or /var/lib")
    found.check(f"{path}.owner", names.user, file.owner)
    if file.group:
        found.check(f"{path}.group", names.user, file.group)
    check_mode(found, f"{path}.mode", file.mode, most=0o7777)
    sources = (
        file.content is not None,
        file.content_base64 is not None,
        file.source is not None,
        bool(file.per_architecture),
        file.config_map_key_ref is not None,
        file.secret_key_ref is not None,
    )
    if sum(sources) != 1:
        found.error(
            path,
            "must have exactly one of content, contentBase64, source, perArchitecture, "
            "configMapKeyRef and secretKeyRef",
        )
    if file.content_base64 is not None:
        _base64(found, f"{path}.contentBase64", file.content_base64)
    for arch, text in file.per_architecture.items():
        here = f"{path}.perArchitecture[{arch}]"
        if arch not in ARCHITECTURES:
            found.error(here, f"{arch!r} is no architecture", f"known: {', '.join(ARCHITECTURES)}")
        _base64(found, here, text)
    check_key_ref(found, f"{path}.configMapKeyRef", file.config_map_key_ref)
    check_key_ref(found, f"{path}.secretKeyRef", file.secret_key_ref)


def _base64(found: Findings, path: str, text: str) -> None:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        found.error(path, "is not base64")


def _user(found: Findings, path: str, user: SystemUser) -> None:
    found.check(f"{path}.name", names.user, user.name)
    if user.name == "root":
        found.error(f"{path}.name", "root is there already")
    found.check(f"{path}.home", names.delivered_path, user.home)
    found.check(f"{path}.shell", names.delivered_path, user.shell)
    for i, group in enumerate(user.groups):
        found.check(f"{path}.groups[{i}]", names.user, group)


def _variable(found: Findings, path: str, variable: SystemdEnvVar) -> None:
    found.check(f"{path}.name", names.unit_env_name, variable.name)
    found.check(f"{path}.value", names.no_control, variable.value)
    sources = (
        bool(variable.value),
        bool(variable.field_path),
        variable.config_map_key_ref is not None,
        variable.secret_key_ref is not None,
    )
    if sum(sources) > 1:
        found.error(path, "has more than one of value, fieldPath, configMapKeyRef, secretKeyRef")
    if variable.field_path:
        check_field_path(found, f"{path}.fieldPath", variable.field_path)
    check_key_ref(found, f"{path}.configMapKeyRef", variable.config_map_key_ref)
    check_key_ref(found, f"{path}.secretKeyRef", variable.secret_key_ref)
