from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleetd.core.bundle import BundleFile, Check, CheckKind, OnChange, SecretBytes
from fleetd.core.facts import HostProfile, Role, Runtime
from fleetd.workload.errors import RenderError
from tests.unit.workload.rendering import Rendered, systemd

UNIT = "[Service]\nExecStart=/bin/agent\n"
NAME = "fleetd-mon.agent_v2.main.a.service"


def own(text: str = UNIT, version: int = 252, **fields: object) -> Rendered:
    return systemd(HostProfile(Runtime.SYSTEMD, systemd=version), unit=text, **fields)


def only(lines: list[str], key: str) -> list[str]:
    return [line for line in lines if line.startswith(f"{key}=")]


def test_an_agent_comes_back_and_fails_loudly() -> None:
    lines = own().lines(NAME)
    assert {"Restart=always", "RestartSec=5", "Type=exec", "StartLimitIntervalSec=0"} <= {*lines}
    assert lines[-2:] == ["[Install]", "WantedBy=multi-user.target"]


def test_what_the_unit_says_itself_stands() -> None:
    text = (
        "[Unit]\nStartLimitIntervalSec=60\n[Service]\nType=notify\nExecStart=/bin/agent\n"
        "Restart=on-failure\nSyslogIdentifier=agent\n[Install]\nWantedBy=default.target\n"
    )
    lines = own(text).lines(NAME)
    for key in ("Restart", "Type", "SyslogIdentifier", "StartLimitIntervalSec", "WantedBy"):
        assert len(only(lines, key)) == 1, key
    assert not only(lines, "RestartSec")


@pytest.mark.parametrize(
    ("text", "version", "key"),
    [
        pytest.param(UNIT, 239, "Type", id="no-exec-type-before-240"),
        pytest.param(f"{UNIT}BusName=a.b\n", 252, "Type", id="a-bus-name-makes-it-dbus"),
        pytest.param(
            f"{UNIT}Type=oneshot\nRemainAfterExit=yes\n", 252, "Restart", id="oneshot-may-not"
        ),
        pytest.param(
            f"{UNIT}StartLimitInterval=10\n", 252, "StartLimitIntervalSec", id="limit-by-old-name"
        ),
    ],
)
def test_a_default_that_would_clash_is_left_out(text: str, version: int, key: str) -> None:
    assert not only(own(text, version).lines(NAME), key)


def test_the_unit_does_not_change_with_the_revision_or_reloadable_content() -> None:
    file = {"path": "/etc/a", "onChange": "reload"}
    one = own(files=[{**file, "content": "1"}])
    two = own(files=[{**file, "content": "2"}])
    assert one.text(NAME) == two.text(NAME)
    assert one.files["/etc/a"].on_change is OnChange.RELOAD
    assert one.files["/etc/a"] != two.files["/etc/a"]


def test_the_unit_changes_with_the_rest_of_the_template() -> None:
    file = {"path": "/etc/a", "content": "1"}
    texts = {
        own(files=[file]).text(NAME),
        own(files=[{**file, "content": "2"}]).text(NAME),
        own(files=[{**file, "onChange": "reload"}]).text(NAME),
        own(files=[{**file, "onChange": "reload", "mode": 0o600}]).text(NAME),
    }
    assert len(texts) == 4


def test_the_stamp_leaves_revision_and_invocation(tmp_path: Path) -> None:
    (line,) = (line for line in own().lines(NAME) if "printf" in line)
    words = line.removeprefix("ExecStartPre=-+/bin/sh -c ")
    script = words[1:-1].replace('\\"', '"').replace("\\\\", "\\").replace("%%", "%")
    script = script.replace("$$", "$").replace("/run/", f"{tmp_path}/run/")
    script = script.replace("/var/lib/", f"{tmp_path}/")
    revision = tmp_path / "fleetd-node/w/mon.agent_v2/a/revision"
    revision.parent.mkdir(parents=True)
    revision.write_text("r7\n")
    subprocess.run(["/bin/sh", "-c", script], check=True, env={"INVOCATION_ID": "abc"})
    assert (tmp_path / "run/fleetd-node/stamp" / NAME).read_text() == "r7 abc\n"
    assert own().text("/revision") == "r1\n"


