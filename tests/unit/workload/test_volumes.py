"""Volumes of every kind: what a bundle delivers, and what a launcher makes at each start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.bundle import Check, CheckKind, Inline, SecretBytes
from fleetd.workload.errors import RenderError
from fleetd.workload.names import STATE_DIR
from tests.unit.workload.rendering import DOCKER, Rendered, container, rendered

START = "main.start.sh"
COPY = f"{STATE_DIR}/w/mon.agent_v2/a"
GROUP = os.getgid()
HOST = """FLEETD_NODE_NAME=web-1
FLEETD_POD_NAME=agent-web-1
FLEETD_POD_UID=0-1-2
FLEETD_NAMESPACE=mon
FLEETD_FLEET=f1
"""
PROGRAMS = {
    "podman": 'printf "%s\\n" "$@" >"$ROOT/called"',
    "mountpoint": 'grep -qxF "$2" "$ROOT/mounted"',
    "mount": 'printf "%s\\n" "$6" >>"$ROOT/mounted"; printf "%s\\n" "$*" >>"$ROOT/mounts"',
}


class Host:
    """A place where a launcher runs as on a host, but for the engine and for what it mounts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.copy = root / "state/w/mon.agent_v2/a"
        self.copy.mkdir(parents=True)
        (self.copy / "host.env").write_text(HOST)
        (root / "mounted").touch()
        (root / "bin").mkdir()
        for name, script in PROGRAMS.items():
            program = root / "bin" / name
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)

    def place(self, bundle: Rendered) -> None:
        """Put the files of a bundle where an apply would."""
        for path, mode in bundle.bundle.directories:
            (self.root / "state" / path.removeprefix(f"{STATE_DIR}/")).mkdir(
                mode=mode, parents=True, exist_ok=True
            )
        for path, file in bundle.files.items():
            if path.startswith(f"{COPY}/") and isinstance(file.content, Inline):
                (self.copy / path.removeprefix(f"{COPY}/")).write_bytes(file.content.data())

    def start(self, bundle: Rendered, shell: str = "/bin/sh") -> list[str]:
        """Run the launcher, and tell the mounts that its engine was asked for."""
        done = self.begin(bundle, shell)
        assert done.returncode == 0, done.stderr
        return self.mounts()

    def begin(self, bundle: Rendered, shell: str = "/bin/sh") -> subprocess.CompletedProcess[str]:
        (self.root / "called").unlink(missing_ok=True)
        script = bundle.text(START).replace(STATE_DIR, f"{self.root}/state")
        environment = {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "ROOT": str(self.root),
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            [*shell.split(), "/dev/stdin"],
            input=script,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def mounts(self) -> list[str]:
        words = (self.root / "called").read_text().splitlines()
        given = (w.removeprefix("--mount=type=bind,") for w in words if w.startswith("--mount="))
        return [word.replace(f"{self.root}/state", STATE_DIR) for word in given]


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Host:
    return Host(tmp_path)


SHELLS = ("dash", pytest.param("busybox ash", marks=pytest.mark.needs("busybox")), "bash")


@pytest.fixture(name="shell", params=SHELLS)
def _shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_volume(
    source: Mapping[str, Any], mount: Mapping[str, Any] | None = None, **fields: Any
) -> Rendered:
    """A pod whose container mounts one volume at /x; `spec` and what is in `fields` come beside."""
    spec = fields.pop("spec", {})
    mounts = [{"name": "v", "mountPath": "/x", **(mount or {})}]
    return container({"volumes": [{"name": "v", **source}], **spec}, volumeMounts=mounts, **fields)


def modes(bundle: Rendered, directory: str = "vol/v") -> dict[str, tuple[int, str, str]]:
    below = f"{COPY}/{directory}/"
    return {
        path.removeprefix(below): (file.mode, file.owner, file.group)
        for path, file in bundle.files.items()
        if path.startswith(below)
    }


ROOTS = ("root", "root")


# ---------------------------------------------------------------------------------------- files


def test_files_have_the_modes_of_kubernetes() -> None:
    items = [{"key": "LEVEL", "path": "d/level"}, {"key": "app.conf", "path": "c", "mode": 0o400}]
    assert modes(with_volume({"configMap": {"name": "conf", "items": items}})) == {
        "d/level": (0o644, *ROOTS),
        "c": (0o400, *ROOTS),
    }
    assert modes(with_volume({"secret": {"secretName": "db"}})) == {
        "password": (0o644, *ROOTS),
        "user": (0o644, *ROOTS),
    }
    assert modes(with_volume({"secret": {"secretName": "db", "defaultMode": 0o600}})) == {
        "password": (0o600, *ROOTS),
        "user": (0o600, *ROOTS),
    }


def test_all_is_behind_a_directory_of_root_alone() -> None:
    bundle = with_volume({"secret": {"secretName": "db"}}).bundle
    assert (COPY, 0o700) in bundle.directories
    assert (f"{COPY}/vol/v", 0o755) in bundle.directories


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"configMap": {"name": "none", "optional": True}}, id="no-config-map"),
        pytest.param({"secret": {"secretName": "none", "optional": True}}, id="no-secret"),
        pytest.param(
            {
                "configMap": {
                    "name": "conf",
                    "items": [{"key": "no", "path": "a"}],
                    "optional": True,
                }
            },
            id="no-key",
        ),
        pytest.param(
            {"projected": {"sources": [{"secret": {"name": "none", "optional": True}}, {}]}},
            id="projected",
        ),
    ],
)
def test_what_is_optional_may_be_missing(source: Mapping[str, Any]) -> None:
    bundle = with_volume(source)
    assert modes(bundle) == {}
    assert (f"{COPY}/vol/v", 0o755) in bundle.bundle.directories


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "none"}}, r"configMap: there is no ConfigMap none"),
        ({"secret": {"secretName": "none"}}, r"secret: there is no Secret none"),
        (
            {"configMap": {"name": "conf", "items": [{"key": "no", "path": "a"}]}},
            r"configMap: there is no key no",
        ),
        (
            {"projected": {"sources": [{"configMap": {"name": "none"}}]}},
            r"projected\.sources\[0\]\.configMap: there is no ConfigMap none",
        ),
        (
            {"configMap": {"name": "conf", "items": [{"key": "LEVEL", "path": "../a"}]}},
            r"must not contain '\.\.'",
        ),
    ],
    ids=["config-map", "secret", "key", "projected", "path"],
)
def test_what_is_missing_is_told_with_its_place(source: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RenderError, match=message):
        with_volume(source)


