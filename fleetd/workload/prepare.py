"""The shell lines by which a launcher makes what its mounts need.

Each can be cut anywhere and run again. What two launchers of one pod must not do at once they do
under a lock of the copy's directory: a tmpfs mounted twice would hide the files of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleetd.workload.quoting import sh_word
from fleetd.workload.text import Text


def cleared(kept: str) -> Iterable[str]:
    """Takes away what earlier revisions left, as it would have gone with their pods."""
    parent, _, revision = kept.rpartition("/")
    yield f"for left in {parent}/*; do"
    yield f'  case $left in */{revision}) ;; *) rm -rf -- "$left" ;; esac'
    yield "done"


def told(message: str) -> str:
    """A line for the unit's journal."""
    return f"printf '%s\\n' {sh_word(message)} >&2"


def locked(directory: str, lines: Sequence[str]) -> Iterable[str]:
    """`lines` in one launcher at a time."""
    if lines:
        yield f"exec 9<{sh_word(directory)}"
        yield "flock 9"
        yield from lines
        yield "exec 9<&-"


def empty(directory: str, group: int | None) -> Iterable[str]:
    """A directory that the pod's group can write."""
    place = sh_word(directory)
    yield f"[ -d {place} ] || mkdir -p -m 0777 {place}"
    if group is not None:
        # Once: what the pod made of it later is the pod's.
        owned = f'[ "$(stat -c %g {place})" = {group} ]'
        yield f"{owned} || {{ chmod g+rwxs {place} && chgrp {group} {place}; }}"


def in_memory(directory: str, size: int | None, group: int | None) -> Iterable[str]:
    """A tmpfs that lives until the copy or its revision goes."""
    place = sh_word(directory)
    options = ["mode=0777"] if group is None else ["mode=2777", f"gid={group}"]
    options += [] if size is None else [f"size={size}"]
    yield f"[ -d {place} ] || mkdir -p {place}"
    yield f"mountpoint -q {place} || mount -t tmpfs -o {','.join(options)} tmpfs {place}"


def written(path: str, content: Text, mode: int, group: int | None) -> Iterable[str]:
    """A file that only the host can write; whoever reads it sees the old one or the new one."""
    parent, _, name = path.rpartition("/")
    place, beside = sh_word(path), sh_word(f"{parent}/.{name}.new")
    yield f"[ -d {sh_word(parent)} ] || mkdir -p {sh_word(parent)}"
    yield f"printf %s {content.sh()} >{beside}"
    if group is not None:
        yield f"chgrp {group} {beside}"
    yield f"chmod {mode:04o} {beside}"
    yield f"mv -f {beside} {place}"


def shared(directories: Iterable[str], group: int) -> Iterable[str]:
    """Directories of a volume of files that the pod's group can read."""
    places = " ".join(map(sh_word, directories))
    yield f"chgrp {group} {places}"
    yield f"chmod g+rxs {places}"


def expanded(variable: str, text: Text, path: str) -> Iterable[str]:
    """A path below a volume that only the host can put together."""
    refused = sh_word(f"{path}: is no path inside the volume: ")
    yield f"{variable}={text.sh()}"
    yield f'case "/${variable}/" in'
    yield "  */../* | //?* | *[[:cntrl:],\\\"\\']*)"
    yield f"    printf '%s%s\\n' {refused} \"${variable}\" >&2"
    yield "    exit 1 ;;"
    yield "esac"


def inside(volume: str, source: Text, path: str) -> Iterable[str]:
    """Refuses a path below a volume that a symbolic link leads out of it, before it is made."""
    refused = sh_word(f"{path}: leads out of the volume")
    yield f"at={source.sh()}"
    yield 'until [ -e "${at:-/}" ] || [ -L "$at" ]; do at=${at%/*}; done'
    yield f"root=$(readlink -f {sh_word(volume)})"
    yield 'case $(readlink -f "${at:-/}")/ in'
    yield '  "${root%/}"/*) ;;'
    yield f"  *) printf '%s\\n' {refused} >&2 && exit 1 ;;"
    yield "esac"
