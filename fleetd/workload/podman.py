"""Containers run by podman: in the unit's own cgroup, watched by systemd through conmon.

The text is the same on podman 3 to 5, and needs no Quadlet, which Debian 12 has not yet (P 34-36).
Limits are the unit's, since its cgroup holds the payload.
"""

from __future__ import annotations

from fleetd.workload.container import (
    Launch,
    Service,
    capability_words,
    common_words,
    cpu_limit_milli,
    cpu_request_milli,
    image_words,
    memory_limit,
    quietly,
)

_PODMAN = "/usr/bin/env podman"
_CONTAINERD_HAS = ("AUDIT_WRITE", "MKNOD", "NET_RAW")


def podman_service(this: Launch) -> Service:
    """The unit and the command of one container.

    Raises:
        RenderError: see `image_words`.
    """
    words = [
        "podman run",
        *common_words(this),
        "--replace",
        "--rm",
        "--detach",
        "--sdnotify=conmon",
        "--cgroups=split",
        "--log-driver=journald",
        "--http-proxy=false",
        f"--stop-timeout={this.grace_s}",
        *capability_words(this, _CONTAINERD_HAS),
        *image_words(this),
        ">/dev/null",  # the container's id
    ]
    unit = ["After=network-online.target", "RequiresMountsFor=/var/lib/containers"]
    return Service(unit, _service(this), words)


def _service(this: Launch) -> list[str]:
    lines = [
        "Type=notify",
        "NotifyAccess=all",
        "Delegate=yes",
        *_limits(this),
        f"ExecStartPre=-{_PODMAN} rm -f -i {this.name}",
    ]
    if this.copy.profile.runtime_version < 5:
        # After a power cut only this removes what storage still has and podman forgot (P 41).
        lines.append(f"ExecStartPre=-{quietly(f'podman rm --storage {this.name}')}")
    return [
        *lines,
        f"ExecStop=-{_PODMAN} stop -i -t {this.grace_s} {this.name}",
        f"ExecStopPost=-{_PODMAN} rm -f -i {this.name}",
    ]


def _limits(this: Launch) -> list[str]:
    lines: list[str] = []
    if memory := memory_limit(this):
        lines.append(f"MemoryMax={memory}")
    if limit := cpu_limit_milli(this):
        lines.append(f"CPUQuota={-(-limit // 10)}%")
    if request := cpu_request_milli(this):
        # One processor weighs what a service weighs by default: 100, or docker's 1024 shares.
        lines.append(f"CPUWeight={min(max(request // 10, 1), 10_000)}")
    return lines
