"""Everything that is printed passes here: stdout for data, stderr for what is said about it.

Text from hosts is cleaned where it enters the process; it is cleaned again here, so that no path
can let a host write to somebody's terminal. Colour is left to rich's progress display.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TextIO

import click

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class OutputClosed(Exception):
    """Whoever read our stdout has gone (`fleetd get pods | head -1`)."""


def plain(text: str) -> str:
    r"""Show control characters as `\x1b`; only tab and newline pass."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def line(text: str) -> str:
    """As `plain`, and on one line."""
    return plain(" ".join(text.split("\n")))


def json_of(value: object) -> str:
    """Indented JSON, readable beyond ASCII, with control characters escaped as JSON allows."""
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def yaml_of(value: object) -> str:
    """YAML in the order of the value, readable beyond ASCII unless that could hide something."""
    from fleetd.documents.yaml import dump

    text = dump(value)
    return text if plain(text) == text else dump(value, allow_unicode=False)


def write(text: str) -> None:
    """Print data, with a newline at its end; raises OutputClosed when nobody listens."""
    _put(sys.stdout, (plain(text).removesuffix("\n") + "\n").encode("utf-8", "backslashreplace"))


def put(text: str) -> None:
    """Print data as it is, without a newline of its own (a template says where lines end)."""
    _put(sys.stdout, plain(text).encode("utf-8", "backslashreplace"))


def write_raw(data: bytes, *, err: bool = False) -> None:
    """Pass a remote command's bytes on: as they are into a pipe or file, cleaned to a terminal."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        data = plain(text).encode("utf-8", "backslashreplace")
    _put(stream, data)


def _put(stream: TextIO, data: bytes) -> None:
    # With PYTHONUNBUFFERED the stream is raw and may take a part only, without an error.
    rest = memoryview(data)
    try:
        stream.flush()
        while rest:
            rest = rest[stream.buffer.write(rest) :]
        stream.buffer.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def say(text: str) -> None:
    """Print something about the data (progress, notes, errors); a closed stderr stops nothing."""
    try:
        click.echo(plain(text).removesuffix("\n"), err=True)
    except OSError:
        return
