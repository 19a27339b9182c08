"""The one command line that every visit runs, whatever it is for.

It is constant, so that no login shell can read anything into what we send (P 83): inside single
quotes it holds no `!` (tcsh), no backslash (fish) and no single quote; it works in bash, dash, zsh,
fish and tcsh (P 82). An account that is not root goes through `sudo -n`, inside the same line; a
refusal of sudo's needs no exit status to be told apart (P 90), since only the script, as root,
prints the BEGIN line of a reply.

The inner text reads `<length>`, takes that many bytes as the script, and runs it only when all of
them came (P 78, P 81). What follows on stdin is the script's to read.
"""

from __future__ import annotations

READ_SCRIPT = (
    'LC_ALL=C; export LC_ALL; IFS= read -r n && s=$(head -c "$n") '
    '&& [ ${#s} -eq "$n" ] && eval "$s"'
)
"""Reads and runs the script; what an account does once it is root."""

_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then eval "$0"; else exec sudo -n /bin/sh -c "$0"; fi'

LINE = f"exec /bin/sh -c '{_AS_ROOT}' '{READ_SCRIPT}'"
"""The command to run on a host, for root and for a user with passwordless sudo alike."""
