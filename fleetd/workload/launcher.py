"""The unit of a container, and the launcher that it starts.

The unit runs `/bin/sh <launcher>`, a script that only root can read: no value of the document
stands in a unit, which all users can read (P 68). Plain values are arguments of the engine. A
secret is read from its file into the engine's own environment and named by `--env NAME`: it is in
no list of processes. What would make the shell or the engine itself obey a secret (`PATH`,
`DOCKER_HOST`) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleetd.core.bundle import BundleFile, BundleUnit, SecretBytes
from fleetd.core.facts import Role
from fleetd.workload.container import Kind, Launch, Service
from fleetd.workload.environment import secret_files
from fleetd.workload.errors import RenderError
from fleetd.workload.init import init_lines, init_restart
from fleetd.workload.names import target_name
from fleetd.workload.network import network_lines
from fleetd.workload.order import Order
from fleetd.workload.parts import Parts, text_file, unit_file
from fleetd.workload.quoting import exec_word, sh_word, text
from fleetd.workload.stamp import stamp_line
from fleetd.workload.values import values_path
from fleetd.workload.volumes import prepare_lines

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OBEYED = re.compile(
    r"""(?x) (
        PATH | HOME | SHELL | USER | LOGNAME | TERM | TZ | TMPDIR | LANG | LANGUAGE | LC_\w+
      | IFS | ENV | PWD | OLDPWD | CDPATH | PPID | UID | EUID | GROUPS | LINENO | RANDOM | SECONDS
      | OPT(ARG|IND|ERR) | PS[0-4] | SHLVL | SHELLOPTS | BASH\w* | DIRSTACK | FUNCNAME | PIPESTATUS
      | LD_\w+ | GLIBC_TUNABLES | MALLOC_\w+ | GCONV_PATH | LOCPATH | NLSPATH
      | RES_OPTIONS | HOSTALIASES | LOCALDOMAIN | RESOLV_\w+
      | GO(DEBUG|GC|MAXPROCS|MEMLIMIT|TRACEBACK|COVERDIR) | SSL_CERT_(FILE|DIR)
      | (?i: (HTTP|HTTPS|FTP|ALL|NO)_PROXY )
      | XDG_\w+ | DBUS_\w+ | SYSTEMD_\w+ | NOTIFY_SOCKET | LISTEN_\w+ | WATCHDOG_\w+
      | INVOCATION_ID | JOURNAL_STREAM | MAINPID | CREDENTIALS_DIRECTORY
      | DOCKER_(HOST|CONFIG|CONTEXT|CERT_PATH|TLS\w*|API_VERSION|CONTENT_TRUST\w*|BUILDKIT)
      | DOCKER_(DEFAULT_PLATFORM|CLI_\w+|HIDE_\w+|CUSTOM_HEADERS|AUTH_CONFIG)
      | CONTAINER_(HOST|CONNECTION|SSHKEY|PROXY|TLS\w*) | CONTAINERS_\w+ | PODMAN_\w+
      | REGISTRY_AUTH_FILE | STORAGE_(DRIVER|OPTS|CONF) | BUILDAH_\w+ | CNI_\w+ | NETAVARK_\w+
      | (?i: FLEETD_\w+ ) | _+\w*
    )\Z"""
)
"""Variables that the shell, the loader, Go or an engine read for themselves."""


_RESTART = ("Restart=always", "RestartSec=5", "TimeoutStartSec=120")


def container_parts(this: Launch, service: Service, order: Order) -> Parts:
    """The launcher, the secrets of its environment, and the unit.

    Raises:
        RenderError: a secret where no secret can be.
    """
    paths = secret_files(this.copy.dir, this.env.secrets.values())
    directories = {f"{this.copy.dir}/secrets": 0o700} if paths else {}
    directories |= {path.rpartition("/")[0]: 0o700 for path in paths.values()}
    role = Role.INIT if this.kind is Kind.INIT else Role.MAIN
    return Parts(
        files=(
            *(BundleFile(path, 0o600, found) for found, path in paths.items()),
            text_file(this.script, _launcher(this, service, paths), 0o600),
            *this.hooks.files,
            unit_file(this.unit, _unit(this, service, order)),
        ),
        units=(BundleUnit(this.unit, role),),
        directories=tuple(sorted(directories.items())),
        checks=this.security.checks(),
        images=(this.image,),
        containers=(this.name,),
    )


def _launcher(this: Launch, service: Service, paths: Mapping[SecretBytes, str]) -> str:
    name = f"{this.kind.value.lower()} {this.container.name}"
    head = [
        f"# Runs {name} of DaemonSet {this.copy.ds}; made by fleetd.",
        "set -eu",
        f". {values_path(this.copy.ds, this.copy.slot)}",
    ]
    lines = [
        *network_lines(this.copy, this.spec, this.container),
        *this.env.lines,
        *prepare_lines(this.copy, this.spec, this.container, this.mounts, this.env),
        *this.security.lines(this.engine, this.image),
    ]
    for holder, found in this.env.secrets.items():
        # The dot keeps the newlines at the end, which `$( )` would cut.
        lines.append(f"{holder}=$(cat {sh_word(paths[found])} && printf .)")
        lines.append(f"{holder}=${{{holder}%.}}")
    for name, value in this.env.variables.items():
        if value.secret:
            _check_secret_name(this, name)
            lines += [f"{name}={value.sh()}", f"export {name}"]
    lines += service.lines
    command = " \\\n  ".join(service.words)
    lines += [command, f"exec {service.then}"] if service.then else [f"exec {command}"]
    if this.kind is Kind.INIT:
        lines = init_lines(this, lines)
    return "\n".join([*head, *lines]) + "\n"


def _check_secret_name(this: Launch, name: str) -> None:
    if not _SHELL_NAME.match(name) or _OBEYED.match(name):
        raise RenderError(
            f"{this.path}.env",
            f"a secret cannot be given as {name}: the shell or the engine would read it; "
            "choose another name (letters, digits, '_'), or mount the Secret as a file",
        )


def _unit(this: Launch, service: Service, order: Order) -> str:
    copy = this.copy
    init = this.kind is Kind.INIT
    name = f"{this.kind.value} {this.container.name}"
    lines = [
        "[Unit]",
        f"Description={text(f'{name} of DaemonSet {copy.ds} (fleetd)')}",
        *copy.head(),
        f"X-Fleetd-Revision={copy.revision}",
        f"PartOf={target_name(copy.ds)}",
        f"Wants={target_name(copy.ds)}",
        "Wants=network-online.target",
        *order.lines,
        *service.unit,
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *service.service,
        stamp_line(copy.ds, copy.slot, this.unit),
        f"ExecStart=/bin/sh {exec_word(this.script)}",
        "SyslogIdentifier=%N",
        "KillMode=mixed",
        *(init_restart(copy.profile.systemd) if init else _RESTART),
        f"TimeoutStopSec={this.grace_s + 30}",
        *([] if init else ["SuccessExitStatus=143 137"]),
        *order.service,
        *this.hooks.start_post,
        "",
        "[Install]",
        f"WantedBy={order.wanted_by}",
    ]
    return "\n".join(lines) + "\n"
