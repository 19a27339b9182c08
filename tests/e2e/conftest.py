"""What tests on real hosts share: a fleet for each module, and a fresh start for each test.

A module names its hosts as HOSTS (a tuple of HostSpec) and, where containers run, the images that
all of them get as IMAGES. A test that takes `admin` begins with hosts that no fleet has touched and
a state of its own, and ends with the proof that never two copies of an agent ran at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.admin import Admin
from tests.e2e.lab import Fleet
from tests.e2e.proof import never_two, wipe


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The hosts of this module, booted, with its images."""
    images = getattr(request.module, "IMAGES", ())
    with Fleet(request.module.HOSTS) as booted:
        for host in booted.hosts.values():
            if host.spec.runtime != "none":
                for image in images:
                    host.import_image(image)
        yield booted


@pytest.fixture
def admin(fleet: Fleet, tmp_path: Path) -> Iterator[Admin]:
    """A coordinator that has never run, over hosts that have never been managed."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(wipe, fleet.hosts.values()))
    yield Admin(fleet, tmp_path / "admin")
    never_two(fleet.hosts.values())
