"""The shell that runs on hosts: one constant text per verb, joined from the `.sh` files here.

A script is functions only, called on its last line, so that a cut text runs nothing (P 80). It ends
without a newline because the carrier measures it after `$(...)`, which drops trailing ones (P 82).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_FILES: dict[str, tuple[str, ...]] = {
    "observe": ("lib", "observe"),
    "pull": ("lib", "change", "images", "pull"),
    "load": ("lib", "change", "images", "load"),
    "apply": ("lib", "observe", "change", "images", "apply", "install"),
    "remove": ("lib", "observe", "change", "images", "remove"),
    "adopt": ("lib", "observe", "adopt"),
    "purge": ("lib", "observe", "change", "images", "remove", "purge"),
    "logs": ("lib", "logs"),
    "exec": ("lib", "exec"),
    "follow": ("lib", "follow"),
}
_COMMENT = re.compile(r"^[ \t]*#.*\n|^[ \t]+", re.MULTILINE)


@cache
def script(verb: str) -> bytes:
    """The whole script of a verb, without comments and indentation. Pure ASCII."""
    texts = [files(__package__).joinpath(f"{name}.sh").read_text("ascii") for name in _FILES[verb]]
    return _COMMENT.sub("", "\n".join([*texts, f"main {verb}"])).encode("ascii")
