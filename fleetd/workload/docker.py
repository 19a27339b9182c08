"""Containers run by docker: the unit holds the client, the daemon holds the container (P 49-52).

So limits are flags, and every way in and out of the unit removes the container by its name: that is
what keeps it at one copy. The client stays attached and writes to the unit's journal, so docker
keeps no second log. A restart of dockerd restarts the workload, also with live-restore.
"""

from __future__ import annotations

from fleetd.workload.container import (
    Kind,
    Launch,
    Service,
    common_words,
    image_words,
    oom_lines,
    quietly,
)
from fleetd.workload.errors import RenderError
from fleetd.workload.limits import Limits
from fleetd.workload.parts import Copy
from fleetd.workload.podman import shares
from fleetd.workload.quoting import exec_word

_DOCKER = "/usr/bin/env docker"
_SINCE_23 = frozenset({"BPF", "CHECKPOINT_RESTORE", "PERFMON"})
UNIT = ("Wants=docker.service", "After=network-online.target docker.service")


def docker_service(this: Launch) -> Service:
    """The unit and the command of one container.

    Raises:
        RenderError: see `image_words`; or a capability that this docker does not know.
    """
    _check_capabilities(this)
    lines = oom_lines(this.limits.oom_score)
    # With a terminal or an open stdin the attached client would want a terminal itself.
    apart = this.container.stdin
    words = [
        "docker create" if apart else "docker run",
        *common_words(this),
        "--rm",
        "--log-driver=none",
        f"--stop-timeout={this.grace_s}",
        *_limits(this.limits, this.copy),
        *this.security.capability_words(()),
        *(['"$@"'] if lines else []),
        *image_words(this),
        *([">/dev/null"] if apart else []),  # the container's id
    ]
    service = [kind_of_service(this.copy), before(this.name)]
    if this.kind is Kind.INIT:
        service = ["Type=oneshot", "RemainAfterExit=yes", before(this.name)]
    else:
        stop = this.hooks.stop or f"{_DOCKER} stop -t {this.grace_s} {this.name}"
        service.append(f"ExecStop=-{stop}")
    if this.kind is Kind.SIDECAR:
        service.append(running(this.name))
    then = f"docker start --attach {this.name}" if apart else ""
    return Service(UNIT, [*service, after(this.name)], words, lines, then)


def _check_capabilities(this: Launch) -> None:
    """A container that asks for what its docker does not know would never start."""
    context = this.container.security_context
    asked = context.capabilities.add if context and context.capabilities else []
    unknown = sorted(_SINCE_23.intersection(asked))
    if unknown and this.copy.profile.runtime_version < 23 and not (context and context.privileged):
        raise RenderError(
            f"{this.path}.securityContext.capabilities.add",
            f"docker older than 23 does not know {', '.join(unknown)}; this host needs a newer "
            "docker, or podman",
        )


def kind_of_service(copy: Copy) -> str:
    """The type of a unit that holds the client."""
    return f"Type={'exec' if copy.profile.systemd >= 240 else 'simple'}"


def before(name: str) -> str:
    """What an earlier run may have left is removed."""
    return f"ExecStartPre=-{_remove(name)}"


def after(name: str) -> str:
    """Whatever way the unit went, its container goes."""
    return f"ExecStopPost=-{_remove(name)}"


def running(name: str) -> str:
    """The unit has started only when its container has, for what comes after it (P 52)."""
    seen = f'[ "$(docker inspect -f {{{{.State.Running}}}} {name} 2>/dev/null)" = true ]'
    script = f"until {seen}; do kill -0 $MAINPID || exit 1; sleep 0.2; done"
    return f"ExecStartPost=/bin/sh -c {exec_word(script)}"


def _remove(name: str) -> str:
    return quietly(f"docker rm -f {name}")  # which complains where there is none


def group_words(copy: Copy) -> list[str]:
    """Where the container's cgroup is."""
    # With cgroup 2 docker's driver is systemd, which takes a slice; elsewhere it may take none. At
    # a shutdown systemd ends all that is in a slice at once, but for its own: in another one the
    # container would die before its unit has run the preStop hook.
    return ["--cgroup-parent=system.slice"] if copy.profile.cgroup == 2 else []


def _limits(limits: Limits, copy: Copy) -> list[str]:
    words = group_words(copy)
    if limits.memory:
        words.append(f"--memory={limits.memory}")
    if limits.cpu_milli:
        words.append(f"--cpus={limits.cpu_milli / 1000:.3f}")
    if limits.share_milli:
        words.append(f"--cpu-shares={shares(limits.share_milli)}")
    return words