NAME = {"fieldRef": {"fieldPath": "metadata.name"}}
TOLD = [
    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
    {"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}, "mode": 0o600},
    {"path": "d/name", **NAME, "mode": 0o400},
    {"path": "memory", "resourceFieldRef": {"resource": "limits.memory", "containerName": "main"}},
]
LIMITED = {"resources": {"limits": {"memory": "1Ki"}}}


def test_what_every_host_tells_alike_is_in_the_bundle() -> None:
    bundle = with_volume({"downwardAPI": {"items": [TOLD[0], TOLD[1], TOLD[3]]}}, **LIMITED)
    assert modes(bundle) == {
        "labels": (0o644, *ROOTS),
        "app": (0o600, *ROOTS),
        "memory": (0o644, *ROOTS),
    }
    assert bundle.text("vol/v/labels") == (
        'app="agent"\ncontroller-revision-hash="r1"\npod-template-generation="1"'
    )
    assert bundle.text("vol/v/memory") == "1024"


def test_what_only_the_host_tells_is_written_at_each_start(host: Host, shell: str) -> None:
    bundle = with_volume({"downwardAPI": {"items": TOLD, "defaultMode": 0o440}})
    host.place(bundle)
    for _ in range(2):
        assert host.start(bundle, shell) == [f"source={COPY}/empty/r1/v,target=/x,readonly"]
        told = host.copy / "empty/r1/v"
        assert (told / "d/name").read_text() == "agent-web-1"
        assert (told / "d/name").stat().st_mode & 0o777 == 0o400
        assert int((told / "memory").read_text()) > 1 << 20
        assert (told / "memory").stat().st_mode & 0o777 == 0o440
        assert sorted(p.name for p in told.iterdir()) == ["app", "d", "labels", "memory"]
        (told / "d/name").chmod(0o600)
        (told / "d/name").write_text("of an earlier boot")
    host.start(with_volume({"emptyDir": {}}, spec={"hostPID": True}), shell)


def test_several_sources_lie_in_one_directory_and_the_later_wins(host: Host) -> None:
    sources = [
        {"configMap": {"name": "conf"}},
        {"secret": {"name": "db", "items": [{"key": "user", "path": "LEVEL", "mode": 0o400}]}},
        {"downwardAPI": {"items": [{"path": "pod/name", **NAME}]}},
        {},
    ]
    bundle = with_volume({"projected": {"sources": sources, "defaultMode": 0o440}})
    assert modes(bundle, "empty/r1/v") == {
        "app.conf": (0o440, *ROOTS),
        "raw": (0o440, *ROOTS),
        "LEVEL": (0o400, *ROOTS),
    }
    assert bundle.files[f"{COPY}/empty/r1/v/LEVEL"].content == SecretBytes(
        "mon", "db", "user", "d2"
    )
    host.place(bundle)
    host.start(bundle)
    name = host.copy / "empty/r1/v/pod/name"
    assert (name.read_text(), name.stat().st_mode & 0o777) == ("agent-web-1", 0o440)


def test_the_group_of_the_pod_can_read_its_files(host: Host) -> None:
    spec = {"securityContext": {"fsGroup": GROUP}}
    items = [{"key": "LEVEL", "path": "d/level", "mode": 0o400}]
    bundle = with_volume({"configMap": {"name": "conf", "items": items}}, spec=spec)
    # By number: names of users and groups are the host's.
    assert modes(bundle) == {"d/level": (0o440, "0", f"{GROUP}")}
    host.place(bundle)
    host.start(bundle)
    for directory in ("vol/v", "vol/v/d"):
        found = (host.copy / directory).stat()
        assert (found.st_mode & 0o7777, found.st_gid) == (0o2755, GROUP)


# ------------------------------------------------------------------------------------- emptyDir


def mounted(host: Host) -> list[str]:
    found = host.root / "mounts"
    return found.read_text().replace(f"{host.root}/state", STATE_DIR).splitlines()


def test_memory_is_mounted_once_and_by_all(host: Host) -> None:
    bundle = with_volume({"emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}})
    host.place(bundle)
    for _ in range(2):
        assert host.start(bundle) == [f"source={COPY}/empty/r1/v,target=/x"]
    assert mounted(host) == [f"-t tmpfs -o mode=0777,size=67108864 tmpfs {COPY}/empty/r1/v"]


@pytest.mark.parametrize(
    ("volume", "limits", "options"),
    [
        ({}, {}, "mode=0777"),
        ({"sizeLimit": "1Mi"}, {"memory": "2Mi"}, "mode=0777,size=1048576"),
        ({"sizeLimit": "3Mi"}, {"memory": "2Mi"}, "mode=0777,size=2097152"),
        ({}, {"memory": "2Mi"}, "mode=0777,size=2097152"),
    ],
    ids=["none", "its-own", "the-pods", "the-pods-alone"],
)
def test_memory_has_the_smaller_of_its_own_size_and_the_pods(
    volume: Mapping[str, str], limits: Mapping[str, str], options: str
) -> None:
    source = {"emptyDir": {"medium": "Memory", **volume}}
    bundle = with_volume(source, resources={"limits": limits})
    assert f"mount -t tmpfs -o {options} tmpfs " in bundle.text(START)


def test_memory_is_the_groups_of_the_pod() -> None:
    spec = {"securityContext": {"fsGroup": 77}}
    text = with_volume({"emptyDir": {"medium": "Memory"}}, spec=spec).text(START)
    assert "mount -t tmpfs -o mode=2777,gid=77 tmpfs " in text


def test_two_launchers_of_a_pod_do_not_mount_at_once(host: Host) -> None:
    bundle = with_volume({"emptyDir": {"medium": "Memory"}})
    host.place(bundle)
    # A mount takes its time: the second launcher must not come in between.
    program = host.root / "bin/mount"
    program.write_text(program.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nsleep 0.3\n"))
    script = bundle.text(START).replace(STATE_DIR, f"{host.root}/state")
    environment = {"PATH": f"{host.root}/bin:{os.environ['PATH']}", "ROOT": str(host.root)}
    both = [
        subprocess.Popen(["/bin/sh", "-c", script], env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [each.communicate()[1] for each in both] == [b"", b""]
    assert len(mounted(host)) == 1


def test_an_empty_dir_is_the_groups_and_stays_as_the_pod_made_it(host: Host) -> None:
    bundle = with_volume({"emptyDir": {}}, spec={"securityContext": {"fsGroup": GROUP}})
    host.place(bundle)
    directory = host.copy / "empty/r1/v"
    directory.chmod(0o777)  # as a host makes it, whatever the umask
    if GROUP == 0:  # it is root's group already: as if it were another's
        os.chown(directory, -1, 1)
    host.start(bundle)
    found = directory.stat()
    assert (found.st_mode & 0o2770, found.st_gid) == (0o2770 if GROUP == 0 else 0o770, GROUP)
    directory.chmod(0o700)
    host.start(bundle)
    assert directory.stat().st_mode & 0o777 == 0o700


# ----------------------------------------------------------------------------------------- paths


def test_a_path_that_the_host_puts_together(host: Host, shell: str) -> None:
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SUB", "value": "logs/$(POD)"},
    ]
    bundle = with_volume({"emptyDir": {}}, {"subPathExpr": "a/$(SUB)"}, env=env)
    host.place(bundle)
    assert host.start(bundle, shell) == [f"source={COPY}/empty/r1/v/a/logs/agent-web-1,target=/x"]
    assert (host.copy / "empty/r1/v/a/logs/agent-web-1").stat().st_mode & 0o777 == 0o777


def test_a_path_that_is_the_same_everywhere_is_put_together_at_once() -> None:
    env = [{"name": "SUB", "value": "logs"}]
    bundle = with_volume({"hostPath": {"path": "/v"}}, {"subPathExpr": "$(SUB)/x"}, env=env)
    assert "--mount=type=bind,source=/v/logs/x,target=/x" in bundle.text(START)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ([], "no variable SUB"),
        ([{"name": "SUB", "value": "../up"}], r"must not contain '\.\.'"),
        ([{"name": "SUB", "value": "/etc"}], "must be a relative path"),
        ([{"name": "SUB", "value": "a,source=/"}], "must not contain ','"),
        (
            [{"name": "SUB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "user"}}}],
            "would show a secret",
        ),
    ],
    ids=["missing", "up", "absolute", "comma", "secret"],
)
def test_a_path_that_cannot_be_is_refused_before_any_host(
    env: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(RenderError, match=message):
        with_volume({"emptyDir": {}}, {"subPathExpr": "$(SUB)"}, env=env)


@pytest.mark.parametrize("value", ["../up", "/etc", "a/../../b", "a,b", "a'b", 'a"b', "a\nb", ".."])
def test_a_path_that_a_host_puts_together_stays_inside(host: Host, shell: str, value: str) -> None:
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    bundle = with_volume({"emptyDir": {}}, {"subPathExpr": "$(POD)"}, env=env)
    host.place(bundle)
    quoted = value.replace("'", "'\\''")
    (host.copy / "host.env").write_text(HOST.replace("agent-web-1", f"'{quoted}'"))
    done = host.begin(bundle, shell)
    assert done.returncode == 1
    assert "is no path inside the volume" in done.stderr
    assert not (host.root / "called").exists()


@pytest.mark.parametrize("kind", ["emptyDir", "hostPath"])
def test_a_link_does_not_lead_out_of_a_volume(
    host: Host, tmp_path: Path, kind: str, shell: str
) -> None:
    root = host.copy / "empty/r1/v"
    source: dict[str, Any] = {"emptyDir": {}}
    if kind == "hostPath":
        root = tmp_path / "v"
        source = {"hostPath": {"path": str(root)}}
    root.mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (root / "in").mkdir()
    (root / "near").symlink_to(root / "in")
    (root / "far").symlink_to(tmp_path / "secret")
    assert len(host.start(with_volume(source, {"subPath": "near"}), shell)) == 1
    done = host.begin(with_volume(source, {"subPath": "far"}), shell)
    assert done.returncode == 1
    assert "subPath: leads out of the volume" in done.stderr
    # Nor is anything made out there; a link to what is not there is no way either.
    assert host.begin(with_volume(source, {"subPath": "far/made"}), shell).returncode == 1
    assert list((tmp_path / "secret").iterdir()) == []
    (root / "nowhere").symlink_to(tmp_path / "nowhere")
    assert host.begin(with_volume(source, {"subPath": "nowhere"}), shell).returncode == 1
    assert not (tmp_path / "nowhere").exists()


def test_a_path_below_what_a_reboot_has_taken(host: Host, tmp_path: Path, shell: str) -> None:
    bundle = with_volume({"hostPath": {"path": f"{tmp_path}/run/v"}}, {"subPath": "a/b"})
    assert host.start(bundle, shell) == [f"source={tmp_path}/run/v/a/b,target=/x"]
    assert (tmp_path / "run/v/a/b").is_dir()


def test_a_path_below_the_root_of_the_host(host: Host) -> None:
    bundle = with_volume({"hostPath": {"path": "/"}}, {"subPath": "etc"})
    assert host.start(bundle) == ["source=/etc,target=/x"]


def test_a_sub_path_of_memory_is_made_in_it(host: Host) -> None:
    bundle = with_volume({"emptyDir": {"medium": "Memory"}}, {"subPath": "a"})
    directories = dict(bundle.bundle.directories)
    assert f"{COPY}/empty/r1/v/a" not in directories
    host.place(bundle)
    assert host.start(bundle) == [f"source={COPY}/empty/r1/v/a,target=/x"]
    assert (host.copy / "empty/r1/v/a").is_dir()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"configMap": {"name": "none", "optional": True}}, id="optional"),
        pytest.param({"configMap": {"name": "conf"}}, id="no-such-key"),
        pytest.param({"projected": {"sources": [{"secret": {"name": "db"}}]}}, id="projected"),
    ],
)
def test_a_file_that_a_volume_has_not_is_a_directory(host: Host, source: Mapping[str, Any]) -> None:
    bundle = with_volume(source, {"subPath": "no/such"})
    host.place(bundle)
    done = host.begin(bundle)
    assert host.mounts() == [f"source={COPY}/empty/r1/v/no/such,target=/x,readonly"]
    assert (host.copy / "empty/r1/v/no/such").is_dir()
    assert "subPath: the volume has no such file" in done.stderr


@pytest.mark.parametrize("path", ["LEVEL", "./LEVEL", "LEVEL/", ".//LEVEL"])
def test_a_file_of_a_volume_is_found_however_it_is_written(path: str) -> None:
    text = with_volume({"configMap": {"name": "conf"}}, {"subPath": path}).text(START)
    assert f"source={COPY}/vol/v/{path.rstrip('/')},target=/x,readonly" in text
    assert "no such file" not in text


def test_a_path_that_comes_to_nothing_is_the_volume() -> None:
    bundle = with_volume(
        {"hostPath": {"path": "/v"}}, {"subPathExpr": "$(NO)"}, env=[{"name": "NO"}]
    )
    assert "source=/v,target=/x" in bundle.text(START)


@pytest.mark.parametrize(
    ("propagation", "expected"),
    [
        ("None", ""),
        ("HostToContainer", ",bind-propagation=rslave"),
        ("Bidirectional", ",bind-propagation=rshared"),
    ],
)
@pytest.mark.parametrize("profile", [None, DOCKER], ids=["podman", "docker"])
def test_propagation(profile: Any, propagation: str, expected: str) -> None:
    spec = {"volumes": [{"name": "v", "hostPath": {"path": "/v"}}]}
    mount = {"name": "v", "mountPath": "/x", "readOnly": True, "mountPropagation": propagation}
    given = (profile,) if profile else ()
    bundle = container(spec, *given, volumeMounts=[mount])
    assert f"--mount=type=bind,source=/v,target=/x,readonly{expected} " in bundle.text(START)


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("", CheckKind.MAKE_PATH),
        ("DirectoryOrCreate", CheckKind.MAKE_DIRECTORY),
        ("Directory", CheckKind.DIRECTORY),
        ("FileOrCreate", CheckKind.MAKE_FILE),
        ("File", CheckKind.FILE),
        ("Socket", CheckKind.SOCKET),
        ("CharDevice", CheckKind.CHAR_DEVICE),
        ("BlockDevice", CheckKind.BLOCK_DEVICE),
    ],
)
def test_every_type_of_a_path_of_the_host_is_checked(kind: str, check: CheckKind) -> None:
    bundle = with_volume({"hostPath": {"path": "/v", "type": kind}}).bundle
    assert bundle.checks == (Check(check, "/v"),)


