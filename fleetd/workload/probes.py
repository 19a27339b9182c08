"""Probes: one small unit beside each workload that has any, looping on the host.

The loop is `probe.sh`, the same for all; what is asked, and how often, stands before it. It is
bound to the workload's unit, comes and goes with it, and leaves its answer where observe reads it.
A workload that has failed its startup or liveness probe is stopped by it, and started again by
systemd: so hosts are probed and mended whether or not anybody looks.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.core.bundle import BundleUnit
from fleetd.core.facts import Role, Runtime
from fleetd.core.pod import Container, PodSpec, Probe
from fleetd.workload.actions import (
    Subject,
    asks_pod,
    call,
    function,
    probe_script,
    script,
    subject_of,
)
from fleetd.workload.lifecycle import stopper
from fleetd.workload.names import probe_name, stamp_path
from fleetd.workload.parts import Copy, Parts, text_file, unit_file
from fleetd.workload.quoting import exec_word, sh_word, text

_STOP_SLACK_S = 30
"""So much longer than its grace period may a stop take before it is tried again."""


def container_probe(copy: Copy, spec: PodSpec, container: Container, unit: str) -> Parts:
    """The probes of a container, in it or at the address of its pod; nothing where it has none.

    Raises:
        RenderError: a port that has no number.
    """
    probes = {
        name: probe
        for name, probe in (
            ("startup", container.startup_probe),
            ("liveness", container.liveness_probe),
            ("readiness", container.readiness_probe),
        )
        if probe is not None
    }
    script_path = sh_word(stopper(copy, container))
    stop = [f'timeout -s KILL "$(($1 + {_STOP_SLACK_S}))" /bin/sh {script_path} "$1"']
    grace = spec.termination_grace_period_seconds
    return _parts(copy, subject_of(copy, spec, container), unit, probes, stop, grace)


def unit_probe(copy: Copy, name: str, unit: str, probe: Probe) -> Parts:
    """The readiness probe of a systemd workload: on the host itself, at loopback.

    Raises:
        RenderError: a port that has no number.
    """
    return _parts(copy, Subject(name, Runtime.SYSTEMD.value), unit, {"readiness": probe}, [":"], 0)


def _parts(
    copy: Copy,
    subject: Subject,
    unit: str,
    probes: Mapping[str, Probe],
    stop: list[str],
    grace: int,
) -> Parts:
    """The script and the unit that runs it."""
    if not probes:
        return Parts()
    path = probe_script(copy, subject.name)
    probing = probe_name(copy.ds, subject.name, copy.slot)
    lines = [
        *subject.head(unit),
        f"stamp={sh_word(stamp_path(unit))}",
        f"probes={sh_word(' '.join(probes))}",
        *function("stop_workload", stop),
    ]
    for name, probe in probes.items():
        lines += function(name, _numbers(probe, grace))
        lines += function(f"ask_{name}", [call(probe, subject, f"{name}Probe of {subject.name}")])
    lines += [script("action.sh"), script("probe.sh")]
    return Parts(
        files=(
            text_file(path, "\n".join(lines), 0o600),
            unit_file(probing, _unit(copy, subject.name, unit, path)),
        ),
        units=(BundleUnit(probing, Role.PROBE),),
    )


def _numbers(probe: Probe, grace: int) -> list[str]:
    """How often a probe asks, in seconds, and how many answers count."""
    own = probe.termination_grace_period_seconds
    said = {
        "initial": probe.initial_delay_seconds,
        "period": probe.period_seconds,
        "patience": probe.timeout_seconds,
        "successes": probe.success_threshold,
        "failures": probe.failure_threshold,
        "grace": grace if own is None else own,
        "at_pod": "yes" if asks_pod(probe) else "",
    }
    return [f"{key}={value}" for key, value in said.items()]


def _unit(copy: Copy, name: str, unit: str, path: str) -> str:
    lines = [
        "[Unit]",
        f"Description={text(f'Probes of {name} of DaemonSet {copy.ds} (fleetd)')}",
        *copy.head(),
        f"BindsTo={unit}",
        f"After={unit}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=simple",
        f"ExecStart=/bin/sh {exec_word(path)}",
        "SyslogIdentifier=%N",
        "Restart=always",
        "RestartSec=5",
        "",
        "[Install]",
        f"WantedBy={unit}",
    ]
    return "\n".join(lines) + "\n"
