"""What a container may do, and as whom: the security context as flags of an engine.

A container's own context wins over the pod's, field by field, as with a kubelet. What is not said
stays the engine's choice, which is stricter than Kubernetes' in one place: without a seccompProfile
the engine's own filter is in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleetd.core.bundle import Check, CheckKind
from fleetd.core.facts import Runtime
from fleetd.core.pod import (
    Container,
    PodSecurityContext,
    PodSpec,
    Profile,
    SecurityContext,
    SELinuxOptions,
)
from fleetd.workload.quoting import sh_word

SECCOMP_DIR = "/var/lib/kubelet/seccomp"
"""Where Kubernetes looks for a Localhost profile, and so do vendors' instructions."""

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_UNMASKED = {
    Runtime.PODMAN: "--security-opt=unmask=ALL",
    Runtime.DOCKER: "--security-opt=systempaths=unconfined",
}


class Security:
    """The security context that is in force for one container."""

    def __init__(self, spec: PodSpec, container: Container, annotations: Mapping[str, str]) -> None:
        """Take the pod, the container, and the annotations of the template."""
        self._pod = spec.security_context or PodSecurityContext()
        self._own = container.security_context or SecurityContext()
        self._annotation = annotations.get(f"{_APPARMOR}{container.name}", "")
        self._prepared = bool(spec.init_containers)

    @property
    def privileged(self) -> bool:
        """Whether nothing is kept from it."""
        return self._own.privileged

    @property
    def user(self) -> int | None:
        """The user's number; None: as the image says."""
        own = self._own.run_as_user
        return self._pod.run_as_user if own is None else own

    @property
    def group(self) -> int | None:
        """The group's number; None: the user's."""
        own = self._own.run_as_group
        return self._pod.run_as_group if own is None else own

    @property
    def non_root(self) -> bool:
        """Whether it must not run as root."""
        own = self._own.run_as_non_root
        return self._pod.run_as_non_root if own is None else own

    @property
    def labels(self) -> SELinuxOptions | None:
        """The SELinux label that is asked for."""
        return self._own.se_linux_options or self._pod.se_linux_options

    @property
    def seccomp(self) -> Profile | None:
        """The seccomp profile; none of a privileged container, which runs without."""
        if self.privileged:
            return None
        return self._own.seccomp_profile or self._pod.seccomp_profile

    @property
    def apparmor(self) -> Profile | None:
        """The AppArmor profile; the old annotation stands for a field of the container."""
        return self._own.app_armor_profile or self._annotated() or self._pod.app_armor_profile

    def _annotated(self) -> Profile | None:
        kind, _, name = self._annotation.partition("/")
        match kind, name:
            case "runtime", "default":
                return Profile(type="RuntimeDefault")
            case "unconfined", "":
                return Profile(type="Unconfined")
            case "localhost", name if name:
                return Profile(type="Localhost", localhost_profile=name)
            case _:
                return None

    def words(self, engine: Runtime) -> list[str]:
        """Flags for what it may do, but for its capabilities."""
        words = ["--privileged"] if self.privileged else []
        if label := self.labels:
            parts = {"user": label.user, "role": label.role, "type": label.type}
            parts["level"] = label.level
            words += [
                sh_word(f"--security-opt=label={part}:{value}")
                for part, value in parts.items()
                if value
            ]
        if not self._own.allow_privilege_escalation and not self.privileged:
            words.append("--security-opt=no-new-privileges")
        if self._own.read_only_root_filesystem:
            words.append("--read-only")
            if engine is Runtime.PODMAN:
                words.append("--read-only-tmpfs=false")
        if self._own.proc_mount == "Unmasked":
            words.append(_UNMASKED[engine])
        words += _profile_words("seccomp", self.seccomp, f"{SECCOMP_DIR}/")
        words += _profile_words("apparmor", self.apparmor, "")
        return [*words, *self._user_words()]

    def capability_words(self, defaults: Iterable[str]) -> list[str]:
        """What the document asks for, and `defaults`: what containerd gives and an engine not."""
        if self.privileged:
            return []
        asked = self._own.capabilities
        add = list(asked.add) if asked else []
        drop = list(asked.drop) if asked else []
        if "ALL" not in drop and "ALL" not in add:
            add += [name for name in defaults if name not in drop and name not in add]
        drop = [name for name in drop if name not in add]
        return [
            *(sh_word(f"--cap-drop={name}") for name in drop),
            *(sh_word(f"--cap-add={name}") for name in add),
        ]

    def _user_words(self) -> list[str]:
        group = "" if self.group is None else f":{self.group}"
        words: list[str] = []
        if self.user is not None:
            words.append(f"--user={self.user}{group}")
        elif group:
            words.append(f'--user="${{fleetd_user:-0}}{group}"')
        groups = [*self._pod.supplemental_groups]
        groups += [] if self._pod.fs_group is None else [self._pod.fs_group]
        return [*words, *(f"--group-add={number}" for number in dict.fromkeys(groups))]

    def lines(self, engine: Runtime, image: str) -> Sequence[str]:
        """Lines of a shell that look at the image's own user, where that matters."""
        if self.user is not None or (self.group is None and not self.non_root):
            return ()
        look = f"{engine} image inspect --format '{{{{.Config.User}}}}' {sh_word(image)}"
        lines = [f"fleetd_user=$({look})", "fleetd_user=${fleetd_user%%:*}"]
        return (*lines, *_NOT_ROOT) if self.non_root else lines

    def checks(self) -> tuple[Check, ...]:
        """What must be on the host before anything is touched.

        A profile may be what an init container brings: the engine looks for it at each start.
        """
        profile = self.seccomp
        if profile is None or profile.type != "Localhost" or self._prepared:
            return ()
        return (Check(CheckKind.FILE, f"{SECCOMP_DIR}/{profile.localhost_profile}"),)


_NOT_ROOT = r"""
case $fleetd_user in
  *[!0-9]*)
    echo "runAsNonRoot: the image's user is $fleetd_user, no number, so that nobody can say" \
      "whether it is root; set runAsUser" >&2
    exit 1
    ;;
  *[1-9]*) ;;
  *)
    echo "runAsNonRoot: the image runs as root; set runAsUser" >&2
    exit 1
    ;;
esac
""".strip().splitlines()


def _profile_words(kind: str, profile: Profile | None, directory: str) -> list[str]:
    if profile is None or profile.type == "RuntimeDefault":
        return []
    unconfined = profile.type == "Unconfined"
    value = "unconfined" if unconfined else f"{directory}{profile.localhost_profile}"
    return [sh_word(f"--security-opt={kind}={value}")]
