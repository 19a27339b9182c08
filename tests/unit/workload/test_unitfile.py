from __future__ import annotations

import pytest

from fleetd.workload import unitfile

LONG = """# a comment
[Unit]
Description = An agent

[Service]
; another
ExecStart=/bin/agent \\
  --one \\
# not the end
  --two
Environment=A=1
Environment=B=2
[Install]
WantedBy=multi-user.target
# gone with its section
[Service]
User=agent
"""


def test_settings_are_read_as_systemd_reads_them() -> None:
    unit = unitfile.parse(LONG)
    assert unit.get("Unit", "Description") == "An agent"
    assert (unit.get("Service", "ExecStart") or "").split() == ["/bin/agent", "--one", "--two"]
    assert unit.get("Service", "Environment") == "B=2"
    assert unit.get("Service", "User") == "agent"
    assert unit.get("Service", "Nothing") is None
    assert [s.line for s in unit.settings] == [3, 7, 11, 12, 14, 17]


def test_the_lines_stay_as_written_and_ours_follow_in_sections_of_their_own() -> None:
    text = unitfile.parse(LONG).extended({"Unit": ["PartOf=x.target"], "Service": []})
    kept = LONG.replace("[Install]\nWantedBy=multi-user.target\n# gone with its section\n", "")
    assert text == f"{kept}\n[Unit]\nPartOf=x.target\n"


def test_lines_of_a_windows_editor_are_lines() -> None:
    assert (
        unitfile.parse("[Service]\r\nExecStart=/bin/x\r\n").get("Service", "ExecStart") == "/bin/x"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("ExecStart=/x\n", "line 1: stands before", id="no-section"),
        pytest.param("[Service]\nwhat\n", "line 2: is neither", id="no-setting"),
        pytest.param("[Service]\n=x\n", "line 2: is neither", id="no-key"),
        pytest.param("[Service]\nA=b \\", "line 2: ends in a backslash", id="dangling"),
        pytest.param("[Service]\nA=\0\n", "line 2: contains a NUL", id="nul"),
    ],
)
def test_what_systemd_would_skip_or_swallow_is_refused(text: str, message: str) -> None:
    with pytest.raises(unitfile.UnitError, match=message):
        unitfile.parse(text)


SERVICE = "[Service]\nExecStart=/bin/x\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[Unit]\nDescription=x\n", "no ExecStart", id="no-command"),
        pytest.param(f"{SERVICE}KillMode=none\n", "line 3: KillMode=none", id="kill-mode"),
        pytest.param(f"{SERVICE}Type=oneshot\n", "RemainAfterExit", id="oneshot"),
        pytest.param(f"{SERVICE}[Install]\nAlias=y.service\n", "line 4: Alias", id="alias"),
        pytest.param(f"{SERVICE}[Install]\nAlso=y.socket\n", "line 4: Also", id="also"),
        pytest.param(f"{SERVICE}[Install]\nWantedBy=x.target\n", "multi-user", id="wanted-by"),
        pytest.param(f"[Unit]\nRefuseManualStop=yes\n{SERVICE}", "RefuseManualStop", id="no-stop"),
        pytest.param(f"{SERVICE}Type=notify-reload\n", "needs systemd 253", id="type"),
        pytest.param(f"{SERVICE}LoadCredential=a:/b\n", "needs systemd 247", id="credential"),
    ],
)
def test_what_would_break_a_copy_is_refused(text: str, message: str) -> None:
    with pytest.raises(unitfile.UnitError, match=message):
        unitfile.check(unitfile.parse(text), systemd=245)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SERVICE, id="plain"),
        pytest.param(f"{SERVICE}Type=oneshot\nRemainAfterExit=yes\n", id="oneshot-that-remains"),
        pytest.param(f"{SERVICE}LoadCredential=a:/b\n", id="credential"),
        pytest.param(f"[Unit]\nRefuseManualStop=no\n{SERVICE}", id="false"),
        pytest.param(f"{SERVICE}[Install]\nWantedBy=default.target\n", id="wanted-by"),
    ],
)
def test_what_fleetd_can_run_is_taken(text: str) -> None:
    unitfile.check(unitfile.parse(text), systemd=247)


def test_a_text_given_back_reads_the_same() -> None:
    once = unitfile.parse(LONG)
    again = unitfile.parse(once.extended({}))
    assert [(s.key, s.value) for s in again.settings] == [
        (s.key, s.value) for s in once.settings if s.section != "Install"
    ]
