"""Where the events of a pass go: the structured log. Progress for people is the command line's."""

from __future__ import annotations

from typing import Any

import structlog


class LogSink:
    """Writes each event as one log line, with the context given here."""

    def __init__(self, **context: Any) -> None:
        self._logger: structlog.stdlib.BoundLogger = structlog.get_logger("fleetd", **context)

    def emit(self, event: str, **fields: Any) -> None:
        self._logger.info(event, **fields)
