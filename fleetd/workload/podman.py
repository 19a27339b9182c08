"""Containers run by podman: in the unit's own cgroup, watched by systemd through conmon.

The text is the same on podman 3 to 5, and needs no Quadlet, which Debian 12 has not yet (P 34-36).
Limits are the unit's, since its cgroup holds the payload. An init container is beside the unit's
cgroup, and its limits are flags, as far as the host can keep them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.workload.container import (
    Kind,
    Launch,
    Service,
    common_words,
    image_words,
    oom_lines,
    quietly,
)
from fleetd.workload.limits import Limits
from fleetd.workload.parts import Copy

_PODMAN = "/usr/bin/env podman"
_CONTAINERD_HAS = ("AUDIT_WRITE", "MKNOD", "NET_RAW")
UNIT = ("After=network-online.target", "RequiresMountsFor=/var/lib/containers")
DETACHED = ("--detach", "--sdnotify=conmon", "--cgroups=split", "--log-driver=journald")
NOTIFY = ("Type=notify", "NotifyAccess=all", "Delegate=yes")


def podman_service(this: Launch) -> Service:
    """The unit and the command of one container.

    Raises:
        RenderError: see `image_words`.
    """
    if this.kind is Kind.INIT:
        return _init(this)
    words = [
        "podman run",
        *common_words(this),
        "--replace",
        "--rm",
        *DETACHED,
        "--http-proxy=false",
        f"--stop-timeout={this.grace_s}",
        *this.security.capability_words(_CONTAINERD_HAS),
        *image_words(this),
        ">/dev/null",  # the container's id
    ]
    service = [
        *NOTIFY,
        *_limits(this.limits),
        *before(this.copy, this.name),
        f"ExecStop=-{this.hooks.stop or f'{_PODMAN} stop -i -t {this.grace_s} {this.name}'}",
        after(this.name),
    ]
    return Service(UNIT, service, words)


def before(copy: Copy, *names: str) -> list[str]:
    """What an earlier run may have left is removed, the last of `names` last."""
    lines = [f"ExecStartPre=-{_PODMAN} rm -f -i {name}" for name in names]
    if copy.profile.runtime_version < 5:
        # After a power cut only this removes what storage still has and podman forgot (P 41).
        lines.append(f"ExecStartPre=-{quietly(f'podman rm --storage {names[-1]}')}")
    return lines


def after(name: str) -> str:
    """Whatever way the unit went, its container goes."""
    return f"ExecStopPost=-{_PODMAN} rm -f -i {name}"


def _init(this: Launch) -> Service:
    words = [
        "podman run",
        *common_words(this),
        "--rm",
        "--cgroups=no-conmon",
        "--log-driver=none",
        "--http-proxy=false",
        f"--stop-timeout={this.grace_s}",
        *this.security.capability_words(_CONTAINERD_HAS),
        '"$@"',
        *image_words(this),
    ]
    service = [
        "Type=oneshot",
        "RemainAfterExit=yes",
        *before(this.copy, this.name),
        after(this.name),
    ]
    return Service(UNIT, service, words, _flags(this.limits, this.copy.profile.cgroup))


def _limits(limits: Limits) -> list[str]:
    lines: list[str] = []
    if limits.memory:
        lines.append(f"MemoryMax={limits.memory}")
    if limits.cpu_milli:
        lines.append(f"CPUQuota={-(-limits.cpu_milli // 10)}%")
    if limits.share_milli:
        # One processor weighs what a service weighs by default: 100, or docker's 1024 shares.
        lines.append(f"CPUWeight={min(max(limits.share_milli // 10, 1), 10_000)}")
    if limits.oom_score is not None:
        lines.append(f"OOMScoreAdjust={limits.oom_score}")
    return lines


def _flags(limits: Limits, cgroup: int) -> Sequence[str]:
    """Lines of a shell that put into `$@` what this host's kernel can keep; else podman fails."""
    asked: dict[str, list[str]] = {"memory": [], "cpu": []}
    if limits.memory:
        asked["memory"].append(f"--memory={limits.memory}")
    if limits.cpu_milli:
        asked["cpu"].append(f"--cpus={limits.cpu_milli / 1000:.3f}")
    if limits.share_milli:
        asked["cpu"].append(f"--cpu-shares={shares(limits.share_milli)}")
    lines = ["set --"]
    for controller, flags in asked.items():
        there = f"grep -qw {controller} /sys/fs/cgroup/cgroup.controllers"
        if cgroup == 1:
            there = f"[ -d /sys/fs/cgroup/{controller} ]"
        if flags:
            lines.append(f'if {there}; then set -- "$@" {" ".join(flags)}; fi')
    return (*lines, *oom_lines(limits.oom_score))


def shares(milli: int) -> int:
    """Thousandths of a processor as docker counts them: 1024 for one."""
    return min(max(milli * 1024 // 1000, 2), 262_144)
