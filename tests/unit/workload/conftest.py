from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.workload.hosting import SHELLS, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with Debian's shell."""
    return Host(tmp_path, "dash")


@pytest.fixture(params=SHELLS)
def any_host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """A host with each of the shells that hosts have as /bin/sh, and its programs."""
    return Host(tmp_path, request.param)
