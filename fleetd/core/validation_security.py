"""The rules for security contexts, of the pod and of its containers (K 167)."""

from __future__ import annotations

import re
from typing import Final

from fleetd.core import names
from fleetd.core.findings import Findings
from fleetd.core.pod import Container, PodSecurityContext, PodSpec, Profile, SecurityContext, Sysctl

_CAPABILITY = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_SYSCTL = re.compile(
    r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][A-Za-z0-9_./-]+)?\Z"
)
_IPC: Final = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_LARGEST_ID: Final = (1 << 31) - 1


def check_pod_security(found: Findings, path: str, spec: PodSpec) -> None:
    """What all containers share, and what each of them then is."""
    pod = spec.security_context or PodSecurityContext()
    here = f"{path}.securityContext"
    for name, number in (("runAsUser", pod.run_as_user), ("runAsGroup", pod.run_as_group)):
        _identity(found, f"{here}.{name}", number)
    _identity(found, f"{here}.fsGroup", pod.fs_group)
    for i, number in enumerate(pod.supplemental_groups):
        _identity(found, f"{here}.supplementalGroups[{i}]", number)
    _profiles(found, here, pod.seccomp_profile, pod.app_armor_profile)
    _sysctls(found, f"{here}.sysctls", pod.sysctls, spec)
    for field, listed in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
    ):
        for i, container in enumerate(listed):
            _not_root(found, f"{path}.{field}[{i}].securityContext", container, pod)


def check_security(found: Findings, path: str, context: SecurityContext) -> None:
    """A container's own context."""
    _identity(found, f"{path}.runAsUser", context.run_as_user)
    _identity(found, f"{path}.runAsGroup", context.run_as_group)
    _profiles(found, path, context.seccomp_profile, context.app_armor_profile)
    if context.privileged and not context.allow_privilege_escalation:
        message = "cannot be false beside privileged: true"
        found.error(f"{path}.allowPrivilegeEscalation", message, "leave one of them out")
    if context.capabilities:
        for verb, listed in (
            ("add", context.capabilities.add),
            ("drop", context.capabilities.drop),
        ):
            for i, name in enumerate(listed):
                _capability(found, f"{path}.capabilities.{verb}[{i}]", name)


def _capability(found: Findings, path: str, name: str) -> None:
    if name.startswith("CAP_"):
        found.error(path, f"{name!r} has CAP_ before it", f"write {name[4:]}")
    elif not _CAPABILITY.match(name):
        found.error(path, f"{name!r} is no capability", "write it as NET_ADMIN")


def _identity(found: Findings, path: str, number: int | None) -> None:
    if number is not None and not 0 <= number <= _LARGEST_ID:
        found.error(path, f"must be from 0 to {_LARGEST_ID}, not {number}")


def _profiles(
    found: Findings, path: str, seccomp: Profile | None, apparmor: Profile | None
) -> None:
    for name, profile in (("seccompProfile", seccomp), ("appArmorProfile", apparmor)):
        if profile is None:
            continue
        here = f"{path}.{name}.localhostProfile"
        local = profile.type == "Localhost"
        if local and not profile.localhost_profile:
            found.error(here, "is required with type Localhost")
        elif not local and profile.localhost_profile:
            found.error(here, f"may only be there with type Localhost, not {profile.type}")
        elif local and profile is seccomp:
            found.check(here, names.relative_path, profile.localhost_profile)
        elif local:
            found.check(here, names.no_control, profile.localhost_profile)


def _sysctls(found: Findings, path: str, sysctls: list[Sysctl], spec: PodSpec) -> None:
    seen: set[object] = set()
    for i, sysctl in enumerate(sysctls):
        here = f"{path}[{i}].name"
        name = sysctl.name.replace("/", ".")
        if len(sysctl.name) > 253 or not _SYSCTL.match(sysctl.name):
            found.error(here, f"{sysctl.name[:80]!r} is no kernel parameter")
            continue
        found.unique(here, name, seen, "the kernel parameter")
        found.check(f"{path}[{i}].value", names.no_control, sysctl.value)
        if name.startswith("net."):
            if spec.host_network:
                found.error(here, f"{name} cannot be set with hostNetwork: it is the host's")
        elif name.startswith(_IPC):
            if spec.host_ipc:
                found.error(here, f"{name} cannot be set with hostIPC: it is the host's")
        else:
            message = f"{name} is the whole host's, and no pod's to set"
            found.error(here, message, "known are net.*, kernel.shm*, kernel.msg*, fs.mqueue.*")


def _not_root(found: Findings, path: str, container: Container, pod: PodSecurityContext) -> None:
    own = container.security_context or SecurityContext()
    non_root = pod.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    user = pod.run_as_user if own.run_as_user is None else own.run_as_user
    if non_root and user == 0:
        message = "0 is root, which runAsNonRoot does not allow"
        found.error(f"{path}.runAsUser", message, "write another number")
