"""The service, installed for real: a box that drives two hosts under systemd, as its own user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import box as boxes
from tests.e2e.box import property_of
from tests.e2e.lab import Fleet, Host, HostSpec
from tests.e2e.proof import never_two

pytestmark = pytest.mark.timeout(300)

HOSTS = (
    HostSpec("box", runtime="none", admin=True),
    HostSpec("web-1", runtime="none"),
    HostSpec("web-2", runtime="none"),
)
SERVICE = "fleetd.service"
TARGETS = ("web-1", "web-2")


@pytest.fixture(scope="module")
def box(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The box, as docs/service.md installs it; the service not yet started."""
    box = fleet["box"]
    boxes.install_package(box, boxes.wheel(tmp_path_factory.mktemp("wheel")))
    boxes.install_units(box)
    boxes.settle_in(box, [fleet[name] for name in TARGETS])
    box.sh("useradd -m -G fleetd,fleetd-operators alice; useradd -m -G fleetd bob; useradd -m eve")
    yield box
    never_two(fleet.hosts.values())


def test_systemd_starts_it_and_hears_that_it_is_ready(fleet: Fleet, box: Host) -> None:
    box.sh(f"systemctl enable --now {SERVICE}", timeout=60)
    assert property_of(box, SERVICE, "ActiveState") == "active"
    assert property_of(box, SERVICE, "StatusText") != ""
    assert box.sh(f"ps -o user= -p {main_pid(box)}").stdout.strip() == "fleetd"
    state = box.sh("stat -c '%a %U %n' /var/lib/fleetd /var/lib/fleetd/state.db").stdout
    assert state == "700 fleetd /var/lib/fleetd\n600 fleetd /var/lib/fleetd/state.db\n"


def main_pid(box: Host) -> int:
    return int(property_of(box, SERVICE, "MainPID"))
