"""Workloads run by systemd itself: a unit of ours, or one that the host has already.

The unit text does not hold the revision, so that a change of nothing but reloadable files leaves it
as it is; it holds a digest of the rest of the template instead, so that every other change restarts
it. A unit of ours is MAIN; a borrowed one is BORROWED, which counts as main: it decides whether the
copy lives. Where a timer or a socket starts the service, that one is the TRIGGER, and nobody else
starts the service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

from fleetd.core import names as legal, unitfile
from fleetd.core.bundle import (
    BundleFile,
    BundleUnit,
    BundleUser,
    Check,
    CheckKind,
    Inline,
    OnChange,
    SecretBytes,
)
from fleetd.core.daemonset import Systemd, UnitFile
from fleetd.core.facts import Role
from fleetd.workload.environment import Text, resolve
from fleetd.workload.errors import RenderError
from fleetd.workload.names import (
    MAIN,
    RUN_DIR,
    STATE_DIR,
    UNIT_DIR,
    drop_in,
    target_name,
    trigger_name,
    unit_name,
)
from fleetd.workload.parts import Copy, Parts, text_file, unit_file
from fleetd.workload.quoting import environment, exec_word, sh_word
from fleetd.workload.stamp import stamp_line
from fleetd.workload.values import values_path

PATH = "spec.template.spec.systemd"

_STOP_S = 120
"""systemd waits 90 s for a unit that says nothing else; plus slack."""
_LONGEST_STOP_S = 3600
_CREDENTIALS = 247
"""The first systemd that has LoadCredential= (P 69)."""
_STARTED_BY = {unitfile.Kind.TIMER: "timers.target", unitfile.Kind.SOCKET: "sockets.target"}
_NOT_HERE = ("/proc", "/sys", "/dev", RUN_DIR, STATE_DIR)


def render_systemd(copy: Copy, systemd: Systemd) -> Parts:
    """The parts of a systemd workload; the probe is somebody else's.

    Raises:
        RenderError: this class of hosts cannot run it.
    """
    files = Parts(
        files=tuple(
            file
            for at, wanted in enumerate(systemd.files)
            for file in _delivered(copy, wanted, f"{PATH}.files[{at}]")
        ),
        checks=tuple(
            Check(CheckKind.MAKE_DIRECTORY, parent)
            for parent in sorted({file.path.rpartition("/")[0] for file in systemd.files} - {""})
        ),
        users=tuple(BundleUser(u.name, u.home, u.shell, tuple(u.groups)) for u in systemd.users),
    )
    if systemd.existing_unit is not None:
        return files + _borrowed_unit(copy, systemd, systemd.existing_unit)
    return files + _own_unit(copy, systemd, systemd.unit or "")


def main_unit(copy: Copy, systemd: Systemd) -> str:
    """The unit that decides whether the copy lives."""
    return systemd.existing_unit or unit_name(copy.ds, MAIN, copy.slot)


def stop_seconds(systemd: Systemd) -> int:
    """How long a graceful stop may take, as far as the unit's text tells."""
    try:
        unit = unitfile.parse(systemd.unit or "")
    except unitfile.UnitError:
        return _STOP_S
    said = unit.get("Service", "TimeoutStopSec") or unit.get("Service", "TimeoutSec")
    if said is None:
        return _STOP_S
    wait = unitfile.seconds(said)
    return _LONGEST_STOP_S if wait is None else min(round(wait) + 30, _LONGEST_STOP_S)


def _own_unit(copy: Copy, systemd: Systemd, text: str) -> Parts:
    name = unit_name(copy.ds, MAIN, copy.slot)
    triggers = {unitfile.Kind.TIMER: systemd.timer, unitfile.Kind.SOCKET: systemd.socket}
    kinds = [kind for kind, given in triggers.items() if given is not None]
    try:
        unit = unitfile.parse(text)
        unitfile.check(unit, copy.profile.systemd, kinds[0] if kinds else None)
    except unitfile.UnitError as error:
        raise RenderError(f"{PATH}.unit", str(error)) from error
    env_lines, env_files = _environment(copy, systemd, name)
    credentials, credential_lines = _credentials(copy, systemd, unit, name)
    in_unit = [*copy.head(), f"X-Fleetd-Template={_template_digest(copy)}", *_grouping(copy)]
    if not (
        unit.has("Unit", "StartLimitIntervalSec", "StartLimitInterval")
        or unit.has("Service", "StartLimitInterval")
    ):
        in_unit.append("StartLimitIntervalSec=0")
    added = {
        "Unit": in_unit,
        "Service": [
            *_service_defaults(unit, copy.profile.systemd, triggered=bool(kinds)),
            *env_lines,
            *credential_lines,
            stamp_line(copy.ds, copy.slot, name),
        ],
        "Install": [] if kinds else ["WantedBy=multi-user.target"],
    }
    service = (
        BundleUnit(name, Role.TRIGGERED, enable=False) if kinds else BundleUnit(name, Role.MAIN)
    )
    parts = Parts(files=(*env_files, unit_file(name, unit.extended(added))), units=(service,))
    for kind in kinds:
        parts += _trigger(copy, kind, triggers[kind] or "")
    return parts + credentials


