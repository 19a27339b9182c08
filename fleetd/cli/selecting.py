"""`-l` and `--field-selector`, in the words of the command line; see `core.choosing`."""

from __future__ import annotations

from fleetd.cli.kinds import Kind
from fleetd.core import choosing
from fleetd.core.choosing import Chosen, by_labels

__all__ = ["Chosen", "by_fields", "by_labels"]


def by_fields(text: str, kind: Kind) -> Chosen:
    """A field selector for a kind. Raises InvalidInput."""
    return choosing.by_fields(text, kind.plural)
