from __future__ import annotations

import pytest

from fleetd.core import unitfile

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
        pytest.param(f"[Unit]\nRefuseManualStop=yes\n{SERVICE}", "RefuseManualStop", id="no-stop"),
        pytest.param(f"{SERVICE}Type=notify-reload\n", "253, .* is older", id="type"),
        pytest.param(f"{SERVICE}LoadCredential=a:/b\n", "247, .* is older", id="credential"),
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
        pytest.param(f"{SERVICE}[Install]\nAlias=y.service\nWantedBy=x.target\n", id="install"),
        pytest.param(f"\ufeff{SERVICE}", id="byte-order-mark"),
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


def test_what_install_says_beyond_the_usual_has_no_effect_and_is_told() -> None:
    install = "[Install]\nWantedBy=default.target\nAlias=y.service\nWantedBy=x.target\n"
    unit = unitfile.parse(SERVICE + install)
    assert [(s.line, s.key) for s in unitfile.left_out(unit)] == [(5, "Alias"), (6, "WantedBy")]
    timer = unitfile.parse("[Install]\nWantedBy=timers.target\n")
    assert unitfile.left_out(timer, unitfile.Kind.TIMER) == ()
    assert len(unitfile.left_out(timer)) == 1


@pytest.mark.parametrize("kind", [unitfile.Kind.TIMER, unitfile.Kind.SOCKET])
def test_a_oneshot_may_be_started_by_something_beside_it(kind: unitfile.Kind) -> None:
    unitfile.check(unitfile.parse(f"{SERVICE}Type=oneshot\n"), started_by=kind)


def test_a_service_that_a_timer_could_not_start_again_is_refused() -> None:
    unit = unitfile.parse(f"{SERVICE}Type=oneshot\nRemainAfterExit=yes\n")
    with pytest.raises(unitfile.UnitError, match="no timer starts it again"):
        unitfile.check(unit, started_by=unitfile.Kind.TIMER)


TIMER = "[Timer]\nOnCalendar=daily\n"
SOCKET = "[Socket]\nListenStream=/run/x\n"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        pytest.param("[Timer]\nPersistent=yes\n", "timer", "has no On", id="no-time"),
        pytest.param("[Socket]\nBacklog=3\n", "socket", "has no Listen", id="no-address"),
        pytest.param(f"{TIMER}Unit=x.service\n", "timer", "line 3: Unit", id="other-unit"),
        pytest.param(
            f"{SOCKET}Service=x.service\n", "socket", "line 3: Service", id="other-service"
        ),
        pytest.param(f"{SOCKET}Accept=yes\n", "socket", "each connection", id="accept"),
        pytest.param(f"{TIMER}RemainAfterElapse=no\n", "timer", "last run", id="elapsed"),
        pytest.param(f"[Unit]\nRefuseManualStop=1\n{TIMER}", "timer", "stop it", id="no-stop"),
        pytest.param(f"{TIMER}[Service]\nExecStart=/x\n", "timer", "into unit", id="service"),
    ],
)
def test_a_trigger_that_would_start_something_else_is_refused(
    text: str, kind: str, message: str
) -> None:
    with pytest.raises(unitfile.UnitError, match=message):
        unitfile.check_trigger(unitfile.parse(text), unitfile.Kind(kind))


def test_a_timer_and_a_socket_are_taken() -> None:
    unitfile.check_trigger(unitfile.parse(TIMER), unitfile.Kind.TIMER)
    unitfile.check_trigger(unitfile.parse(f"{SOCKET}Accept=no\n"), unitfile.Kind.SOCKET)


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("20s", 20), ("150", 150), ("1min 30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("2d1m", 172860)],
)
def test_time_spans_are_read_as_systemd_reads_them(span: str, seconds: float) -> None:
    assert unitfile.seconds(span) == pytest.approx(seconds)


@pytest.mark.parametrize("span", ["infinity", "", "soon", "5 fortnights"])
def test_what_is_no_time_span_is_none(span: str) -> None:
    assert unitfile.seconds(span) is None
