"""The JSON form of what crosses between a client and the service, by the types of the client.

One form for every argument and result: dataclasses are maps by field, named tuples and tuples are
lists, mappings are maps. What arrives is checked against the type: neither side trusts the other's
word. Apart from the transport, so that both sides read the very same forms; light, since `get`
loads it.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from fleetd.errors import InvalidInput

T = TypeVar("T")
_CALLBACKS = frozenset({"progress", "write"})
"""Parameters of a verb that stay in the caller's process: what they are told is streamed."""


def pack(value: object) -> Any:  # noqa: ANN401 - any JSON
    """A value as plain JSON; what has no form of its own is told as text."""
    if isinstance(value, Enum):
        return pack(value.value)
    if value is None or isinstance(value, str | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: pack(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): pack(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(pack, value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [pack(item) for item in value]
    return str(value)


def unpack(kind: Any, plain: Any, place: str = "") -> Any:  # noqa: ANN401 - any type, any JSON
    """The value of a type from its form; `place` is where it stands, for the error.

    Raises InvalidInput for anything else than that.
    """
    if kind is Any:
        return plain
    if kind is None or kind is types.NoneType:
        return _is(plain is None, plain, place)
    if kind in {str, bool}:
        return _is(isinstance(plain, kind), plain, place)
    if kind is int:
        return _is(isinstance(plain, int) and not isinstance(plain, bool), plain, place)
    if kind is float:
        number = isinstance(plain, int | float) and not isinstance(plain, bool)
        return float(_is(number and math.isfinite(plain), plain, place))
    origin = get_origin(kind)
    if origin is Literal:
        return _is(plain in get_args(kind), plain, place)
    if origin in {typing.Union, types.UnionType}:
        return _either(get_args(kind), plain, place)
    if origin is not None:
        return _container(origin, get_args(kind), plain, place)
    if is_dataclass(kind) and isinstance(kind, type):
        return _object(kind, plain, place)
    if isinstance(kind, type) and issubclass(kind, tuple):
        _is(isinstance(plain, list), plain, place)
        inner = _hints(kind)
        _is(len(plain) == len(inner), plain, place)
        made = (unpack(of, each, f"{place}.{name}") for (name, of), each in _zip(inner, plain))
        return kind(*made)
    raise TypeError(f"{kind!r} has no form")


def _zip(inner: Mapping[str, Any], plain: list[Any]) -> Any:  # noqa: ANN401 - pairs
    return zip(inner.items(), plain, strict=True)


def _either(kinds: tuple[Any, ...], plain: Any, place: str) -> Any:  # noqa: ANN401 - any type
    """Optional is the only union that crosses."""
    (other,) = (kind for kind in kinds if kind is not types.NoneType)
    return None if plain is None else unpack(other, plain, place)


def _container(origin: Any, inner: tuple[Any, ...], plain: Any, place: str) -> Any:  # noqa: ANN401
    if issubclass(origin, Mapping):
        _is(isinstance(plain, dict), plain, place)
        return {key: unpack(inner[1], item, f"{place}.{key}") for key, item in plain.items()}
    _is(isinstance(plain, list), plain, place)
    if origin is tuple and inner[-1] is not Ellipsis:
        _is(len(plain) == len(inner), plain, place)
        return tuple(
            unpack(of, item, f"{place}[{i}]")
            for i, (of, item) in enumerate(zip(inner, plain, strict=True))
        )
    made = (unpack(inner[0], item, f"{place}[{i}]") for i, item in enumerate(plain))
    return list(made) if origin is list else tuple(made)


def _object(kind: type, plain: Any, place: str) -> Any:  # noqa: ANN401 - a dataclass
    _is(isinstance(plain, dict), plain, place)
    inner = _hints(kind)
    if unknown := sorted(plain.keys() - inner.keys()):
        raise InvalidInput(f"{place or kind.__name__}: unknown {', '.join(unknown)}")
    try:
        return kind(
            **{name: unpack(inner[name], item, f"{place}.{name}") for name, item in plain.items()}
        )
    except TypeError as error:
        raise InvalidInput(f"{place or kind.__name__}: is not whole: {error}") from error


def _is(right: object, plain: T, place: str) -> T:
    if not right:
        raise InvalidInput(f"{place or 'the call'}: {str(plain)[:80]!r} is not what belongs there")
    return plain


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


@dataclass(frozen=True, slots=True)
class Form:
    """How a verb crosses: the types of its arguments, those that may be left out, its result.

    A verb that `streams` gives its items as they come; `result` is then the type of one.
    """

    name: str
    arguments: Mapping[str, Any]
    optional: frozenset[str]
    result: Any
    streams: bool
    callbacks: frozenset[str]
    signature: inspect.Signature

    def pack(self, arguments: Mapping[str, object]) -> dict[str, Any]:
        """The arguments as JSON."""
        return {name: pack(value) for name, value in arguments.items()}

    def unpack(self, plain: object) -> dict[str, Any]:
        """The arguments from JSON. Raises InvalidInput."""
        told = _is(isinstance(plain, dict), plain, self.name)
        assert isinstance(told, dict)
        if unknown := sorted(told.keys() - self.arguments.keys()):
            raise InvalidInput(f"{self.name} takes no {', '.join(unknown)}")
        if missing := sorted(self.arguments.keys() - told.keys() - self.optional):
            raise InvalidInput(f"{self.name} needs {', '.join(missing)}")
        return {
            name: unpack(self.arguments[name], item, f"{self.name}: {name}")
            for name, item in told.items()
        }

    def call(self, client: object, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401
        """Call the verb of a client, whatever that calls its parameters: those go by position."""
        bound = self.signature.bind(client, **arguments)
        return getattr(client, self.name)(*bound.args[1:], **bound.kwargs)


@cache
def form_of(verb: Callable[..., Any]) -> Form:
    """The form of a method of the client's Protocol."""
    hints = get_type_hints(verb)
    result = hints.pop("return")
    streams = get_origin(result) is not None and not inspect.iscoroutinefunction(verb)
    signature = inspect.signature(verb)
    parameters = signature.parameters
    return Form(
        name=verb.__name__,
        arguments={name: kind for name, kind in hints.items() if name not in _CALLBACKS},
        optional=frozenset(
            name for name, each in parameters.items() if each.default is not inspect.Parameter.empty
        ),
        result=get_args(result)[0] if streams else result,
        streams=streams,
        callbacks=frozenset(hints) & _CALLBACKS,
        signature=signature,
    )
