"""fleetd's own units: what no other test of them can see without root."""

from __future__ import annotations

from pathlib import Path

from fleetd.server.life import DRAIN_S

SYSTEMD = Path(__file__).parents[2] / "systemd"


def sections(unit: str) -> dict[str, list[str]]:
    """The directives of a unit by section, without comments."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text().splitlines():
        if line.startswith("["):
            found[line] = []
        elif line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def sandbox(unit: str) -> list[str]:
    """What a unit's process may not do, and as whom it runs."""
    service = sections(unit)["[Service]"]
    begin = service.index("NoNewPrivileges=yes")
    return [line for line in service if line.startswith(("User=", "Group="))] + service[begin:]


def test_the_timer_works_in_the_sandbox_of_the_service() -> None:
    assert sandbox("fleetd-drift.service") == sandbox("fleetd.service")
    assert len(sandbox("fleetd.service")) > 20


def test_users_of_the_socket_are_seen_as_who_they_are() -> None:
    """In a user namespace of its own the service would take every peer for nobody."""
    assert not any("PrivateUsers" in line for line in sandbox("fleetd.service"))


def test_the_end_of_the_service_takes_the_socket_of_no_other_unit() -> None:
    """A unit's RuntimeDirectory= is removed with it, whoever else may use that."""
    drift = sections("fleetd-drift.service")["[Service]"]
    assert not any(line.startswith("RuntimeDirectory") for line in drift)


def test_what_is_in_flight_has_time_to_end_before_systemd_kills() -> None:
    (stop,) = (
        line.partition("=")[2]
        for line in sections("fleetd.service")["[Service]"]
        if line.startswith("TimeoutStopSec=")
    )
    assert float(stop.removesuffix("s")) > DRAIN_S + 10
