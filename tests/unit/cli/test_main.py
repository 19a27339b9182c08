"""The tree of verbs, and what becomes of errors and odd calls."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fleetd import __version__
from fleetd.cli.main import SECTIONS, build
from fleetd.cli.verbs import Verb
from fleetd.errors import InvalidInput, NotConverged, Problem, StateBroken
from tests.unit.cli.conftest import CommandLine

ROOT = Path(__file__).parents[3]


def verbs(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


VERBS = dict(verbs(build()))


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(fleetd: CommandLine, name: str) -> None:
    ended = fleetd(*name.split(), "--help")
    assert ended.code == 0
    verb = VERBS[name]
    assert isinstance(verb, Verb)
    assert (verb.help or "").partition("\n")[0].endswith((".", ";"))
    assert verb.examples
    assert all(f"fleetd {name}" in " ".join(e.split()) or "-i" in e for e in verb.examples)
    assert "Examples:\n  " in ended.out


def test_help_lists_every_verb_once(fleetd: CommandLine) -> None:
    listed = [str(command.name) for section in SECTIONS.values() for command in section]
    assert sorted(listed) == sorted(build().commands)
    assert fleetd("--help").out == fleetd().out
    for name in listed:
        assert f"\n  {name} " in fleetd().out


def documented() -> dict[str, set[str]]:
    """Verb to options, as docs/cli.md has them: `### verb`, then items "- `-o`, `--output X`: "."""
    text = (ROOT / "docs" / "cli.md").read_text()
    chapters = re.findall(r"^### `(.+)`\n((?:(?!##).*\n)*)", text, re.MULTILINE)
    items = {verb: re.findall(r"^- (`-[^:]+):", body, re.MULTILINE) for verb, body in chapters}
    return {
        verb: {word for item in named for word in re.findall(r"`(-[-\w]+)", item)}
        for verb, named in items.items()
    }


def test_the_reference_has_the_verbs_and_options_of_the_program() -> None:
    def options(command: click.Command) -> set[str]:
        shown = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        return {
            word.strip() for p in shown for word in (*p.opts, *p.secondary_opts) if word.strip()
        }

    assert documented() == {name: options(command) for name, command in VERBS.items()} | {
        "fleetd": options(build())
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["get"], "fleetd: Missing argument 'KIND [NAME]...'.\n  fleetd: see fleetd get --help\n"),
        (["get", "ds", "--nope"], "No such option"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["rollout"], "Missing command"),
        (["apply"], "name a file, a directory, or - for stdin"),
        (["apply", "x", "--timeout", "soon"], "'soon' is not a duration; write 90s, 5m or 1h30m"),
        (["apply", "x", "--confirm-removals", "-1"], "-1 is not in the range x>=0"),
        (["get", "demonsets"], "did you mean daemonsets?"),
        (["taint", "web-01"], "name a node and a change, such as dedicated=gpu:NoSchedule"),
        (["enroll"], "name hosts, or say --all"),
        (["enroll", "a", "--all"], "name hosts, or say --all"),
        (["explain"], "name a field"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_code_2_on_stderr(
    fleetd: CommandLine, argv: list[str], message: str
) -> None:
    ended = fleetd(*argv)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.startswith("fleetd: ")
    assert fleetd.opener.opened == []


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        pytest.param(StateBroken("no such table"), 1, "fleetd: no such table\n", id="broken"),
        pytest.param(NotConverged("time ran out"), 3, "fleetd: time ran out\n", id="late"),
        pytest.param(InvalidInput("no inventory"), 2, "fleetd: no inventory\n", id="one-sentence"),
        pytest.param(
            InvalidInput([Problem("a.yaml", 3, "spec.x", "unknown field", "did you mean y?")]),
            2,
            "fleetd: a.yaml:3: spec.x: unknown field; did you mean y?\n",
            id="one-problem",
        ),
        pytest.param(
            InvalidInput([Problem("a.yaml", 3, "spec", "bad"), Problem("b.yaml", 0, "", "worse")]),
            2,
            "a.yaml:3: spec: bad\nb.yaml: worse\nfleetd: 2 problems; nothing was touched\n",
            id="all-problems",
        ),
        pytest.param(
            ExceptionGroup("tasks", [NotConverged("time ran out")]),
            3,
            "fleetd: time ran out\n",
            id="out-of-a-group",
        ),
        pytest.param(
            KeyError("oops\nmore"),
            1,
            "fleetd: unexpected KeyError: 'oops\\nmore';"
            " --debug shows where, and please report it\n",
            id="a-bug",
        ),
        pytest.param(
            ExceptionGroup("tasks", [NotConverged("late"), ValueError("bug")]),
            1,
            "fleetd: unexpected ExceptionGroup: tasks (2 sub-exceptions);"
            " --debug shows where, and please report it\n",
            id="a-bug-in-a-group",
        ),
    ],
)
def test_errors_are_one_line_with_their_code(
    fleetd: CommandLine, error: Exception, code: int, text: str
) -> None:
    fleetd.opener.error = error
    ended = fleetd("get", "ds")
    assert (ended.code, ended.out, ended.err) == (code, "", text)


def test_debug_shows_the_traceback(fleetd: CommandLine) -> None:
    fleetd.opener.error = KeyError("oops")
    ended = fleetd("get", "ds", "--debug")
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert fleetd.opener.opened[0][0].debug


def test_global_options_stand_before_the_verb_or_after_it(
    fleetd: CommandLine, tmp_path: Path
) -> None:
    fleetd("-i", "a", "--state", "s", "get", "ds", "-i", "b")
    fleetd("get", "ds", "--inventory", "a", "-i", "b", "--state=s")
    first, second = (settings for settings, _ in fleetd.opener.opened)
    assert first == second
    assert first.inventory == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert first.state == f"{tmp_path}/s"


def test_wrong_settings_are_told_before_anything_is_opened(
    fleetd: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("stat: x\n")
    ended = fleetd("--config", "bad.yaml", "apply", "x")
    assert ended.code == 2
    assert ended.err == (f"fleetd: {tmp_path}/bad.yaml:1: stat: unknown key; did you mean state?\n")
    assert fleetd.opener.opened == []


def test_version(fleetd: CommandLine) -> None:
    assert fleetd("version").out == fleetd("--version").out
    assert f"fleetd {__version__} " in fleetd("version").out


def test_demo_is_the_composition_roots(fleetd: CommandLine) -> None:
    fleetd.demo = lambda: 9
    assert fleetd("demo").code == 9


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(fleetd: CommandLine, shell: str) -> None:
    assert "_FLEETD_COMPLETE" in fleetd("completion", shell).out


def test_explain_prints_the_table_of_fields(fleetd: CommandLine) -> None:
    out = fleetd("explain", "--fields").out
    assert out.splitlines()[0].split() == ["FIELD", "TYPE", "HERE", "NOTE"]
    assert "spec.template.spec.containers[].image" in out
    systemd = fleetd("explain", "--fields", "--api-version", "fleetd/v1").out
    assert "spec.template.spec.systemd" in systemd


@pytest.mark.parametrize(
    "path", ["spec.updateStrategy", "ds.spec.updateStrategy", "DaemonSet.spec.updateStrategy"]
)
def test_explain_tells_of_a_field_and_what_is_next_below(fleetd: CommandLine, path: str) -> None:
    lines = fleetd("explain", path).out.splitlines()
    assert lines[:4] == ["GROUP:      apps", "KIND:       DaemonSet", "VERSION:    v1", ""]
    assert lines[4] == "FIELD: updateStrategy <UpdateStrategy>"
    assert lines[6].split() == ["HERE:", "honoured"]
    below = [line.split()[0] for line in lines[lines.index("FIELDS:") + 1 :]]
    assert below == ["type", "rollingUpdate"]
    every = fleetd("explain", path, "--recursive").out.splitlines()
    assert [line.split()[0] for line in every[-2:]] == ["maxUnavailable", "maxSurge"]


@pytest.mark.parametrize(
    "path",
    [
        "ds.spec.template.spec.containers.livenessProbe",
        "pod.spec.containers.livenessProbe",
        "spec.template.spec.containers[].livenessProbe",
    ],
)
def test_explain_reads_kubectls_paths(fleetd: CommandLine, path: str) -> None:
    out = fleetd("explain", path).out
    assert "FIELD: livenessProbe <Probe>\n\nHERE:  emulated\nNOTE:  probed on the host\n" in out
    assert "\n  failureThreshold " in out


@pytest.mark.parametrize("path", ["ds", "daemonset"])
def test_explain_of_a_kind_is_its_fields(fleetd: CommandLine, path: str) -> None:
    lines = fleetd("explain", path).out.splitlines()
    assert [line.split()[0] for line in lines[5:]][:4] == ["apiVersion", "kind", "metadata", "spec"]


def test_explain_of_no_field_is_an_error(fleetd: CommandLine) -> None:
    ended = fleetd("explain", "ds.spec.updateStrat")
    assert (ended.code, ended.out) == (2, "")
    assert 'field "ds.spec.updateStrat" does not exist in apps/v1' in ended.err


@pytest.mark.parametrize(
    ("argv", "out"),
    [
        (["cordon", "a", "node/b"], "node/a cordoned\nnode/b cordoned\n"),
        (["hold", "a"], "node/a held\n"),
        (["unhold", "a"], "node/a released\n"),
        (["taint", "a", "k=v:NoSchedule", "old-"], "node/a tainted: k=v:NoSchedule old-\n"),
        (["taint", "nodes", "a", "k-"], "node/a tainted: k-\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_verbs_of_nodes(fleetd: CommandLine, argv: list[str], out: str) -> None:
    assert fleetd(*argv).out == out
    assert [mutating for _, mutating in fleetd.opener.opened] == [True]


def test_exec_passes_bytes_and_status_on(fleetd: CommandLine) -> None:
    ended = fleetd("exec", "node/web-01", "-c", "main", "--", "ls", "-l", "--state")
    assert (ended.code, ended.out, ended.err) == (7, "out\n", "err\n")
    assert fleetd.client.calls == [
        ("exec", "node/web-01", "default", ("ls", "-l", "--state"), "main")
    ]


def test_enroll_pins_only_when_told(fleetd: CommandLine) -> None:
    ended = fleetd("enroll", "web-01")
    assert ended.out == "web-01   SHA256:abc\n"
    assert "Nothing was pinned" in ended.err
    assert "Nothing" not in fleetd("enroll", "web-01", "--yes").err
    assert fleetd.client.calls == [
        ("enroll", ("web-01",), False, False),
        ("enroll", ("web-01",), False, True),
    ]


def test_a_host_that_is_not_enrolled_is_exit_code_3(fleetd: CommandLine) -> None:
    fleetd.client.enrolled = (("web-01", "failed: no answer"), ("web-02", "pinned SHA256:abc"))
    assert fleetd("enroll", "--all", "--yes").code == 3


def test_adopt_and_purge(fleetd: CommandLine) -> None:
    assert fleetd("adopt").code == 0
    assert fleetd("purge", "node/web-01").code == 0
    assert fleetd.client.calls == [("adopt",), ("purge", "web-01")]


PROGRAM = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from tests.unit.cli.fake_client import FakeClient, Opener
from tests.unit.cli.shapes import daemonset
from fleetd.cli.main import main

class Waiting(FakeClient):
    async def reconcile(self, options, progress):
        print("ready", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("closed", flush=True)

client = Waiting({"daemonsets": [daemonset(f"ds-{i}") for i in range(20000)]})
client.apart = "apart" in sys.argv
sys.argv = [word for word in sys.argv if word != "apart"]
opener = Opener(client)
code = main(opener, opener.reads, lambda: 0, lambda read: 0)
print(*sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
sys.exit(code)
"""


