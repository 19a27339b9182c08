"""What a renderer says when a host of this class cannot run the workload.

Separate, so that every module here can raise it without importing `render`.
"""

from __future__ import annotations

from fleetd.errors import FleetdError


class RenderError(FleetdError):
    """This DaemonSet cannot run on this class of hosts; it concerns those hosts only.

    `path` is a Kubernetes field path; `message` says what is wrong and what to do.
    """

    exit_code = 2

    def __init__(self, path: str, message: str) -> None:
        """Take the field and what is wrong with it."""
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}")
