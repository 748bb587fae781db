"""The stand-in's JWTs."""

import base64
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from descope_native.testing._json import Json, dump

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey


@attrs.frozen
class Signer:
    """How tokens are made, and the public keys that prove them."""

    encode: Callable[[Json], str]
    keys: list[Json]


def make_signer() -> Signer:
    """RS256 where joserfc is installed, else openly unsecured tokens (RFC 7519 §6) and no keys."""
    try:
        from joserfc import jwt  # noqa: PLC0415 -- an extra
    except ImportError:
        return Signer(_unsecured, [])
    key = _rsa_key()
    header = {"alg": "RS256", "typ": "JWT", "kid": key.kid}
    return Signer(lambda claims: jwt.encode(header, claims, key), [dict(key.as_dict(private=False))])


@functools.cache
def _rsa_key() -> "RSAKey":
    # One per process: it takes a tenth of a second, and many tests make a stand-in each.
    from joserfc.jwk import RSAKey  # noqa: PLC0415 -- an extra

    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)


def _unsecured(claims: Json) -> str:
    return ".".join([_part({"alg": "none", "typ": "JWT"}), _part(claims), ""])


def _part(value: Json) -> str:
    return base64.urlsafe_b64encode(dump(value)).rstrip(b"=").decode()
