"""What form a token must have, and what a JWT says of its own times. Nothing is verified here."""

import base64
import json
from typing import Final, NamedTuple, cast

MAX_TOKEN: Final = 16 * 1024
"""Characters that a token may have."""

_NO_COOKIE_OCTETS: Final = bytes(not 0x21 <= octet < 0x7F or octet in b'",;\\' for octet in range(256))
"""For ``bytes.translate``, which makes 1 of what is none, and 0 of the others."""


def is_token(value: str) -> bool:
    """Whether this may stand in a header or a cookie as it is (RFC 6265 §4.1.1)."""
    return (
        0 < len(value) <= MAX_TOKEN
        and value.isascii()
        and 1 not in value.encode().translate(_NO_COOKIE_OCTETS)
    )


_MAX_SECONDS: Final = 2**53


class TokenTimes(NamedTuple):
    """When a JWT says that it was issued and ends, in unix seconds; None where it does not say."""

    issued: int | None
    ends: int | None


def read_claims(token: str) -> dict[str, object] | None:
    """The claims of a JWT, not verified; None for what is no JWT (RFC 7519 §3). Never raises."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", claims) if isinstance(claims, dict) else None


def read_times(token: str) -> TokenTimes:
    """The claims ``iat`` and ``exp`` (RFC 7519 §4.1). Never raises: what is no JWT has neither."""
    claims = read_claims(token) or {}
    return TokenTimes(_seconds(claims.get("iat")), _seconds(claims.get("exp")))


def _seconds(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < _MAX_SECONDS else None  # a NaN is in no range
