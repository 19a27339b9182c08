"""Asks a real host and a simulated one the same, and tells where their replies differ.

A program of its own, since it must run on the fleet's network. Arguments: the host's address, the
login's user and key file, and its known_hosts file. Prints a JSON line per step: its name, and what
each of the two said.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from fleetd.adapters.ssh import SshTransport
from fleetd.core.actions import Mode
from fleetd.core.bundle import (
    Bundle,
    BundleFile,
    BundleUnit,
    Check,
    CheckKind,
    Inline,
    OnChange,
)
from fleetd.core.facts import Known, Observation, Part, Role, Runtime, Unknown
from fleetd.core.meta import Key
from fleetd.core.node import Ssh
from fleetd.host import replies, wire
from fleetd.host.replies import Failed, Lost, Ok, Refused, Reply
from fleetd.host.requests import Adopt, Apply, Exec, Observe, Purge, Remove, Request
from fleetd.ports import Output
from fleetd.testing.hosts import SimHost
from fleetd.testing.units import NEVER_STARTS, SimUnit
from tests.e2e.cuts import CONFIG, UNIT, UNIT_FILE

DS = Key("default", "cut")
RUN = "/run/fleetd-node"
Visit = Callable[[bytes], Awaitable[Output]]

BAD = "/bin/false\nRestart=always\nRestartSec=5"
STAMP = f"/bin/sh -c 'read -r r </etc/cut.conf; echo $$r $INVOCATION_ID >{RUN}/stamp/{UNIT}'"
UNIT_TEXT = f"""[Service]
ExecStartPre=/bin/mkdir -p {RUN}/stamp
ExecStartPre={STAMP}
ExecStart=/bin/sleep infinity
ExecReload=/bin/true
[Install]
WantedBy=multi-user.target
"""


def bundle_of(revision: str, on_change: OnChange = OnChange.RESTART) -> Bundle:
    """One program, whose revisions differ only in a file that may or may not need a restart."""
    return Bundle(
        *(DS, "a", revision, Runtime.SYSTEMD),
        files=(
            BundleFile(CONFIG, 0o644, Inline(f"{revision}\n"), on_change=on_change),
            BundleFile(UNIT_FILE, 0o644, Inline(UNIT_TEXT)),
        ),
        units=(BundleUnit(UNIT, Role.MAIN),),
        stop_s=5,
    )


FIRST, SECOND = bundle_of("r1"), bundle_of("r2")
GENTLE, RELOADED = bundle_of("r3", OnChange.NOTHING), bundle_of("r4", OnChange.RELOAD)
BROKEN = replace(
    bundle_of("r5"),
    files=(
        BundleFile(CONFIG, 0o644, Inline("r5\n")),
        BundleFile(UNIT_FILE, 0o644, Inline(UNIT_TEXT.replace("/bin/sleep infinity", BAD))),
    ),
)
IMPOSSIBLE = replace(FIRST, checks=(Check(CheckKind.CHAR_DEVICE, "/dev/none"),))


def apply(bundle: Bundle, term: int = 2, mode: Mode = Mode.START, fleet: str = "twins") -> Apply:
    return Apply(fleet, "key", term, bundle, {"FLEETD_NAME": "cut"}, mode)


SEE = Observe("twins", engine=True)
OLD = "twin-old.service"
OLD_TEXT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
REPLACES = replace(apply(FIRST, term=9), replaces=(OLD,))
UPDATED = replace(apply(SECOND, term=9), replaces=(OLD,))
TRIGGER = UNIT.replace(".service", ".timer")
SERVICE_TEXT = UNIT_TEXT.partition("[Install]")[0]
TIMED = replace(
    FIRST,
    files=(
        BundleFile(CONFIG, 0o644, Inline("r1\n")),
        BundleFile(UNIT_FILE, 0o644, Inline(SERVICE_TEXT)),
        BundleFile(
            UNIT_FILE.replace(".service", ".timer"),
            0o644,
            Inline("[Timer]\nOnCalendar=2100-01-01\n[Install]\nWantedBy=timers.target\n"),
        ),
    ),
    units=(BundleUnit(UNIT, Role.TRIGGERED, enable=False), BundleUnit(TRIGGER, Role.TRIGGER)),
)
LATER = replace(
    TIMED, revision="r2", files=(BundleFile(CONFIG, 0o644, Inline("r2\n")), *TIMED.files[1:])
)
STEPS: list[tuple[str, Request]] = [
    ("a fresh host", SEE),
    ("adopting a fresh host", Adopt()),
    ("removing what is not there", Remove("twins", 1, DS)),
    ("purging a fresh host", Purge("twins", 1)),
    ("a precondition that does not hold", apply(IMPOSSIBLE)),
    ("after it", SEE),
    ("the first apply", apply(FIRST)),
    ("what it made", SEE),
    ("the same apply", apply(FIRST)),
    ("the same apply of a later term", apply(FIRST, term=3)),
    ("another fleet", apply(SECOND, fleet="others")),
    ("an older term", apply(SECOND, term=1)),
    ("an older removal", Remove("twins", 1, DS)),
    ("another revision", apply(SECOND)),
    ("what it made", SEE),
    ("the same revision in the other slot", apply(replace(SECOND, slot="b"))),
    ("a revision that needs no restart", apply(GENTLE)),
    ("what it made", SEE),
    ("a revision that needs a reload", apply(RELOADED)),
    ("what it made", SEE),
    ("a restart", apply(RELOADED, mode=Mode.RESTART)),
    ("back again", apply(SECOND)),
    ("stop it by hand", Exec(("systemctl", "stop", UNIT))),
    ("stopped", SEE),
    ("repaired", apply(SECOND)),
    ("disable it by hand", Exec(("systemctl", "disable", UNIT))),
    ("disabled", SEE),
    ("repaired", apply(SECOND)),
    ("empty a file by hand", Exec(("truncate", "--size=0", CONFIG))),
    ("edited", SEE),
    ("repaired", apply(SECOND)),
    ("delete a file by hand", Exec(("rm", CONFIG))),
    ("deleted", SEE),
    ("repaired", apply(SECOND)),
    ("delete the unit by hand", Exec(("rm", UNIT_FILE))),
    ("deleted", SEE),
    ("repaired", apply(SECOND)),
    ("mask the unit by hand", Exec(("ln", "-sf", "/dev/null", UNIT_FILE))),
    ("reload", Exec(("systemctl", "daemon-reload"))),
    ("stop it", Exec(("systemctl", "stop", UNIT))),
    ("masked", SEE),
    ("repaired", apply(SECOND)),
    ("a program that never starts", apply(BROKEN)),
    ("a second", Exec(("sleep", "1"))),
    ("it is started again and again", SEE),
    ("the good one again", apply(SECOND)),
    ("adopting", Adopt()),
    ("removal", Remove("twins", 5, DS)),
    ("what is left", SEE),
    ("removal again", Remove("twins", 6, DS)),
    ("apply after a removal", apply(FIRST, term=7)),
    ("purge", Purge("twins", 8)),
    ("what is left", SEE),
    ("a unit of the host that is replaced", REPLACES),
    ("what it made", SEE),
    ("the same apply", REPLACES),
    ("an update keeps it away", UPDATED),
    ("start it by hand", Exec(("systemctl", "start", OLD))),
    ("it is back", SEE),
    ("put away again", UPDATED),
    ("removal gives it back", Remove("twins", 9, DS)),
    ("what is left", SEE),
    ("replaced again", REPLACES),
    ("a purge gives it back", Purge("twins", 9)),
    ("what a timer starts", apply(TIMED, term=9)),
    ("the same apply", apply(TIMED, term=9)),
    ("stop the timer by hand", Exec(("systemctl", "stop", TRIGGER))),
    ("stopped", SEE),
    ("repaired", apply(TIMED, term=9)),
    ("another revision", apply(LATER, term=9)),
    ("purge", Purge("twins", 10)),
    ("what is left", SEE),
]


async def say(visit: Visit, request: Request) -> Any:
    """What came back, without times and identities."""
    nonce = secrets.token_hex(8)
    output = await visit(wire.encode(request, nonce))
    if isinstance(request, Exec):
        return {"status": output.status}
    return plain(replies.parse(output, nonce, request))


def plain(reply: Reply) -> Any:
    match reply:
        case Refused(owner, _):
            return {"refused": [owner.fleet, owner.term]}
        case Lost(why):
            return {"lost": why}
        case Failed(step, _, observation):
            return {"failed": step, "seen": seen(observation)}
        case Ok(observation, _, key, changed, notes):
            told = {"changed": changed, "key": key, "notes": notes}
            return {**told, "seen": seen(observation)}


def seen(observation: Observation | None) -> Any:
    if observation is None:
        return None
    return {
        "owner": value(observation.owner, lambda owner: owner and [owner.fleet, owner.term]),
        "ledger": value(observation.ledger, lambda copies: [copy_of(copy) for copy in copies]),
        "files": value(observation.files, lambda files: [[f.kind, f.path] for f in files]),
        "units": value(observation.units, lambda units: [unit_of(unit) for unit in units]),
        "engine": observation.engine and value(observation.engine, list),
    }


def value(part: Part[Any], show: Callable[[Any], Any]) -> Any:
    match part:
        case Known(known):
            return show(known)
        case Unknown(why):
            return {"unknown": why}


def copy_of(copy: Any) -> Any:
    files = sorted(copy.files)
    replaced = {name: str(former) for name, former in copy.replaced.items()}
    place = [str(copy.ds), copy.slot, copy.revision, copy.bundle]
    return [*place, copy.complete, copy.units, files, replaced]


def unit_of(unit: Any) -> Any:
    stamped = unit.stamp_invocation == unit.invocation
    stamp = unit.stamp_revision if unit.active == "active" and stamped else ""
    # A simulated unit has no kind: one that waits or listens is one that runs.
    sub = "running" if unit.sub in {"waiting", "listening"} else unit.sub
    # Where a masked unit comes from is the link to some versions of systemd, its end to others.
    fragment = "" if unit.load == "masked" else unit.fragment
    return [
        *(unit.id, unit.load, unit.active, sub, unit.result, unit.restarts),
        *(unit.file_state, fragment, unit.job, stamp),
    ]


async def main(address: str, user: str, key: str, known_hosts: str) -> None:
    transport = SshTransport(lambda _name: None)
    simulated = SimHost("twin", time.monotonic, faults={BAD: NEVER_STARTS})
    simulated.missing_paths.add("/dev/none")
    old = SimUnit(OLD, "twin", fragment=f"/etc/systemd/system/{OLD}", enabled=True)
    old.start(0.0)
    simulated.own_units[OLD] = old

    async def real(stdin: bytes) -> Output:
        ssh = Ssh(address, 22, user, key, known_hosts)
        return await transport.run("twin", ssh, stdin, timeout_s=90)

    async def simulation(stdin: bytes) -> Output:
        return simulated.answer(stdin).output

    for name, request in STEPS:
        told = {"step": name, "real": await say(real, request)}
        told["simulated"] = await say(simulation, request)
        sys.stdout.write(f"{json.dumps(told)}\n")
    await transport.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
