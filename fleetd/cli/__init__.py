"""The command line: arguments in, one call of the client, and its answer printed.

Nothing is decided here. Imports stay light, because `fleetd get` is typed all day: click and what
it needs; YAML, rich and the engine are imported where a verb needs them.
"""

from __future__ import annotations