def test_values_of_the_host_reach_the_unit(tmp_path: Path) -> None:
    bundle = own(
        env=[
            {"name": "NODE", "fieldPath": "spec.nodeName"},
            {"name": "URL", "value": "$(NODE)/\"\\`$HOME'\n$(NO)"},
            {"name": "PLAIN", "value": "a%b"},
        ]
    )
    lines = bundle.lines(NAME)
    assert "Environment=PLAIN=a%%b" in " ".join(lines).replace('"', "")
    assert lines.index(only(lines, "EnvironmentFile")[1]) > 0
    text = bundle.text("main.env.sh").replace("/run/", f"{tmp_path}/")
    text = text.replace("/var/lib/", f"{tmp_path}/")
    values = tmp_path / "fleetd-node/w/mon.agent_v2/a/host.env"
    values.parent.mkdir(parents=True)
    values.write_text("FLEETD_NODE_NAME=web-1\n")
    subprocess.run(["/bin/sh", "-c", text], check=True)
    (made,) = (tmp_path / "fleetd-node/env").iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.read_text() == 'NODE="web-1"\nURL="web-1/\\"\\\\\\`\\$HOME\'\n\\$(NO)"\n'


def test_files_go_where_they_are_told() -> None:
    bundle = own(
        files=[
            {"path": "/etc/a/b", "owner": "agent", "mode": 0o640, "contentBase64": "AP8="},
            {"path": "/etc/a/c", "group": "adm", "perArchitecture": {"amd64": "eA==", "arm64": ""}},
            {"path": "/etc/k", "secretKeyRef": {"name": "db", "key": "user"}},
            {"path": "/etc/no", "secretKeyRef": {"name": "db", "key": "x", "optional": True}},
        ]
    )
    assert bundle.files["/etc/a/b"].content.data() == b"\x00\xff"  # type: ignore[union-attr]
    assert (bundle.files["/etc/a/b"].owner, bundle.files["/etc/a/b"].group) == ("agent", "agent")
    assert bundle.files["/etc/a/c"].group == "adm"
    assert bundle.files["/etc/a/c"].content.data() == b"x"  # type: ignore[union-attr]
    assert bundle.files["/etc/k"] == BundleFile(
        "/etc/k", 0o644, SecretBytes("mon", "db", "user", "d2")
    )
    assert "/etc/no" not in bundle.files
    assert Check(CheckKind.MAKE_DIRECTORY, "/etc/a") in bundle.bundle.checks


def test_a_borrowed_unit_is_only_added_to() -> None:
    bundle = systemd(existingUnit="chrony.service")
    assert [(u.name, u.role) for u in bundle.bundle.units] == [("chrony.service", Role.BORROWED)]
    assert bundle.bundle.checks == (Check(CheckKind.UNIT_EXISTS, "chrony.service"),)
    drop_in = bundle.lines("chrony.service.d/50-fleetd-mon.agent_v2.conf")
    assert not [
        line for line in drop_in if line.startswith(("Restart", "Type", "PartOf", "Wanted"))
    ]
    assert len(only(drop_in, "ExecStartPre")) == 1
    assert not [path for path in bundle.files if path.endswith(".target")]


TIMER = "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=x.target\n"
SOCKET = "[Socket]\nListenStream=9100\n"


@pytest.mark.parametrize(
    ("kind", "text", "target"),
    [("timer", TIMER, "timers.target"), ("socket", SOCKET, "sockets.target")],
)
def test_a_trigger_is_enabled_in_place_of_its_service(kind: str, text: str, target: str) -> None:
    beside: dict[str, Any] = {kind: text}
    bundle = own(**beside)
    trigger = NAME.replace(".service", f".{kind}")
    assert [(unit.name, unit.role, unit.enable) for unit in bundle.bundle.units[1:]] == [
        (NAME, Role.TRIGGERED, False),
        (trigger, Role.TRIGGER, True),
    ]
    service, starter = bundle.lines(NAME), bundle.lines(trigger)
    assert "[Install]" not in service
    assert not only(service, "Restart")
    assert starter[-2:] == ["[Install]", f"WantedBy={target}"]
    assert "PartOf=fleetd-mon.agent_v2.target" in starter
    assert "X-Fleetd-DaemonSet=mon/agent.v2" in starter


CREDENTIALS = [
    {"name": "token", "secretKeyRef": {"name": "db", "key": "user"}},
    {"name": "ca.pem", "configMapKeyRef": {"name": "conf", "key": "app.conf"}},
    {"name": "none", "secretKeyRef": {"name": "db", "key": "no", "optional": True}},
]
HELD = "/var/lib/fleetd-node/w/mon.agent_v2/a/credentials"


@pytest.mark.parametrize("version", [239, 252])
def test_credentials_are_files_of_roots_alone(version: int) -> None:
    bundle = own(version=version, credentials=CREDENTIALS)
    token = bundle.files[f"{HELD}/token"]
    assert token == BundleFile(f"{HELD}/token", 0o600, SecretBytes("mon", "db", "user", "d2"))
    assert bundle.text("/credentials/ca.pem") == "level = info\n"
    assert f"{HELD}/none" not in bundle.files
    assert (HELD, 0o700) in bundle.bundle.directories


