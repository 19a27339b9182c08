"""Init containers: run to their end, one after the other, before the containers of the pod start.

The unit is a oneshot that stays active, so that a container that dies later starts alone, and a
new holder or a restart of the copy runs all of them again. A failure is tried again here on the
host for ever, each time after a longer pause, as a kubelet does; it is the launcher that does so,
since systemd below 244 takes no Restart= for a oneshot, and with Restart= the units that wait
would fail. How it goes is left where observe reads it. The container lives beside the unit's
cgroup, not in it: podman splits a cgroup only once.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.workload.container import Launch
from fleetd.workload.names import RUN_DIR, result_path
from fleetd.workload.quoting import sh_word

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5, 300
_RESTARTS_ONESHOTS = 247
"""The class of systemd that restarts a oneshot whose launcher was killed."""


def init_lines(this: Launch, lines: Sequence[str]) -> list[str]:
    """The lines of a shell that run the container, run again until they end well."""
    result = sh_word(result_path(this.unit))
    stop = f"{this.engine} stop -t {this.grace_s} {this.name}"
    return [
        "fleetd_run() {",
        f"{this.engine} rm -f {this.name} >/dev/null 2>&1 || :",
        *lines,
        "}",
        "fleetd_tell() {",
        f"  mkdir -p {RUN_DIR}/probe &&",
        f'    printf "%s %s %s\\n" "${{INVOCATION_ID:--}}" "$1" "$2" >{result}.tmp &&',
        f"    mv -f {result}.tmp {result}",
        "}",
        f"trap '{stop} >/dev/null 2>&1 || :; exit 1' TERM",
        f"fleetd_tries=0 fleetd_pause={_FIRST_PAUSE_S}",
        "while :; do",
        "  fleetd_status=0",
        "  fleetd_run &",
        "  wait $! || fleetd_status=$?",
        '  [ "$fleetd_status" != 0 ] || break',
        "  fleetd_tries=$((fleetd_tries + 1))",
        '  fleetd_tell fail "exit status $fleetd_status, tried $fleetd_tries times"',
        '  echo "exit status $fleetd_status; again in $fleetd_pause s" >&2',
        '  sleep "$fleetd_pause" &',
        "  wait $! || :",
        "  fleetd_pause=$((fleetd_pause * 2))",
        f'  [ "$fleetd_pause" -le {_LONGEST_PAUSE_S} ] || fleetd_pause={_LONGEST_PAUSE_S}',
        "done",
        "fleetd_tell ok done",
    ]


def init_restart(systemd: int) -> Sequence[str]:
    """The lines of `[Service]` that say how the unit starts."""
    again = ["Restart=on-failure", "RestartSec=5"] if systemd >= _RESTARTS_ONESHOTS else []
    return (*again, "TimeoutStartSec=infinity")
