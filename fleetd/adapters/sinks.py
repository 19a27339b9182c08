"""Where the events of a run go: the structured log, or nowhere.

Progress for people is the command line's; the log is for `--debug` and for a service. It goes to
stderr, since stdout is for data.
"""

from __future__ import annotations

import sys
from typing import Any


class LogSink:
    """Writes each event as one line: for a person on a terminal, as JSON elsewhere."""

    def __init__(self, **context: Any) -> None:
        """Take what every line is to say."""
        import structlog  # noqa: PLC0415 - only a run that logs pays for loading it

        last: Any = (
            structlog.dev.ConsoleRenderer(colors=False)
            if sys.stderr.isatty()
            else structlog.processors.JSONRenderer(default=str)
        )
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                last,
            ],
            **context,
        )

    def emit(self, event: str, **fields: Any) -> None:
        """Write one line."""
        self._logger.info(event, **fields)


class Silence:
    """Takes every event and keeps none."""

    def emit(self, event: str, **fields: Any) -> None:
        """Forget it."""