def test_systemd_hands_credentials_out_itself_where_it_can() -> None:
    lines = own(version=247, credentials=CREDENTIALS).lines(NAME)
    handed = [f"LoadCredential=token:{HELD}/token", f"LoadCredential=ca.pem:{HELD}/ca.pem"]
    assert only(lines, "LoadCredential") == handed
    assert not only(lines, "Environment")


def test_an_older_systemd_is_helped_to_hand_them_out(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    bundle = own(f"{UNIT}User={me}\n", version=245, credentials=CREDENTIALS)
    lines = bundle.lines(NAME)
    place = f"/run/fleetd-node/credentials/{NAME}"
    assert not only(lines, "LoadCredential")
    assert f"Environment=CREDENTIALS_DIRECTORY={place}" in lines
    assert f"ExecStopPost=-+/bin/rm -rf {place}" in lines
    assert (
        "ExecStartPre=+/bin/sh /var/lib/fleetd-node/w/mon.agent_v2/a/main.credentials.sh" in lines
    )
    held = tmp_path / HELD[1:]
    held.mkdir(parents=True)
    (held / "token").write_text("s3cret")
    script = bundle.text("main.credentials.sh").replace("/run/", f"{tmp_path}/run/")
    script = script.replace("/var/lib/", f"{tmp_path}/var/lib/")
    copied = tmp_path / place[1:]
    for _ in ("a start", "the next one"):
        if copied.exists():
            copied.chmod(0o700)  # root, whose script this is, needs no leave to empty it
        subprocess.run(["/bin/sh", "-c", script], check=True)
    assert [(path.name, path.stat().st_mode & 0o777) for path in copied.iterdir()] == [
        ("token", 0o400)
    ]
    assert (copied / "token").read_text() == "s3cret"
    assert copied.stat().st_mode & 0o777 == 0o500
    assert copied.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("line", ["DynamicUser=yes", "User=%i"])
def test_an_older_systemd_cannot_be_helped_without_a_name(line: str) -> None:
    with pytest.raises(RenderError, match="systemd 247"):
        own(f"{UNIT}{line}\n", version=245, credentials=CREDENTIALS)


@pytest.mark.parametrize(
    ("line", "wait"),
    [
        ("TimeoutStopSec=20s", 50),
        ("TimeoutSec=45", 75),
        ("TimeoutStopSec=2min 30s", 180),
        ("TimeoutStopSec=infinity", 3600),
        ("Nice=1", 120),
    ],
)
def test_a_stop_is_waited_for_as_long_as_the_unit_allows(line: str, wait: int) -> None:
    assert own(f"{UNIT}{line}\n").bundle.stop_s == wait


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        pytest.param({"unit": "[Service]\n"}, "systemd.unit", id="unit"),
        pytest.param({"existingUnit": "chrony"}, "systemd.existingUnit", id="no-suffix"),
        pytest.param({"existingUnit": "a.timer"}, "systemd.existingUnit", id="no-service"),
        pytest.param(
            {"existingUnit": "a.service", "env": [{"name": "A", "value": "b"}]},
            "systemd.env",
            id="env-of-a-borrowed-unit",
        ),
        pytest.param(
            {
                "unit": UNIT,
                "env": [{"name": "A", "secretKeyRef": {"name": "db", "key": "user"}}],
            },
            "under credentials",
            id="secret-in-env",
        ),
        pytest.param({"unit": UNIT, "env": [{"name": "a.b", "value": "c"}]}, "a.b", id="env-name"),
        pytest.param(
            {"unit": UNIT, "env": [{"name": "A", "value": "\x07"}]}, "control", id="env-value"
        ),
        pytest.param(
            {"unit": UNIT, "files": [{"path": "/a", "perArchitecture": {"arm64": ""}}]},
            "nothing for amd64, only for arm64",
            id="architecture",
        ),
        pytest.param(
            {
                "unit": UNIT,
                "files": [{"path": "/a", "secretKeyRef": {"name": "db", "key": "nope"}}],
            },
            "Secret db has no key nope",
            id="secret",
        ),
        pytest.param(
            {"unit": UNIT, "files": [{"path": "/run/fleetd-node/lock", "content": ""}]},
            "no place",
            id="our-directory",
        ),
        pytest.param(
            {"unit": UNIT, "files": [{"path": f"/etc/systemd/system/{NAME}", "content": ""}]},
            "named like a unit",
            id="our-unit",
        ),
        pytest.param({"unit": UNIT, "files": [{"path": "/a"}]}, "no content", id="no-content"),
        pytest.param({"unit": UNIT, "timer": "[Timer]\n"}, "systemd.timer", id="timer"),
        pytest.param({"unit": UNIT, "socket": "[Socket]\n"}, "systemd.socket", id="socket"),
    ],
)
def test_what_cannot_run_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(RenderError, match=path):
        systemd(**fields)
