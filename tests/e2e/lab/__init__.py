from __future__ import annotations

from tests.e2e.lab.disk import HostSpec
from tests.e2e.lab.fleet import Entry, Fleet
from tests.e2e.lab.host import Host
from tests.e2e.lab.machine import LabError

__all__ = ["Entry", "Fleet", "Host", "HostSpec", "LabError"]
