"""What every test shares: how hypothesis draws its examples, and programs of the machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests import programs

# No deadlines: a slow machine is not a failing one. Under CI the examples are the same each time,
# so a red run can be had again; elsewhere they differ, so that developers find the new ones.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure(config: pytest.Config) -> None:
    """CI brings what tests need, once, before its workers start."""
    config.addinivalue_line("markers", "needs(program): a program of the machine; see programs.py")
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        programs.install()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests whose program is missing."""
    left_out = []
    for item in items:
        needed = {str(mark.args[0]) for mark in item.iter_markers("needs")}
        if any(programs.find(program) is None for program in needed):
            left_out.append(item)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what was left out."""
    missing = [program for program in programs.PACKAGES if programs.find(program) is None]
    if missing:
        terminalreporter.write_line(programs.not_run(missing), yellow=True)