def _grouping(copy: Copy) -> tuple[str, str]:
    """The lines that put a unit below the DaemonSet's target."""
    return f"PartOf={target_name(copy.ds)}", f"Wants={target_name(copy.ds)}"


def _trigger(copy: Copy, kind: unitfile.Kind, text: str) -> Parts:
    """The timer or socket; systemd pairs it with the service by its name."""
    name = trigger_name(copy.ds, copy.slot, kind)
    try:
        unit = unitfile.parse(text)
        unitfile.check_trigger(unit, kind)
    except unitfile.UnitError as error:
        raise RenderError(f"{PATH}.{kind}", str(error)) from error
    added = {
        "Unit": [*copy.head(), *_grouping(copy)],
        "Install": [f"WantedBy={_STARTED_BY[kind]}"],
    }
    return Parts(
        files=(unit_file(name, unit.extended(added)),), units=(BundleUnit(name, Role.TRIGGER),)
    )


def _credentials(
    copy: Copy, systemd: Systemd, unit: unitfile.UnitText, name: str
) -> tuple[Parts, list[str]]:
    """The files of the credentials, root's alone, and the lines that hand them to the program."""
    directory = f"{copy.dir}/credentials"
    files = []
    for at, wanted in enumerate(systemd.credentials):
        path = f"{PATH}.credentials[{at}]"
        content = copy.content.key(
            copy.ds.namespace, wanted.config_map_key_ref, wanted.secret_key_ref, path
        )
        if content is not None:
            files.append(BundleFile(f"{directory}/{wanted.name}", 0o600, content))
    if not files:
        return Parts(), []
    parts = Parts(files=tuple(files), directories=((directory, 0o700),))
    if copy.profile.systemd >= _CREDENTIALS:
        lines = [f"LoadCredential={file.path.rpartition('/')[2]}:{file.path}" for file in files]
        return parts, lines
    target = f"{RUN_DIR}/credentials/{name}"
    script = f"{copy.dir}/{MAIN}.credentials.sh"
    parts += Parts(
        files=(text_file(script, _credential_script(directory, target, _user(unit)), 0o600),)
    )
    return parts, [
        f"Environment=CREDENTIALS_DIRECTORY={_path_setting(target)}",
        f"ExecStartPre=+/bin/sh {exec_word(script)}",
        f"ExecStopPost=-+/bin/rm -rf {exec_word(target)}",
    ]


def _user(unit: unitfile.UnitText) -> str:
    """Who the program runs as, for a systemd that hands out no credentials itself."""
    user = unit.get("Service", "User") or "root"
    dynamic = (unit.get("Service", "DynamicUser") or "no").lower() in {"yes", "true", "1", "on"}
    if dynamic or "%" in user:
        raise RenderError(
            f"{PATH}.credentials",
            f"with DynamicUser= or a specifier in User= they need systemd {_CREDENTIALS}; "
            "name a user, or leave such hosts out",
        )
    return user


def _credential_script(directory: str, target: str, user: str) -> str:
    """Does LoadCredential='s work for an older systemd: a copy that the user alone can read."""
    place = sh_word(target)
    return (
        "set -eu\n"
        "umask 022\n"
        f"mkdir -p {RUN_DIR}/credentials\n"
        f"chmod 0755 {RUN_DIR} {RUN_DIR}/credentials\n"
        "umask 077\n"
        f"rm -rf {place}\n"
        f"cp -R {sh_word(directory)} {place}\n"
        f"chmod -R u=rX,go= {place}\n"
        f"chown -R {sh_word(user)} {place}\n"
    )


def _service_defaults(unit: unitfile.UnitText, systemd: int, *, triggered: bool) -> list[str]:
    """What an agent needs where its unit says nothing: to come back, and to fail loudly (P 62)."""
    lines: list[str] = []
    oneshot = unit.get("Service", "Type") == "oneshot"  # may not say Restart=always
    if not unit.has("Service", "Restart") and not oneshot and not triggered:
        lines.append("Restart=always")
        if not unit.has("Service", "RestartSec"):
            lines.append("RestartSec=5")
    if systemd >= 240 and not unit.has("Service", "Type", "BusName"):
        lines.append("Type=exec")
    if not unit.has("Service", "SyslogIdentifier"):
        lines.append("SyslogIdentifier=%N")
    return lines


def _borrowed_unit(copy: Copy, systemd: Systemd, name: str) -> Parts:
    if (message := legal.unit(name)) or not name.endswith(".service"):
        raise RenderError(f"{PATH}.existingUnit", message or "must be a .service")
    if systemd.env:
        raise RenderError(f"{PATH}.env", "an existing unit keeps its own environment")
    lines = [
        "[Unit]",
        *copy.head(),
        f"X-Fleetd-Template={_template_digest(copy)}",
        "",
        "[Service]",
        stamp_line(copy.ds, copy.slot, name),
    ]
    path = drop_in(copy.ds, name)
    return Parts(
        files=(text_file(path, "\n".join(lines) + "\n"),),
        units=(BundleUnit(name, Role.BORROWED),),
        directories=((path.rpartition("/")[0], 0o755),),
        checks=(Check(CheckKind.UNIT_EXISTS, name),),
    )


