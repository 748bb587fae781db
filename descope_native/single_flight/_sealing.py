"""What a store gets to see of a proof and of what came of it: nothing that it can read."""

import json
import os
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from descope_native.errors import DescopeNativeError, Phase, TransportError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_PURPOSE: Final = b"descope_native single flight 1"
"""Another format gets another number, and so other keys: versions side by side do not misread each other."""

_NONCE: Final = 12  # bytes, NIST SP 800-38D §8.2


def require_cryptography() -> None:
    """Raise ``ModuleNotFoundError`` where the extra is not installed."""
    try:
        import_module("cryptography")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a store needs cryptography: pip install 'descope_native[redis]'", name="cryptography"
        ) from None


@attrs.frozen
class Seal:
    """The name of a proof in a store, and the key to what is stored under it. Both are one-way."""

    name: bytes
    _cipher: "AESGCM" = attrs.field(repr=False)

    @classmethod
    def of(cls, proof: bytes) -> "Seal":
        """HKDF (RFC 5869) with SHA-256: a keyed hash for the name, and a key that it says nothing of."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 -- an extra
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 -- an extra
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415 -- an extra

        derived = HKDF(SHA256(), 64, salt=None, info=_PURPOSE).derive(proof)
        return cls(derived[:32], AESGCM(derived[32:]))

    def close(self, plain: bytes) -> bytes:
        """Encrypt and authenticate it, bound to this name."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, _PURPOSE + self.name)

    def open(self, sealed: bytes) -> bytes | None:
        """What was closed, or None if this is not what `close` made for this proof."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- an extra

        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _PURPOSE + self.name)
        except (InvalidTag, ValueError):  # the latter where it is too short
            return None


def _kinds(root: type[DescopeNativeError]) -> Iterator[type[DescopeNativeError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


_KINDS: Final[dict[str, Any]] = {
    kind.__name__: kind
    for kind in _kinds(DescopeNativeError)
    if kind.__module__ == DescopeNativeError.__module__
}


def encode_error(error: DescopeNativeError) -> bytes:
    """What pickle would write of it, as JSON. None of it is a secret: that is a rule of `errors`."""
    return json.dumps([type(error).__name__, error.args, vars(error)]).encode()


def decode_error(text: bytes) -> DescopeNativeError | None:
    """The error again, or None where another version wrote it."""
    try:
        name, arguments, attributes = json.loads(text)
        error: DescopeNativeError = _KINDS[name](*arguments)
        vars(error).update(attributes)
    except (ValueError, TypeError, KeyError):
        return None
    return error


def fresh(error: BaseException, phase: Phase) -> DescopeNativeError:
    """The same error as an object of its own, without traceback or cause: each caller raises its own."""
    # A transport of somebody's may raise a kind of its own, which counts as ours that it is made of.
    kind = next((kind for kind in type(error).__mro__ if _KINDS.get(kind.__name__) is kind), None)
    if kind is None:
        return TransportError(phase, "the call ended with an error that this library does not know")
    anew = cast("DescopeNativeError", kind(*error.args))
    vars(anew).update({name: value for name, value in vars(error).items() if name != "__notes__"})
    return anew
