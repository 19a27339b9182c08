"""An admin box as docs/service.md has it installed: a wheel, units, users, a key of its own.

What runs there is the installed package under Debian's Python, as the user of the service, and
neither this checkout nor root. Only the dependencies come from outside, as a directory.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.lab import Host

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = ("fleetd.service", "fleetd-drift.service", "fleetd-drift.timer")
PLACE = "/usr/local/lib/fleetd"
_INSTALL = f"""
set -e
mkdir -p /tmp/pip && ln -sfn /opt/site-packages/pip /tmp/pip/pip
[ -d {PLACE} ] || python3 -m venv --without-pip {PLACE}
PYTHONPATH=/tmp/pip {PLACE}/bin/python -m pip install --quiet --no-index --no-deps \
    --root-user-action=ignore --disable-pip-version-check /root/%s
echo /opt/site-packages >{PLACE}/lib/python3.11/site-packages/dependencies.pth
ln -sfn {PLACE}/bin/fleetd /usr/local/bin/fleetd
"""


def wheel(directory: Path, version: str = "") -> Path:
    """Build the wheel, of another version when one is named; returns its path."""
    source = directory / f"source-{version}"
    ours = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "fleetd", source / "fleetd", ignore=ours)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    if version:
        about = source / "fleetd" / "__init__.py"
        text = re.sub(r'(__version__ = )".*"', rf'\1"{version}"', about.read_text())
        about.write_text(text)
    out = directory / f"dist-{version}"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


def install_package(box: Host, made: Path) -> None:
    """Put the wheel into an environment of its own, where the units look for it."""
    shutil.copy(made, box.rootfs / "root")
    box.sh(_INSTALL % made.name)


def install_units(box: Host) -> None:
    """Users, directories and units."""
    for name in UNITS:
        write(box, f"/etc/systemd/system/{name}", (SYSTEMD / name).read_text())
    for kind in ("sysusers", "tmpfiles"):
        text = (SYSTEMD / f"fleetd.{kind}").read_text()
        write(box, f"/usr/lib/{kind}.d/fleetd.conf", text)
    box.sh("systemd-sysusers && systemd-tmpfiles --create fleetd.conf && systemctl daemon-reload")


def settle_in(box: Host, hosts: Collection[Host], service: dict[str, Any] | None = None) -> None:
    """Make the key, let it in on the hosts, write inventory and settings, pin the hosts' keys."""
    box.sh(
        "runuser -u fleetd -- "
        "ssh-keygen -q -t ed25519 -N '' -C fleetd -f /var/lib/fleetd/.ssh/id_ed25519"
    )
    public = box.sh("cat /var/lib/fleetd/.ssh/id_ed25519.pub").stdout
    for host in hosts:
        host.sh("cat >>~fleet/.ssh/authorized_keys", stdin=public)
    write(box, "/etc/fleetd/hosts", "#!/bin/sh\nexec cat /etc/fleetd/hosts.json\n")
    box.sh("chmod 755 /etc/fleetd/hosts")
    know(box, hosts)
    settings = {"inventory": "hosts", "service": service or {}}
    write(box, "/etc/fleetd/fleetd.yaml", yaml.safe_dump(settings))
    box.sh(as_user("fleetd", "fleetd enroll --all --yes"))


def know(box: Host, hosts: Iterable[Host], **labels: str) -> None:
    """Write what the box's inventory, a program, prints: these hosts with these labels."""
    entries = {host.name: {"address": host.ip, "labels": labels} for host in hosts}
    inventory = {"defaults": {"ssh": {"user": "fleet"}}, "hosts": entries}
    write(box, "/etc/fleetd/hosts.json", json.dumps(inventory))


def as_user(user: str, command: str) -> str:
    """A shell line that runs a command as a user, with a home and groups of their own.

    The service's own user names the state, as its units do.
    """
    state = "FLEETD_STATE=/var/lib/fleetd" if user == "fleetd" else ""
    return f"cd / && HOME=~{user} {state} runuser -u {user} -- {command}"


def write(host: Host, path: str, text: str) -> None:
    host.sh(f"cat >{path}", stdin=text)


def property_of(host: Host, unit: str, name: str) -> str:
    """One property of a unit, as `systemctl show` has it."""
    return host.sh(f"systemctl show --property={name} --value {unit}").stdout.strip()


def journal(host: Host, unit: str, since: str = "0") -> str:
    """What a unit wrote to the journal since a second of the clock."""
    host.sh("journalctl --sync")
    return host.sh(f"journalctl -q --no-pager -o cat -u {unit} --since=@{since}").stdout
