"""Containers run by docker: the unit holds the client, the daemon holds the container (P 49-52).

So limits are flags, and every way in and out of the unit removes the container by its name: that is
what keeps it at one copy. The client stays attached and writes to the unit's journal, so docker
keeps no second log. A restart of dockerd restarts the workload, also with live-restore.
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

_DOCKER = "/usr/bin/env docker"


def docker_service(this: Launch) -> Service:
    """The unit and the command of one container.

    Raises:
        RenderError: see `image_words`.
    """
    words = [
        "docker run",
        *common_words(this),
        "--rm",
        "--log-driver=none",
        f"--stop-timeout={this.grace_s}",
        *_limits(this),
        *capability_words(this, ()),
        *image_words(this),
    ]
    unit = ["Wants=docker.service", "After=network-online.target docker.service"]
    return Service(unit, _service(this), words)


def _service(this: Launch) -> list[str]:
    remove = quietly(f"docker rm -f {this.name}")  # which complains where there is none
    return [
        f"Type={'exec' if this.copy.profile.systemd >= 240 else 'simple'}",
        f"ExecStartPre=-{remove}",
        f"ExecStop=-{_DOCKER} stop -t {this.grace_s} {this.name}",
        f"ExecStopPost=-{remove}",
    ]


def _limits(this: Launch) -> list[str]:
    words: list[str] = []
    if this.copy.profile.cgroup == 2:
        # With cgroup 2 docker's driver is systemd, which takes a slice; elsewhere it may take none.
        words.append("--cgroup-parent=fleetd.slice")
    if memory := memory_limit(this):
        words.append(f"--memory={memory}")
    if limit := cpu_limit_milli(this):
        words.append(f"--cpus={limit / 1000:.3f}")
    if request := cpu_request_milli(this):
        words.append(f"--cpu-shares={min(max(request * 1024 // 1000, 2), 262_144)}")
    return words
