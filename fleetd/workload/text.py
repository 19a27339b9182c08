"""Literal text with places that only the host can fill: per-host values, and secrets.

Such a text becomes a word of a shell script, its literal parts quoted; so nothing that a document
says is ever read as shell. Separate, so that whoever makes a value needs no environment.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.workload.quoting import sh_word


@dataclass(frozen=True, slots=True)
class Text:
    """Literal text with shell variables in it.

    `marked` holds the name of each variable between two NULs, which no literal text can contain.
    """

    marked: str
    secret: bool = False

    @classmethod
    def variable(cls, name: str, *, secret: bool = False) -> Text:
        """What the shell variable `name` holds."""
        return cls(f"\0{name}\0", secret)

    @property
    def literal(self) -> str | None:
        """The text where it is the same on every host, else None."""
        return None if "\0" in self.marked else self.marked

    def sh(self) -> str:
        """One word of a POSIX shell."""
        parts = self.marked.split("\0")
        words = [
            f'"${{{part}}}"' if at % 2 else sh_word(part) for at, part in enumerate(parts) if part
        ]
        return "".join(words) or "''"
