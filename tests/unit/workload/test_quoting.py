from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from fleetd.workload import quoting
from fleetd.workload.environment import Text

LEGAL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
TEXTS = LEGAL | st.text("ab \t\n\r'\"\\$%{}()`;#!*~\x07é", max_size=40)
ESCAPE = re.compile(r'\\(x(?P<hex>[0-9a-f]{2})|(?P<one>.))|(?P<plain>[^\\"])', re.DOTALL)


def unescaped(word: str) -> str:
    """What systemd takes a word of a unit for, before specifiers (systemd.syntax(7))."""
    if not word.startswith('"'):
        assert not set(word) & set(" \t\n\"'\\"), word
        return word
    assert word.endswith('"')
    inside, result, at = word[1:-1], "", 0
    while at < len(inside):
        found = ESCAPE.match(inside, at)
        assert found, f"cannot be read from {inside[at:]!r}"
        at = found.end()
        if found["hex"]:
            result += chr(int(found["hex"], 16))
        elif found["one"]:
            result += {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}[found["one"]]
        else:
            result += found["plain"]
    return result


def specified(word: str) -> str:
    """After specifiers: only %% may stand there."""
    assert not re.search(r"%", word.replace("%%", "")), word
    return word.replace("%%", "%")


@given(TEXTS)
def test_an_exec_word_arrives_as_it_was(text: str) -> None:
    word = specified(unescaped(quoting.exec_word(text)))
    assert "$" not in word.replace("$$", "")
    assert word.replace("$$", "$") == text
    assert "\n" not in quoting.exec_word(text)


@given(TEXTS.filter(lambda t: not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", t)))
def test_an_environment_line_arrives_as_it_was(text: str) -> None:
    line = quoting.environment("NAME", text)
    assert specified(unescaped(line.removeprefix("Environment="))) == f"NAME={text}"
    assert "\n" not in line


@pytest.mark.parametrize("bad", ["\x07", "a\rb", "\x7f"], ids=["bell", "return", "delete"])
def test_systemd_takes_no_other_control_character_in_a_variable(bad: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        quoting.environment("NAME", bad)


@pytest.mark.parametrize("quote", [quoting.exec_word, quoting.sh_word], ids=["unit", "shell"])
def test_no_quoting_carries_a_nul(quote: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_a_shell_reads_each_word_as_it_was() -> None:
    words = [
        "",
        " ",
        "'",
        "''\"",
        "$HOME ${HOME} $(id) `id`",
        "a\\b\\",
        "line\nline\n",
        "\t*?[a]~{a,b}",
        "!x;#y&|<>",
        "é\x07\x7f",
        "-n",
    ]
    script = "".join(f"printf '%s\\0' {quoting.sh_word(word)}\n" for word in words)
    assert _sh(script).split("\0")[:-1] == words


def test_variables_stand_between_literal_text_without_being_read_as_shell() -> None:
    text = Text("a'$X \0X\0\"\0Y\0")
    script = f"X='x y;*'; Y=\"'\"; printf '%s\\0' {text.sh()} {Text('').sh()}"
    assert _sh(script).split("\0")[:-1] == ["a'$X x y;*\"'", ""]


def _sh(script: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-eu"], input=script.encode(), capture_output=True, check=True
    )
    return done.stdout.decode()