def program(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("signal", "code"), [(2, 130), (15, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_run_cleanly(signal: int, code: int) -> None:
    with program("reconcile") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal)
        out, err = process.communicate()
    assert process.returncode == code
    assert out == "closed\n"
    assert "fleetd: stopped." in err
    assert "`fleetd reconcile` goes on from here" in err
    assert "Traceback" not in err


def test_who_stops_waiting_for_a_service_is_told_that_it_goes_on() -> None:
    with program("reconcile", "apart") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(2)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "The service has what was asked for and goes on with it" in err
    assert "stopped" not in err


def test_a_reader_that_leaves_is_not_an_error() -> None:
    with program("get", "ds") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("NAME")
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 141
    assert "Traceback" not in err
    assert "fleetd:" not in err


REAL = """
import sys
from fleetd.__main__ import main

sys.argv[0] = "fleetd"
code = main()
print(*sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "argv",
    [
        ["get", "ds,pods,events"],
        ["get", "all", "-A", "-l", "a in (b)", "-o", "jsonpath={.items[*].kind}"],
        ["events", "--for", "ds/ne"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_reading_verbs_import_nothing_heavy(tmp_path: Path, argv: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", REAL, "--state", tmp_path / "state", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ended.stderr.split())
    heavy = {"asyncssh", "pydantic", "rich", "yaml", "structlog", "subprocess", "tempfile"}
    assert heavy & loaded <= {"subprocess"}  # asyncio's own
    assert {"click", "sqlite3"} <= loaded
