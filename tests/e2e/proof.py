"""What a test may conclude about hosts: nothing ran twice, nothing was touched, nothing is left.

Read out of band, never through fleetd, so that a wrong fleetd cannot prove itself right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.e2e.lab import Host, Timeline

Snapshot = dict[str, str]
"""What a settled host is: a path, a unit or a container, and its identity in one line."""

# The results of probes are rewritten by the host itself, as often as it probes.
_SNAPSHOT = r"""
where='/var/lib/fleetd-node /run/fleetd-node'
units=$(find /etc/systemd/system -name '*fleetd-*')
ledger=$(awk -F '\t' '$1 == "file" { for (i = 2; i <= NF; i++) if ($i ~ /^\//) print $i }' \
    /var/lib/fleetd-node/ledger 2>/dev/null)
for top in $where $units $ledger; do
    find "$top" -path /run/fleetd-node/probe -prune -o \
        -printf '%p\tinode %i, mtime %T@, ctime %C@, %m %U:%G\n'
    find "$top" -path /run/fleetd-node/probe -prune -o -type f -exec sha256sum {} + |
        sed 's/^\([0-9a-f]*\)  \(.*\)/content of \2\t\1/'
done 2>/dev/null | sort -u
for unit in $(systemctl list-units --all --plain --no-legend 'fleetd-*' | cut -d ' ' -f 1); do
    printf 'unit %s\t' "$unit"
    systemctl show --property=ActiveState,InvocationID,NRestarts,UnitFileState "$unit" |
        tr '\n' ' '
    echo
done
"""
# podman 3 makes spaces of tabs in what it prints.
_CONTAINERS = "%s ps --all --no-trunc --format '{{.Names}} {{.ID}}' | tr -s ' ' '\\t'"


def snapshot(host: Host) -> Snapshot:
    """All that a pass over a settled fleet must not change on a host.

    Everything in the ledger and below fleetd's directories by inode, times, mode, owner and
    content; the runs of its units; the engine's containers.
    """
    script = _SNAPSHOT
    if host.spec.runtime != "none":
        script += _CONTAINERS % host.spec.runtime
    lines = host.sh(script).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines)


def shape(host: Host) -> Snapshot:
    """What of a snapshot is the same again once a damage is repaired: all but times and runs."""
    volatile = re.compile(r"inode \d+, mtime \S+ ctime \S+ |(InvocationID|NRestarts)=\w* ?")
    records = tuple(
        f"content of {path}"
        for path in (
            "/var/lib/fleetd-node/ledger",  # holds inodes and times
            "/var/lib/fleetd-node/owner",  # holds the term of the last change
            "/run/fleetd-node/stamp/",
        )
    )
    return {
        name: "" if name.startswith(("fleetd-", "example")) else volatile.sub("", value)
        for name, value in snapshot(host).items()
        if not name.startswith(records)
    }


def snapshots(hosts: Iterable[Host]) -> dict[str, Snapshot]:
    """The same of several hosts, by their names."""
    return {host.name: snapshot(host) for host in hosts}


def never_two(hosts: Iterable[Host]) -> None:
    """Assert that at no instant two copies of any agent ran on one host, ever (I1)."""
    chosen = list(hosts)
    locks = {log.stem for host in chosen for log in host.agent_logs.glob("*.log")}
    for lock in sorted(locks):
        assert Timeline.read(chosen, lock).overlaps == (), f"two copies at once, by lock {lock!r}"


def leftovers(host: Host) -> list[str]:
    """What of a workload is still on a host: units, links, files, ledger lines, containers."""
    script = """
        find /etc/systemd/system -name '*fleetd-*'
        find /var/lib/fleetd-node/w /run/fleetd-node/stamp /run/fleetd-node/probe \
            -mindepth 1 2>/dev/null
        systemctl list-units --all --plain --no-legend 'fleetd-*' | cut -d ' ' -f 1
        grep -v '^end$' /var/lib/fleetd-node/ledger 2>/dev/null | sed 's/^/ledger: /'
    """
    if host.spec.runtime != "none":
        script += f"\n{host.spec.runtime} ps --all --format '{{{{.Names}}}}'"
    return host.sh(script + "\ntrue").stdout.splitlines()


def wipe(host: Host) -> None:
    """Make a host as it was at its first boot, whatever a test left there.

    Plugged in, powered, no units, files or containers of any fleet, and no agent's log.
    """
    host.plug()
    if not host.powered:
        host.boot()
        host.wait_ssh()
    remove = "systemctl kill --signal=KILL 'fleetd-*'; systemctl stop 'fleetd-*'; "
    if host.spec.runtime != "none":
        runtime = host.spec.runtime
        remove += f"{runtime} ps -q | xargs -r {runtime} kill; "
        remove += f"{runtime} ps -aq | xargs -r {runtime} rm -f; "
    remove += r"""
        awk -F '\t' '$1 == "file" { print $4 }' /var/lib/fleetd-node/ledger | xargs -r rm -f
        find /etc/systemd/system /run/systemd/system -name '*fleetd-*' -prune -exec rm -rf {} +
        rm -rf /var/lib/fleetd-node /run/fleetd-node
        systemctl daemon-reload
        systemctl reset-failed
        find /var/lib/lab-agent -mindepth 1 -delete
    """
    host.sh(f"exec >/dev/null 2>&1; {remove}")
