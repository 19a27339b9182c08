from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.client import Report
from tests.unit.cli.conftest import CommandLine


@pytest.fixture
def archive(tmp_path: Path) -> str:
    path = tmp_path / "agent.tar"
    path.write_bytes(b"")
    return str(path)


def test_a_push_goes_to_every_host(fleetd: CommandLine, archive: str) -> None:
    fleetd.client.report = Report(notes=("web-01: pushed",))
    ended = fleetd("image", "push", archive)
    assert (ended.code, ended.err) == (0, "note: web-01: pushed\n")
    assert fleetd.client.calls == [("push_image", archive, ())]


def test_a_push_goes_to_named_hosts(fleetd: CommandLine, archive: str) -> None:
    fleetd("image", "push", archive, "--node", "web-01", "--node", "node/web-02")
    assert fleetd.client.calls == [("push_image", archive, ("web-01", "web-02"))]


def test_a_push_goes_to_nodes_with_labels(fleetd: CommandLine, archive: str) -> None:
    fleetd.client.objects["nodes"] = [
        {"metadata": {"name": name, "labels": {"role": role}}}
        for name, role in (("web-01", "web"), ("db-01", "db"), ("web-02", "web"))
    ]
    fleetd("image", "push", archive, "-l", "role=web")
    assert fleetd.client.calls[-1] == ("push_image", archive, ("web-01", "web-02"))
    nobody = fleetd("image", "push", archive, "-l", "role=mail")
    assert nobody.code == 2
    assert "no node has the labels role=mail" in nobody.err


def test_a_push_that_missed_a_host_is_not_done(fleetd: CommandLine, archive: str) -> None:
    fleetd.client.report = Report(problems=("web-02: no room",), converged=False)
    ended = fleetd("image", "push", archive)
    assert ended.code == 3
    assert "problem: web-02: no room" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("nothing.tar",), id="no-such-file"),
        pytest.param(("-l", "a=b", "--node", "c"), id="both"),
        pytest.param(("-l", "a in"), id="no-selector"),
    ],
)
def test_what_makes_no_sense_is_refused(
    fleetd: CommandLine, archive: str, words: tuple[str, ...]
) -> None:
    given = words if words[0].endswith(".tar") else (archive, *words)
    assert fleetd("image", "push", *given).code == 2
    assert fleetd.client.calls == []
