"""Checks for numeric settings. A bool is refused, although it is an int to Python."""

import sys
from numbers import Integral, Real
from typing import cast


def is_positive(value: object) -> bool:
    """Whether it is a number, of whatever library, more than 0, that a float can hold."""
    return (
        not isinstance(value, bool)
        and isinstance(value, Real)
        and 0 < cast("float", value) <= sys.float_info.max  # an int may be larger than any float
    )


def is_count(value: object, least: int) -> bool:
    """Whether it is a whole number, ``least`` at least."""
    return not isinstance(value, bool) and isinstance(value, Integral) and cast("int", value) >= least
