"""What can be done to a host that runs the soak's two agents, and how one sees that it is mended.

A damage is one shell script on the host, and what is right again once fleetd has put it right:
read from outside, cheaply, since the time from cause to repaired is measured by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.admin import IMAGE, Document, pod_agent, unit_agent
from tests.e2e.lab import Host, Timeline

BUDGET = 1
MIN_READY = 2
UNIT = "fleetd-default.agent.main.a.service"
POD = "fleetd-default.pod.agent.a.service"
CONTAINER = POD.removesuffix(".service")
SYSTEM = "etc/systemd/system"
CONF = "etc/agent.conf"
CONF_TEXT = "some\n"
MARK = "# changed by hand"
LOCKS = {"agent": "lock", "pod": "pod"}
"""Each DaemonSet, and the lock of its agent."""


def documents(version: str, *, dies: bool = False) -> tuple[Document, ...]:
    """The fleet's specs at a version; with `dies` each copy of it lives for a second."""
    env = {"AGENT_DIE_AFTER": "1"} if dies else {}
    common: dict[str, Any] = {
        "env": env,
        "max_unavailable": BUDGET,
        "min_ready": MIN_READY,
    }
    files = [{"path": f"/{CONF}", "mode": 0o640, "content": CONF_TEXT}]
    return (
        unit_agent(
            version=version, directives="RestartSec=300ms\n", systemd={"files": files}, **common
        ),
        pod_agent("pod", version, lock=LOCKS["pod"], image=IMAGE, **common),
    )


Right = Callable[[Host, float], bool]
"""Whether all is right on a host again, after a damage at a moment of the boot clock."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A script that hurts a host; `kills`: it ends a copy by itself, not by way of fleetd."""

    kind: str
    script: str
    right: Right
    kills: bool = False


def _lives_again(lock: str) -> Right:
    def right(host: Host, since: float) -> bool:
        lives = Timeline.read([host], lock).runs[host.name]
        return bool(lives) and lives[-1].end == math.inf and lives[-1].start >= since

    return right


def _clean(path: str) -> Right:
    """The file is there, a plain one, and nobody's mark is in it."""

    def right(host: Host, since: float) -> bool:
        file = host.rootfs / path
        try:
            return not file.is_symlink() and MARK not in file.read_text()
        except FileNotFoundError:
            return False

    return right


def _enabled(host: Host, since: float) -> bool:
    return host.sh(f"systemctl is-enabled {UNIT}", check=False).stdout == "enabled\n"


def _conf_is_right(host: Host, since: float) -> bool:
    file: Path = host.rootfs / CONF
    try:
        return file.read_text() == CONF_TEXT and file.stat().st_mode & 0o777 == 0o640
    except FileNotFoundError:
        return False


def _and(*all_of: Right) -> Right:
    return lambda host, since: all(right(host, since) for right in all_of)


_AGENT, _POD = _lives_again(LOCKS["agent"]), _lives_again(LOCKS["pod"])
_TEXT = f"/{SYSTEM}/{UNIT}"
_POD_TEXT = f"/{SYSTEM}/{POD}"

DAMAGES = (
    Damage("kill", f"systemctl kill --signal=KILL {UNIT}", _AGENT, kills=True),
    Damage("stop", f"systemctl stop {UNIT}", _AGENT, kills=True),
    Damage(
        "mask",
        f"systemctl stop {UNIT}; ln -sf /dev/null {_TEXT}; systemctl daemon-reload",
        _and(_AGENT, _clean(f"{SYSTEM}/{UNIT}")),
        kills=True,
    ),
    Damage("disable", f"systemctl disable {UNIT}", _enabled),
    Damage("edit a unit", f"echo '{MARK}' >>{_TEXT}", _clean(f"{SYSTEM}/{UNIT}")),
    Damage(
        "edit a unit and load it",
        f"echo '{MARK}' >>{_TEXT}; systemctl daemon-reload",
        _clean(f"{SYSTEM}/{UNIT}"),
    ),
    Damage("delete a unit", f"rm -f {_TEXT}; systemctl daemon-reload", _clean(f"{SYSTEM}/{UNIT}")),
    Damage("edit a file", f"echo '{MARK}' >>/{CONF}", _conf_is_right),
    Damage("delete a file", f"rm -f /{CONF}", _conf_is_right),
    Damage("open a file to all", f"chmod 666 /{CONF}", _conf_is_right),
    Damage("stop a pod", f"systemctl stop {POD}", _POD, kills=True),
    Damage("remove a container", f"podman rm --force --time 2 {CONTAINER}", _POD, kills=True),
    Damage("kill a container", f"podman kill {CONTAINER}", _POD, kills=True),
    Damage("edit a pod's unit", f"echo '{MARK}' >>{_POD_TEXT}", _clean(f"{SYSTEM}/{POD}")),
)

# ------------------------------------------------------------------------------------- foreign

_PLANT = f"""
set -e
echo mine >/etc/foreign.conf
mkdir -p /var/lib/foreign && echo mine >/var/lib/foreign/data
for name in foreign fleetd-foreign; do
    printf '%s\\n' [Service] 'ExecStart=/bin/sleep infinity' [Install] WantedBy=multi-user.target \\
        >/etc/systemd/system/$name.service
done
systemctl daemon-reload
systemctl enable --now foreign.service fleetd-foreign.service
podman create --name foreign --label fleetd.fleet=other {IMAGE}
"""
_FOREIGN = r"""
for path in /etc/foreign.conf /var/lib/foreign /var/lib/foreign/data \
        /etc/systemd/system/foreign.service /etc/systemd/system/fleetd-foreign.service; do
    stat -c '%n	inode %i, mtime %Y, ctime %Z, %a %U:%G' $path
done
for name in foreign fleetd-foreign; do
    printf '%s.service\t' $name
    systemctl show --property=ActiveState,UnitFileState $name.service | tr '\n' ' '
    echo
done
podman ps --all --no-trunc --filter name=^foreign$ --format '{{.ID}}' |
    sed 's/^/container foreign\t/'
"""


def plant(host: Host) -> None:
    """Put things on a host that are none of fleetd's: files, units, a container."""
    host.sh(f"{{ {_PLANT} }} >/dev/null 2>&1")


def foreign(host: Host) -> dict[str, str]:
    """What these things are now, each by its identity."""
    lines = host.sh(_FOREIGN, check=False).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines)
