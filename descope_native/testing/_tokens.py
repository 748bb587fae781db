"""The stand-in's JWTs."""

import base64
import functools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

from descope_native.testing._json import Json, dump

if TYPE_CHECKING:
    from joserfc.jwk import KeyParameters, RSAKey

_EXPONENT: Final = 65537
_SMALL_PRIMES: Final = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


@attrs.frozen
class Signer:
    """How tokens are made, and the public keys that prove them."""

    encode: Callable[[Json], str]
    keys: list[Json]


def make_signer(*, signed: bool | None, seed: int | None) -> Signer:
    """RS256, or openly unsecured tokens (RFC 7519 §6) and no keys; ``None`` is RS256 where joserfc is there.

    Raises:
        ImportError: signatures are asked for, and joserfc is not installed.
    """
    if signed is False:
        return Signer(_unsecured, [])
    try:
        from joserfc import jwt  # noqa: PLC0415 -- an extra
    except ImportError:
        if signed:
            raise ImportError("signed tokens need joserfc: pip install joserfc") from None
        return Signer(_unsecured, [])
    key = _rsa_key(seed)
    header = {"alg": "RS256", "typ": "JWT", "kid": key.kid}
    return Signer(lambda claims: jwt.encode(header, claims, key), [dict(key.as_dict(private=False))])


@functools.cache
def _rsa_key(seed: int | None) -> "RSAKey":
    # One per process and seed: it takes a tenth of a second, and many tests make a stand-in each.
    from joserfc.jwk import RSAKey  # noqa: PLC0415 -- an extra

    options: KeyParameters = {"use": "sig", "alg": "RS256"}
    if seed is None:
        return RSAKey.generate_key(2048, options, auto_kid=True)
    key = RSAKey.import_key(_rsa_numbers(random.Random(seed)), options)  # noqa: S311 -- the same key each time
    key.ensure_kid()
    return key


def _rsa_numbers(source: random.Random) -> Any:
    """A private key that follows from its source, as a JWK (RFC 7518 §6.3)."""
    p, q = sorted((_prime(source), _prime(source)), reverse=True)
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = {
        "n": p * q,
        "e": _EXPONENT,
        "d": d,
        "p": p,
        "q": q,
        "dp": d % (p - 1),
        "dq": d % (q - 1),
        "qi": pow(q, -1, p),
    }
    return {"kty": "RSA"} | {name: _base64(_bytes(number)) for name, number in numbers.items()}


def _prime(source: random.Random) -> int:
    """A prime of 1024 bits, as good as certainly: eight rounds of Miller and Rabin's test."""
    while True:
        # The two highest bits are set, so that two of them make a modulus of 2048 bits.
        number = source.getrandbits(1024) | 3 << 1022 | 1
        if number % _EXPONENT == 1 or not all(number % prime for prime in _SMALL_PRIMES):
            continue
        if all(_passes(number, source.randrange(2, number - 1)) for _ in range(8)):
            return number


def _passes(number: int, base: int) -> bool:
    twos = ((number - 1) & -(number - 1)).bit_length() - 1
    power = pow(base, (number - 1) >> twos, number)
    return power == 1 or any(pow(power, 1 << times, number) == number - 1 for times in range(twos))


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _unsecured(claims: Json) -> str:
    return ".".join([_base64(dump({"alg": "none", "typ": "JWT"})), _base64(dump(claims)), ""])


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
