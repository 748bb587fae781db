"""Times that the service names, judged by the service's own clock."""

import math
import re
from datetime import UTC, datetime
from typing import Final

from descope_native.transports import HttpResponse

MAX_RETRY_AFTER: Final = 3600
"""Seconds. A longer wait that is asked for counts as this one."""


def parse_date(text: str) -> datetime:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 -- dates are rare, and it is dear to load

    date = parsedate_to_datetime(text)
    return date.replace(tzinfo=date.tzinfo or UTC)


def service_time(response: HttpResponse) -> float | None:
    """The answer's ``Date``, in unix seconds; None where it has no usable one.

    A time that the service names is judged by its own clock, since ours may be off, or frozen in a test.
    """
    for value in response.header_values("Date"):
        if (date := _parse_date(value.strip(" \t"), _IMF_FIXDATE, _OBSOLETE_DATE)) is not None:
            return date
    return None


def parse_retry_after(values: list[str], now: float) -> float | None:
    """Whole seconds, 0 to 3600, or None for a wait that is not known (RFC 9110 §10.2.3).

    Each value is a number or an IMF-fixdate. Where there are several, one proxy after another has
    added its own, and the longest counts; one that cannot be read might be longer still.
    """
    waits = [_parse_wait(value.strip(" \t"), now) for value in values]
    known = [wait for wait in waits if wait is not None]
    if not known or len(known) < len(waits):
        return None
    return float(min(max(0, *map(math.ceil, known)), MAX_RETRY_AFTER))


def _parse_wait(value: str, now: float) -> float | None:
    if len(value) > 64:
        return None
    if _NUMBER.fullmatch(value):
        return float(value)
    date = _parse_date(value, _IMF_FIXDATE)
    return None if date is None else date - now


def _parse_date(value: str, *forms: re.Pattern[str]) -> float | None:
    if len(value) > 64 or not any(form.fullmatch(value) for form in forms):
        return None
    try:
        return parse_date(value).timestamp()
    except (ValueError, OverflowError):
        return None


_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)  # gateways send fractions
_IMF_FIXDATE: Final = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [1-9]\d{3} \d{2}:\d{2}:\d{2} GMT",
    re.ASCII,
)
_OBSOLETE_DATE: Final = re.compile(  # RFC 9110 §5.6.7 has these taken, too
    r"[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} [1-9]\d{3}",
    re.ASCII,
)
