"""What goes in and out of the stand-in by hand: proofs, faults, and the record of calls."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from descope_native.testing._json import Json, RefusedError, parse_object
from descope_native.transports import HttpRequest, HttpResponse, as_pairs


@attrs.frozen(kw_only=True)
class Proof:
    """What a phone ends up with after a native sign-in.

    Attributes:
        provider: who vouches for the user.
        state_id: what the service calls this sign-in.
        code: the authorization code, or None.
        id_token: the id token, or None. Exactly one of the two is there.
        nonce: what the id token repeats.
        user: the JSON text with the name that Apple tells at a user's first sign-in, else None.
    """

    provider: str
    state_id: str = attrs.field(repr=False)
    code: str | None = attrs.field(default=None, repr=False)
    id_token: str | None = attrs.field(default=None, repr=False)
    nonce: str = attrs.field(repr=False)
    user: str | None = attrs.field(default=None, repr=False)

    def as_arguments(self) -> dict[str, Any]:
        """The keyword arguments of ``NativeOAuthFinisher.finish``."""
        facts = attrs.asdict(self, filter=lambda _, value: value is not None)
        del facts["nonce"]
        return facts

    def as_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/auth/oauth/native/finish``."""
        names = {"state_id": "stateId", "id_token": "idToken"}
        return {names.get(name, name): value for name, value in self.as_arguments().items()}


_DROPS: Final = {None, "before", "after", "halfway"}
_PLACES: Final = {None, "body", "cookies"}
_MAX_DELAY: Final = 86_400
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")  # §5.5


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one call. Several things may.

    Attributes:
        delay: seconds, at most a day, before the answer, or the drop, after the request took effect.
        drop: the connection ends ``"before"`` the service looks at the request, ``"after"`` it did, or
            ``"halfway"`` through the answer's body.
        status: answer with this, ``headers`` and ``body`` instead.
        headers: of that answer; pairs, or a mapping.
        body: of that answer.
        applied: whether the request takes effect (a code is spent) although its own answer is not sent:
            with ``drop="after"`` it does, with a ``status`` it does not, unless given.
        tokens: where this answer has them, ``"body"`` or ``"cookies"`` only.
        fields: merged into the JSON of the answer, to add unknown keys or ill-typed values.

    Raises:
        ValueError: two of these make no sense together.
    """

    delay: float = 0.0
    drop: Literal["before", "after", "halfway"] | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=as_pairs)
    body: bytes = b""
    applied: bool | None = None
    tokens: Literal["body", "cookies"] | None = None
    fields: Json | None = None

    def __attrs_post_init__(self) -> None:
        if self.drop not in _DROPS or self.tokens not in _PLACES:
            raise ValueError("drop is 'before', 'after' or 'halfway', tokens 'body' or 'cookies'")
        if not 0 <= self.delay <= _MAX_DELAY:
            raise ValueError("delay is from 0 seconds to a day")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("status is from 200 to 599")
        if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in self.headers):
            raise ValueError("headers are names and values of one line each, in text that can be encoded")
        unanswered = self.drop in {"before", "after"}
        if unanswered and self.status is not None:
            raise ValueError("drop leaves no room for a status, unless it is 'halfway'")
        if self.status is None and (self.headers or self.body):
            raise ValueError("headers and body belong to an answer with a status")
        if self.applied is not None and self.status is None and self.drop != "after":
            raise ValueError("applied is a choice only with a status, or with drop='after'")
        if (unanswered or self.status is not None) and (self.tokens or self.fields):
            raise ValueError("tokens and fields are of the service's own answer, which is not sent")

    @property
    def takes_effect(self) -> bool:
        """Whether the service acts on the request."""
        if self.drop == "before":
            return False
        return self.status is None if self.applied is None else self.applied


_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "delay": (int, float),
    "drop": str,
    "status": int,
    "headers": dict,
    "body": str,
    "applied": bool,
    "tokens": str,
    "fields": dict,
}


def read_fault(described: Json) -> Fault:
    """A fault as another process asks for it: in the same words, ``body`` being text."""
    for key, value in described.items():
        if key not in _KINDS or not isinstance(value, _KINDS[key]):
            raise RefusedError(400, "E011004", f"{key} is no part of a fault, or has the wrong type")
    if not all(isinstance(value, str) for value in described.get("headers", {}).values()):
        raise RefusedError(400, "E011004", "headers has the wrong type")
    try:
        body = described.get("body", "").encode()
    except UnicodeEncodeError:
        raise RefusedError(400, "E011004", "body is text that cannot be encoded") from None
    try:
        return Fault(**{**described, "body": body})
    except ValueError as error:
        raise RefusedError(400, "E011004", str(error)) from None


class DroppedError(ConnectionResetError):
    """The connection ends here, halfway through this answer if there is one."""

    def __init__(self, answer: HttpResponse | None) -> None:
        super().__init__("the stand-in dropped the connection")
        self.answer = answer


@attrs.frozen(kw_only=True)
class Call:
    """One request as the stand-in saw it, everything masked that may be secret.

    Attributes:
        method: as sent.
        path: as sent, without a query.
        headers: pairs.
        body: the JSON object that was sent, its values masked; None if it was no such thing.
        status: of the answer; None if the connection was dropped instead.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: Mapping[str, Any] | None
    status: int | None


_MASK: Final = "[masked]"
_HARMLESS_KEYS: Final = {"provider", "implicit"}
_HARMLESS_HEADERS: Final = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-descope-project-id",
    "x-descope-sdk-name",
    "x-descope-sdk-python-version",
    "x-descope-sdk-version",
}


def record(request: HttpRequest, status: int | None) -> Call:
    """The call, masked."""
    body = parse_object(request.body)
    return Call(
        method=request.method,
        path=request.url.path,
        headers=tuple(
            (name, value if name.lower() in _HARMLESS_HEADERS else _MASK)
            for name, value in request.headers.items()
        ),
        body=body and {key: value if key in _HARMLESS_KEYS else _MASK for key, value in body.items()},
        status=status,
    )