def test_init_containers_have_volumes_too(host: Host) -> None:
    mount = {"name": "v", "mountPath": "/x", "subPath": "a"}
    spec = {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "first", "image": "busybox:1", "volumeMounts": [mount]}],
        "containers": [{"name": "main", "image": "busybox:1"}],
    }
    bundle = rendered(spec)
    assert f"source={COPY}/empty/r1/v/a,target=/x" in bundle.text("first.start.sh")
    assert f"{COPY}/empty/r1/v/a" in dict(bundle.bundle.directories)


def directories(spec: Mapping[str, Any], *mounts: Mapping[str, Any]) -> list[str]:
    """The directories of the bundle inside volume v."""
    host = {"name": "h", "hostPath": {"path": "/run/engine.sock"}}
    volumes = [{"name": "v", **spec}, W, host]
    bundle = container({"volumes": volumes}, volumeMounts=mounts).bundle
    marks = ("/vol/v/", "/empty/r1/v/")
    return [
        path.partition(mark)[2] for path, _ in bundle.directories for mark in marks if mark in path
    ]


W: Mapping[str, Any] = {"name": "w", "emptyDir": {}}
AROUND = {"name": "v", "mountPath": "/etc/app"}


@pytest.mark.parametrize(
    "source", [{"configMap": {"name": "conf"}}, {"emptyDir": {}}], ids=["files", "a directory"]
)
def test_a_mount_inside_a_volume_finds_its_place_there(source: Mapping[str, Any]) -> None:
    inner = {"name": "w", "mountPath": "/etc/app/more/below/"}
    assert directories(source, inner, AROUND) == ["more", "more/below"]


@pytest.mark.parametrize(
    ("mounts"),
    [
        [AROUND, {"name": "w", "mountPath": "/etc/application"}],
        [{**AROUND, "subPath": "sub.d"}, {"name": "w", "mountPath": "/etc/app/x"}],
        [AROUND, {"name": "w", "mountPath": "/etc/app/app.conf"}],
        [AROUND, {"name": "w", "mountPath": "/etc/app/file", "subPath": "file"}],
        [AROUND, {"name": "h", "mountPath": "/etc/app/engine.sock"}],
    ],
    ids=["beside it", "below a part of it", "over a file of it", "a file", "maybe a file"],
)
def test_a_mount_that_needs_no_place_in_a_volume_gets_none(mounts: list[Any]) -> None:
    assert directories({"configMap": {"name": "conf"}}, *mounts) == []


def test_a_place_is_made_in_the_nearest_volume_only() -> None:
    mounts = [AROUND, {"name": "w", "mountPath": "/etc/app/x"}]
    deepest = {"name": "v", "mountPath": "/etc/app/x/y", "subPath": "app.conf"}
    assert directories({"configMap": {"name": "conf"}}, *mounts, deepest) == ["x"]
