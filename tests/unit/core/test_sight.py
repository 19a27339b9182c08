"""Why nothing can be decided on a host, by what its last visit brought."""

from __future__ import annotations

import pytest

from fleetd.core.actions import Reason
from fleetd.core.facts import HOST_KEY_CHANGED, Unknown
from fleetd.core.placement import sight_of


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        pytest.param(None, Reason.UNREACHABLE, id="never"),
        pytest.param(Unknown("no route"), Reason.UNREACHABLE, id="silent"),
        pytest.param(Unknown(f"{HOST_KEY_CHANGED} in x"), Reason.QUARANTINED, id="another-key"),
        pytest.param(
            Unknown(f"its jump host j: {HOST_KEY_CHANGED} in x"),
            Reason.UNREACHABLE,
            id="another-key-on-the-way",
        ),
    ],
)
def test_the_reason_is_told_and_there_is_no_view(seen: Unknown | None, reason: Reason) -> None:
    sight = sight_of(seen, "fleet", 0.0)
    assert (sight.view, sight.reason) == (None, reason)
