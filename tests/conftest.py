"""What every test shares: how hypothesis draws its examples."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadlines: a slow machine is not a failing one. Under CI the examples are the same each time,
# so a red run can be had again; elsewhere they differ, so that developers find the new ones.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
