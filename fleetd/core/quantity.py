"""Kubernetes quantities: `100m`, `200Mi`, `1.5`, `1e3`.

Exact: a quantity is a fraction, and becomes a whole number only where a unit of measure is chosen,
rounded up as Kubernetes does.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

_FORM = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,3}))?\Z"
)
_SUFFIX = {
    **{s: Fraction(10) ** (3 * n) for n, s in zip((-3, -2, -1), "num", strict=True)},
    **{s: Fraction(10) ** (3 * n) for n, s in enumerate("kMGTPE", start=1)},
    **{f"{s}i": Fraction(1024) ** n for n, s in enumerate("KMGTPE", start=1)},
}


def parse(value: str | float) -> Fraction:
    """The exact amount.

    Raises:
        ValueError: with what to write instead.
    """
    found = _FORM.match(str(value))
    if not found or len(str(value)) > 64:
        raise ValueError("must be a quantity such as 100m, 0.5, 200Mi or 1G")
    amount = Fraction(found["number"])
    if found["suffix"]:
        amount *= _SUFFIX[found["suffix"]]
    elif found["exponent"]:
        amount *= Fraction(10) ** int(found["exponent"])
    return -amount if found["sign"] == "-" else amount


def whole(value: str | float) -> int:
    """In whole units, rounded up: bytes of memory."""
    return math.ceil(parse(value))


def milli(value: str | float) -> int:
    """In thousandths, rounded up: CPU."""
    return math.ceil(parse(value) * 1000)
