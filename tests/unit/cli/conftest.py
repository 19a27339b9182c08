"""The command line in this process: a clean environment, captured output, a client in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetd.cli.main import main
from fleetd.cli.verbs import Serve
from tests.unit.cli.fake_client import FakeClient, Opener


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    code: int
    out: str
    err: str


@dataclass
class CommandLine:
    """Calls `fleetd` with this client; `opener` remembers the settings that it was given."""

    client: FakeClient
    opener: Opener
    capsys: pytest.CaptureFixture[str]
    demo: Callable[[], int] = lambda: 0
    serve: Serve = lambda _read: 0

    def __call__(self, *argv: str) -> Ended:
        code = main(self.opener, self.opener.reads, self.demo, self.serve, argv)
        captured = self.capsys.readouterr()
        return Ended(code, captured.out, captured.err)


@pytest.fixture
def fleetd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLEETD_CONFIG", str(empty))
    for name in ("FLEETD_INVENTORY", "FLEETD_STATE", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    client = FakeClient()
    return CommandLine(client, Opener(client), capsys)
