"""What a request brings: bounded in size and time, and read into plain data before anything else.

Nothing here reads a file, whatever a document names.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from fleetd.documents.yaml import parse
from fleetd.errors import InvalidInput
from fleetd.server.status import Failure

MAX_BODY = 3 << 20
"""Kubernetes' own bound; a ConfigMap or Secret may have 1 MiB."""
BODY_S = 30.0
"""How long a body may take to come."""

JSON = "application/json"
YAML = "application/yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"
PATCHES = (MERGE, JSON_PATCH, STRATEGIC)
"""Those that change what is there, whatever has sent it."""

Plain = dict[str, Any]


async def body_of(request: Request) -> bytes:
    """The whole body. Raises Failure for one that is too large, or too slow, or cut."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > MAX_BODY:
        raise _too_large()
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MAX_BODY:
                    raise _too_large()
    except TimeoutError as error:
        raise Failure(408, f"the body did not come within {BODY_S:.0f} seconds") from error
    except ClientDisconnect as error:
        raise Failure(400, "the body ended early") from error
    return bytes(data)


async def document_of(request: Request) -> Plain:
    """The document of a body, in JSON (also where no type is said) or YAML.

    Raises Failure: 415 for another type, 400 for what cannot be read.
    """
    kind = _media_type(request, (JSON, YAML), JSON)
    data = await body_of(request)
    return await asyncio.to_thread(_from_yaml, data) if kind == YAML else from_json(data)


async def patch_of(request: Request, *kinds: str) -> tuple[str, Plain | list[Any]]:
    """The media type and the patch of a body that must be of one of these types; as above."""
    kind = _media_type(request, kinds)
    data = await body_of(request)
    if kind == APPLY:
        return kind, await asyncio.to_thread(_from_yaml, data)
    if kind != JSON_PATCH:
        return kind, from_json(data)
    operations = _json(data)
    if not isinstance(operations, list):
        raise Failure(400, f"a patch of the type {kind} is a list of operations")
    return kind, operations


def _media_type(request: Request, kinds: Sequence[str], usual: str = "") -> str:
    """The media type of the body, without its parameters. Raises Failure for another one."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower() or usual
    if kind not in kinds:
        told = f"the content type {kind or '(none)'} is not taken here"
        raise Failure(415, f"{told}; send {' or '.join(kinds)}")
    return kind


def from_json(data: bytes) -> Plain:
    """The JSON object in these bytes. Raises Failure."""
    return _map(_json(data))


def _json(data: bytes) -> object:
    try:
        document = json.loads(data, parse_constant=_no_number)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Failure(400, f"the body is no JSON: {_brief(error)}") from error
    return document


def _from_yaml(data: bytes) -> Plain:
    parsed = parse(data, "body")
    if parsed.problems:
        raise InvalidInput(parsed.problems)
    documents = [each.data for each in parsed.documents if each.data is not None]
    if len(documents) != 1:
        raise Failure(400, f"the body holds {len(documents)} documents; send one")
    return _map(documents[0])


def _map(document: object) -> Plain:
    if not isinstance(document, dict):
        raise Failure(400, "the body has to be one object: a map with apiVersion and kind")
    return document


def flag(options: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false; when it is not there, false. Raises Failure."""
    text = options.get(name, "false").lower()
    if text not in {"true", "false", "1", "0", ""}:
        raise Failure(400, f"{name}={text} is neither true nor false")
    return text in {"true", "1"}


def rehearsed(given: object) -> bool:
    """Whether `dryRun` asks for nothing to be kept: `All`, or a list of it. Raises Failure."""
    stages = given if isinstance(given, list) else [given] if given else []
    if any(stage != "All" for stage in stages):
        raise Failure(400, f"dryRun={given} is not known; write All")
    return bool(stages)


def _too_large() -> Failure:
    return Failure(413, f"the body is larger than {MAX_BODY >> 20} MiB")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _brief(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