def _environment(copy: Copy, systemd: Systemd, unit: str) -> tuple[list[str], list[BundleFile]]:
    """The lines that give `unit` its environment, and the files that they need."""
    env = resolve(systemd.env, copy.ds.namespace, copy.content, f"{PATH}.env")
    lines = [f"EnvironmentFile={values_path(copy.ds, copy.slot)}"]
    for name, text in env.variables.items():
        if message := legal.unit_env_name(name):
            raise RenderError(f"{PATH}.env", f"{name}: {message}")
        if text.secret:
            raise RenderError(
                f"{PATH}.env",
                f"{name} comes from a Secret, and the variables of a unit are for all to read; "
                "deliver it under credentials: with secretKeyRef, and let the program read "
                "$CREDENTIALS_DIRECTORY/<name> (LoadCredential=)",
            )
        if text.literal is not None:
            lines.append(_environment_line(name, text.literal))
    per_host = {name: text for name, text in env.variables.items() if text.literal is None}
    if not per_host:
        return lines, []
    script = f"{copy.dir}/{MAIN}.env.sh"
    target = f"{RUN_DIR}/env/{unit}"
    lines += [
        f"ExecStartPre=+/bin/sh {exec_word(script)}",
        f"EnvironmentFile=-{_path_setting(target)}",
    ]
    return lines, [text_file(script, _environment_script(copy, per_host, target), 0o600)]


def _environment_line(name: str, value: str) -> str:
    try:
        return environment(name, value)
    except ValueError as error:
        raise RenderError(f"{PATH}.env", f"{name}: {error}") from error


def _environment_script(copy: Copy, per_host: dict[str, Text], target: str) -> str:
    """Writes what only the host can put together, where systemd reads it before ExecStart."""
    lines = "".join(f'{name}="{_inside_quotes(text)}"\n' for name, text in per_host.items())
    place, beside = sh_word(target), sh_word(f"{target}.tmp")
    return (
        "set -eu\n"
        "umask 077\n"
        f". {values_path(copy.ds, copy.slot)}\n"
        f"mkdir -p {RUN_DIR}/env\n"
        f"printf %s {Text(lines).sh()} >{beside}\n"
        f"mv -f {beside} {place}\n"
    )


def _inside_quotes(text: Text) -> str:
    parts = text.marked.split("\0")
    parts[::2] = [re.sub(r'(["\\`$])', r"\\\1", part) for part in parts[::2]]
    return "\0".join(parts)


def _path_setting(path: str) -> str:
    return path.replace("%", "%%")


def _template_digest(copy: Copy) -> str:
    """A digest of the template without the content of files that need no restart."""
    template = copy.daemonset.spec.template.model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    for file in template["spec"]["systemd"].get("files", ()):
        if file.get("onChange", OnChange.RESTART) != OnChange.RESTART:
            for source in ("content", "contentBase64", "source", "perArchitecture"):
                file.pop(source, None)
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _delivered(copy: Copy, file: UnitFile, path: str) -> tuple[BundleFile, ...]:
    """The file to deliver, or nothing where its optional source is absent."""
    if message := legal.delivered_path(file.path):
        raise RenderError(f"{path}.path", f"{file.path!r} {message}")
    if any(file.path == place or file.path.startswith(f"{place}/") for place in _NOT_HERE):
        raise RenderError(f"{path}.path", f"{file.path} is no place for a file of a workload")
    if file.path.startswith(f"{UNIT_DIR}/fleetd-"):
        raise RenderError(f"{path}.path", f"{file.path} is named like a unit of fleetd")
    content = _content(copy, file, path)
    if content is None:
        return ()
    return (
        BundleFile(
            file.path,
            file.mode,
            content,
            file.owner,
            file.group or file.owner,
            OnChange(file.on_change),
        ),
    )


def _content(copy: Copy, file: UnitFile, path: str) -> Inline | SecretBytes | None:
    if file.content is not None:
        return Inline.of(file.content.encode())
    if file.content_base64 is not None:
        return Inline.of(_decoded(file.content_base64))
    if file.per_architecture:
        arch = copy.profile.arch
        if arch not in file.per_architecture:
            has = ", ".join(sorted(file.per_architecture))
            raise RenderError(f"{path}.perArchitecture", f"has nothing for {arch}, only for {has}")
        return Inline.of(_decoded(file.per_architecture[arch]))
    if file.config_map_key_ref is None and file.secret_key_ref is None:
        raise RenderError(path, "has no content")
    return copy.content.key(copy.ds.namespace, file.config_map_key_ref, file.secret_key_ref, path)


def _decoded(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)
