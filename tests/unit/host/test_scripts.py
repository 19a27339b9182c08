"""The carrier line and the scripts, as far as they run without a host to run on."""

from __future__ import annotations

import subprocess

import pytest

from fleetd.host import carrier
from fleetd.host.replies import after_begin
from fleetd.host.requests import Exec, Observe
from fleetd.host.scripts import script
from fleetd.host.wire import encode

NONCE = "ab" * 8
VERBS = ("observe", "pull", "load", "apply", "remove", "adopt", "purge", "logs", "exec")


def carry(stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    """What the host does once it is root: read the script by its length, and run it."""
    argv = ["/bin/sh", "-c", carrier.READ_SCRIPT]
    return subprocess.run(argv, input=stdin, capture_output=True, check=False)


def test_no_login_shell_finds_anything_to_expand_in_the_line() -> None:
    quoted = carrier.LINE.split("'")
    assert len(quoted) == 5, "two single-quoted words, and nothing that needs a fifth quote"
    assert not set("!\\\n") & set(carrier.LINE), "tcsh and fish read these inside single quotes"
    assert quoted[0] == "exec /bin/sh -c "
    assert (quoted[2], quoted[4]) == (" ", "")


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_can_be_carried(verb: str) -> None:
    text = script(verb)
    assert text.isascii()
    assert b"\0" not in text
    assert not text.endswith(b"\n"), "$(...) would drop it, and the length would not match"
    assert text.endswith(f"\nmain {verb}".encode()), "a cut script has no call"
    assert not [line for line in text.split(b"\n") if line.startswith(b"#")]


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_is_shell(verb: str) -> None:
    argv = ["/bin/sh", "-n", "-c", script(verb).decode()]
    assert subprocess.run(argv, capture_output=True, check=False).stderr == b""


HOSTILE = ("$(id)", "a b", "line\nline\n\n", "", "'\"`\\", "ü", "-n", "*", "\t", "%s", "\x01")


def test_arguments_reach_the_command_as_they_are() -> None:
    request = Exec(("printf", "<%s>", *HOSTILE))
    out = after_begin(carry(encode(request, NONCE)).stdout, NONCE)
    assert out == "".join(f"<{text}>" for text in HOSTILE).encode()


def test_a_command_keeps_its_exit_status() -> None:
    assert carry(encode(Exec(("sh", "-c", "exit 7")), NONCE)).returncode == 7


def test_a_request_cut_anywhere_runs_nothing() -> None:
    whole = encode(Exec(("echo", "ran")), NONCE)
    places = [*range(0, len(whole) - 200, 97), *range(len(whole) - 200, len(whole))]
    for length in places:
        done = carry(whole[:length])
        assert b"ran" not in done.stdout, length
        assert done.returncode != 0, length


def test_a_request_of_another_verb_is_not_run() -> None:
    length, _, rest = encode(Exec(("echo", "ran")), NONCE).partition(b"\n")
    header = rest[int(length) :].replace(b"\texec\t", b"\tobserve\t", 1)
    done = carry(length + b"\n" + rest[: int(length)] + header)
    assert done.stdout == b""
    assert done.returncode == 3


def test_an_observe_cut_before_its_question_ends_says_nothing() -> None:
    whole = encode(Observe("f"), NONCE)
    done = carry(whole[:-1])
    assert b"part" not in done.stdout
    assert b"END" not in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_no_engine_is_asked_to_print_tabs(verb: str) -> None:
    """Podman 3 prints nothing at all for a format with one."""
    formats = [line for line in script(verb).decode().split("\n") if "{{" in line]
    assert not [line for line in formats if "\t" in line or "\\t" in line or "$TAB" in line]
