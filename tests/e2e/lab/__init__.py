from __future__ import annotations
from .fleet import Entry, Fleet
from .host import Host, HostSpec
from .machine import LabError

__all__ = ["Entry", "Fleet", "Host", "HostSpec", "LabError"]
