from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from fleetd.core.facts import Slot
from fleetd.core.meta import Key
from fleetd.workload import names

LONG = Key("monitoring", "x" * 250)


def test_names_are_readable() -> None:
    ds = Key("mon", "node.exporter")
    assert names.unit_name(ds, "agent", Slot.A) == "fleetd-mon.node_exporter.agent.a.service"
    assert names.probe_name(ds, "agent", Slot.A) == "fleetd-mon.node_exporter.agent.a.probe.service"
    assert names.container_name(ds, "agent", Slot.B) == "fleetd-mon.node_exporter.agent.b"
    assert names.target_name(ds) == "fleetd-mon.node_exporter.target"
    assert names.copy_dir(ds, Slot.B) == "/var/lib/fleetd-node/w/mon.node_exporter/b"


def test_a_long_name_is_cut_with_a_hash() -> None:
    stem = names.container_name(LONG, "agent", Slot.A)
    assert stem == f"fleetd-monitoring.{'x' * 173}-2d4d3ad4"
    assert len(stem) == 200
    assert names.unit_name(LONG, "agent", Slot.A) == f"{stem}.service"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((LONG, "agent", Slot.B), id="slot"),
        pytest.param((LONG, "other", Slot.A), id="container"),
        pytest.param((Key("monitoring", "x" * 249 + "y"), "agent", Slot.A), id="name"),
    ],
)
def test_what_is_cut_is_still_told_apart(other: tuple[Key, str, Slot]) -> None:
    assert names.unit_name(*other) != names.unit_name(LONG, "agent", Slot.A)


label = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
subdomain = st.lists(label, min_size=1, max_size=4).map(".".join).filter(lambda n: len(n) <= 253)
key = st.builds(Key, label, subdomain)


@given(key, label, st.sampled_from(Slot))
def test_every_name_fits_a_unit_and_a_directory(ds: Key, container: str, slot: Slot) -> None:
    assert len(names.probe_name(ds, container, slot)) <= 255
    assert len(names.target_name(ds)) <= 255
    assert all(len(part) <= 255 for part in names.copy_dir(ds, slot).split("/"))
    assert len(names.drop_in(ds, "chrony.service").rpartition("/")[2]) <= 255


@given(key, label, key, label, st.sampled_from(Slot), st.sampled_from(Slot))
def test_no_two_copies_share_a_name(
    one: Key, c1: str, other: Key, c2: str, slot: Slot, slot2: Slot
) -> None:
    same = (one, c1, slot) == (other, c2, slot2)
    assert (names.unit_name(one, c1, slot) == names.unit_name(other, c2, slot2)) == same
