from __future__ import annotations

import pytest

from fleetd.engine.images import alike


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "read tcp 10.0.0.11:52311->10.0.0.1:443: connection reset by peer",
            "read tcp 10.0.0.1:443: connection reset by peer",
        ),
        (
            "Get https://r/v2/: dial tcp [::1]:40222->[::1]:53: connection refused",
            "Get https://r/v2/: dial tcp [::1]:53: connection refused",
        ),
        ("no such host", "no such host"),
    ],
    ids=["v4", "v6", "none"],
)
def test_a_pull_fails_alike_on_every_host(said: str, kept: str) -> None:
    assert alike(said) == kept
