"""fleetd keeps one copy of each node agent on every eligible host of a bare-metal fleet.

It gives a fleet without Kubernetes what a DaemonSet gives a cluster, with nothing on the hosts but
sshd, a POSIX shell, systemd and, where a workload is a container, podman or docker. Imports inside
the package point down only; ARCHITECTURE.md draws the layers and `make imports` enforces them.
"""

from __future__ import annotations

__version__ = "0.1.0"
