"""How a unit tells, at each start, which revision it runs.

The revision stands in a file of the copy, not in the unit: a copy that only reloads keeps its unit
text. `+` runs the stamp as root, outside of whatever sandbox the unit has. INVOCATION_ID ties the
stamp to this very start, so that one left by an earlier start says nothing. A stamp that cannot be
written is seen as missing; it keeps nobody from starting, least of all a unit of the host (`-`).
"""

from __future__ import annotations

from fleetd.core.bundle import BundleFile, Inline, OnChange
from fleetd.core.facts import Slot
from fleetd.core.meta import Key
from fleetd.workload.names import RUN_DIR, copy_dir, stamp_path
from fleetd.workload.quoting import exec_word, sh_word


def revision_file(ds: Key, slot: Slot, revision: str) -> BundleFile:
    """The file that the stamp reads."""
    return BundleFile(_path(ds, slot), 0o644, Inline(f"{revision}\n"), on_change=OnChange.NOTHING)


def stamp_line(ds: Key, slot: Slot, unit: str) -> str:
    """The Exec line that stamps a start of `unit`."""
    stamp, beside = sh_word(stamp_path(unit)), sh_word(f"{stamp_path(unit)}.tmp")
    script = (
        f"read -r r <{_path(ds, slot)} && mkdir -p {RUN_DIR}/stamp && "
        f'printf "%s %s\\n" "$r" "$INVOCATION_ID" >{beside} && mv -f {beside} {stamp}'
    )
    return f"ExecStartPre=-+/bin/sh -c {exec_word(script)}"


def _path(ds: Key, slot: Slot) -> str:
    return f"{copy_dir(ds, slot)}/revision"
