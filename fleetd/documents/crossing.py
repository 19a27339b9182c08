"""Loaded documents on their way to another process: normal forms, with the lines they came from.

Whoever has the files reads them; whoever takes them in checks the normal forms again and can still
say at which line of which file something is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetd.documents.load import Documents, Lines, Sent, admit
from fleetd.documents.yaml import Document
from fleetd.errors import InvalidInput, Problem


def pack(documents: Documents) -> dict[str, Any]:
    """All that `unpack` needs, as JSON; the lines of a document once for all objects in it."""
    places: dict[int, int] = {}
    texts: list[dict[str, Any]] = []
    objects = []
    for loaded in documents.objects:
        document = loaded.lines.document
        if id(document) not in places:
            places[id(document)] = len(texts)
            texts.append({"line": document.line, "lines": dict(document.lines)})
        at = places[id(document)]
        objects.append([loaded.raw, loaded.source, at, loaded.lines.prefix])
    return {
        "objects": objects,
        "texts": texts,
        "skipped": dict(documents.skipped),
        "notes": [_packed(note) for note in documents.notes],
        "asides": [_packed(note) for note in documents.asides],
    }


def unpack(plain: Any) -> Documents:  # noqa: ANN401 - any JSON
    """The documents again, checked as if they had been read here.

    Raises:
        InvalidInput: with every problem, or where this is no form of documents.
    """
    try:
        texts = [
            Document(None, int(each["line"]), {str(p): int(n) for p, n in each["lines"].items()})
            for each in plain["texts"]
        ]
        sent = [
            Sent(_map(raw), str(source), Lines(texts[int(at)], str(prefix)))
            for raw, source, at, prefix in plain["objects"]
        ]
        skipped = {str(kind): int(count) for kind, count in plain["skipped"].items()}
        notes, asides = (
            tuple(Problem(str(s), int(n), str(p), str(m), str(h)) for s, n, p, m, h in plain[what])
            for what in ("notes", "asides")
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"these are no loaded documents: {error}") from error
    return Documents(admit(sent), skipped, notes, asides)


def _map(raw: object) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise TypeError("an object must be a map")
    return raw


def _packed(note: Problem) -> list[str | int]:
    return [note.source, note.line, note.path, note.message, note.hint]
