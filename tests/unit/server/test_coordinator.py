from __future__ import annotations

import socket

import pytest

from fleetd.errors import InvalidInput, StateBroken
from fleetd.server.coordinator import causes, listen_tcp


def test_metrics_are_served_where_it_is_said() -> None:
    with listen_tcp("127.0.0.1:0") as listening:
        host, port = listening.getsockname()
        assert host == "127.0.0.1"
        with socket.create_connection((host, port), timeout=10):
            pass


@pytest.mark.parametrize(
    "address", ["192.0.2.1:9469", "no-such-host.invalid:9469"], ids=["not-ours", "unknown"]
)
def test_an_address_that_cannot_be_had_is_named(address: str) -> None:
    with pytest.raises(InvalidInput, match=address):
        listen_tcp(address)


def test_an_address_in_use_is_named() -> None:
    with listen_tcp("127.0.0.1:0") as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        with pytest.raises(InvalidInput, match=address):
            listen_tcp(address)


def test_each_cause_of_an_end_is_told_once_in_one_line() -> None:
    broken = StateBroken("state.db cannot be used:\n  disk I/O error")
    inner = ExceptionGroup("loop", [broken, LookupError("x")])
    assert causes(ExceptionGroup("all", [inner, broken])) == [
        "state.db cannot be used: disk I/O error",
        "LookupError: x",
    ]
