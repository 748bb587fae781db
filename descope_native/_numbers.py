"""Which numbers can be right for a setting. A bool is none, though Python says so."""

import sys


def is_positive(value: object) -> bool:
    """Whether it is a number, more than 0, that a float can hold."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 < value <= sys.float_info.max  # an int may be larger than any float
    )


def is_count(value: object, least: int) -> bool:
    """Whether it is a whole number, ``least`` at least."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
