"""Cookie mode: the tokens come as ``Set-Cookie`` lines, and the newest unexpired one of a name wins."""

import re
import time
from typing import Any, Final

from descope_native._service.times import parse_date, service_time
from descope_native._tokens import is_token, read_times
from descope_native.converters import drift_at
from descope_native.models import REFRESH_COOKIE, SESSION_COOKIE, Drift
from descope_native.transports import HttpResponse

# What the cookies of the device tokens are called; no answer names them otherwise.
_TRUSTED_DEVICE_COOKIE: Final = "DTD"
_KNOWN_DEVICE_COOKIE: Final = "DKD"


def add_tokens_from_cookies(answer: dict[str, Any], response: HttpResponse) -> list[Drift]:
    """Cookie mode: the tokens come as Set-Cookie only. A usable one in the body wins."""
    lines = response.header_values("Set-Cookie")
    drift: list[Drift] = []
    if not lines:
        return drift
    # The raw lines are read, since a cookie jar drops a Domain that is not the API's own.
    cookies = read_cookies(lines, service_time(response))
    for token, named_by, usual in (
        ("sessionJwt", "sessionCookieName", SESSION_COOKIE),
        ("refreshJwt", "cookieName", REFRESH_COOKIE),
        ("trustedDeviceJwt", None, _TRUSTED_DEVICE_COOKIE),
        ("knownDeviceJwt", None, _KNOWN_DEVICE_COOKIE),
    ):
        value = answer.get(token)
        if isinstance(value, str) and is_token(value):
            continue
        name = answer.get(named_by) if named_by else None
        cookie = cookies.get(name if name and isinstance(name, str) else usual)
        if cookie and (value in (None, "") or is_token(cookie)):
            answer[token] = cookie
            if value not in (None, ""):
                drift.append(drift_at(token, "token", value))
    return drift


def read_cookies(lines: list[str], now: float | None) -> dict[str, str]:
    """Name to value of the cookies that are set; of one name, the newest unexpired token wins.

    Newest by what JWTs say themselves (``iat``, then ``exp``), else the last line. ``now`` is the
    service's time, None where the answer does not tell it.
    """
    cookies: dict[str, tuple[_Age, str]] = {}
    for line in lines:
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if not value or _is_expired(attributes, now, value):
            continue
        times = read_times(value)
        age = (is_token(value), times.issued or 0, times.ends or 0)
        if name not in cookies or age >= cookies[name][0]:
            cookies[name] = age, value
    return {name: value for name, (_, value) in cookies.items()}


_Age = tuple[bool, int, int]
"""Of a cookie: whether its value is a token, and what that says of its times."""


def _is_expired(attributes: list[str], now: float | None, token: str) -> bool:
    """Max-Age has precedence over Expires; what cannot be read is ignored (RFC 6265 §5.2, §5.3)."""
    values: dict[str, str] = {}
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        values[name.strip().lower()] = value.strip()
    max_age, expires = values.get("max-age"), values.get("expires")
    if max_age and re.fullmatch(r"-?[0-9]{1,20}", max_age):
        return int(max_age) <= 0
    if not expires:
        return False
    if now is None:  # our clock may be off by minutes, and the token has just been issued by theirs
        now = read_times(token).issued or time.time()
    try:
        return parse_date(expires[:64]).timestamp() <= now
    except (ValueError, OverflowError):
        return False
