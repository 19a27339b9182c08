"""Kubernetes' Status objects: how every error of the API is told.

One table from fleetd's errors to codes and reasons, so that no handler has to know them. What is
not one of fleetd's own errors is told as an InternalError without what was inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fleetd.errors import (
    FleetdError,
    InvalidInput,
    InventoryUnknown,
    NotFound,
    Problem,
    Refused,
    StateHeld,
)

REASONS: Mapping[int, str] = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "Timeout",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    500: "InternalError",
    503: "ServiceUnavailable",
}
"""Kubernetes' reason for each code that is answered here; AlreadyExists is a 409, too."""


class Failure(Exception):
    """An answer that is an error. `causes` are problems of fields, told one by one."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        causes: Sequence[Problem] = (),
    ) -> None:
        """Take the code and a sentence for a person; the reason follows from the code."""
        super().__init__(message)
        self.code = code
        self.reason = reason or REASONS[code]
        self.details = dict(details or {})
        self.causes = tuple(causes)

    @property
    def status(self) -> dict[str, Any]:
        """The Status object."""
        told = dict(self.details)
        if self.causes:
            told["causes"] = [_cause(problem) for problem in self.causes]
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            **({"details": told} if told else {}),
            "code": self.code,
        }


def failure_of(error: Exception, details: Mapping[str, Any] | None = None) -> Failure:
    """The answer to an error that a use case raised; `details` name the object that was asked."""
    match error:
        case Failure():
            return error
        case InventoryUnknown() | StateHeld():
            return Failure(503, str(error), details=details)
        case InvalidInput():
            return _invalid(error, details)
        case NotFound():
            return Failure(404, str(error), details=details)
        case Refused():
            return Failure(409, str(error), details=details)
        case FleetdError():
            return Failure(500, "the service cannot use its state; its log says why")
        case _:
            return Failure(500, "an unexpected error, which the service's log tells")


def success(details: Mapping[str, Any]) -> dict[str, Any]:
    """The Status of something that was done, and leaves no object to show."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": dict(details),
        "code": HTTPStatus.OK.value,
    }


def _invalid(error: InvalidInput, details: Mapping[str, Any] | None) -> Failure:
    """Fields that are wrong make it Invalid; what has no field could not be read at all."""
    told = [problem for problem in error.problems if problem.path]
    lines = "; ".join(_sentence(problem) for problem in error.problems)
    if not told:
        return Failure(400, lines, details=details)
    return Failure(422, lines, details=details, causes=told)


def _sentence(problem: Problem) -> str:
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return f"{text}; {problem.hint}" if problem.hint else text


def _cause(problem: Problem) -> dict[str, str]:
    text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
    return {"reason": "FieldValueInvalid", "message": text, "field": problem.path}
