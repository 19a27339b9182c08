"""Kubectl's words for kinds, and the ways to name an object: `ds NAME`, `ds/NAME`.

The client knows a kind by its plural only (`daemonsets`); every other spelling ends here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fleetd.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its plural, the word before a slash in output, and the other accepted words."""

    plural: str
    singular: str
    words: tuple[str, ...] = ()
    group: str = ""
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """How errors name it, as kubectl's do: `daemonsets.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """What `-o name` and change lines write before the slash, as kubectl does."""
        return f"{self.singular}.{self.group}" if self.group else self.singular


KINDS = (
    Kind("daemonsets", "daemonset", ("ds",), group="apps"),
    Kind("pods", "pod", ("po",)),
    Kind("nodes", "node", ("no",), namespaced=False),
    Kind("events", "event", ("ev",)),
    Kind("controllerrevisions", "controllerrevision", ("revisions", "revision"), group="apps"),
    Kind("configmaps", "configmap", ("cm",)),
    Kind("secrets", "secret"),
)
_BY_WORD = {
    word: kind for kind in KINDS for word in (kind.plural, kind.singular, kind.prefix, *kind.words)
}
ALL = frozenset(kind.plural for kind in KINDS)
DELETABLE = frozenset({"daemonsets", "pods", "configmaps", "secrets"})


EVERY = ("pods", "daemonsets")
"""What `get all` means: in kubectl's order, and as there without settings and history."""


def kind_of(word: str, allowed: Collection[str] = ALL) -> Kind:
    """The kind that a word means; raises InvalidInput naming the allowed ones."""
    lower = word.lower()
    kind = _BY_WORD.get(lower) or _BY_WORD.get(lower.partition(".")[0])
    if kind is None or kind.plural not in allowed:
        import difflib

        known = {text: k for text, k in _BY_WORD.items() if k.plural in allowed}
        nearest = difflib.get_close_matches(lower, known, n=1)
        hint = (
            f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(sorted(allowed))}"
        )
        raise InvalidInput(f'no resource type "{word}" here; {hint}')
    return kind


def targets(
    arguments: Sequence[str], allowed: Collection[str] = ALL
) -> tuple[tuple[Kind, str], ...]:
    """Read `KIND[,KIND] [NAME...]` or `KIND/NAME...` as (kind, name), where "" means every one."""
    if any("/" in argument for argument in arguments):
        return tuple(_slashed(argument, allowed) for argument in arguments)
    words = [each for word in arguments[0].split(",") for each in _each(word, allowed)]
    kinds = [kind_of(word, allowed) for word in dict.fromkeys(words)]
    return tuple((kind, name) for kind in kinds for name in arguments[1:] or ("",))


def one_target(arguments: Sequence[str], kind: str) -> str:
    """Read `KIND/NAME`, `KIND NAME` or, where only one kind makes sense, a bare `NAME`."""
    if len(arguments) == 1 and "/" not in arguments[0]:
        return arguments[0]
    found = targets(arguments, {kind})
    if len(found) != 1:
        raise InvalidInput(f"expected one name, got {len(found)}; write {kind}/NAME")
    return found[0][1]


def _each(word: str, allowed: Collection[str]) -> Sequence[str]:
    return EVERY if word.lower() == "all" and allowed == ALL else (word,)


def _slashed(argument: str, allowed: Collection[str]) -> tuple[Kind, str]:
    word, slash, name = argument.partition("/")
    if not slash or not name or "/" in name:
        raise InvalidInput(f'"{argument}" is not KIND/NAME; do not mix KIND/NAME with other forms')
    return kind_of(word, allowed), name
