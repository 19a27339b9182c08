"""Units as vendors write them, brought into a spec and run on a real host.

Those beside this file are written for it; `FLEETD_UNITS` may name a directory with more, such as
the units of a distribution's packages. `FLEETD_UNIT_WORDS` holds `word=text` pairs for what such a
file leaves to be filled in. Each unit is used as it is; what it needs beside it (programs, files, a
user) is delivered with it, and a stand-in takes the part of each program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from fleetd.core import unitfile
from tests.e2e.admin import Admin, Document, daemonset
from tests.e2e.lab import Host, HostSpec
from tests.e2e.proof import leftovers
from tests.e2e.visits import UNIT

pytestmark = pytest.mark.timeout(300)

HOSTS = (HostSpec("unit", runtime="none"),)
OWN = Path(__file__).with_name("units")
DIRECTORIES = [OWN, *map(Path, filter(None, [os.environ.get("FLEETD_UNITS")]))]
UNITS = [path for directory in DIRECTORIES for path in sorted(directory.glob("*.service"))]

STAND_IN = r"""#!/bin/sh
# Takes the part of an agent, by the words that it is started with and by what systemd gives it.
run() {
  trap 'kill $!; exit 0' TERM INT
  trap : HUP
  while :; do sleep 1d & wait $!; kill $!; done
}
case " $* " in
  *validate* | *' reload '*) exit 0 ;;
  *' stop '*) kill "$(cat /run/lab-unit.pid)"; exit 0 ;;
  *' start '*)
    (run) >/dev/null 2>&1 &
    echo $! >/run/lab-unit.pid
    for directory in $RUNTIME_DIRECTORY; do echo $! >"$directory/${directory##*/}.pid"; done
    exit 0
    ;;
esac
[ -z "$NOTIFY_SOCKET" ] || systemd-notify --ready
run
"""
_PATH = re.compile(r"[-+!:|]*@?(?P<path>/\S+)")


def text_of(path: Path) -> str:
    text = path.read_text()
    for pair in os.environ.get("FLEETD_UNIT_WORDS", "").split():
        word, _, put = pair.partition("=")
        text = text.replace(word, put)
    return text


def values(unit: unitfile.UnitText, *keys: str) -> Iterable[str]:
    return (s.value for s in unit.settings if s.section == "Service" and s.key in keys and s.value)


def programs(unit: unitfile.UnitText) -> set[str]:
    """The commands that no host has: those of `env` are its first argument."""
    found = set()
    for line in values(unit, "ExecStart", "ExecStartPre", "ExecReload", "ExecStop"):
        words = [word for word in line.split() if word not in {"/usr/bin/env", "/bin/kill", "kill"}]
        if match := _PATH.match(words[0]):
            found.add(match["path"])
    return {path for path in found if not path.startswith("/bin/")}


def spec_of(text: str, note: str) -> Document:
    """A DaemonSet around a unit, with all that it wants to find on a host."""
    unit = unitfile.parse(text)
    words = {path.lstrip("-"): "OPTIONS=--used\n" for path in values(unit, "EnvironmentFile")}
    words |= {f"{place}/.keep": "" for place in values(unit, "WorkingDirectory")}
    files: list[dict[str, Any]] = [
        *({"path": path, "mode": 0o755, "content": STAND_IN} for path in sorted(programs(unit))),
        *({"path": path, "content": content} for path, content in words.items()),
        {"path": "/etc/lab-unit.conf", "content": f"{note}\n", "onChange": "reload"},
    ]
    users = sorted({*values(unit, "User", "Group")} - {"root"})
    systemd = {"unit": text, "files": files, "users": [{"name": name} for name in users]}
    return daemonset("agent", {"systemd": systemd}, api="fleetd/v1")


def shown(host: Host, *names: str) -> dict[str, str]:
    told = host.sh(f"systemctl show -p {','.join(names)} {UNIT}").stdout.splitlines()
    return dict(line.split("=", 1) for line in told)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_as_it_is_written_and_is_reloaded_in_place(admin: Admin, path: Path) -> None:
    host = admin.fleet["unit"]
    text = text_of(path)
    unit = unitfile.parse(text)
    admin.apply(spec_of(text, "one"))
    status = admin.get("ds", "agent")["status"]
    assert status["numberAvailable"] == 1

    # What the vendor says holds; what fleetd adds stands behind it.
    told = shown(host, "MainPID", "Type", "User", "KillMode", "Restart", "ActiveState", "NRestarts")
    assert (told["ActiveState"], told["NRestarts"]) == ("active", "0")
    for key, default in (("User", ""), ("KillMode", "control-group"), ("Restart", "always")):
        assert told[key] == (unit.get("Service", key) or default), key
    assert told["Type"] == (unit.get("Service", "Type") or "exec")
    delivered = host.sh(f"cat /etc/systemd/system/{UNIT}").stdout
    assert delivered.startswith(text.partition("[Install]")[0].rstrip())
    user = host.sh(f"stat -c %U /proc/{told['MainPID']}").stdout.strip()
    assert user == (unit.get("Service", "User") or "root")

    changed = admin.apply(spec_of(text, "two"))
    assert changed.did == [("unit", "update")]
    same = shown(host, "MainPID")["MainPID"] == told["MainPID"]
    assert same is unit.has("Service", "ExecReload")
    assert admin.reconcile().did == []
    admin.fleetd("delete", "ds", "agent")
    assert leftovers(host) == []
    assert host.sh(f"test -e /proc/{told['MainPID']}", check=False).returncode != 0
