"""A lab of real hosts: Debian or Ubuntu with systemd, sshd, podman or docker, on this machine.

    with Fleet([HostSpec("web-1"), HostSpec("web-2", runtime="docker")]) as fleet:
        fleet.write_inventory(path)
        fleet["web-1"].import_image("example/agent:v1", env={"AGENT_VERSION": "v1"})
        fleet.coordinator([fleetd, "-i", path, "apply", spec])
        fleet["web-2"].power_cut()
        assert Timeline.read(fleet.hosts.values()).peak(since, boottime()).count <= 1

Each host is a systemd-nspawn container with its own disk (an overlay over the image of its
release), network namespace, machine-id, host key and control group. They share the machine's
kernel, hence its boot clock, and so the test agent (agent.sh) can prove when copies ran and that no
two ran at once.
The coordinator runs on the fleet's network, which has no way out.

Needs root on Debian, installs the programs it lacks, and builds the base image once, in about a
minute. For interactive work: `python -m tests.e2e.lab up --hosts 6 --docker 1`.

FLEETD_LAB_RELEASE is what hosts are installed with where a test does not say: bullseye, bookworm
(the default), trixie, or Ubuntu's focal and jammy.

What differs from real machines: no memory or CPU limits where the machine has cgroup version 1
mounted (`podman run --memory` fails, MemoryMax= is accepted and not enforced), a power cut loses
nothing that was written, and /proc/sys can be written below net only.
"""

from __future__ import annotations

from tests.e2e.lab.disk import HostSpec
from tests.e2e.lab.fleet import COORDINATOR_IP, Entry, Fleet, sweep
from tests.e2e.lab.host import Host
from tests.e2e.lab.machine import LabError, boottime
from tests.e2e.lab.timeline import Overlap, Peak, Run, Timeline

__all__ = [
    "COORDINATOR_IP",
    "Entry",
    "Fleet",
    "Host",
    "HostSpec",
    "LabError",
    "Overlap",
    "Peak",
    "Run",
    "Timeline",
    "boottime",
    "sweep",
]
